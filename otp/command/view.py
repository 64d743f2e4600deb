"""What `otp tree` and `otp ps` draw: rows of a node's processes as text, or nested for JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from otp.messages import ProcessInfo

Paint = Callable[[str, str], str]
"""(text, style) -> text; a style is a key of STYLES."""

STYLES = {"good": "32", "busy": "33", "bad": "31", "faint": "2", "bold": "1"}
TEXT_CHARS_MAX = 200
"""The reason of an exit may be of any length; more than this of it is in the log."""

STATES = {
    "running": "good",
    "starting": "busy",
    "unready": "busy",
    "restarting": "busy",
    "undefined": "bad",
}
_SHOWN = {"undefined": "stopped", "unready": "waiting to be ready"}
HEADINGS: tuple[str, ...] = ("PATH", "TYPE", "STATE", "PID", "UP", "RESTARTS", "LAST EXIT")
_STATE = HEADINGS.index("STATE")
_RIGHT = tuple(map(HEADINGS.index, ("PID", "UP", "RESTARTS")))
UNICODE_LINES = ("├─ ", "└─ ", "│  ", "   ")
ASCII_LINES = ("|- ", "`- ", "|  ", "   ")


def plain(text: str, style: str) -> str:
    """No colour."""
    return text


def coloured(text: str, style: str) -> str:
    """ANSI colour; nothing around nothing."""
    return f"\033[{STYLES[style]}m{text}\033[0m" if text else text


class Branch(msgspec.Struct):
    """A row and what is below it; `label` is what its path adds to that of its parent."""

    row: ProcessInfo
    label: str
    below: list[Branch] = []


def grow(rows: Sequence[ProcessInfo]) -> Branch:
    """Rows in tree order, the node first, as a tree: a path lies below the path it continues."""
    root = Branch(rows[0], rows[0].path)
    above: list[Branch] = []
    for row in rows[1:]:
        while above and not row.path.startswith(f"{above[-1].row.path}/"):
            above.pop()
        parent = above[-1] if above else root
        label = row.path[len(parent.row.path) + 1 :] if above else row.path
        branch = Branch(row, label)
        parent.below.append(branch)
        above.append(branch)
    return root


def nested(branch: Branch) -> dict[str, Any]:
    """For JSON: the fields of the row, and `children`."""
    fields: dict[str, Any] = msgspec.to_builtins(branch.row)
    return fields | {"children": [nested(child) for child in branch.below]}


def tree(
    rows: Sequence[ProcessInfo],
    now: float,
    paint: Paint = plain,
    lines: Sequence[str] = ASCII_LINES,
) -> list[str]:
    """The tree, drawn; `now` is seconds since the epoch."""
    drawn = list(_draw(grow(rows), "", "", lines))
    width = max(len(stem) + len(branch.label) for stem, branch in drawn)
    return [_tree_line(stem, branch, width, now, paint).rstrip() for stem, branch in drawn]


def _draw(
    branch: Branch, stem: str, below: str, lines: Sequence[str]
) -> Iterator[tuple[str, Branch]]:
    tee, corner, bar, blank = lines
    yield stem, branch
    for child in branch.below:
        last = child is branch.below[-1]
        here, under = (corner, blank) if last else (tee, bar)
        yield from _draw(child, below + here, below + under, lines)


def _tree_line(stem: str, branch: Branch, width: int, now: float, paint: Paint) -> str:
    row = branch.row
    name = paint(branch.label, "bold") + " " * (width - len(stem) - len(branch.label))
    facts = [row.type if row.type in ("supervisor", "node", "zygote") else _state(row, now, paint)]
    facts += [f"pid {row.pid}"] if row.pid else []
    facts += [f"up {uptime(row, now)}"] if row.started else []
    facts += [paint(f"restarts {row.restarts}", "busy")] if row.restarts else []
    facts += [paint(f"last exit: {one_line(row.last_exit)}", "faint")] if row.last_exit else []
    return f"{paint(stem, 'faint')}{name}  {'  '.join(facts)}"


def table(rows: Sequence[ProcessInfo], now: float, paint: Paint = plain) -> list[str]:
    """A line of headings and one for each process."""
    cells = [HEADINGS, *(_cells(row, now) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    styles = ["bold"] + [STATES.get(row.state, "") for row in rows]
    return [
        _table_line(line, widths, style, paint) for line, style in zip(cells, styles, strict=True)
    ]


def _cells(row: ProcessInfo, now: float) -> tuple[str, ...]:
    up = uptime(row, now) if row.started else ""
    state = _state_text(row, now)
    pid, last = str(row.pid or ""), one_line(row.last_exit)
    return row.path, row.type, state, pid, up, str(row.restarts), last


def _table_line(cells: Sequence[str], widths: Sequence[int], style: str, paint: Paint) -> str:
    padded = [
        cell.rjust(width) if column in _RIGHT else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    padded[-1] = cells[-1]
    if style == "bold":
        return paint("  ".join(padded).rstrip(), style)
    if style:
        padded[_STATE] = paint(padded[_STATE], style)
    return "  ".join(padded).rstrip()


def _state_text(row: ProcessInfo, now: float) -> str:
    if row.next_start:
        return f"{row.state} in {max(0.0, row.next_start - now):.1f} s"
    return _SHOWN.get(row.state, row.state)


def _state(row: ProcessInfo, now: float, paint: Paint) -> str:
    text = _state_text(row, now)
    return paint(text, STATES[row.state]) if row.state in STATES else text


def uptime(row: ProcessInfo, now: float) -> str:
    """How long it has run, in its two largest units: 7s, 3m12s, 2h05m, 4d03h."""
    seconds = max(0, int(now - row.started))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d{hours % 24:02}h"
    if hours:
        return f"{hours}h{minutes % 60:02}m"
    return f"{minutes}m{seconds % 60:02}s" if minutes else f"{seconds}s"


def one_line(text: str, chars_max: int | None = TEXT_CHARS_MAX) -> str:
    """Text of unknown origin, fit for a terminal: no line ends, no control characters."""
    words = " ".join(text.split())
    shown = "".join(c if c.isprintable() else "?" for c in words)
    if chars_max is None or len(shown) <= chars_max:
        return shown
    return shown[: chars_max - 3] + "..."
