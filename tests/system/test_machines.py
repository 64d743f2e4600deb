"""Event managers and state machines in processes of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import otp
from otp.testing import eventually
from tests.system import machine_workers as w
from tests.system.help import restart, row

TREE = otp.Supervisor(
    "root",
    max_restarts=1000,
    children=[
        otp.ChildSpec(
            "events", otp.EventManager, args={"handlers": [otp.add_handler("first", w.Keeper)]}
        ),
        otp.ChildSpec("adder", w.Adder),
        otp.ChildSpec("shop", w.Shop),
    ],
)


@pytest.fixture(scope="module")
def shared() -> Iterator[otp.Node]:
    with otp.start(TREE) as node:
        yield node


@pytest.fixture
def node(shared: otp.Node) -> otp.Node:
    for path in ("events", "adder", "shop"):
        restart(shared, path)
    return shared


def ask(node: otp.Node, id: str, what: str = "") -> object:
    return node.call("events", otp.CallHandler(id, what))


# ---------------------------------------------------------------- events


def test_an_event_goes_to_all_who_accept_it(node: otp.Node) -> None:
    node.call("events", otp.add_handler("second", "tests.system.machine_workers:Listener"))
    for event in (w.Alarm("a"), w.Calm("b"), w.Told(), w.Alarm("c")):
        node.cast("events", event)
    assert ask(node, "first") == ["a", "c"]
    assert ask(node, "second") == ["Alarm", "Calm", "Alarm"]
    assert node.call("events", otp.WhichHandlers()) == ["first", "second"]
    assert node.call("events", otp.RemoveHandler("second")) is True
    assert node.call("events", otp.RemoveHandler("second")) is False
    node.cast("events", w.Alarm("d"))
    assert node.get_state("events")["first"]["kept"] == ["a", "c", "d"]


def test_a_handler_that_raises_is_removed_and_nobody_else(node: otp.Node) -> None:
    before = row(node, "root/events").pid
    node.call("adder", w.Add("events", "frail"))
    for text in ("one", "boom", "two"):
        node.cast("events", w.Alarm(text))
    assert ask(node, "first") == ["one", "boom", "two"]
    assert node.call("events", otp.WhichHandlers()) == ["first"]
    heard = eventually(lambda: node.call("adder", w.Told()))
    assert heard == ["events frail ValueError: boom"]
    node.call("adder", w.Add("events", "frail"))
    with pytest.raises(otp.NoHandler, match=r"handler 'frail' failed: ValueError\('boom'\)"):
        ask(node, "frail", "boom")
    assert row(node, "root/events").pid == before


def test_what_a_manager_refuses(node: otp.Node) -> None:
    with pytest.raises(otp.NoHandler, match="there is no handler 'nobody'"):
        ask(node, "nobody")
    with pytest.raises(otp.NoHandler, match="is there already"):
        node.call("events", otp.add_handler("first", w.Keeper))
    with pytest.raises(TypeError, match="annotate 'event'"):
        otp.add_handler("odd", w.Undeclared)
    node.kill("events")
    eventually(lambda: ask(node, "first") == [], ignoring=(otp.NoProcess, otp.ServerDown))


def test_a_handler_that_cannot_be_made_harms_nobody(node: otp.Node) -> None:
    before = row(node, "root/events").pid
    with pytest.raises(otp.NoHandler, match=r"'worse' cannot be made: TypeError\(.*'unknown'"):
        node.call("events", otp.add_handler("worse", w.Keeper, unknown=1))
    assert node.call("events", otp.WhichHandlers()) == ["first"]
    node.call("events", otp.add_handler("odd", w.Listener))
    with pytest.raises(otp.NoHandler, match="handler 'odd' failed: TypeError"):
        ask(node, "odd", "what cannot travel")
    assert row(node, "root/events").pid == before


def test_an_event_that_is_none_harms_nobody(node: otp.Node) -> None:
    before = row(node, "root/events").pid
    for event in (5, "text", None, b"bytes", [w.Alarm], w.OtherAlarm(7), w.Alarm("last")):
        node.cast("events", event)
    assert ask(node, "first") == ["last"]
    assert row(node, "root/events").pid == before


# ---------------------------------------------------------------- states


def test_what_is_postponed_comes_in_order_when_the_state_changes(node: otp.Node) -> None:
    for n in range(3):
        node.cast("shop", w.Item(n))
    assert node.call("shop", w.Told()) == []
    assert node.get_state("shop") == {"state": "closed", "postponed": 3, "taken": []}
    node.call("shop", w.Go("busy"))
    assert node.call("shop", w.Told()) == ["0"], "it took one and closed"
    assert node.get_state("shop")["postponed"] == 2
    node.cast("shop", w.Item(3))
    node.call("shop", w.Go("open"))
    assert node.call("shop", w.Told()) == ["0", "1", "2", "3"]


def test_a_call_may_be_postponed_and_refused_later(node: otp.Node) -> None:
    results: list[object] = []

    def pick(n: int) -> None:
        try:
            results.append(node.call("shop", w.Pick(n)))
        except w.Refused as error:
            results.append(error.args)

    threads = [threading.Thread(target=pick, args=(n,)) for n in (7, -1)]
    for thread in threads:
        thread.start()
    eventually(lambda: node.get_state("shop")["postponed"] == 2)
    node.call("shop", w.Go("open"))
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == ["(-1,)", "7"]


def test_a_state_lasts_as_long_as_it_may(node: otp.Node) -> None:
    node.call("shop", w.Go("open", timeout=0.02))
    eventually(lambda: node.call("shop", w.Told()) == ["open is over"])
    assert node.get_state("shop")["state"] == "closed"
    node.call("shop", w.Go("open", timeout=0.02))
    node.call("shop", w.Go("open", timeout=60))
    node.call("shop", w.Go("busy", timeout=0.02))
    node.call("shop", w.Go("open"))
    node.send("shop", w.Item(1))
    eventually(lambda: node.call("shop", w.Told())[1:] == ["1"])
    node.call("shop", w.Again())
    assert node.call("shop", w.Told())[1:] == ["1"], "its time has begun again"
    with pytest.raises(otp.ServerDown, match="no state 'nowhere'"):
        node.call("shop", w.Go("nowhere"))
