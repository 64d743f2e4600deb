"""Registries, whereis and process groups of real processes, across deaths of all kinds."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import otp
from otp.testing import Start, eventually
from tests.system import name_workers as w
from tests.system.help import free_ports, key_file, restart, row


def tree(key: str = "") -> otp.Supervisor:
    return otp.Supervisor(
        "root",
        max_restarts=1000,
        children=[
            otp.ChildSpec("one", w.Guest, args={"key": key}, name="first"),
            otp.ChildSpec("two", w.Guest),
        ],
    )


@pytest.fixture(scope="module")
def shared() -> Iterator[otp.StartedNode]:
    with otp.start(tree()) as node:
        yield node


@pytest.fixture
def node(shared: otp.StartedNode) -> otp.StartedNode:
    for path in ("one", "two"):
        restart(shared, path)
    return shared


def pid(node: otp.Node, path: str) -> str:
    return row(node, f"root/{path}").process


def heard(node: otp.Node, path: str) -> list[str]:
    """What it has heard, once that is something."""
    return eventually(lambda: node.call(path, w.Heard()))


# ---------------------------------------------------------------- registries


def test_a_unique_key_is_an_address_as_long_as_its_process_lives(node: otp.StartedNode) -> None:
    one, two = pid(node, "one"), pid(node, "two")
    assert node.call("one", w.Enter("rooms", "x", "v")) == ""
    assert node.call("two", w.Enter("rooms", "x")) == (
        f"register 'x' in 'rooms': {one} has it; keys are unique there"
    )
    assert node.lookup("rooms", "x") == [(one, {"value": "v"})]
    via = otp.Via("rooms", "x")
    assert node.call(via, w.Heard()) == []
    node.call("one", w.Leave("rooms", "x"))
    with pytest.raises(otp.NoProcess):
        node.call(via, w.Heard())
    assert node.call("two", w.Enter("rooms", "x")) == ""
    assert node.call(via, w.Find("two")) == two
    node.kill("two")
    eventually(lambda: node.lookup("rooms", "x") == [])
    with pytest.raises(otp.NoProcess):
        node.call(via, w.Heard())


def test_a_duplicate_key_is_for_all_who_have_it(node: otp.StartedNode) -> None:
    for path in ("two", "one"):
        assert node.call(path, w.Enter("events", "all", path, unique=False)) == ""
    found = [(pid(node, path), {"value": path}) for path in ("two", "one")]
    assert node.lookup("events", "all") == found
    assert node.dispatch("events", "all", w.Note("hello")) == 2
    for path in ("one", "two"):
        assert heard(node, path) == ["hello"]
    assert "duplicate keys" in node.call("one", w.Enter("events", "other"))
    assert node.registered_keys("events", pid(node, "one")) == ["all"]
    with pytest.raises(otp.NoProcess):
        node.call(otp.Via("events", "all"), w.Heard())


def test_a_dead_mailroom_takes_no_entry_along(node: otp.StartedNode) -> None:
    node.call("one", w.Enter("rooms", "x"))
    node.call("one", w.Group("join", "g"))
    for _ in range(2):
        with node.expect(otp.ChildStarted, "otp/mailroom"):
            node.kill("mailroom")
    again = (otp.Disconnected, otp.NotRunning)
    found = eventually(lambda: node.lookup("rooms", "x"), ignoring=again)
    assert found == [(pid(node, "one"), None)]
    assert node.call(otp.Via("rooms", "x"), w.Heard()) == []
    assert node.pg.members("g") == [pid(node, "one")]


def test_what_cannot_be_registered_is_refused_with_a_word(node: otp.StartedNode) -> None:
    assert "no colons" in node.call("one", w.Enter("a:b", "x"))
    assert "longer than" in node.call("one", w.Enter("rooms", "x" * 2000))
    assert "longer than" in node.call("one", w.Enter("rooms", "x", "v" * 100_000))
    with pytest.raises(ValueError, match="is no server of node local"):
        node.call(otp.node_messages.NODE, otp.services.JoinGroup("g"))
    with pytest.raises(otp.Undecodable, match="a node does not accept it"):
        node.call(otp.node_messages.NODE, w.Heard())


def test_a_monitor_by_key(node: otp.StartedNode) -> None:
    node.call("one", w.Enter("rooms", "x"))
    node.call("two", w.Watch("rooms", "x"))
    node.call("two", w.Watch("rooms", "nobody"))
    assert eventually(lambda: node.call("two", w.Heard())) == ["down via:rooms:nobody noproc"]
    node.kill("one")
    expected = ["down via:rooms:nobody noproc", "down via:rooms:x killed"]
    eventually(lambda: node.call("two", w.Heard()) == expected)


def test_whereis(node: otp.StartedNode) -> None:
    one = pid(node, "one")
    for name in ("one", "first", "one@local", one):
        assert node.whereis(name) == one
        assert node.call("two", w.Find(name)) == one
    assert node.whereis("nobody") is None
    with pytest.raises(otp.NodeDown):
        node.whereis("one@far")


# ---------------------------------------------------------------- groups


def test_a_group_is_told_of_who_comes_and_goes(node: otp.StartedNode) -> None:
    one, two = pid(node, "one"), pid(node, "two")
    assert node.call("two", w.Group("monitor", "g")) == []
    for _ in range(2):
        node.call("one", w.Group("join", "g"))
    node.call("one", w.Group("join", "h"))
    assert node.pg.members("g") == [one, one] == node.pg.local_members("g")
    assert sorted(node.pg.which_groups()) == ["g", "h"]
    assert node.call("one", w.Group("leave", "g")) is True
    assert node.call("two", w.Group("leave", "g")) is False
    node.call("two", w.Group("join", "g"))
    assert node.pg.members("g") == [one, two]
    node.kill("one")
    heard = ["g +1 -0", "g +1 -0", "g +0 -1", "g +1 -0", "g +0 -1"]
    eventually(lambda: node.call("two", w.Heard()) == heard)
    node.call("two", w.Group("demonitor"))
    node.call("two", w.Group("leave", "g"))
    assert (node.call("two", w.Heard()), node.pg.members("g")) == (heard, [])


def test_from_asyncio(otp_start: Start) -> None:
    async def program() -> None:
        async with otp.aio.start(tree("lobby")) as node:
            one = await node.whereis("one")
            assert await node.lookup("rooms", "lobby") == [(one, None)]
            assert await node.registered_keys("rooms", str(one)) == ["lobby"]
            assert await node.dispatch("rooms", "lobby", w.Note("hello")) == 1
            assert await node.call("one", w.Heard()) == ["hello"]
            assert await node.pg.members("guests") == [one]
            assert await node.pg.local_members("guests") == [one]
            assert await node.pg.which_groups() == ["guests"]

    asyncio.run(program())


# ---------------------------------------------------------------- several nodes


@pytest.fixture
def cluster(otp_start: Start, tmp_path: Path) -> Callable[[str], otp.StartedNode]:
    key, ports = key_file(tmp_path), free_ports(3)
    peers = {name: f"127.0.0.1:{port}" for name, port in zip("abc", ports, strict=True)}

    def start(name: str, **options: Any) -> otp.StartedNode:
        return otp_start(
            tree(), name=name, listen=peers[name], peers=peers, authkey_file=key, log="none"
        )

    return start


def test_an_exit_signal_goes_to_another_node(
    cluster: Callable[[str], otp.StartedNode],
) -> None:
    a, b = cluster("a"), cluster("b")
    for reason, kind in (("shutdown: enough", "shutdown"), ("kill", "killed")):
        with b.expect(otp.ChildExited, "root/two") as exited:
            a.call("one", w.End("two@b", reason))
        assert exited.report.reason.kind == kind
        eventually(lambda: row(b, "root/two").state == "running")


def test_groups_span_nodes_and_forget_those_that_are_lost(
    cluster: Callable[[str], otp.StartedNode],
) -> None:
    a, b = cluster("a"), cluster("b")
    a.call("two", w.Group("monitor", "g"))
    for node in (a, b):
        node.call("one", w.Group("join", "g"))
    both = {a.whereis("one"), b.whereis("one")}
    for node in (a, b):
        eventually(lambda node=node: set(node.pg.members("g")) == both)  # type: ignore[misc]
        assert node.pg.local_members("g") == [node.whereis("one")]
    assert a.whereis("one@b") == b.whereis("one")
    assert a.whereis("nobody@b") is None
    c = cluster("c")
    c.call("one", w.Group("join", "g"))
    eventually(lambda: len(c.pg.members("g")) == 3 and len(a.pg.members("g")) == 3)
    b.kill("one")
    eventually(lambda: len(a.pg.members("g")) == 2 and len(c.pg.members("g")) == 2)
    with c.expect(otp.ChildStarted, "otp/mailroom"):
        c.kill("mailroom")
    eventually(
        lambda: len(a.pg.members("g")) == 2 and len(c.pg.members("g")) == 2,
        ignoring=(otp.Disconnected, otp.NotRunning),
    )
    os.kill(c.pid, signal.SIGKILL)
    eventually(lambda: a.pg.members("g") == [a.whereis("one")] == b.pg.members("g"))
    heard = a.call("two", w.Heard())
    assert heard.count("g +1 -0") - heard.count("g +0 -1") == 1
    c = cluster("c")
    c.call("one", w.Group("join", "g"))
    eventually(lambda: len(a.pg.members("g")) == 2 == len(c.pg.members("g")))
