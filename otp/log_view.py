"""How a line of output is kept and shown: as a JSON object, or as `path | line` on a terminal."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Stream = Literal["stdout", "stderr", "report"]
"""Where a line came from; "report" is what the node has to say of a child."""
PATH_CHARS_MAX = 30
"""Longer paths are not aligned with the others: lines must stay readable."""

_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
_ESCAPE = re.compile(r"(\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?)")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_RESET = "\x1b[0m"
_encode = msgspec.json.encode


class Line(msgspec.Struct, frozen=True):
    """One line of output, as it lies in the log files and goes out as JSON."""

    at: float
    node: str
    path: str
    stream: str
    line: str


decode = msgspec.json.Decoder(Line).decode


def text_of(line: bytes) -> str:
    """What a child wrote as text; bytes that are no UTF-8 as `\\xff`."""
    return line.decode("utf-8", "backslashreplace")


def head(at: float, node: str, path: str, stream: Stream) -> bytes:
    """The beginning of the JSON of all lines of one read, up to the line itself."""
    known = Line(round(at, 6), node, path, stream, "")
    return _encode(known)[: -len('""}')]


def as_json(head: bytes, lines: list[str]) -> bytes:
    """Each line as a JSON object on a line."""
    return b"".join([head + _encode(line) + b"}\n" for line in lines])


def clean(text: str, *, colours: bool) -> str:
    """Text of a program's, fit for a terminal: its colours stay (or not), nothing else acts.

    Of what it wrote over itself (a progress bar) the last state is left.
    """
    if text.isprintable():
        return text
    parts = _ESCAPE.split(text.rstrip("\r").rpartition("\r")[2])
    parts[0::2] = [_CONTROL.sub("?", part) for part in parts[0::2]]
    parts[1::2] = [part if colours and _COLOUR.fullmatch(part) else "" for part in parts[1::2]]
    return "".join(parts) + (_RESET if any(parts[1::2]) else "")


class Prefixes:
    """`path | ` for each path: aligned as far as paths are known, each in a colour of its own."""

    def __init__(self, *, colours: bool) -> None:
        self.colours = colours
        self._width = 0
        self._colour: dict[str, str] = {}

    def add(self, path: str) -> None:
        """There is a path of this length."""
        if path not in self._colour:
            self._colour[path] = _COLOURS[len(self._colour) % len(_COLOURS)]
            self._width = max(self._width, min(len(path), PATH_CHARS_MAX))

    def lines(self, path: str, lines: list[str]) -> str:
        """These lines of that path, each with the prefix and an end."""
        self.add(path)
        before = f"{path:<{self._width}} | "
        if self.colours:
            before = f"\x1b[{self._colour[path]}m{before}{_RESET}"
        return "".join([f"{before}{clean(line, colours=self.colours)}\n" for line in lines])


def short(path: str) -> str:
    """A report's path without the root's id, as processes are addressed: root/pool/w1 -> pool/w1.

    The node's own parts keep theirs: otp/mailroom.
    """
    first, _, rest = path.partition("/")
    return rest if rest and first != "otp" else path
