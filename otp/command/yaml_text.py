"""Writing trees as YAML that a person goes on with: comments, one child a block. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

_PLAIN = re.compile(r"(?:[A-Za-z0-9_./]|-(?=[A-Za-z-]))[A-Za-z0-9_./@+=-]*")
_WORDS = frozenset(
    [".inf", ".nan", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"]
)
_DURATION = re.compile(r"[0-9]{1,9}(ms|s|m|h)")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f]")


class Block(msgspec.Struct):
    """A child or a supervisor: its fields in order, what is said above it, what is below it.

    With `dropped` it is written as a comment, all below it too: it has no like in a tree.
    """

    fields: dict[str, Any]
    comments: list[str] = []
    children: list[Block] | None = None
    dropped: bool = False


def literal(text: str) -> str:
    """Text in which `${` is no variable."""
    return text.replace("${", "$${")


def written(root: Block) -> str:
    """The tree as YAML."""
    return "".join(f"{line}\n".replace(" \n", "\n") for line in _lines(root, first=""))


def _lines(block: Block, *, first: str) -> Iterator[str]:
    """`first` is what stands before the first field: the indentation, and `- ` of a list's item."""
    indent = " " * len(first)
    before = first[:-2] if first else ""
    for comment in block.comments:
        yield from (f"{before}# {line}" for line in _UNPRINTABLE.sub(" ", comment).splitlines())
    if block.dropped:
        kept = msgspec.structs.replace(block, comments=[], dropped=False)
        yield from (f"{before}# {line}" for line in _lines(kept, first="- "))
        return
    lines = [f"{key}: {flow(value)}" for key, value in block.fields.items()]
    yield f"{first}{lines[0]}"
    yield from (f"{indent}{line}" for line in lines[1:])
    if block.children is not None:
        shown = [child for child in block.children if not child.dropped]
        yield f"{indent}children:{'' if shown else ' []'}"
        for child in block.children:
            yield from _lines(child, first=f"{indent}  - ")


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{flow(key)}: {flow(one)}' for key, one in value.items())}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(flow, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    if _DURATION.fullmatch(value):
        return value
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS and not value[0].isdigit():
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
