from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otp.command.top_state import Snapshot, State, Usage, press
from otp.command.top_view import KEYS, picture
from otp.command.view import ASCII_LINES
from otp.messages import ProcessInfo

ROWS = (
    ProcessInfo("local", "node", "running", 10, "", 0, 40.0),
    ProcessInfo("root", "supervisor", "running", 0, "", 0, 40.0),
    ProcessInfo("root/counter", "worker", "running", 11, "", 2, 95.0, "killed"),
    ProcessInfo("root/pool", "supervisor", "running", 0, "", 0, 40.0),
    ProcessInfo("root/pool/w1", "program", "undefined", 0, "", 0, 0.0, "crash: exit code 7"),
)
USAGE = {10: Usage(1.0, 20 << 20), 11: Usage(99.5, 3 << 20)}


def state(*keys: str, problem: str = "") -> State:
    made = State(ASCII_LINES)
    made.take(Snapshot(100.0, ROWS, USAGE, problem))
    for key in keys:
        press(made, key)
    return made


def texts(on: State, columns: int = 80, lines: int = 12) -> list[str]:
    drawn = picture(on, columns, lines, 100.0)
    return ["".join(text for text, _ in line).rstrip() for line in drawn]


def test_the_picture() -> None:
    assert texts(state()) == [
        " local  up 1m00s  3 processes  1 not running  cpu 100.5%  mem 23.0M",
        " PROCESS       STATE          PID     UP  RST  CPU%    MEM LAST EXIT",
        " local         running         10  1m00s        1.0  20.0M",
        " `- root                           1m00s",
        "    |- counter running         11     5s    2  99.5   3.0M killed",
        "    `- pool                        1m00s",
        "       `- w1   stopped                                     crash: exit code 7",
        "",
        "",
        "",
        "",
        f" {KEYS}",
    ]


def test_a_state_has_its_colour_and_the_selection_is_marked() -> None:
    drawn = picture(state(), 80, 12, 100.0)
    assert [style for text, style in drawn[4] if text.startswith("running")] == ["good"]
    assert [style for text, style in drawn[6] if text.startswith("stopped")] == ["bad"]
    assert [style for _, style in drawn[2]] == ["mark"]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["end", "k"], " kill -9 root/pool/w1? y/n"),
        (["end", "s"], " stop root/pool/w1? y/n"),
        (["end", "s", "n"], " not stopped"),
        (["/", "w"], " filter: w_ (enter: keep, escape: all)"),
        (["/", "w", "enter"], " only 'w' (escape: all)"),
    ],
)
def test_what_is_asked_is_said_above_the_keys(keys: list[str], line: str) -> None:
    assert texts(state(*keys))[-2] == line


def test_a_node_that_is_gone_is_told_of() -> None:
    on = state()
    on.take(Snapshot(101.0, problem="the node has ended"))
    assert texts(on)[-2] == " the node has ended"
    assert texts(on)[0].startswith(" local")
    assert texts(State(ASCII_LINES))[0] == " otp top  asking the node .."


def test_the_log_has_a_third() -> None:
    on = state("end", "l")
    on.tailed = [f"line {n}\x1b[2J" for n in range(9)]
    assert texts(on)[6:10] == [" log of root/pool/w1", " line 6?[2J", " line 7?[2J", " line 8?[2J"]


def test_the_selection_is_in_sight() -> None:
    many = [ProcessInfo(f"root/{n}", "worker", "running", n, "", 0, 0.0) for n in range(1, 100)]
    on = State(ASCII_LINES)
    on.take(Snapshot(100.0, (*ROWS[:2], *many)))
    for _ in range(7):
        press(on, "pagedown")
        (marked,) = [line for line in picture(on, 80, 12, 100.0) if line[0][1] == "mark"]
        assert on.selected.rpartition("/")[2] in marked[0][0]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 250), st.integers(1, 60), st.lists(st.sampled_from(["end", "l", "k", "/"])))
@example(40, 6, ["l"])
def test_it_fits_any_terminal(columns: int, lines: int, keys: list[str]) -> None:
    drawn = texts(state(*keys), columns, lines)
    assert len(drawn) == lines or lines < 6 or columns < 40
    assert all(len(line) <= columns for line in drawn)
