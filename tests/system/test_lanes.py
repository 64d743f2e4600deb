"""Lanes between real processes, and what kills and freezes do to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import otp
from otp.testing import Start, eventually
from tests.system import laners as way
from tests.system import workers as w
from tests.system.help import freeze, open_files, restart, row
from tests.system.test_tls import Cluster as TlsCluster
from tests.system.test_tls import folder as certificates
from tests.system.test_two_nodes import Cluster as KeyCluster
from tests.system.test_two_nodes import kill, soon

Pair = tuple[otp.StartedNode, otp.StartedNode]
folder = certificates


@pytest.fixture(scope="module")
def shared() -> Iterator[otp.Node]:
    with otp.start(way.TREE, name="a") as node:
        yield node


@pytest.fixture
def node(shared: otp.Node) -> otp.Node:
    for path in ("counter", "laner"):
        restart(shared, path)
    return shared


@pytest.fixture(params=["key", "tls"])
def pair(request: pytest.FixtureRequest, otp_start: Start, tmp_path: Path, folder: Path) -> Pair:
    clusters: dict[str, Callable[[], Any]] = {
        "key": lambda: KeyCluster(otp_start, tmp_path, "ab"),
        "tls": lambda: TlsCluster(otp_start, folder),
    }
    cluster = clusters[request.param]()
    return cluster.start("a", tree=way.TREE), cluster.start("b", tree=way.TREE)


# ---------------------------------------------------------------- on one node


def test_calls_and_casts_go_by_a_lane_in_their_order(node: otp.Node) -> None:
    assert node.call("laner", way.Open("counter")) == row(node, "root/counter").process
    assert [node.call("laner", way.By(n)) for n in (1, 2)] == ["11", "13"]
    assert node.call("laner", way.Many(500)) == [f"cast {n}" for n in range(500)]
    assert node.call("laner", way.Large(3_000_000), timeout=20) == 3_000_000
    assert node.call("laner", way.Sums("counter@a")) == ["14", "15", "16"]
    assert node.call("counter", w.Add(1)) == 17


@pytest.mark.parametrize("to", ["nobody", "pool", "plain", "/"])
def test_a_lane_leads_to_a_server_or_nowhere(node: otp.Node, to: str) -> None:
    assert node.call("laner", way.Open(to)) == "NoProcess"
    assert node.call("laner", way.Open("counter@z")) == "NodeDown"


def test_a_lane_survives_the_mailroom(node: otp.Node) -> None:
    node.call("laner", way.Open("counter"))
    with node.expect(otp.ChildStarted, "otp/mailroom"):
        node.kill("mailroom")
    again = (otp.Disconnected, otp.NotRunning)
    assert eventually(lambda: node.call("laner", way.By(1)), ignoring=again) == "11"


@pytest.mark.parametrize("block", [True, False])
def test_whoever_waits_by_a_lane_hears_of_its_end(node: otp.Node, block: bool) -> None:
    node.call("laner", way.Open("counter"))
    pid = row(node, "root/counter").pid
    with (
        node.expect(otp.ChildStarted, "root/counter"),
        soon(lambda: os.kill(pid, signal.SIGKILL)),
    ):
        assert node.call("laner", way.Hang(block), timeout=20) == "Disconnected"
    assert node.call("laner", way.By(1)) == "Disconnected"
    assert node.call("laner", way.Open("counter")) == row(node, "root/counter").process
    assert node.call("laner", way.By(1)) == "11"


def test_a_frozen_server_holds_nobody_for_ever(node: otp.Node) -> None:
    node.call("laner", way.Open("counter"))
    pid = freeze(node, "counter")
    assert node.call("laner", way.By(1, seconds=0.1)) == "CallTimeout"
    assert node.call("laner", way.Flood(1_000_000), timeout=20) == "Overloaded"
    os.kill(pid, signal.SIGCONT)
    assert eventually(lambda: node.call("laner", way.By(1), timeout=20)) == "12"


def test_what_was_sent_before_the_end_of_a_lane_arrives(node: otp.Node) -> None:
    before = open_files(row(node, "root/laner").pid)
    node.call("laner", way.Open("counter"))
    frozen = freeze(node, "counter")
    assert node.call("laner", way.Part(400, 10_000)) is False
    assert node.call("laner", way.By(1)) == "Disconnected"
    os.kill(frozen, signal.SIGCONT)
    eventually(lambda: len(node.call("counter", w.Noted())) == 400)
    assert node.call("counter", w.Noted()) == [f"cast {n} ".ljust(10_005) for n in range(400)]
    eventually(lambda: open_files(row(node, "root/laner").pid) <= before)


def test_closed_lanes_and_dead_openers_leave_nothing(node: otp.Node) -> None:
    node.call("laner", way.Open("counter"))
    node.call("laner", way.Close())
    assert node.call("laner", way.By(1)) == "Disconnected"
    pid = row(node, "root/counter").pid
    before = eventually(lambda: open_files(pid))
    for _ in range(20):
        node.call("laner", way.Open("counter"))
    assert node.call("laner", way.By(1)) == "11"
    restart(node, "laner")
    eventually(lambda: open_files(pid) <= before, what="the lanes of a dead process are closed")
    assert node.call("counter", w.Add(0)) == 11


def test_a_program_has_lanes_as_well(node: otp.Node) -> None:
    with node.lane("counter") as lane:
        assert lane.pid == row(node, "root/counter").process
        assert [lane.call(w.Add(n)) for n in (1, 2)] == [11, 13]
        for number in range(100):
            lane.cast(w.Note(str(number)))
        assert lane.call(w.Noted()) == [f"cast {n}" for n in range(100)]
        freeze(node, "counter")
        with pytest.raises(otp.CallTimeout):
            lane.call(w.Add(1), timeout=0.05)
        with node.expect(otp.ChildStarted, "root/counter"):
            node.kill("counter")
        with pytest.raises(otp.Disconnected):
            lane.call(w.Add(1))
    for to in ("nobody", "plain", "pool"):
        with pytest.raises(otp.NoProcess):
            node.lane(to)
    with pytest.raises(otp.NodeDown):
        node.lane("counter@z")


# ---------------------------------------------------------------- between nodes


def test_lanes_lead_to_other_nodes(pair: Pair) -> None:
    a, b = pair
    assert a.call("laner", way.Open("counter@b")) == row(b, "root/counter").process
    assert [a.call("laner", way.By(n)) for n in (1, 2)] == ["11", "13"]
    assert a.call("laner", way.Many(500)) == [f"cast {n}" for n in range(500)]
    assert a.call("laner", way.Large(3_000_000), timeout=20) == 3_000_000
    for said in a.call("laner", way.Strange()):
        assert "pickle, which is refused from the network" in said
    with a.lane("counter@b") as lane, pytest.raises(otp.Undecodable, match="pickle"):
        lane.call(w.Odd())
    assert a.call("laner", way.Open("nobody@b")) == "NoProcess"
    with a.lane("counter@b") as lane:
        assert lane.call(w.Add(0)) == 13 and len(lane.call(w.Echo(bytes(3_000_000)))) == 3_000_000
    with pytest.raises(otp.NoProcess):
        a.lane("nobody@b")
    a.call("laner", way.Open("counter@b"))
    freeze(b, "counter")
    assert a.call("laner", way.Flood(1_000_000), timeout=20) == "Overloaded"
    assert a.call("laner", way.By(1, seconds=0.1)) in ("CallTimeout", "Overloaded")
    with b.expect(otp.ChildStarted, "root/counter"):
        b.kill("counter")
    eventually(lambda: a.call("laner", way.By(1)) == "Disconnected")
    assert a.call("laner", way.Open("counter@b")) == row(b, "root/counter").process
    with soon(lambda: kill(b)):
        assert a.call("laner", way.Hang(), timeout=20) == "Disconnected"
    assert eventually(lambda: a.call("laner", way.Open("counter@b")) == "NodeDown")
