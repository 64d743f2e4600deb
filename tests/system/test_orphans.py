"""Odd moments and odd families: see `test_no_orphans` for the table of who may be killed."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil

import otp
from otp.testing import Start, eventually
from tests.system import odd_workers as odd
from tests.system import workers as w
from tests.system.help import (
    PATIENCE_SECONDS,
    assert_gone,
    family,
    freeze,
    open_files,
    row,
    spares,
    strangers,
)

TREE = otp.Supervisor(
    "root",
    max_restarts=100,
    children=[
        otp.ChildSpec("parent", odd.Parent, shutdown=0.5),
        otp.ChildSpec("counter", w.Counter),
        otp.ChildSpec("program", command=[sys.executable, "-c", odd.DAEMON], restart="temporary"),
        otp.ChildSpec("plain", odd.waits),
    ],
)


def kin(node: otp.Node) -> set[int]:
    return set(node.call("parent", odd.Kin()))


def test_what_a_worker_started_goes_with_it(otp_start: Start) -> None:
    node = otp_start(TREE)
    before = kin(node)
    assert all(psutil.pid_exists(pid) for pid in before)
    with node.expect(otp.ChildExited, "root/parent"):
        node.kill("parent")
    # Nothing is left when its death is told: so the next one finds the ports and files free.
    assert not any(psutil.pid_exists(pid) for pid in before)
    eventually(lambda: kin(node), ignoring=(otp.OtpError,))
    before = kin(node)
    node.terminate_child("/", "parent")
    assert not any(psutil.pid_exists(pid) for pid in before)


def test_a_lost_zygote_whose_children_are_frozen_leaves_nothing(otp_start: Start) -> None:
    node = otp_start(TREE)
    old = (family(node.pid) | kin(node)) - {node.pid}
    freeze(node, "counter")
    freeze(node, "parent")
    with node.expect(otp.ChildStarted, "root/plain"):
        node.kill("zygote")
    assert_gone(old)
    assert node.call("counter", w.Add(1)) == 1
    assert kin(node).isdisjoint(old)


def test_a_lost_mailroom_takes_nobody_along(otp_start: Start) -> None:
    node = otp_start(TREE)
    gone = ("otp/mailroom", "root/program")  # the program ends by itself
    old = {info.pid for info in node.processes() if info.pid and info.path not in gone}
    old |= kin(node)
    with node.expect(otp.ChildStarted, "otp/mailroom"):
        node.kill("mailroom")
    assert node.call("counter", w.Add(1)) == 1
    assert all(psutil.pid_exists(pid) for pid in old)


BOOTING = """
import sys, otp
from tests.system import odd_workers as odd
otp.start(otp.Supervisor("root", children=[
    otp.ChildSpec("parent", odd.Parent),
    otp.ChildSpec("hangs", odd.HangsInInit, args={"file": sys.argv[1]}),
]))
"""


def test_a_host_lost_while_its_tree_starts(tmp_path: object) -> None:
    file = f"{tmp_path}/hangs"
    with subprocess.Popen([sys.executable, "-c", BOOTING, file]) as host:
        eventually(lambda: os.path.exists(file))
        pids = family(host.pid) - {host.pid}
        assert len(pids) > 4
        host.kill()
    assert_gone(pids)


def test_a_frozen_zygote_does_not_keep_a_node_from_ending(otp_start: Start) -> None:
    node = otp_start(TREE)
    old = family(node.pid) | kin(node)
    freeze(node, "zygote")
    psutil.Process(node.pid).terminate()
    assert node.process.wait(PATIENCE_SECONDS) == 0
    assert_gone(old)


def test_restarts_leak_no_descriptors(otp_start: Start) -> None:
    node = otp_start(TREE)
    pids = [node.pid, row(node, "zygote").pid, row(node, "otp/mailroom").pid]

    def restart() -> None:
        with node.expect(otp.ChildStarted, "root/counter"):
            node.kill("counter")
        node.call("counter", w.Add(1))
        eventually(lambda: spares(node), ignoring=(psutil.NoSuchProcess,))

    restart()
    before = [open_files(pid) for pid in pids]
    for _ in range(10):
        restart()
    # A connection that the other side has just closed may be seen a moment later.
    eventually(lambda: [open_files(pid) for pid in pids] <= before)


def test_children_inherit_no_sockets_of_each_other(otp_start: Start) -> None:
    node = otp_start(TREE)
    sockets = {}
    for path in ("counter", "plain", "parent"):
        pid = row(node, f"root/{path}").pid
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        sockets[path] = {link for link in links if link.startswith("socket:")}
        assert len(sockets[path]) == 2, sockets
    assert not set.intersection(*sockets.values())


def test_what_a_fork_bomb_left_is_chased_to_the_end(otp_start: Start) -> None:
    bomb = (
        "import os, time\n"
        "until = time.monotonic() + 0.5\n"
        "while time.monotonic() < until:\n"
        "    if os.fork(): os._exit(0)\n"
        "    os.setsid()\n"
        "time.sleep(3600)"
    )
    tree = otp.Supervisor("root", children=[otp.Supervisor("pool", max_restarts=100)])
    node = otp_start(tree)
    command = [sys.executable, "-c", bomb]
    with node.expect(otp.ChildExited, "root/pool/bomb"):
        spec = otp.ChildSpec("bomb", command=command, restart="temporary")
        node.start_child("pool", spec)
    eventually(lambda: not strangers(node), ignoring=(psutil.NoSuchProcess,))
