"""Whoever is killed with -9, and however a node ends: two seconds later nobody runs unowned.

What runs is found in two ways: by a mark in the environment, which children of children inherit
wherever they hide, and by the pids that were there before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import psutil
import pytest

import otp
from otp.handle import Control
from otp.messages import StopNode
from otp.spares import SPARES_MAX
from otp.testing import BreakableNode, Start, eventually
from tests.orphans import MARK, marked
from tests.system import odd_workers as odd
from tests.system import workers as w
from tests.system.help import GONE_SECONDS_MAX, assert_gone, family, freeze, row

# Whose last argument is one of these: what the programs of the tree, and nobody else, have started.
SLEEPERS = {"1001", "1002", "1003"}
# What clan, twice and deaf have started: processes that no node knows of.
UNSEEN = 5 + 1 + 1


def tree(max_restarts: int = 100) -> otp.Supervisor:
    """Workers and programs with all kinds of descendants."""
    twice = "(setsid sleep 1001 &) & exec sleep 1002"
    deaf = "trap '' TERM; sleep 1003; true"
    return otp.Supervisor(
        "root",
        max_restarts=max_restarts,
        children=[
            otp.ChildSpec("clan", odd.Clan),
            otp.ChildSpec("counter", w.Counter),
            otp.ChildSpec("function", odd.waits),
            otp.ChildSpec("twice", command=["sh", "-c", twice]),
            otp.ChildSpec("deaf", command=["sh", "-c", deaf], shutdown=0.2),
        ],
    )


@pytest.fixture
def mark() -> str:
    return uuid.uuid4().hex


def environ(mark: str) -> dict[str, str]:
    """An environment by which all of one node is found."""
    return {**os.environ, MARK: f"{os.environ[MARK]}/{mark}"}


def everybody(mark: str) -> set[int]:
    """All that run for this test, once the programs have started what they start."""
    eventually(lambda: _last_arguments(mark) >= SLEEPERS, what="programs with children")
    return {process.pid for process in marked(mark)}


def _last_arguments(mark: str) -> set[str]:
    found = set()
    for process in marked(mark):
        try:
            found.update(process.cmdline()[-1:])
        except psutil.Error:
            continue
    return found


def assert_nobody(mark: str, before: set[int]) -> None:
    """Nothing marked is alive, and nobody of those who were."""
    eventually(lambda: not marked(mark), within=GONE_SECONDS_MAX, what=f"end of {marked(mark)}")
    assert_gone(before, 0.1)


def settled(node: BreakableNode, mark: str, isolation: str) -> set[int]:
    """All processes of a node, once there are as many as there should be, and no more."""
    besides = UNSEEN + SPARES_MAX + (isolation == "pidns")  # the zygote's keeper

    def counted() -> set[int] | None:
        rows = {info.pid for info in node.processes() if info.pid}
        found = {process.pid for process in marked(mark)}
        return found if rows <= found and len(found) == len(rows) + besides else None

    return eventually(counted, what=f"{besides} processes that the node does not show")


def up(otp_start: Start, mark: str, isolation: str, **more: int) -> tuple[BreakableNode, set[int]]:
    """A node with the tree, and all its processes."""
    node = otp_start(tree(**more), environ=environ(mark), isolation=isolation)
    return node, settled(node, mark, isolation)


# ---------------------------------------------------------------- one process is killed


@pytest.mark.parametrize(
    ("who", "isolation"),
    [
        *((who, "none") for who in ("zygote", "mailroom", "clan", "function", "twice", "deaf")),
        *((who, "pidns") for who in ("zygote", "clan")),
    ],
)
def test_one_that_is_killed_leaves_nothing_and_is_replaced(
    otp_start: Start, mark: str, who: str, isolation: str, pidns: None
) -> None:
    node, _ = up(otp_start, mark, isolation)
    path = {"zygote": "zygote", "mailroom": "otp/mailroom"}.get(who, f"root/{who}")
    victims = family(row(node, path).pid)
    back = {"zygote": "root/deaf", "mailroom": "otp/mailroom"}.get(who, path)
    with node.expect(otp.ChildStarted, back):
        node.kill(who)
    assert_gone(victims)
    settled(node, mark, isolation)


# ---------------------------------------------------------------- the node ends


def killed(node: BreakableNode) -> None:
    os.kill(node.pid, signal.SIGKILL)


def killed_with_its_family_frozen(node: BreakableNode) -> None:
    for who in ("clan", "counter"):
        freeze(node, who)
    killed(node)


def killed_with_its_zygote_frozen(node: BreakableNode) -> None:
    freeze(node, "zygote")
    killed(node)


def asked_by_sigterm(node: BreakableNode) -> None:
    os.kill(node.pid, signal.SIGTERM)


def asked_by_sigint(node: BreakableNode) -> None:
    os.kill(node.pid, signal.SIGINT)


def told_twice(node: BreakableNode) -> None:
    asked_by_sigterm(node)
    asked_by_sigint(node)


def asked_by_a_request(node: BreakableNode) -> None:
    with contextlib.closing(Control.of(node.run_dir)) as control:
        control.ask(StopNode())


def closed(node: BreakableNode) -> None:
    node.close()


def gives_up(node: BreakableNode) -> None:
    node.kill("counter")


ENDS: list[Callable[[BreakableNode], None]] = [
    killed,
    killed_with_its_family_frozen,
    killed_with_its_zygote_frozen,
    asked_by_sigterm,
    asked_by_sigint,
    told_twice,
    asked_by_a_request,
    closed,
    gives_up,
]


@pytest.mark.parametrize("end", ENDS, ids=[end.__name__ for end in ENDS])
def test_a_node_that_ends_leaves_nothing(
    otp_start: Start, mark: str, end: Callable[[BreakableNode], None]
) -> None:
    node, before = up(otp_start, mark, "none", max_restarts=0)
    end(node)
    assert_nobody(mark, before)


def killed_together(node: BreakableNode) -> None:
    """Node and zygote at the same moment: nobody is left who could kill the others."""
    zygote = row(node, "zygote").pid
    for pid in (node.pid, zygote):
        os.kill(pid, signal.SIGSTOP)
    for pid in (node.pid, zygote):
        os.kill(pid, signal.SIGKILL)


def keeper_killed(node: BreakableNode) -> None:
    os.kill(psutil.Process(row(node, "zygote").pid).ppid(), signal.SIGKILL)


@pytest.mark.parametrize(
    "end",
    [killed_together, keeper_killed, killed_with_its_zygote_frozen, asked_by_sigterm],
    ids=lambda end: str(end.__name__),
)
def test_an_isolated_node_leaves_nothing_whatever_is_killed(
    otp_start: Start, mark: str, end: Callable[[BreakableNode], None], pidns: None
) -> None:
    node, before = up(otp_start, mark, "pidns", max_restarts=0)
    end(node)
    if end is keeper_killed:  # that is a lost zygote: a new one starts the tree again
        assert_gone(before - {node.pid})
        node.close()
    assert_nobody(mark, before)


# ---------------------------------------------------------------- the host ends

HOST = """
import os, sys, otp
from tests.system.test_no_orphans import tree
with otp.start(tree()) as node:
    print("up", node.pid, file=sys.stderr, flush=True)
    sys.stdin.read()
    if sys.argv[1] == "leaves at once":
        os._exit(0)
"""


@pytest.fixture
def host(request: pytest.FixtureRequest, mark: str) -> Iterator[subprocess.Popen[str]]:
    """A program that holds a node; it ends when its standard input is closed."""
    command = [sys.executable, "-c", HOST, request.param]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environ(mark), text=True, stdin=pipe, stderr=pipe
    ) as process:
        yield process


@pytest.mark.parametrize(
    ("host", "number"),
    [
        ("ends its block", None),
        ("leaves at once", None),
        ("is killed", signal.SIGKILL),
        ("is terminated", signal.SIGTERM),
        ("is interrupted", signal.SIGINT),
    ],
    indirect=["host"],
)
def test_a_host_that_ends_leaves_nothing(
    host: subprocess.Popen[str], number: signal.Signals | None, mark: str
) -> None:
    assert host.stderr is not None and host.stdin is not None
    said = host.stderr.readline().split()
    assert said[:1] == ["up"], said
    before = everybody(mark)
    assert int(said[1]) in before
    if number is None:
        host.stdin.close()
    else:
        host.send_signal(number)
    assert_nobody(mark, before)
