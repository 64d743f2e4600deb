"""What `otp top` shows and which key does what. Pure: no terminal, no node, no clock."""

from __future__ import annotations

from typing import Literal

import msgspec

from otp.command.view import Branch, grow
from otp.messages import ProcessInfo

Deed = Literal["restart", "stop", "start", "kill"]
Mode = Literal["list", "filter", "kill", "stop"]

FILTER_CHARS_MAX = 60
"""Nobody types a longer part of a path."""
TAIL_LINES = 200
"""How many lines of a log are kept for the pane."""


class Usage(msgspec.Struct, frozen=True):
    """CPU in percent of one core since the sample before, and memory in bytes.

    Memory is their share (Linux' PSS): what n processes have in common counts for each as an n-th,
    so forked workers are not counted again and again. Where that cannot be read, what is resident.
    """

    cpu: float = 0.0
    memory: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """A node at one moment; `at` is seconds since the epoch."""

    at: float
    rows: tuple[ProcessInfo, ...] = ()
    usage: dict[int, Usage] = {}
    problem: str = ""


class Row(msgspec.Struct, frozen=True):
    """A process, with what its path adds to that of its parent and the lines before it."""

    info: ProcessInfo
    stem: str
    label: str


class Act(msgspec.Struct, frozen=True):
    """What a key asks for: a deed on a path, or to leave."""

    deed: Deed | Literal["quit"]
    path: str = ""


class State(msgspec.Struct):
    """All that the picture depends on, besides its size."""

    lines: tuple[str, ...]
    snapshot: Snapshot = Snapshot(0.0)
    selected: str = ""
    place: int = 0
    filter: str = ""
    mode: Mode = "list"
    asked: str = ""
    message: str = ""
    tail: str = ""
    tailed: list[str] = []

    def rows(self) -> list[Row]:
        """What the filter lets through; filtered rows show their whole path."""
        infos = self.snapshot.rows
        if not infos:
            return []
        if self.filter:
            return [Row(info, "", info.path) for info in infos if self.filter in info.path]
        rows: list[Row] = []
        _draw(grow(infos), "", "", self.lines, rows)
        return rows

    @property
    def type(self) -> str:
        """What kind of process is selected."""
        return next((row.type for row in self.snapshot.rows if row.path == self.selected), "")

    def take(self, snapshot: Snapshot) -> None:
        """A new snapshot; the selection stays with its process, or near its place."""
        if snapshot.problem:
            snapshot = msgspec.structs.replace(
                self.snapshot, problem=snapshot.problem, at=snapshot.at
            )
        self.snapshot = snapshot
        self.settle()

    def settle(self) -> None:
        """The selection is a row that is shown."""
        paths = [row.info.path for row in self.rows()]
        if self.selected in paths:
            self.place = paths.index(self.selected)
        elif paths:
            self.place = min(self.place, len(paths) - 1)
            self.selected = paths[self.place]
        else:
            self.place, self.selected = 0, ""

    def move(self, by: int) -> None:
        """Select another row."""
        paths = [row.info.path for row in self.rows()]
        if paths:
            self.place = max(0, min(len(paths) - 1, self.place + by))
            self.selected = paths[self.place]


def _draw(branch: Branch, stem: str, below: str, lines: tuple[str, ...], rows: list[Row]) -> None:
    tee, corner, bar, blank = lines
    rows.append(Row(branch.row, stem, branch.label))
    for child in branch.below:
        last = child is branch.below[-1]
        here, under = (corner, blank) if last else (tee, bar)
        _draw(child, below + here, below + under, lines, rows)


# ---------------------------------------------------------------- keys

MOVES = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}
ENDS = {"home": -(10**6), "g": -(10**6), "end": 10**6, "G": 10**6}
DEEDS: dict[str, Deed] = {"r": "restart", "S": "start"}
ASKED: dict[str, Mode] = {"k": "kill", "s": "stop"}
"""What is asked back before it is done."""


def press(state: State, key: str) -> Act | None:
    """What happens at a key: the state changes, or something is to be done.

    A key is a character, or up, down, pageup, pagedown, home, end, enter, escape, backspace.
    """
    state.message = ""
    if state.mode == "filter":
        _type(state, key)
        return None
    if state.mode in ("kill", "stop"):
        deed, state.mode = state.mode, "list"
        # The selection may have moved meanwhile: a yes is for the one that was asked about.
        if key == "y":
            return Act(deed, state.asked)
        state.message = f"not {'killed' if deed == 'kill' else 'stopped'}"
        return None
    return _in_list(state, key)


def _in_list(state: State, key: str) -> Act | None:
    if key == "q":
        return Act("quit")
    if key == "k" and state.type in ("supervisor", "node"):
        state.message = f"{state.selected} is a {state.type}: kill one of its children"
    elif key in ASKED and state.selected:
        state.mode, state.asked = ASKED[key], state.selected
    elif key in DEEDS and state.selected:
        return Act(DEEDS[key], state.selected)
    elif key in MOVES or key in ENDS:
        state.move(MOVES.get(key) or ENDS[key])
    elif key == "/":
        state.mode = "filter"
    elif key in ("l", "t", "enter") and state.selected:
        state.tail = "" if state.tail == state.selected else state.selected
        state.tailed = []
    elif key == "escape":
        state.tail, state.filter = "", ""
        state.settle()
    return None


def _type(state: State, key: str) -> None:
    if key in ("enter", "escape"):
        state.mode = "list"
        state.filter = state.filter if key == "enter" else ""
    elif key == "backspace":
        state.filter = state.filter[:-1]
    elif len(key) == 1 and key.isprintable() and len(state.filter) < FILTER_CHARS_MAX:
        state.filter += key
    state.settle()
