"""Nodes whose processes live in a PID namespace of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import psutil
import pytest

import otp
from otp.testing import Start
from tests.system import workers as w
from tests.system.help import family, row

TREE = otp.Supervisor(
    "root",
    children=[
        otp.ChildSpec("counter", w.Counter),
        otp.ChildSpec("program", command=["sleep", "1000"]),
    ],
)
SCRIPT = """
import otp
from tests.system import test_isolation as t, workers as w
with otp.start(t.TREE, isolation="pidns") as node:
    print(node.call("counter", w.Add(7)), node.call("counter", w.Pid()))
"""


def run(*before: str) -> subprocess.CompletedProcess[str]:
    """The script under another program, which is skipped where it is not installed."""
    if shutil.which(before[0]) is None:
        pytest.skip(f"{before[0]} is not installed")
    command = [*before, sys.executable, "-c", SCRIPT]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_pids_are_those_outside_for_the_node_and_those_inside_for_a_worker(
    otp_start: Start, pidns: None
) -> None:
    node = otp_start(TREE, isolation="pidns")
    counter, program = row(node, "root/counter"), row(node, "root/program")
    assert node.call("counter", w.Pid()) < min(counter.pid, program.pid)
    assert psutil.Process(program.pid).cmdline() == ["sleep", "1000"]
    assert {counter.pid, program.pid, row(node, "zygote").pid} < family(node.pid)
    with node.expect(otp.ChildStarted, "root/counter") as started:
        assert node.kill("counter") == counter.pid
    assert started.report.pid == row(node, "root/counter").pid
    assert psutil.pid_exists(started.report.pid) and not psutil.pid_exists(counter.pid)


def test_what_runs_inside_sees_nobody_outside(otp_start: Start, pidns: None) -> None:
    node = otp_start(TREE, isolation="pidns")
    inside = os.listdir(f"/proc/{row(node, 'root/program').pid}/root/proc")
    seen = {int(name) for name in inside if name.isdigit()}
    assert 1 in seen and os.getpid() not in seen and len(seen) < len(family(node.pid)) + 1


def test_a_user_namespace_does_where_one_is_not_root(pidns: None) -> None:
    done = run("setpriv", "--bounding-set", "-sys_admin")
    assert (done.returncode, done.stderr) == (0, "")
    count, pid = map(int, done.stdout.split())
    assert count == 7 and pid < 100


def test_where_it_is_not_permitted_the_node_does_not_start_and_says_why() -> None:
    forbid = 'echo 0 > /proc/sys/user/max_pid_namespaces && exec "$@"'
    done = run("unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh")
    if "max_pid_namespaces" in done.stderr or done.stderr.startswith("unshare:"):
        pytest.skip(f"user namespaces are not permitted here: {done.stderr}")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "isolation: pidns is not permitted here (unshare: No space left on device)" in last
    assert "do without isolation" in last
