"""A Procfile as a tree. Pure."""

from __future__ import annotations

import re
import shlex
from typing import Any

import msgspec

from otp.command.yaml_text import Block, literal

_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(.+)")
_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=([A-Za-z0-9_./:@+,-]*)\s+")
_SHELL = re.compile(r"[$|&;<>()`*?\[\]~#!{}\\]")
_JOINED = re.compile(r"[|&;()<>`]|(?:^|\s)[{!]|\bexec\b")
PORT, PORT_STEP = 5000, 100
"""foreman's: each line's $PORT, counted from the first."""


class Imported(msgspec.Struct):
    """A tree, and what of the original has no like in it."""

    root: Block
    warnings: list[str] = []


def from_procfile(text: str, *, has_env: bool = False) -> Imported:
    """Each line is a child; a line in shell's language is run by one.

    `has_env`: there is a file .env beside it. Raises ValueError where nothing is to be run.
    """
    root = Block({"id": "procfile", **RESTARTS}, [NOTE], [])
    found = Imported(root)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        matched = _LINE.fullmatch(line.strip())
        if matched is None:
            found.warnings.append(f"line {number} is not of the form `name: command`: left out")
            continue
        if "\0" in line:
            found.warnings.append(f"line {number} holds a zero byte: left out")
            continue
        _add(found, matched[1], matched[2], has_env)
    assert root.children is not None
    if not root.children:
        raise ValueError("it holds no line of the form `name: command`")
    return found


NOTE = "From a Procfile. Children start in this order; see `ready:` for who must wait for whom."
RESTARTS: dict[str, Any] = {
    "max_restarts": 100,
    "max_seconds": "1m",
    "backoff": {"initial": "1s", "max": "30s"},
    "give_up": "wait 1m",
}
"""As both do: one that crashes is tried again, slower and slower, and takes nobody along."""


def _add(found: Imported, name: str, command: str, has_env: bool) -> None:
    children = found.root.children
    assert children is not None
    env, words = _split(command)
    if "PORT" in command:
        env.setdefault("PORT", str(PORT + PORT_STEP * len(children)))
    fields = {"id": name, "command": [literal(word) for word in words]}
    if has_env:
        fields["env_file"] = ".env"
    block = Block({**fields, **({"env": env} if env else {})})
    if any(child.fields["id"] == name for child in children):
        found.warnings.append(f"{name} is there twice: only the first is taken")
        return
    if name == "release":
        block.dropped = True
        block.comments = ["run once, before a release:"]
        found.warnings.append("release runs once, before a release, and is left out")
    children.append(block)


def _split(command: str) -> tuple[dict[str, str], list[str]]:
    """Variables that are set for it, and its words."""
    rest, env = command, {}
    while matched := _ASSIGNED.match(rest):
        env[matched[1]] = matched[2]
        rest = rest[matched.end() :]
    try:
        words = shlex.split(rest)
    except ValueError:  # a quote too many: let the shell say so
        words = []
    if words and not _SHELL.search(rest) and "=" not in words[0]:
        return env, words
    # With exec the program takes the shell's place, and its signals.
    joined = _JOINED.search(rest) or "=" in rest.split(None, 1)[0]
    return env, ["sh", "-c", rest if joined else f"exec {rest}"]
