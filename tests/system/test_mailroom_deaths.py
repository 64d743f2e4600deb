"""A mailroom's own death, and its freezing: who hears of it, and what goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

import otp
from otp.expect import Wanted
from otp.own_parts import MAILROOM_RESTARTS_MAX
from otp.testing import Start, eventually
from tests.system import workers as w
from tests.system.help import MAILROOM_TREE as TREE
from tests.system.help import freeze, row
from tests.system.test_gen_server import seen


def test_a_call_under_way_is_disconnected_not_repeated(otp_start: Start) -> None:
    node = otp_start(TREE)
    before = node.call("counter", w.Add(1))
    errors: list[Exception] = []

    def call() -> None:
        try:
            node.call("counter", w.Later(60), timeout=30)
        except otp.OtpError as error:
            errors.append(error)

    calling = threading.Thread(target=call)
    calling.start()
    eventually(lambda: node.call("counter", w.Waiting()) == 1)
    node.kill("mailroom")
    calling.join(10)
    assert [type(error) for error in errors] == [otp.Disconnected]
    again = (otp.Disconnected, otp.NotRunning)
    assert eventually(lambda: node.call("counter", w.Add(1)), ignoring=again) == before + 1


def test_workers_go_on_with_the_next_mailroom(otp_start: Start) -> None:
    node = otp_start(TREE)
    pids = {row(node, f"root/{path}").pid for path in ("counter", "watcher")}
    for number in range(5):
        with node.expect(otp.ChildStarted, "otp/mailroom"):
            node.kill("mailroom")
        again = (otp.Disconnected, otp.NotRunning)
        asked = eventually(lambda: node.call("watcher", w.Ask("counter", 1)), ignoring=again)
        assert asked == str(10 + number + 1)
    assert {row(node, f"root/{path}").pid for path in ("counter", "watcher")} == pids


def test_no_death_is_missed_or_told_twice_when_the_mailroom_dies_too(otp_start: Start) -> None:
    node = otp_start(TREE)
    refs = []
    for first, second in [("victim", "mailroom"), ("mailroom", "victim")] * 4:
        again = (otp.Disconnected, otp.NotRunning)
        refs.append(eventually(lambda: node.call("watcher", w.Watch("victim")), ignoring=again))
        with (
            node.expect(otp.ChildStarted, "root/victim"),
            node.expect(otp.ChildStarted, "otp/mailroom"),
        ):
            node.kill(first)
            node.kill(second)
    last = eventually(lambda: node.call("watcher", w.Watch("nobody")), ignoring=(otp.Disconnected,))
    expected = [f"down {ref} victim killed" for ref in refs] + [f"down {last} nobody noproc"]
    assert seen(node, "watcher", len(expected)) == expected


def test_a_frozen_mailroom_holds_nobody_for_ever(otp_start: Start) -> None:
    node = otp_start(TREE)
    node.call("counter", w.Add(1))
    freeze(node, "mailroom")
    with pytest.raises(otp.CallTimeout):
        node.call("counter", w.Add(1), timeout=0.1)
    with node.expect(otp.ChildStarted, "otp/mailroom"):
        node.kill("mailroom")
    again = (otp.Disconnected, otp.NotRunning)
    assert eventually(lambda: node.call("victim", w.Add(1)), ignoring=again) == 1


def test_a_mailroom_that_dies_again_and_again_ends_the_node(otp_start: Start) -> None:
    node = otp_start(TREE)
    for _ in range(10 * MAILROOM_RESTARTS_MAX):  # a slow machine needs more in the same time
        if node.process.poll() is not None:
            break
        # The last death takes the node along.
        with (
            contextlib.suppress(otp.OtpError, EOFError, OSError),
            node.expect(otp.ChildStarted, "otp/mailroom"),
        ):
            node.kill("mailroom")
    assert node.process.wait(15) == 1


def test_a_mailroom_that_dies_while_the_tree_stops_comes_back_and_cuts_nothing_short(
    otp_start: Start, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    slow = f"trap 'read x < {fifo}; exit 0' TERM; while :; do sleep 0.01; done"
    command = ["sh", "-c", slow]
    node = otp_start(
        otp.Supervisor(
            "root", [otp.ChildSpec("slow", command=command), otp.ChildSpec("c", w.Counter)]
        )
    )
    with node.expect(otp.ChildExited, "root/c"):
        os.kill(node.pid, signal.SIGTERM)
    never: list[Wanted] = [otp.ChildStartFailed, otp.GaveUp, otp.NodeFault]
    with node.expect(otp.ChildStarted, "otp/mailroom", never=never):
        node.kill("mailroom")
    with node.expect(otp.ChildExited, "root/slow", never=never) as ended:
        fifo.write_text("now\n")
    assert ended.report.reason == otp.Reason("shutdown")
    assert node.process.wait(5) == 0
