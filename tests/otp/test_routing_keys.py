"""Keys: what finds their managers and servers, and what is learned on the way."""

from __future__ import annotations

from typing import Any

import pytest

from otp import messages as m
from otp.codec import encode
from otp.frames import (
    CALL,
    HOPS_MAX,
    MOVED,
    Envelope,
)
from otp.routing import Router
from tests.otp.routing_fakes import (
    FAR,
    ME,
    YOU,
    FakePort,
    FakeShell,
    failure,
    linked,
    make_router,
    send,
    worker,
)


@pytest.fixture
def shell() -> FakeShell:
    return FakeShell()


@pytest.fixture
def router(shell: FakeShell) -> Router:
    return make_router(shell)


def via(router: Router, source: FakePort | None, key: str, **more: Any) -> None:
    send(router, source, CALL, f"via:k:{key}", **more)


def test_a_key_leads_to_its_manager(router: Router) -> None:
    me, manager = worker(router, ME), worker(router, YOU, "manager")
    via(router, me, "1")
    (got,) = manager.got
    assert (got.to, got.via, got.hops) == ("manager", "via:k:1", 1)


@pytest.mark.parametrize("key", ["lost", "odd", "round", "unknown", ""])
def test_a_key_that_leads_nowhere(router: Router, key: str) -> None:
    me = worker(router, ME)
    via(router, me, key)
    assert failure(me).kind == "noproc"


@pytest.mark.parametrize("to", ["via:", "via:k", "via:x:1", "via"])
def test_what_is_no_key(router: Router, to: str) -> None:
    me = worker(router, ME)
    send(router, me, CALL, to)
    assert failure(me).kind == "noproc"


def passed_on(manager: FakePort, to: str) -> Envelope:
    """As a manager does it."""
    got = manager.got.pop()
    got.to, got.hops = to, got.hops + 1
    return got


def test_a_call_that_was_passed_on_goes_straight_there_next_time(router: Router) -> None:
    me, manager = worker(router, ME), worker(router, YOU, "manager")
    server = worker(router, "<1.3@a>", "server")
    via(router, me, "1")
    passed = passed_on(manager, "server")
    router.route(passed, encode(passed), manager)
    assert not manager.calls, "it owes no answer now"
    assert server.calls
    via(router, me, "1", ref=2)
    assert manager.got == []
    assert [envelope.ref for envelope in server.got] == [1, 2]
    router.detach("<1.3@a>", m.KILLED)
    me.got.clear()
    via(router, me, "1", ref=3)
    assert [envelope.ref for envelope in manager.got] == [3], "it is asked again"


def test_the_mailroom_of_the_sender_learns_where_it_went(router: Router, shell: FakeShell) -> None:
    """We are the manager's node; the caller is on b, the server here or on c."""
    manager, link = worker(router, YOU, "manager"), linked(router, "b")
    worker(router, "<1.3@a>", "server")
    to_b, to_c = shell.peers["b"].up(), shell.peers["c"].up()
    for to, where in (("server", "server@a"), ("server@c", "server@c")):
        send(router, link, CALL, "manager", frm=FAR, via="via:k:far", hops=1, ref=7)
        passed = passed_on(manager, to)
        router.route(passed, encode(passed), manager)
        moved = to_b.got.pop()
        assert (moved.kind, moved.frm, moved.via) == (MOVED, where, "via:k:far")
        assert (moved.body.decode(), moved.ref) == (FAR, 7)
    assert [envelope.to for envelope in to_c.got] == ["server@c"]
    shell.peers["c"].fail("gone")
    assert to_b.got == [], "the caller's own node tells it"


def test_a_caller_hears_of_the_loss_of_the_node_its_call_went_to(
    router: Router, shell: FakeShell
) -> None:
    """We are the caller's node; the manager is on b and passes on to c."""
    me, link = worker(router, ME), linked(router, "b")
    shell.peers["b"].up()
    via(router, me, "far")
    send(
        router,
        link,
        MOVED,
        "mailroom@a",
        frm="server@c",
        via="via:k:far",
        body=ME.encode(),
    )
    shell.peers["b"].fail("gone")
    assert me.got == []
    shell.peers["c"].up()
    shell.peers["c"].fail("gone")
    assert failure(me).kind == "nodedown"


def test_a_call_that_went_where_nobody_can_be_reached(router: Router, shell: FakeShell) -> None:
    me, link = worker(router, ME), linked(router, "b")
    shell.peers["b"].up()
    shell.peers["c"].obstacle = "down"
    via(router, me, "far")
    send(
        router,
        link,
        MOVED,
        "mailroom@a",
        frm="server@c",
        via="via:k:far",
        body=ME.encode(),
    )
    assert failure(me).kind == "nodedown"


def test_what_was_learned_of_a_lost_node_is_forgotten(router: Router, shell: FakeShell) -> None:
    me, link = worker(router, ME), linked(router, "b")
    manager = worker(router, YOU, "manager")
    shell.peers["c"].up()
    for frm in ("server@c", "<3.1@c>"):
        send(router, link, MOVED, "mailroom@a", frm=frm, via="via:k:1")
        shell.peers["c"].up()
        shell.peers["c"].fail("gone")
        via(router, me, "1")
        assert len(manager.got) == 1
        manager.got.clear()


def test_nothing_goes_round_for_ever(router: Router, shell: FakeShell) -> None:
    me, manager = worker(router, ME), worker(router, YOU, "manager")
    via(router, me, "1")
    for _ in range(2 * HOPS_MAX):
        if not manager.got:
            break
        passed = passed_on(manager, "manager")
        router.route(passed, encode(passed), manager)
    assert failure(me).kind == "noproc"
    assert not manager.calls
    assert manager.open
