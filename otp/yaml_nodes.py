"""YAML text as nodes that know where they were written, without YAML's well-known surprises.

* Every scalar stays the text that the user wrote; `core` turns an unquoted one into a value, by
  these rules only: `null`, `~` or nothing; `true`, `false`; numbers as JSON writes them (`0`,
  `-1`, `1.5`, `1e3`; not beyond a float) and `.inf`, `-.inf`, `.nan`. So `on`, `yes`, `0755`,
  `12:30` and dates are text. Keys of mappings are always text.
* A key that occurs twice is a problem, except that own keys win over those merged by `<<`.
* `${NAME}` and `${NAME:-default}` in values are replaced from the environment, after parsing, so a
  variable cannot add structure; a default also stands for an empty variable; `$${` is `${`.
* Size, depth and what aliases expand to are bounded.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from otp.errors import Problem, SpecError
from otp.words import shown

# A tree of a thousand children is some 100 KB; this bounds the time and memory of parsing.
FILE_BYTES_MAX = 1_000_000
# 32 levels of supervisors take two each; the rest is for `args`.
NESTING_MAX = 96
# Values before and after aliases are expanded ("billion laughs"), over all included files.
NODES_MAX = 100_000
# What all variables together may expand to.
VARIABLE_CHARS_MAX = 10_000_000
# More than that nobody reads, and each costs memory.
PROBLEMS_MAX = 1_000
# How many of a file's trees an error message lists.
SHOWN_MAX = 20

_PLAIN, _TEXT = "plain", "tag:yaml.org,2002:str"
_NULL = {"", "~", "null", "Null", "NULL"}
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(_NULL),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{".inf": float("inf"), "-.inf": -float("inf"), ".nan": float("nan")},
}
_INT = re.compile(r"-?(0|[1-9][0-9]{0,299})")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
# Possessive (`+` after a quantifier): where no `}` comes, nothing is tried again.
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*+)(?:(:-)([^}]{0,999}+))?\}|\$\{")
_UNPRINTABLE = re.compile(
    "[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)


class Mark(NamedTuple):
    """Where something is written; line and column count from 1."""

    file: str
    line: int
    column: int


class Scalar(NamedTuple):
    """Text as written; `plain` means without quotes."""

    mark: Mark
    text: str
    plain: bool


class Items(NamedTuple):
    """A list."""

    mark: Mark
    items: list[Node]


class Entry(NamedTuple):
    """The value of a key, and where the key is."""

    key: Mark
    value: Node


class Table(NamedTuple):
    """A mapping; keys are text."""

    mark: Mark
    entries: dict[str, Entry]


Node = Scalar | Items | Table


def core(node: Node) -> Any:
    """The node as None, bool, int, float, str, list, dict."""
    if isinstance(node, Items):
        return [core(item) for item in node.items]
    if isinstance(node, Table):
        return {key: core(entry.value) for key, entry in node.entries.items()}
    if not node.plain:
        return node.text
    if node.text in _CONSTANTS:
        return _CONSTANTS[node.text]
    if _INT.fullmatch(node.text):
        return int(node.text)
    number = float(node.text) if _FLOAT.fullmatch(node.text) else math.inf
    return number if math.isfinite(number) else node.text


def is_null(node: Node) -> bool:
    """Whether nothing, `~` or `null` is written there."""
    return isinstance(node, Scalar) and node.plain and node.text in _NULL


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Composes nodes only, and tells an unquoted scalar by its tag instead of guessing a type."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _TEXT
        return "map" if kind is yaml.MappingNode else "seq"


def parse(text: str, file: str) -> list[yaml.Node]:
    """The documents of a text as PyYAML's nodes; a SpecError with one problem if it is not YAML."""
    if len(text) > FILE_BYTES_MAX:
        raise _error(f"is larger than {FILE_BYTES_MAX:,} bytes", file)
    if bad := _UNPRINTABLE.search(text, 1 if text.startswith("\ufeff") else 0):
        before = text[: bad.start()]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise _error(f"the character {bad[0]!r} is not allowed in YAML", file, (line, column))
    try:
        _bound(text, file)
        return list(yaml.compose_all(text, _Loader))
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, file) from None


def choose(documents: list[yaml.Node], file: str, tree: str | None) -> yaml.Node:
    """The only document that is not empty, or the one whose `id` is `tree`."""
    full = [d for d in documents if not (isinstance(d, yaml.ScalarNode) and d.value == "")]
    ids = [_id(document) for document in full]
    if tree is None and len(full) == 1:
        return full[0]
    if tree is not None and ids.count(tree) == 1:
        return full[ids.index(tree)]
    held = ", ".join(shown(name) for name in ids[:SHOWN_MAX]) or "none"
    if tree is not None:
        raise _error(f"has not exactly one tree with the id {shown(tree)}; it holds {held}", file)
    if not full:
        raise _error("is empty: write a supervisor with `id:` and `children:`", file)
    raise _error(f"holds {len(full)} trees: choose {held} by tree=...", file)


