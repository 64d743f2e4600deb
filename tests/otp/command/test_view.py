from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.command.view import (
    TEXT_CHARS_MAX,
    UNICODE_LINES,
    coloured,
    grow,
    nested,
    one_line,
    plain,
    table,
    tree,
    uptime,
)
from otp.messages import ProcessInfo

NOW = 1_000_000.0
ROWS = [
    ProcessInfo("a", "node", "running", 10, "", 0, 0.0),
    ProcessInfo("zygote", "zygote", "running", 11, "", 0, 0.0),
    ProcessInfo("otp", "supervisor", "running", 0, "<1.s1@a>", 0, NOW - 61),
    ProcessInfo("otp/mailroom", "mailroom", "running", 12, "<1.1@a>", 0, NOW - 61),
    ProcessInfo("otp", "supervisor", "running", 0, "<1.s2@a>", 0, NOW - 60),
    ProcessInfo("otp/x", "worker", "running", 13, "<1.2@a>", 2, NOW - 5, "crash: no\n\nroom"),
    ProcessInfo("otp/pool", "supervisor", "running", 0, "<1.s3@a>", 0, NOW - 60),
    ProcessInfo("otp/pool/w", "program", "undefined", 0, "", 0, 0.0, "shutdown"),
    ProcessInfo("otp/poolish", "worker", "restarting", 0, "", 0, 0.0),
]


def test_the_tree_is_drawn_also_when_the_root_is_named_like_the_nodes_own_parts() -> None:
    assert tree(ROWS, NOW, plain, UNICODE_LINES) == [
        "a               node  pid 10",
        "├─ zygote       zygote  pid 11",
        "├─ otp          supervisor  up 1m01s",
        "│  └─ mailroom  running  pid 12  up 1m01s",
        "└─ otp          supervisor  up 1m00s",
        "   ├─ x         running  pid 13  up 5s  restarts 2  last exit: crash: no room",
        "   ├─ pool      supervisor  up 1m00s",
        "   │  └─ w      stopped  last exit: shutdown",
        "   └─ poolish   restarting",
    ]


def test_a_terminal_without_unicode_gets_ascii() -> None:
    assert "".join(tree(ROWS, NOW)).isascii()


def test_the_table_is_aligned() -> None:
    lines = table(ROWS, NOW)
    assert lines[0] == "PATH          TYPE        STATE       PID     UP  RESTARTS  LAST EXIT"
    assert lines[6] == "otp/x         worker      running      13     5s         2  crash: no room"
    assert lines[8] == "otp/pool/w    program     stopped                        0  shutdown"
    assert len(lines) == 1 + len(ROWS)


def test_colours_change_nothing_but_the_colour() -> None:
    for draw in (tree, table):
        lines = draw(ROWS, NOW, coloured)
        assert any("\033[32mrunning" in line for line in lines)
        bare = [_without_colour(line).rstrip() for line in lines]
        assert bare == draw(ROWS, NOW)


def _without_colour(line: str) -> str:
    for code in ("32", "33", "31", "2", "1", "0"):
        line = line.replace(f"\033[{code}m", "")
    return line


def test_for_json_children_are_nested() -> None:
    found = json.loads(json.dumps(nested(grow(ROWS))))
    assert [child["path"] for child in found["children"]] == ["zygote", "otp", "otp"]
    own, root = found["children"][1:]
    assert [child["path"] for child in own["children"]] == ["otp/mailroom"]
    assert [child["path"] for child in root["children"]] == ["otp/x", "otp/pool", "otp/poolish"]
    assert root["children"][0]["restarts"] == 2


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86399, "23h59m"),
        (86400, "1d00h"),
        (100 * 86400 + 7200, "100d02h"),
    ],
)
def test_uptime_has_two_units(seconds: float, shown: str) -> None:
    row = ProcessInfo("a", "worker", "running", 1, "", 0, NOW - seconds)
    assert uptime(row, NOW) == shown


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_text_of_unknown_origin_cannot_harm_a_terminal(text: str) -> None:
    line = one_line(text)
    assert len(line) <= TEXT_CHARS_MAX
    assert line.isprintable()


def test_a_long_text_is_cut_where_a_bound_is_given() -> None:
    assert one_line("x" * 500) == "x" * (TEXT_CHARS_MAX - 3) + "..."
    assert one_line("x" * 500, None) == "x" * 500
    assert one_line("a\033[31m\tb\n") == "a?[31m b"
