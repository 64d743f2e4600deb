from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.command.top_state import FILTER_CHARS_MAX, Act, Snapshot, State, press
from otp.command.view import ASCII_LINES
from otp.messages import ProcessInfo


def row(path: str, type: str = "worker") -> ProcessInfo:
    return ProcessInfo(path, type, "running", 1, "", 0, 0.0)  # type: ignore[arg-type]


ROWS = (
    row("n", "node"),
    row("root", "supervisor"),
    row("root/a"),
    row("root/pool", "supervisor"),
    row("root/pool/w"),
)


def state(*rows: ProcessInfo) -> State:
    made = State(ASCII_LINES)
    made.take(Snapshot(1.0, rows or ROWS))
    return made


def typed(on: State, *keys: str) -> list[Act]:
    return [act for key in keys if (act := press(on, key)) is not None]


@pytest.mark.parametrize(
    ("keys", "selected"),
    [
        ([], "n"),
        (["down", "down"], "root/a"),
        (["down", "down", "up"], "root"),
        (["end"], "root/pool/w"),
        (["end", "home"], "n"),
        (["pagedown"], "root/pool/w"),
        (["up"], "n"),
    ],
)
def test_the_selection_moves_and_stays_within(keys: list[str], selected: str) -> None:
    on = state()
    typed(on, *keys)
    assert on.selected == selected


@pytest.mark.parametrize(
    ("keys", "acts"),
    [
        (["r"], [Act("restart", "root/a")]),
        (["S"], [Act("start", "root/a")]),
        (["s"], []),
        (["s", "y"], [Act("stop", "root/a")]),
        (["s", "n"], []),
        (["k", "y"], [Act("kill", "root/a")]),
        (["k", "k"], []),
        (["k", "escape", "y"], []),
        (["q"], [Act("quit")]),
        (["/", "q", "enter"], []),
    ],
)
def test_what_a_key_asks_for(keys: list[str], acts: list[Act]) -> None:
    on = state()
    typed(on, "down", "down")
    assert typed(on, *keys) == acts


def test_a_supervisor_is_nothing_to_kill() -> None:
    on = state()
    assert typed(on, "down", "k", "y") == []
    typed(on, "k")
    assert on.message == "root is a supervisor: kill one of its children"


def test_a_filter_shows_whole_paths_and_moves_the_selection() -> None:
    on = state()
    typed(on, "/", "p", "o", "o", "x", "backspace", "enter")
    assert [(found.stem, found.label) for found in on.rows()] == [
        ("", "root/pool"),
        ("", "root/pool/w"),
    ]
    assert on.selected == "root/pool"
    typed(on, "escape")
    assert len(on.rows()) == len(ROWS)
    typed(on, "/", *"x" * 100)
    assert len(on.filter) == FILTER_CHARS_MAX
    assert on.selected == ""
    assert typed(on, "enter", "r", "k", "s", "y", "l") == []


def test_the_selection_stays_with_its_process_or_near_its_place() -> None:
    on = state()
    typed(on, "end")
    on.take(Snapshot(2.0, (row("n", "node"), row("new"), *ROWS[1:])))
    assert on.selected == "root/pool/w"
    on.take(Snapshot(3.0, ROWS[:3]))
    assert on.selected == "root/a"


def test_a_node_that_does_not_answer_keeps_its_last_picture() -> None:
    on = state()
    on.take(Snapshot(9.0, problem="the node has ended"))
    assert (on.snapshot.rows, on.snapshot.problem) == (ROWS, "the node has ended")
    on.take(Snapshot(10.0, ROWS))
    assert on.snapshot.problem == ""


def test_a_log_is_shown_and_put_away() -> None:
    on = state()
    typed(on, "l")
    assert on.tail == "n"
    typed(on, "l")
    assert on.tail == ""


def test_a_yes_is_for_the_one_that_was_asked_about() -> None:
    on = state()
    typed(on, "down", "down", "s")
    asked = on.selected
    on.take(Snapshot(2.0, tuple(row for row in ROWS if row.path != asked)))
    assert on.selected != asked
    assert press(on, "y") == Act("stop", asked)


KEYS = st.sampled_from(
    ["up", "down", "pageup", "end", "enter", "escape", "backspace", *"rsSkylt/qx"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(KEYS | st.sampled_from([ROWS, ROWS[:2], ()]), max_size=30))
def test_any_keys_at_any_time(happens: list[str | tuple[ProcessInfo, ...]]) -> None:
    """What is selected is shown, and nothing is done to what is not."""
    on = state()
    for one in happens:
        if isinstance(one, str):
            act = press(on, one)
            assert act is None or act.deed == "quit" or act.path in {r.path for r in ROWS}
        else:
            on.take(Snapshot(2.0, one))
        paths = [found.info.path for found in on.rows()]
        assert on.selected in paths if paths else on.selected == ""
