"""Nodes that stand still without closing anything: whoever waits for them is told in time."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import psutil
import pytest

import otp
from otp.testing import Start, eventually
from tests.system import workers as w
from tests.system.help import freeze
from tests.system.test_gen_server import seen
from tests.system.test_two_nodes import Cluster


@pytest.fixture
def cluster(otp_start: Start, tmp_path: Path) -> Cluster:
    return Cluster(otp_start, tmp_path, "abcd")


def test_a_frozen_node_or_mailroom_is_lost_until_it_goes_on(cluster: Cluster) -> None:
    """b's node stands still and c's mailroom does; d is quiet, which is another thing."""
    a, b, c, _ = (cluster.start(name) for name in "abcd")
    refs = [a.call("watcher", w.Watch(f"counter@{name}")) for name in "bcd"]
    for frozen in (freeze(b, "counter"), freeze(c, "mailroom"), stop(b.pid)):
        assert psutil.pid_exists(frozen)
    try:
        with pytest.raises(otp.NodeDown, match="was lost before the reply"):
            a.call("counter@b", w.Add(1), timeout=30)
        with pytest.raises(otp.NodeDown):
            a.call("counter@c", w.Add(1), timeout=30)
        expected = {
            f"down {ref} counter@{name} noconnection" for ref, name in zip(refs, "bc", strict=False)
        }
        assert set(seen(a, "watcher", 2)) == expected, "the quiet link to d stays"
        assert a.call("counter", w.Add(0)) == 10
    finally:
        os.kill(b.pid, signal.SIGCONT)
        c.kill("mailroom", signal=signal.SIGCONT)
        b.kill("counter", signal=signal.SIGCONT)
    again = (otp.NodeDown, otp.CallTimeout)
    for name in "bc":
        ask = partial(a.call, f"counter@{name}", w.Add(1))
        assert eventually(ask, ignoring=again) >= 11


def stop(pid: int) -> int:
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return pid


def test_a_lost_link_is_made_again_by_itself(cluster: Cluster) -> None:
    a, b = cluster.start("a"), cluster.start("b")
    assert a.call("counter@b", w.Add(1)) == 11
    with a.expect(otp.PeerUp, "b"):
        b.kill("mailroom")
    with a.expect(otp.PeerDown, "b"):
        os.kill(b.pid, signal.SIGKILL)
    with a.expect(otp.PeerUp, "b"):
        cluster.start("b")


def test_workers_hear_of_nodes_that_come_and_go(cluster: Cluster) -> None:
    a = cluster.start("a", tree=w.NODE_WATCHERS)
    assert a.nodes() == [] and a.call("watcher", w.Known()) == []
    a.call("watcher", w.WatchNodes(True))
    b = cluster.start("b")
    c = cluster.start("c")
    assert heard(a, 2) == ["NodeUp b", "NodeUp c"]
    assert a.nodes() == ["b", "c"] == a.call("watcher", w.Known())
    assert eventually(b.nodes) == ["a"], "a link is made both ways"
    with a.expect(otp.ChildStarted, "otp/mailroom"):
        a.kill("mailroom")
    again = (otp.Disconnected, otp.NotRunning)
    lost = eventually(lambda: heard(a, 6), ignoring=again)
    assert lost[2:] == ["NodeLost b", "NodeLost c", "NodeUp b", "NodeUp c"]
    a.call("watcher", w.WatchNodes(False))
    with a.expect(otp.PeerDown, "c"):
        os.kill(c.pid, signal.SIGKILL)
    assert heard(a, 6) == lost and a.nodes() == ["b"]


def heard(node: otp.Node, count: int) -> list[str]:
    found = eventually(
        lambda: said if len(said := node.call("watcher", w.NodesSeen())) >= count else None
    )
    return sorted(found[:2]) + sorted(found[2:])


def test_whereis_says_who_is_behind_a_name(cluster: Cluster) -> None:
    a, b = cluster.start("a", tree=w.NODE_WATCHERS), cluster.start("b")
    pid = b.whereis("counter")
    assert pid == b.whereis("counter@b") == a.whereis("counter@b") == a.whereis(str(pid))
    assert a.call("watcher", w.Find("counter@b")) == pid
    assert a.whereis("nobody@b") is None and a.whereis("nobody") is None
    with pytest.raises(otp.NodeDown):
        a.whereis("counter@z")
    with pytest.raises(otp.Undecodable, match="a node does not accept it"):
        a.call(":node@b", w.Add(1))
