"""Restarts that wait, children without which nothing makes sense, and many of one kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import otp
from otp.testing import Expect, Start, eventually
from tests.otp.programs import environ
from tests.system import workers as w
from tests.system.help import assert_gone, family, lines, row

SH = "/bin/sh"
SECONDS_MAX = 30


class Which(otp.GenServer):
    """Knows which replica it is."""

    def __init__(self, replica: int) -> None:
        self.replica = replica

    def handle_call(self, request: w.Pid, sender: otp.From[int]) -> int:
        return self.replica


def sh(id: str, script: str, **more: Any) -> otp.ChildSpec:
    return otp.ChildSpec(id, command=[SH, "-c", script], **more)


# ---------------------------------------------------------------- backoff


def test_restarts_wait_longer_and_longer(otp_start: Start, otp_expect: Expect) -> None:
    backoff = {"initial": 0.05, "factor": 2, "max": 0.1, "jitter": 0}
    child = otp.ChildSpec("a", w.Counter, backoff=backoff)
    node = otp_start(otp.Supervisor("root", [child], max_restarts=100))
    kinds: list[Any] = []
    for seconds in (None, 0.05, 0.1, 0.1):
        with otp_expect(
            node,
            (otp.ChildExited, "root/a"),
            *([(otp.RestartDelayed, "root/a")] if seconds else []),
            (otp.ChildStarted, "root/a"),
        ) as seen:
            node.kill("a")
        kinds += [r.seconds for r in seen.reports if isinstance(r, otp.RestartDelayed)]
        assert seen.reports[-1].at - seen.reports[0].at >= (seconds or 0)
    assert kinds == [0.05, 0.1, 0.1]


def test_who_waits_is_shown_can_be_told_to_stay_down_and_holds_up_no_shutdown(
    otp_start: Start,
) -> None:
    default = otp.Backoff(initial="1m", max="1h", jitter=0)
    group = otp.Supervisor(
        "group",
        [otp.ChildSpec("a", w.Counter), otp.ChildSpec("b", w.Counter)],
        strategy="one_for_all",
        max_restarts=100,
        backoff=default,
    )
    node = otp_start(otp.Supervisor("root", [group]))
    with node.expect(otp.ChildStarted, "root/group/b"):
        node.kill("group/a")
    with node.expect(otp.RestartDelayed, "root/group/a"):
        node.kill("group/a")
    waiting = row(node, "root/group/a")
    assert waiting.state == "restarting" and waiting.next_start > waiting.started
    assert row(node, "root/group/b").state == "undefined", "its strategy stopped it at once"
    node.terminate_child("group", "a")
    assert row(node, "root/group/a").next_start == 0
    node.restart_child("group", "a")
    with node.expect(otp.RestartDelayed, "root/group/a"):
        node.kill("group/a")


def test_a_lost_zygote_ends_the_waiting(otp_start: Start) -> None:
    """The tree is started again at once, and nobody starts the child once more when it is over."""
    child = otp.ChildSpec("a", w.Counter, backoff={"initial": "300ms", "jitter": 0})
    node = otp_start(otp.Supervisor("root", [child], max_restarts=100))
    with node.expect(otp.ChildStarted, "root/a"):
        node.kill("a")
    with node.expect(otp.RestartDelayed, "root/a"):
        node.kill("a")
    with node.expect(otp.ChildStarted, "root/a"):
        node.kill("zygote")
    with node.expect_none((otp.ChildStarted, "root/a"), within=0.4):
        assert row(node, "root/a").state == "running"


def test_give_up_can_wait(otp_start: Start, otp_expect: Expect) -> None:
    children = [otp.ChildSpec("a", w.Counter), otp.ChildSpec("b", w.Counter)]
    tree = otp.Supervisor("root", children, max_restarts=0, give_up="wait 200ms")
    node = otp_start(tree)
    pid = node.call("b", w.Pid())
    with otp_expect(
        node, (otp.RestartDelayed, "root/a"), (otp.ChildStarted, "root/a"), never=[otp.GaveUp]
    ) as seen:
        node.kill("a")
    delayed = seen.reports[0]
    assert isinstance(delayed, otp.RestartDelayed)
    assert delayed.seconds == 0.2
    assert delayed.text == "a: more than 0 restarts in 5 s (max_restarts, max_seconds)"
    assert node.call("b", w.Pid()) == pid


# ---------------------------------------------------------------- essential


@pytest.mark.parametrize(
    ("child", "code"),
    [
        ("command: [sh, -c, 'exit 7'], restart: temporary", 7),
        ("command: [sh, -c, 'exit 0'], restart: transient", 0),
        ("command: [sh, -c, 'kill -TERM $$'], restart: temporary", 143),
        ("command: [sh, -c, 'exit 5']", 5),
        ("start: 'job:fails', restart: temporary", 1),
        ("start: 'job:returns', restart: transient", 0),
    ],
    ids=["exit code", "normal end", "a signal", "restarted too often", "a crash", "a function"],
)
def test_a_container_gets_the_exit_code_of_what_is_essential(
    tmp_path: Path, child: str, code: int
) -> None:
    (tmp_path / "job.py").write_text(
        "def fails() -> None:\n    raise ValueError('no')\ndef returns() -> None:\n    pass\n"
    )
    end = "trap 'echo stopped >> stopped; exit' TERM; echo up > up; while :; do sleep 0.02; done"
    other = f'{{id: other, command: [sh, -c, "{end}"], ready: {{exec: [test, -e, up]}}}}'
    last = f"{{id: job, {child}, essential: true}}"
    tree = f"id: root\nchildren:\n  - {other}\n  - {last}\n"
    (tmp_path / "tree.yaml").write_text(tree)
    command = [sys.executable, "-m", "otp", "run", "tree.yaml", "--name", f"job{os.getpid()}"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=environ(), capture_output=True, text=True,
        timeout=SECONDS_MAX, check=False,
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr
    assert "root/job: ended for good, is essential" in ran.stderr
    assert list(lines(tmp_path / "stopped")) == ["stopped"], "in order, not killed"


def test_an_essential_supervisor_that_gives_up_ends_the_node(tmp_path: Path) -> None:
    inner = otp.Supervisor("db", [otp.ChildSpec("a", w.Counter)], max_restarts=0, essential=True)
    before = family(os.getpid())
    with otp.start(otp.Supervisor("root", [inner], max_restarts=100)) as node:
        with node.expect(otp.EssentialEnded, "root/db") as ended:
            node.kill("db/a")
        assert node.process.wait(SECONDS_MAX) == 1
    assert ended.report.exit_code == 1
    assert_gone(family(os.getpid()) - before)


# ---------------------------------------------------------------- replicas


def test_replicas_know_which_they_are_and_keys_lead_to_them(
    otp_start: Start, otp_expect: Expect, tmp_path: Path
) -> None:
    program = "echo {replica} $OTP_REPLICA $OTP_REPLICAS >{replica}; exec sleep 300"
    tree = otp.Supervisor(
        "root",
        [
            otp.ChildSpec("pool", Which, replicas=3),
            sh("web", program, replicas=2, cwd=str(tmp_path), restart="transient"),
        ],
        max_restarts=100,
    )
    pool = otp.TopologySpec("otp:Replicas", {"replicas": 3})
    node = otp_start(tree, topologies={"pool": pool})
    assert [node.call(f"pool/{index}", w.Pid()) for index in range(3)] == [0, 1, 2]
    for key in ("a", "b", "customer-17", "é"):
        expected = int(otp.replica("pool", key, 3).rpartition("/")[2])
        assert node.call(otp.Via("pool", key), w.Pid()) == expected
    eventually(lambda: len(list(tmp_path.iterdir())) == 2)
    eventually(lambda: list(lines(tmp_path / "1")) == ["1 1 2"])
    with otp_expect(node, (otp.ChildStarted, "root/pool/1"), never=[(otp.GaveUp, None)]):
        node.kill("pool/1")
    assert node.call("pool/1", w.Pid()) == 1


def test_if_one_replica_does_not_start_none_is_left() -> None:
    before = family(os.getpid())
    script = "test $OTP_REPLICA != 1 && exec sleep 300; exit 3"
    ready = {"exec": [SH, "-c", "test {replica} != 1"], "timeout": 5}
    tree = otp.Supervisor("root", [sh("x", script, replicas=3, ready=ready)])
    with pytest.raises(otp.StartError, match="root/x/1: crash: exit code 3"):
        otp.start(tree)
    assert_gone(family(os.getpid()) - before)
