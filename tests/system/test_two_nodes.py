"""Nodes that know each other: calls, keys, links and monitors from one to another, and losses."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import otp
from otp.testing import Start, eventually
from tests.system import workers as w
from tests.system.help import free_ports, freeze, key_file, restart, row
from tests.system.test_gen_server import seen

Pair = tuple[otp.StartedNode, otp.StartedNode]


def tree(manager_to: str = "counter") -> otp.Supervisor:
    return otp.Supervisor(
        "root",
        max_restarts=1000,
        children=[
            otp.ChildSpec("counter", w.Counter, args={"start": 10}),
            otp.ChildSpec("watcher", w.Watcher),
            otp.ChildSpec("frail", w.Frail),
            otp.ChildSpec("boss", w.Boss),
            otp.ChildSpec("manager", w.Manager, args={"to": manager_to}),
            otp.Supervisor("pool", max_restarts=1000),
        ],
    )


class Cluster:
    """Nodes that may be started and lost, one by one."""

    def __init__(self, start: Callable[..., otp.StartedNode], folder: Path, names: str) -> None:
        self._start, self._key = start, key_file(folder)
        ports = free_ports(len(names))
        self.peers = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}

    def start(self, name: str, **options: Any) -> otp.StartedNode:
        chosen: dict[str, Any] = {
            "tree": tree(),
            "name": name,
            "listen": self.peers[name],
            "peers": self.peers,
            "authkey_file": self._key,
            "topologies": {"keys": otp.TopologySpec(w.Keys, {"manager": "manager@b"})},
            "log": "none",
        }
        return self._start(**(chosen | options))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    cluster = Cluster(otp.start, tmp_path_factory.mktemp("key"), "ab")
    with cluster.start("a") as a, cluster.start("b") as b:
        yield a, b


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """Two nodes whose servers have just started."""
    for node in shared:
        for path in ("counter", "watcher", "frail"):
            restart(node, path)
    return shared


@pytest.fixture
def cluster(otp_start: Start, tmp_path: Path) -> Cluster:
    return Cluster(otp_start, tmp_path, "abc")


# ---------------------------------------------------------------- calls


def test_calls_go_from_node_to_node(pair: Pair) -> None:
    a, b = pair
    assert a.call("counter@b", w.Add(1)) == 11
    assert a.call("counter", w.Add(5)) == 15
    assert b.call("counter@a", w.Add(1)) == 16
    assert a.call("watcher", w.Ask("counter@b", 1)) == "12"
    assert a.call("watcher", w.Pursue("counter@b", 1)) == "13"
    assert a.call(row(b, "root/counter").process, w.Add(1)) == 14
    for number in range(10):
        a.cast("counter@b", w.Note(f"{number}"))
    assert a.call("counter@b", w.Noted()) == [f"cast {number}" for number in range(10)]


def test_errors_come_back_as_they_are(pair: Pair) -> None:
    a, b = pair
    with pytest.raises(otp.NoProcess):
        a.call("nobody@b", w.Add(1))
    with pytest.raises(otp.NodeDown, match="node z is not connected"):
        a.call("counter@z", w.Add(1))
    with pytest.raises(w.Poor) as info:
        a.call("counter@b", w.Spend(11))
    assert (info.value.need, info.value.have) == (11, 10)
    with (
        b.expect(otp.ChildStarted, "root/counter"),
        pytest.raises(otp.ServerDown, match="ValueError: boom"),
    ):
        a.call("counter@b", w.Crash("boom"))
    with pytest.raises(otp.CallTimeout):
        a.call("counter@b", w.Later(0.1), timeout=0.02)
    assert a.call("counter@b", w.Add(0)) == 10


def test_no_pickle_crosses_the_network(pair: Pair) -> None:
    a, _ = pair
    with pytest.raises(otp.Undecodable, match="pickle"):
        a.call("counter@b", {"a": "dict"})
    # A reply that is not what was declared can only travel as a pickle.
    with pytest.raises(otp.Undecodable, match="pickle"):
        a.call("counter@b", w.Odd())
    assert a.call("counter@b", w.Add(0)) == 10


def test_a_supervisor_far_away_is_asked_but_starts_no_foreign_code(pair: Pair) -> None:
    a, b = pair
    assert [info.id for info in a.call("pool@b", otp.WhichChildren())] == []
    assert a.call("boss@b", w.Hire("pool", "w1")) == "pool/w1"
    assert [info.id for info in a.call("pool@b", otp.WhichChildren())] == ["w1"]
    with pytest.raises(otp.Undecodable, match="pickle"):
        a.call("pool@b", otp.start_child(otp.ChildSpec("w2", w.Counter)))
    b.terminate_child("pool", "w1")
    b.delete_child("pool", "w1")


# ---------------------------------------------------------------- links and monitors


def test_a_monitor_hears_of_a_death_far_away(pair: Pair) -> None:
    a, b = pair
    ref = a.call("watcher", w.Watch("counter@b"))
    gone = a.call("watcher", w.Watch("nobody@b"))
    assert seen(a, "watcher", 1) == [f"down {gone} nobody@b noproc"]
    unwanted = a.call("watcher", w.Watch("counter@b"))
    a.call("watcher", w.Unwatch(unwanted))
    assert a.call("counter@b", w.Add(0)) == 10
    for _ in range(2):
        with b.expect(otp.ChildStarted, "root/counter"):
            b.kill("counter")
    assert seen(a, "watcher", 2)[1:] == [f"down {ref} counter@b killed"]
    unknown = a.call("watcher", w.Watch("counter@z"))
    assert seen(a, "watcher", 3)[2:] == [f"down {unknown} counter@z noconnection"]


def test_a_link_is_felt_far_away(pair: Pair) -> None:
    a, b = pair
    counter, frail = row(b, "root/counter").process, row(b, "root/frail").process
    a.call("watcher", w.Tie("counter@b"))
    a.call("watcher", w.Tie("frail@b"))
    b.call("frail", w.Tie("counter@a"))
    b.kill("counter")
    assert seen(a, "watcher", 1) == [f"exit {counter} killed"]
    with b.expect(otp.ChildExited, "root/frail") as exited:
        a.kill("counter")
    assert exited.report.reason.kind == "killed"
    assert seen(a, "watcher", 2)[1:] == [f"exit {frail} killed"]
    eventually(lambda: b.call("frail", w.Seen()) == [], ignoring=(otp.NoProcess,))
    a.call("watcher", w.Tie("frail@b"))
    a.call("watcher", w.Untie("frail@b"))
    gone = a.call("watcher", w.Watch("nobody@b"))
    with b.expect(otp.ChildStarted, "root/frail"):
        b.kill("frail")
    assert seen(a, "watcher", 3)[2:] == [f"down {gone} nobody@b noproc"]


# ---------------------------------------------------------------- losses


def test_a_lost_node_is_felt_by_all_who_are_tied_to_it(cluster: Cluster) -> None:
    a, b = cluster.start("a"), cluster.start("b")
    ref = a.call("watcher", w.Watch("counter@b"))
    a.call("watcher", w.Tie("frail@b"))
    # That node has asked for this one, and may never have had a connection of its own to us.
    frail = row(a, "root/frail").process
    b.call("watcher", w.Tie("frail@a"))
    eventually(lambda: a.call("watcher", w.Ask("counter@b", 0)) == "10")
    with a.expect(otp.PeerDown, "b"), a.expect(otp.ChildExited, "root/frail") as exited:
        kill(b)
    assert exited.report.reason.kind == "noconnection"
    assert frail != row(a, "root/frail").process
    assert sorted(seen(a, "watcher", 2)) == [
        f"down {ref} counter@b noconnection",
        "exit frail@b noconnection",
    ]
    with pytest.raises(otp.NodeDown):
        a.call("counter@b", w.Add(1))
    cluster.start("b")
    assert eventually(lambda: a.call("counter@b", w.Add(1)), ignoring=(otp.NodeDown,)) == 11


@contextlib.contextmanager
def soon(deed: Callable[[], object]) -> Iterator[None]:
    """It is done in a moment, while the block runs."""
    timer = threading.Timer(0.1, deed)
    timer.start()
    yield
    timer.join()


def kill(node: otp.StartedNode) -> None:
    os.kill(node.pid, signal.SIGKILL)


def test_a_call_under_way_hears_of_a_lost_node(cluster: Cluster) -> None:
    a, b = cluster.start("a"), cluster.start("b")
    with a.expect(otp.PeerUp, "b"):
        a.call("counter@b", w.Add(0))
    freeze(b, "counter")
    with pytest.raises(otp.NodeDown, match="node b"), soon(lambda: kill(b)):
        a.call("counter@b", w.Add(1), timeout=20)


def test_a_lost_mailroom_is_a_lost_connection(cluster: Cluster) -> None:
    a, b = cluster.start("a"), cluster.start("b")
    for which in (a, b):
        ref = a.call("watcher", w.Watch("counter@b"))
        count = len(a.call("watcher", w.Seen())) + 1
        assert a.call("watcher", w.Ask("counter@b", 0)) == "10"
        with which.expect(otp.ChildStarted, "otp/mailroom"):
            which.kill("mailroom")
        again = (otp.Disconnected, otp.NotRunning)
        eventually(lambda: a.call("watcher", w.Ask("counter@b", 0)) == "10", ignoring=again)
        assert seen(a, "watcher", count)[-1] == f"down {ref} counter@b noconnection"


def test_nodes_with_different_keys_do_not_talk(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "key"
    other.write_bytes(b"another key")
    other.chmod(0o600)
    a = cluster.start("a")
    cluster.start("b", authkey_file=str(other))
    with a.expect(otp.PeerDown, "b") as down, pytest.raises(otp.NodeDown):
        a.call("counter@b", w.Add(1))
    assert "authkey" in down.report.text


def test_a_node_that_is_another_one_is_not_believed(cluster: Cluster) -> None:
    peers = dict(cluster.peers) | {"c": cluster.peers["b"]}
    a = cluster.start("a", peers=peers)
    cluster.start("b")
    with a.expect(otp.PeerDown, "c") as down, pytest.raises(otp.NodeDown):
        a.call("counter@c", w.Add(1))
    assert down.report.text.endswith("is b")


def test_a_node_that_nobody_named_is_answered(cluster: Cluster) -> None:
    a = cluster.start("a", peers={})
    b = cluster.start("b")
    assert b.call("counter@a", w.Add(1)) == 11
    assert a.call("counter@b", w.Add(1)) == 11


# ---------------------------------------------------------------- keys


def test_a_key_leads_to_its_manager_first_and_to_its_server_then(cluster: Cluster) -> None:
    cluster.start("c")
    a, b = cluster.start("a"), cluster.start("b", tree=tree(manager_to="counter@c"))
    via = otp.Via("keys", "1")
    assert a.call(via, w.Add(1)) == 11
    assert a.call("manager@b", w.Noted()) == ["1"]
    for number in range(5):
        assert a.call(via, w.Add(1)) == 12 + number
        assert a.call("watcher", w.AskVia("1", 0)) == str(12 + number)
    assert a.call("manager@b", w.Noted()) == ["1"], "its mailroom goes straight there"
    assert b.call(via, w.Add(0)) == 16
    assert b.call(via, w.Add(0)) == 16
    assert a.call("manager@b", w.Noted()) == ["2"]
    with pytest.raises(otp.Overloaded, match="one in its queue"):
        a.call(otp.Via("keys", "full"), w.Add(1))
    for key in ("nobody", "raise", "round"):
        with pytest.raises(otp.NoProcess):
            a.call(otp.Via("keys", key), w.Add(1))


def test_a_monitor_by_key_asks_the_topology(cluster: Cluster) -> None:
    a, b = cluster.start("a"), cluster.start("b")
    gone = a.call("watcher", w.WatchVia("nobody"))
    assert seen(a, "watcher", 1) == [f"down {gone} via:keys:nobody noproc"]
    unwanted, ref = (a.call("watcher", w.WatchVia("1")) for _ in range(2))
    a.call("watcher", w.Unwatch(unwanted))
    assert a.call("watcher", w.Ask("counter@b", 0)) == "10"
    with b.expect(otp.ChildStarted, "root/manager"):
        b.kill("manager")
    assert seen(a, "watcher", 2)[1:] == [f"down {ref} manager@b killed"]


def test_a_key_that_has_moved_is_found_again(cluster: Cluster) -> None:
    a, c = cluster.start("a"), cluster.start("c")
    b = cluster.start("b", tree=tree(manager_to="counter@c"))
    via = otp.Via("keys", "1")
    assert a.call(via, w.Add(1)) == 11
    with c.expect(otp.ChildStarted, "root/counter"):
        c.kill("counter")
    assert a.call(via, w.Add(1)) == 11
    assert a.call("manager@b", w.Noted()) == ["1"]
    kill(c)

    def asked_again() -> bool:
        with contextlib.suppress(otp.NodeDown):
            a.call(via, w.Add(1))
        return int(a.call("manager@b", w.Noted())[0]) > 1

    eventually(asked_again, what="a lost node is forgotten, and the manager asked again")
    assert b.call("counter", w.Add(1)) == 11


def test_a_call_that_was_passed_on_hears_of_the_node_it_waits_for(cluster: Cluster) -> None:
    a, c = cluster.start("a"), cluster.start("c")
    cluster.start("b", tree=tree(manager_to="counter@c"))
    freeze(c, "counter")
    with pytest.raises(otp.NodeDown), soon(lambda: kill(c)):
        a.call(otp.Via("keys", "1"), w.Add(1), timeout=20)


def test_managers_that_pass_on_in_circles_are_stopped(cluster: Cluster) -> None:
    a = cluster.start("a", tree=tree(manager_to="via:keys:1"))
    cluster.start("b", tree=tree(manager_to="via:keys:1"))
    with pytest.raises(otp.NoProcess):
        a.call(otp.Via("keys", "1"), w.Add(1))
