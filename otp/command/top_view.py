"""The picture of `otp top`: a state and a size in, lines of styled text out. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from otp.command.top_state import Row, State, Usage
from otp.command.view import STATES, one_line, uptime
from otp.messages import ProcessInfo
from otp.sizes import brief

Text: TypeAlias = tuple[str, str]
"""(text, style); styles are those of view.STYLES, and head, mark, plain."""
Line: TypeAlias = list[Text]

KEYS = "arrows select  r restart  s stop  S start  k kill -9  l log  / filter  q quit"
HEADINGS = ("STATE", "PID", "UP", "RST", "CPU%", "MEM", "LAST EXIT")
WIDTHS = (10, 7, 6, 4, 5, 6)
"""Of all columns but the first and the last."""
NAME_CHARS_MIN, LAST_CHARS_MIN = 14, 8
NAME_CHARS_MAX = 60
SHOWN = {"undefined": "stopped", "unready": "not ready"}
LINES_MIN, COLUMNS_MIN = 6, 40


def picture(state: State, columns: int, lines: int, now: float) -> list[Line]:
    """`lines` lines of at most `columns` characters."""
    if lines < LINES_MIN or columns < COLUMNS_MIN:
        return [[(f"{COLUMNS_MIN} x {LINES_MIN} at least, please"[:columns], "plain")]][:lines]
    pane = _pane(state, columns, lines)
    body = _body(state, columns, lines - 3 - len(pane), now)
    whole = [_title(state, columns, now), *body, *pane, *_foot(state, columns)]
    return [list(_cut(line, columns)) for line in whole]


def _cut(line: Line, columns: int) -> Iterator[Text]:
    for text, style in line:
        if columns > 0:
            yield text[:columns], style
        columns -= len(text)


def _fit(text: str, width: int, *, right: bool = False) -> str:
    cut = text if len(text) <= width else f"{text[: width - 1]}~" if width > 0 else ""
    return cut.rjust(width) if right else cut.ljust(width)


# ---------------------------------------------------------------- top and bottom


def _title(state: State, columns: int, now: float) -> Line:
    snapshot = state.snapshot
    if not snapshot.rows:
        return [(_fit(f" otp top  {snapshot.problem or 'asking the node ..'}", columns), "title")]
    node = snapshot.rows[0]
    processes = [row for row in snapshot.rows if row.type != "supervisor"]
    down = sum(row.state != "running" for row in processes)
    cpu = sum(usage.cpu for usage in snapshot.usage.values())
    memory = sum(usage.memory for usage in snapshot.usage.values())
    facts = [
        f" {node.path}",
        f"up {uptime(node, now)}",
        f"{len(processes)} processes",
        *([f"{down} not running"] if down else []),
        f"cpu {cpu:.1f}%",
        f"mem {brief(memory)}",
    ]
    return [(_fit("  ".join(facts), columns), "title")]


def _foot(state: State, columns: int) -> list[Line]:
    """A line for what is said or asked, and one for the keys."""
    path, style = state.asked, "bold"
    said = state.message
    if state.mode == "filter":
        said = f"filter: {state.filter}_   (enter: keep, escape: all)"
    elif state.mode in ("kill", "stop"):
        what = "kill -9" if state.mode == "kill" else "stop"
        said, style = f"{what} {path}? y/n", "busy"
    elif not said and state.snapshot.problem:
        said, style = state.snapshot.problem, "bad"
    elif not said and state.filter:
        said = f"only {state.filter!r} (escape: all)"
    return [[(_fit(f" {one_line(said)}", columns), style)], [(_fit(f" {KEYS}", columns), "faint")]]


def _pane(state: State, columns: int, lines: int) -> list[Line]:
    if not state.tail:
        return []
    # A third, but never the two lines that the table needs, nor the three around it.
    rows = min(max(3, lines // 3), lines - 5) - 1
    shown = state.tailed[-rows:] if rows else []
    texts = [_fit(f" {one_line(text, None)}", columns) for text in shown]
    empty = [""] * (rows - len(texts))
    title = _fit(f" log of {state.tail}", columns)
    return [[(title, "head")], *([(text, "plain")] for text in [*texts, *empty])]


# ---------------------------------------------------------------- the table


def _body(state: State, columns: int, height: int, now: float) -> list[Line]:
    rows = state.rows()
    name, last = _widths(rows, columns)
    head = [_fit(" PROCESS", name)]
    for title, width in zip(HEADINGS, (*WIDTHS, last), strict=True):
        head.append(_fit(title, width, right=title not in ("STATE", "LAST EXIT")))
    lines: list[Line] = [[(_fit(" ".join(head), columns), "head")]]
    first = max(0, min(state.place - (height - 2) // 2, len(rows) - (height - 1)))
    for row in rows[first : first + height - 1]:
        lines.append(_row(state, row, (name, last), columns, now))
    return [*lines, *([("", "plain")] for _ in range(height - len(lines)))]


def _widths(rows: list[Row], columns: int) -> tuple[int, int]:
    """Of the first column and the last, which share what the others leave."""
    left = columns - sum(WIDTHS) - len(WIDTHS) - 1
    needed = max((len(row.stem) + len(row.label) + 1 for row in rows), default=0)
    most = max(NAME_CHARS_MIN, min(NAME_CHARS_MAX, left - LAST_CHARS_MIN))
    name = max(NAME_CHARS_MIN, min(needed, most))
    return name, max(0, left - name)


def _row(state: State, row: Row, widths: tuple[int, int], columns: int, now: float) -> Line:
    name, last = widths
    info = row.info
    marked = info.path == state.selected
    usage = state.snapshot.usage.get(info.pid) if info.pid else None
    label = _fit(f" {row.stem}{row.label}", name)
    shown = "" if info.type == "supervisor" and info.state == "running" else info.state
    if info.next_start:
        shown = f"in {max(0.0, info.next_start - now):.0f} s"
    word = _fit(SHOWN.get(shown, shown), WIDTHS[0])
    numbers = _numbers(info, usage, now)
    rest = " ".join(_fit(text, w, right=True) for text, w in zip(numbers, WIDTHS[1:], strict=True))
    ended = _fit(one_line(info.last_exit), last)
    if marked:
        return [(_fit(" ".join((label, word, rest, ended)), columns), "mark")]
    stem = len(row.stem) + 1
    return [
        (label[:stem], "faint"),
        (label[stem:], "bold" if info.type in ("supervisor", "node") else "plain"),
        (" ", "plain"),
        (word, STATES.get(info.state, "plain")),
        (f" {rest} ", "plain"),
        (ended, "faint"),
    ]


def _numbers(info: ProcessInfo, usage: Usage | None, now: float) -> tuple[str, ...]:
    return (
        str(info.pid or ""),
        uptime(info, now) if info.started else "",
        str(info.restarts or ""),
        f"{usage.cpu:.1f}" if usage else "",
        brief(usage.memory) if usage else "",
    )
