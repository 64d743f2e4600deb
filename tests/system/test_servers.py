"""What a server can do and bear: continue, idle, timers, exit signals, and being looked at."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

import otp
from otp import sys as otp_sys
from otp.testing import eventually
from tests.system import server_workers as w
from tests.system.help import restart, row

TREE = otp.Supervisor(
    "root",
    max_restarts=1000,
    children=[
        otp.ChildSpec("diary", w.Diary),
        otp.ChildSpec("trapper", w.Trapper),
        otp.ChildSpec("mute", w.Mute),
        otp.ChildSpec("secretive", w.Secretive),
        otp.ChildSpec("function", w.idles),
    ],
)


@pytest.fixture(scope="module")
def shared() -> Iterator[otp.Node]:
    with otp.start(TREE) as node:
        yield node


@pytest.fixture
def node(shared: otp.Node) -> otp.Node:
    for path in ("diary", "trapper"):
        restart(shared, path)
    return shared


def do(node: otp.Node, to: str, what: str, *words: str) -> str:
    return node.call(to, w.Do(what, words))


def diary(node: otp.Node, count: int, to: str = "diary") -> list[str]:
    """What it has heard since its birth, once it is so much."""
    eventually(lambda: len(node.call(to, w.Tell())) >= count + 1)
    return node.call(to, w.Tell())[1:]


# ---------------------------------------------------------------- continue, idle, timers


def test_what_is_continued_with_comes_before_any_message(node: otp.Node) -> None:
    assert node.call("diary", w.Tell()) == ["continue born"]
    do(node, "diary", "both", "twice")
    expected = ["handled", "continue twice", "continue again", "cast after"]
    assert diary(node, 4) == expected


def test_an_idle_server_hears_of_it_once_until_something_comes(node: otp.Node) -> None:
    do(node, "diary", "idle", "0.02")
    state = {"idle_timeout": 0.02, "timer": 0}
    eventually(lambda: node.get_state("diary") == state | {"diary": ["continue born", "timeout"]})
    assert diary(node, 1) == ["timeout"], "looking at its state did not disturb it"
    eventually(lambda: len(node.get_state("diary")["diary"]) == 3)
    do(node, "diary", "idle", "")


def test_an_interval_and_what_was_left_of_a_timer(node: otp.Node) -> None:
    do(node, "diary", "tick", "0.005")
    assert diary(node, 3)[:3] == ["info tick"] * 3
    assert 0 <= float(do(node, "diary", "end_timer")) <= 0.005
    do(node, "diary", "later", "60")
    assert 50 < float(do(node, "diary", "end_timer")) <= 60
    assert do(node, "diary", "end_timer") == "None"


def test_a_server_that_hibernates_gives_memory_back(node: otp.Node) -> None:
    do(node, "diary", "grow", "40")
    grown = node.call("diary", otp_sys.Statistics()).memory
    do(node, "diary", "shrink")
    assert node.call("diary", otp_sys.Statistics()).memory < grown - 30 * 1024 * 1024


# ---------------------------------------------------------------- exit signals and links


def test_an_exit_signal_ends_who_does_not_trap_it(node: otp.Node) -> None:
    with node.expect(otp.ChildExited, "root/diary") as exited:
        do(node, "trapper", "exit", "diary", "out of order")
    assert exited.report.reason == otp.Reason("crash", "out of order")
    with node.expect(otp.ChildExited, "root/function") as exited:
        do(node, "trapper", "exit", "function", "shutdown")
    assert exited.report.reason.kind == "shutdown"
    do(node, "trapper", "exit", "mute", "normal")
    with node.expect(otp.ChildExited, "root/mute") as exited:
        do(node, "trapper", "exit", "mute", "shutdown: enough")
    assert exited.report.reason == otp.Reason("shutdown", "enough"), "not by normal"


def test_an_exit_signal_is_a_message_to_who_traps_it_except_kill(node: otp.Node) -> None:
    pid = row(node, "root/diary").process
    for reason in ("normal", "shutdown", "boom"):
        do(node, "diary", "exit", "trapper", reason)
    seen = [f"exit {pid} {reason}" for reason in ("normal", "shutdown", "crash: boom")]
    assert diary(node, 3, "trapper") == seen
    with node.expect(otp.ChildExited, "root/trapper") as exited:
        do(node, "diary", "exit", "trapper", "kill")
    assert exited.report.reason.kind == "killed"


def test_a_linked_end_ends_a_call_that_blocks(node: otp.Node) -> None:
    do(node, "diary", "tie", "mute")
    asked = node.get_state("mute")["asked"]

    def ask() -> None:
        with contextlib.suppress(otp.ServerDown):
            do(node, "diary", "ask", "mute")

    asking = threading.Thread(target=ask)
    with node.expect(otp.ChildExited, "root/diary") as exited:
        asking.start()
        eventually(lambda: node.get_state("mute")["asked"] > asked)
        node.kill("mute")
    asking.join()
    assert exited.report.reason.kind == "killed"


def test_a_link_to_nobody_is_felt_as_noproc(node: otp.Node) -> None:
    do(node, "trapper", "tie", "nobody")
    assert diary(node, 1, "trapper") == ["exit nobody noproc"]
    with node.expect(otp.ChildExited, "root/diary") as exited:
        do(node, "diary", "tie", "nobody")
    assert exited.report.reason.kind == "noproc"


# ---------------------------------------------------------------- being looked at


def test_the_state_is_what_a_server_shows(node: otp.Node) -> None:
    assert node.get_state("diary") == {"diary": ["continue born"], "timer": 0}
    shown = node.get_state("secretive")
    assert shown["shown"] == 1 and shown["odd"].startswith("<object object")
    node.call("secretive", otp_sys.ReplaceState({"shown": -1}))
    with pytest.raises(otp.Undecodable, match="RuntimeError: not now"):
        node.get_state("secretive")
    with pytest.raises(otp.Undecodable, match="RuntimeError: not now"):
        node.call("secretive", otp_sys.ReplaceState({"shown": 1}))
    with pytest.raises(otp.Undecodable, match="no attribute 'odd'"):
        node.call("diary", otp_sys.ReplaceState({"odd": 1}))
    node.call("diary", otp_sys.ReplaceState({"diary": ["a", "b"]}))
    assert node.call("diary", w.Tell()) == ["a", "b"]


def test_a_suspended_server_answers_only_who_looks_at_it(node: otp.Node) -> None:
    do(node, "diary", "tick", "0.01")
    node.call("diary", otp_sys.Suspend())
    node.call("diary", otp_sys.Suspend())
    before = node.get_state("diary")["diary"]
    node.cast("diary", w.Note("one"))
    with pytest.raises(otp.CallTimeout):
        node.call("diary", w.Tell(), timeout=0.05)
    statistics = node.call("diary", otp_sys.Statistics())
    assert statistics.suspended and statistics.waiting == 2 and statistics.waiting_bytes > 200
    assert node.get_state("diary")["diary"] == before
    node.call("diary", otp_sys.Resume())
    assert "cast one" in diary(node, len(before))


def test_a_suspended_server_can_be_stopped_and_killed(node: otp.Node) -> None:
    node.call("diary", otp_sys.Suspend())
    restart(node, "diary")
    node.call("diary", otp_sys.Suspend())
    node.terminate_child("/", "diary")
    node.restart_child("/", "diary")
    assert node.call("diary", w.Tell()) == ["continue born"]


def test_statistics(node: otp.Node) -> None:
    first = node.call("diary", otp_sys.Statistics())
    for _ in range(10):
        node.call("diary", w.Tell())
    do(node, "diary", "later", "60")
    now = node.call("diary", otp_sys.Statistics())
    assert (now.path, now.messages_in - first.messages_in) == ("diary", 12)
    assert now.messages_out - first.messages_out == 12
    assert (first.timers, now.timers) == (0, 1)
    assert 0 <= now.busy_seconds <= now.up_seconds
    assert now.cpu_seconds > 0 and 0 < now.memory < 2**30


def test_a_trace_shows_messages_in_and_out_and_ends_by_itself(node: otp.Node) -> None:
    node.call("diary", otp_sys.Trace(3, to="trapper"))
    assert node.call("diary", otp_sys.Statistics()).traced
    node.cast("diary", w.Note("hello"))
    do(node, "diary", "exit", "nobody")
    assert diary(node, 3, "trapper") == [
        "diary in cast Note(text='hello')",
        "diary in call Do(what='exit', words=('nobody',))",
        "diary out reply 'None'",
    ]
    assert not node.call("diary", otp_sys.Statistics()).traced


def test_a_trace_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    tree = otp.Supervisor("root", children=[otp.ChildSpec("diary", w.Diary)])
    with otp.start(tree) as node:
        node.call("diary", otp_sys.Trace())
        do(node, "diary", "later", "0")
        diary(node, 1)
        node.call("diary", otp_sys.Trace(0))
        node.cast("diary", w.Note("unseen"))
        diary(node, 2)
    lines = capfd.readouterr().err
    assert "diary: <- call <" in lines and "diary: <- timer <" in lines and "unseen" not in lines
