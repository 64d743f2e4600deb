"""What the pytest plugin can do to what runs: freeze, thaw, hang, crash; and that it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import otp
from otp import faults
from otp.testing import BreakableNode, Start, eventually


class Get(otp.Request[int], frozen=True):
    pass


class Pids(otp.Request[list[int]], frozen=True):
    """Those of the process and of a program below it."""


class Busy(otp.Request[int], frozen=True):
    """Answered never: its handler computes."""


class Parent(otp.GenServer):
    """Has a program below it, and says to a file that it was asked to end."""

    def __init__(self, file: str = "") -> None:
        self.file = file
        self.program = subprocess.Popen(["sleep", "1000"])

    def handle_call(self, request: Get | Pids | Busy, sender: otp.From[Any]) -> Any:
        if isinstance(request, Busy):
            while True:
                pass
        return [os.getpid(), self.program.pid] if isinstance(request, Pids) else 1

    def terminate(self, reason: otp.Reason) -> None:
        if self.file:
            Path(self.file).write_text(str(reason), encoding="utf-8")


def compute(file: str) -> None:
    """A plain function as a child; it never waits for anything."""
    Path(file).touch()
    while True:
        pass


def tree(**args: Any) -> otp.Supervisor:
    counter = otp.ChildSpec("counter", Parent, args=args, shutdown=300)
    return otp.Supervisor("root", max_restarts=3, children=[counter])


def status(pid: int) -> str:
    return psutil.Process(pid).status()


def test_a_frozen_worker_and_all_below_it_stand_still_until_they_are_thawed(
    otp_start: Start,
) -> None:
    node = otp_start(tree())
    pids = node.call("counter", Pids())
    assert node.freeze("counter") == pids[0]
    assert [status(pid) for pid in pids] == [psutil.STATUS_STOPPED] * 2
    with pytest.raises(otp.CallTimeout):
        node.call("counter", Get(), timeout=0.1)
    node.thaw("counter")
    assert node.call("counter", Get()) == 1
    assert status(pids[1]) != psutil.STATUS_STOPPED
    with pytest.raises(otp.NoProcess, match="thaw to counter"):
        node.thaw("counter")
    with pytest.raises(otp.NoProcess, match="nobody"):
        node.freeze("nobody")


@pytest.mark.parametrize("path", ["counter", "mailroom", "zygote", "node"])
def test_what_a_test_leaves_frozen_ends_with_it(path: str, otp_start: Start) -> None:
    node = otp_start(tree())
    pids = [node.pid, *(row.pid for row in node.processes() if row.pid)]
    pids += node.call("counter", Pids())
    node.freeze(path)
    begun = time.monotonic()
    node.close()
    assert time.monotonic() - begun < 100, "it must not wait for its shutdown time"
    assert not any(map(psutil.pid_exists, pids))


def test_a_hung_worker_answers_nothing_and_is_replaced_once_it_is_killed(
    otp_start: Start,
) -> None:
    node = otp_start(tree())
    pid = node.hang("counter")
    with pytest.raises(otp.CallTimeout):
        node.call("counter", Get(), timeout=0.1)
    with node.expect_each((otp.ChildExited, "root/counter"), otp.ChildStarted) as seen:
        assert node.kill("counter") == pid
    assert node.call("counter", Get()) == 1
    assert [type(report).__name__ for report in seen.reports] == ["ChildExited", "ChildStarted"]


def test_a_heartbeat_notices_a_worker_that_hangs(otp_start: Start) -> None:
    child = otp.ChildSpec("counter", Parent, heartbeat="200ms")
    node = otp_start(otp.Supervisor("root", max_restarts=3, children=[child]))
    with (
        node.expect(otp.ChildExited, "root/counter") as exited,
        node.expect(otp.ChildStarted, "root/counter"),
    ):
        pid = node.hang("counter")
    assert (exited.report.pid, exited.report.reason.kind) == (pid, "killed")
    assert node.call("counter", Get()) == 1


def test_it_hangs_in_the_middle_of_a_handler_too_and_ends_with_the_test(otp_start: Start) -> None:
    node = otp_start(tree())
    asking = threading.Thread(target=_ask_in_vain, args=(node,))
    asking.start()
    pid = node.hang("counter")
    asking.join()
    begun = time.monotonic()
    node.close()
    assert time.monotonic() - begun < 100, "it must not wait for its shutdown time"
    assert not psutil.pid_exists(pid)


def _ask_in_vain(node: BreakableNode) -> None:
    with pytest.raises(otp.CallTimeout):
        node.call("counter", Busy(), timeout=0.2)


def test_a_crash_is_as_if_the_workers_own_code_had_raised(otp_start: Start, tmp_path: Path) -> None:
    file = tmp_path / "reason"
    node = otp_start(tree(file=str(file)))
    with (
        node.expect(otp.ChildExited, "root/counter", never=[otp.GaveUp]) as exited,
        node.expect(otp.ChildStarted, "root/counter"),
    ):
        pid = node.crash("counter")
    assert (exited.report.pid, exited.report.reason.kind) == (pid, "crash")
    assert exited.report.reason.text.startswith("InjectedCrash: a test wanted it to crash")
    assert file.read_text(encoding="utf-8").startswith("crash: InjectedCrash")


def test_a_function_hangs_and_crashes_as_well(otp_start: Start, tmp_path: Path) -> None:
    file = tmp_path / "up"
    child = otp.ChildSpec("loop", compute, args={"file": str(file)}, shutdown="brutal_kill")
    node = otp_start(otp.Supervisor("root", max_restarts=3, children=[child]))
    eventually(file.exists)
    with node.expect(otp.ChildStarted, "root/loop"):
        node.crash("loop")
    assert faults.is_hung(node.hang("loop"))


def test_what_cannot_be_told_to(otp_start: Start) -> None:
    program = otp.ChildSpec("sleeper", command=["sleep", "1000"], name="known")
    node = otp_start(otp.Supervisor("root", children=[program]))
    with pytest.raises(ValueError, match="known is a program: only a worker can"):
        node.hang("known")
    with pytest.raises(ValueError, match="zygote is a zygote"):
        node.crash("zygote")
    assert node.processes()[-1].restarts == 0
    node.freeze("sleeper")
    assert status(node.processes()[-1].pid) == psutil.STATUS_STOPPED


def test_workers_of_a_node_that_no_test_started_are_not_armed(otp_start: Start) -> None:
    with otp.start(tree()) as node:
        pid = node.call("counter", Pids())[0]
        assert not caught(pid) & {faults.HANG, faults.CRASH}
    assert caught(otp_start(tree()).call("counter", Pids())[0]) >= {faults.HANG, faults.CRASH}


def caught(pid: int) -> set[int]:
    """The signals that a process handles, from /proc."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    mask = int(text.partition("SigCgt:")[2].split()[0], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_reports_looked_out_for_come_from_the_node_itself(otp_start: Start) -> None:
    node = otp_start(tree())
    with node.expect_none(otp.ChildExited, otp.GaveUp):
        assert node.call("counter", Get()) == 1
    with pytest.raises(otp.Unexpected, match="ChildExited was not to be"):  # noqa: SIM117
        with node.expect_none(otp.ChildExited), node.expect(otp.ChildStarted, "root/counter"):
            node.kill("counter")
    with node.expect(otp.ChildStarted, "root/counter", count=2) as started:
        killed = node.kill("counter")
        eventually(lambda: node.call("counter", Pids())[0] != killed, ignoring=(otp.OtpError,))
        node.crash("counter")
    assert [report.restarts for report in started.reports] == [2, 3]


def test_a_test_that_is_killed_leaves_nothing_that_is_stopped(tmp_path: Path) -> None:
    """The teardown does not run then: the node itself must end what is frozen, and does."""
    (tmp_path / "test_it.py").write_text(KILLED, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-s", "test_it.py"]
    with subprocess.Popen(
        [*command, "-p", "otp.testing"] if _by_name() else command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(otp.__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pids = next(line for line in process.stdout if line.startswith("pids"))
    numbers = [int(word) for word in pids.split()[1:]]
    assert len(numbers) == 2
    eventually(lambda: not any(map(psutil.pid_exists, numbers)))


def _by_name() -> bool:
    from importlib.metadata import entry_points

    return not any(entry.value == "otp.testing" for entry in entry_points(group="pytest11"))


KILLED = """
import os, signal, otp

def test_it(otp_start):
    child = otp.ChildSpec("sleeper", command=["sleep", "1000"], shutdown=0.2)
    node = otp_start(otp.Supervisor("root", children=[child]))
    print("\\npids", node.pid, node.freeze("sleeper"), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