def _id(document: yaml.Node) -> str:
    pairs = document.value if isinstance(document, yaml.MappingNode) else []
    return next((str(value.value) for key, value in pairs if key.value == "id"), "?")


def _bound(text: str, file: str) -> None:
    """Composing recurses, in C, and keeps all: what is too deep or long must not get there."""
    depth = nodes = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > NESTING_MAX or nodes > NODES_MAX:
            bound = f"{NESTING_MAX} levels" if depth > NESTING_MAX else f"{NODES_MAX:,} values"
            at = event.start_mark
            raise _error(f"there are more than {bound} here", file, _from_1(at))


def _error(message: str, file: str, at: tuple[int, int] | None = None) -> SpecError:
    line, column = at or (None, None)
    return SpecError([Problem(message, file, line, column)])


def _syntax(error: yaml.MarkedYAMLError, file: str) -> SpecError:
    mark = error.problem_mark or error.context_mark
    what = ", ".join(part for part in (error.problem, error.context) if part)
    if mark is None:
        return _error(f"is not YAML: {what}", file)
    return _error(f"this is not YAML: {what}", file, _from_1(mark))


def _from_1(mark: Any) -> tuple[int, int]:
    """Line and column of a mark of either parser, which count from 0."""
    return mark.line + 1, mark.column + 1


class Reader:
    """Turns PyYAML's nodes into ours and collects what is wrong; one for a tree with its includes.

    A place that has one problem gets no second: what follows from the first is no news.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: dict[tuple[str, int | None, int | None], Problem] = {}
        self._scalars: dict[yaml.ScalarNode, str] = {}  # an alias costs no second expansion
        self._nodes = 0
        self._chars = 0

    def problem(self, mark: Mark, message: str) -> None:
        """Keep what is wrong at a place."""
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.setdefault(mark, Problem(message, *mark))

    def raise_problems(self) -> None:
        """Raise all that was found, in the order of the text; files in the order of their use."""
        files = list(dict.fromkeys(mark[0] for mark in self._problems))
        found = sorted(
            self._problems.values(), key=lambda p: (files.index(p.file or ""), p.line, p.column)
        )
        if found:
            raise SpecError(found)

    def read(self, node: yaml.Node, file: str, depth: int = 0) -> Node:
        """The node with aliases, merges and variables expanded."""
        mark = _mark(node, file)
        self._nodes += 1
        if self._nodes > NODES_MAX or depth > NESTING_MAX:
            self.problem(mark, "aliases expand to too much here; does one contain itself?")
            self.raise_problems()
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, mark)
        if node.tag not in ("map", "seq"):
            self.problem(mark, f"tags such as {shown(node.tag)} have no meaning here: leave it out")
        if isinstance(node, yaml.MappingNode):
            return Table(mark, self._entries(node, file, depth))
        return Items(mark, [self.read(item, file, depth + 1) for item in node.value])

    def _scalar(self, node: yaml.ScalarNode, mark: Mark) -> Scalar:
        if node.tag not in (_PLAIN, _TEXT):
            self.problem(mark, f"tags such as {shown(node.tag)} have no meaning here: leave it out")
        if node not in self._scalars:
            expand = functools.partial(self._variable, mark)
            self._scalars[node] = _VARIABLE.sub(expand, node.value)
        return Scalar(mark, self._scalars[node], node.tag == _PLAIN)

    def _variable(self, mark: Mark, found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        name, has_default, default = found.groups()
        value = self._environ.get(name) if name else None
        if has_default:
            value = value or default
        if name is None:
            self.problem(mark, "`${` must go on as ${NAME} or ${NAME:-default}; $${ stands for ${")
        elif value is None:
            self.problem(mark, f"the environment has no {name}: set it, or write ${{{name}:-...}}")
        self._chars += len(value or "")
        if self._chars > VARIABLE_CHARS_MAX:
            self.problem(mark, f"variables expand to more than {VARIABLE_CHARS_MAX:,} characters")
            self.raise_problems()
        return found[0] if value is None else value

    def _entries(self, node: yaml.MappingNode, file: str, depth: int) -> dict[str, Entry]:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in node.value:
            mark = _mark(key, file)
            if not isinstance(key, yaml.ScalarNode):
                self.problem(mark, "a key must be text")
            elif key.tag == _PLAIN and key.value == "<<":
                for source in self._merged(value, file, depth):
                    merged = source | merged
            elif key.value in own:
                first = f"first in line {own[key.value].key.line}"
                self.problem(mark, f"the key {shown(key.value)} is here twice, {first}")
            else:
                own[key.value] = Entry(mark, self.read(value, file, depth + 1))
        return merged | own

    def _merged(self, node: yaml.Node, file: str, depth: int) -> Iterator[dict[str, Entry]]:
        value = self.read(node, file, depth + 1)
        for source in value.items if isinstance(value, Items) else [value]:
            if isinstance(source, Table):
                yield source.entries
            else:
                self.problem(source.mark, "`<<` takes a mapping, or a list of mappings")


def _mark(node: yaml.Node, file: str) -> Mark:
    return Mark(file, *_from_1(node.start_mark))
