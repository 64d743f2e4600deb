"""Children forked ahead of need: used where they can be, and never needed."""

from __future__ import annotations

import os

import psutil
import pytest

import otp
from otp.testing import Start, eventually
from tests.system import workers as w
from tests.system.help import row, spares

TREE = otp.Supervisor(
    "root",
    max_restarts=1000,
    children=[
        otp.ChildSpec("counter", w.Counter),
        otp.ChildSpec("sleep", command=["sleep", "3600"]),
        otp.Supervisor("pool", max_restarts=1000),
    ],
)


@pytest.fixture
def node(otp_start: Start) -> otp.Node:
    return otp_start(TREE)


def one(node: otp.Node, *, but: int = 0) -> psutil.Process:
    """The spare of a node that has come to rest: it waits in its last system call."""

    def resting() -> psutil.Process | None:
        found = [spare for spare in spares(node) if spare.pid != but and waits(spare)]
        return found[0] if found else None

    return eventually(resting, ignoring=(psutil.NoSuchProcess, FileNotFoundError))


def waits(spare: psutil.Process) -> bool:
    """It has nothing open but the socket that its job will come by, and sleeps."""
    folder = f"/proc/{spare.pid}/fd"
    links = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
    sockets = [link for link in links if link.startswith("socket:")]
    return len(sockets) == 1 and spare.status() == psutil.STATUS_SLEEPING


def restarted(node: otp.Node, path: str) -> int:
    with node.expect(otp.ChildStarted, f"root/{path}") as started:
        node.kill(path)
    return started.report.pid


def warmed(node: otp.Node) -> psutil.Process:
    """A spare that has what the counter needs: one that was forked after the counter."""
    restarted(node, "counter")
    return one(node)


@pytest.mark.parametrize("path", ["counter", "sleep"])
def test_a_restart_takes_the_spare(node: otp.Node, path: str) -> None:
    spare = warmed(node)
    assert restarted(node, path) == spare.pid
    assert one(node, but=spare.pid).pid != spare.pid
    assert node.call("counter", w.Add(1)) == 1


def test_a_spare_that_is_killed_is_replaced(node: otp.Node) -> None:
    spare = warmed(node)
    spare.kill()
    next_one = one(node, but=spare.pid)
    assert restarted(node, "counter") == next_one.pid


@pytest.mark.parametrize("path", ["counter", "sleep"])
def test_a_job_that_a_dead_spare_had_not_read_is_done_by_another(node: otp.Node, path: str) -> None:
    spare = warmed(node)
    spare.suspend()
    eventually(lambda: spare.status() == psutil.STATUS_STOPPED)
    with node.expect(otp.ChildStarted, f"root/{path}") as started:
        node.kill(path)
        eventually(lambda: row(node, f"root/{path}").pid == spare.pid)
        spare.kill()
    assert started.report.pid != spare.pid
    assert node.call("counter", w.Add(1)) == 1
    assert psutil.pid_exists(row(node, "root/sleep").pid)


def test_no_start_is_lost_while_spares_are_killed(node: otp.Node) -> None:
    for count in range(1, 31):
        for spare in spares(node):
            spare.kill()  # and the job may be on its way to it before it is dead
        with node.expect(otp.ChildStarted, "root/counter") as started:
            node.kill("counter")
        assert started.report.restarts == count
    assert node.call("counter", w.Add(1)) == 1
