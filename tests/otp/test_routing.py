"""Where frames go: a router's decisions, with queues in place of sockets and peers."""

from __future__ import annotations

import pytest

from otp import keys, ports, routing
from otp.codec import encode
from otp.frames import (
    CALL,
    CAST,
    DOWN,
    ERROR,
    HELLO,
    HOPS_MAX,
    MONITOR,
    MOVED,
    MSGPACK,
    PICKLE,
    REPLY,
    Envelope,
    Failure,
)
from otp.messages import KILLED, NOCONNECTION
from otp.routing import PASSED_ON_MAX
from tests.otp.routing_room import CLIENT, KEY, Room, failures, taken

LOST = Failure("nodedown", "b", NOCONNECTION)


@pytest.fixture
def room() -> Room:
    return Room()


# ---------------------------------------------------------------- here


@pytest.mark.parametrize("to", ["counter", "counter@a", "<c.1@a>"])
def test_a_call_goes_to_its_server_and_the_reply_to_its_caller(room: Room, to: str) -> None:
    server, client = room.worker("<c.1@a>", "counter"), room.client()
    call = room.send(client, CALL, to, ref=7)
    assert taken(server) == [call] and list(server.calls) == [(CLIENT, 7)]
    reply = room.send(server, REPLY, CLIENT, ref=7)
    assert taken(client) == [reply] and server.calls == {}


def test_nobody_there_is_told_to_a_caller_and_to_nobody_else(room: Room) -> None:
    client = room.client()
    room.send(client, CAST, "counter")
    room.send(client, CALL, "counter", ref=3)
    assert failures(client) == [(3, Failure("noproc", "counter"))]


def test_a_call_to_a_supervisor_goes_to_the_node(room: Room) -> None:
    client, worker = room.client(), room.worker("<c.1@a>")
    room.router.route_to_node(["pool"], remove=False)
    room.send(client, CALL, "pool")
    room.send(worker, CALL, "pool@a")
    assert [remote for _, remote in room.node] == [True, False]
    room.node_behind = True
    room.send(client, CALL, "pool", ref=4)
    assert failures(client) == [(4, Failure("overloaded", "the node process is behind"))]
    room.router.route_to_node(["pool"], remove=True)
    room.send(client, CALL, "pool@a", ref=5)
    assert failures(client) == [(5, Failure("noproc", "pool@a"))]


def test_what_the_node_itself_says_goes_to_its_receiver(room: Room) -> None:
    client = room.client()
    reply = Envelope(REPLY, CLIENT, "", 1, 0, 0, MSGPACK, "", b"\xc0")
    room.router.from_node(encode(reply))
    assert taken(client) == [reply]


def test_the_end_of_a_server_is_told_to_all_who_wait_for_it(room: Room) -> None:
    server = room.worker("<c.1@a>", "counter")
    client, other = room.client(), room.client("<c.c2@a>")
    room.send(client, CALL, "counter", ref=1)
    room.send(client, CALL, "counter", ref=2)
    room.send(server, REPLY, CLIENT, ref=1)
    room.send(other, CALL, "counter", ref=1)
    taken(client)
    room.router.detach("<c.1@a>", KILLED)
    down = Failure("serverdown", "killed", KILLED)
    assert failures(client) == [(2, down)] and failures(other) == [(1, down)]
    assert room.closed == [("<c.1@a>", "")] and room.router.port("<c.1@a>") is None
    room.router.detach("<c.1@a>", KILLED)
    room.send(client, CALL, "counter", ref=9)
    assert failures(client) == [(9, Failure("noproc", "counter"))]


def test_a_restarted_server_keeps_its_address_when_the_old_one_is_detached(room: Room) -> None:
    room.worker("<c.1@a>", "counter")
    new = room.worker("<c.2@a>", "counter")
    room.router.detach("<c.1@a>", KILLED)
    room.send(room.client(), CALL, "counter")
    assert len(taken(new)) == 1


def test_a_server_whose_socket_is_closed_but_not_yet_detached_is_nobody(room: Room) -> None:
    server, client = room.worker("<c.1@a>", "counter"), room.client()
    room.send(client, CALL, "counter", ref=1)
    room.close(server, "it hung up")
    room.send(client, CALL, "counter", ref=2)
    assert failures(client) == [(2, Failure("noproc", "counter"))]
    room.router.detach("<c.1@a>", KILLED)
    assert [ref for ref, _ in failures(client)] == [1], "whoever had reached it is told why"


def test_a_full_queue_refuses_calls_and_drops_casts(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "QUEUE_BYTES_MAX", 10)
    server, client = room.worker("<c.1@a>", "counter"), room.client()
    for ref in range(3):
        room.send(client, CALL, "counter", ref=ref)
    room.send(client, CAST, "counter")
    refused = [(ref, failure.kind) for ref, failure in failures(client)]
    assert refused == [(1, "overloaded"), (2, "overloaded")]
    assert list(server.calls) == [(CLIENT, 0)] and server.dropped == 3
    assert list(room.router.sweep()) == [("<c.1@a>", 3)]
    assert list(room.router.sweep()) == []


def test_whoever_does_not_read_its_replies_is_closed(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "QUEUE_BYTES_MAX", 10)
    monkeypatch.setattr(ports, "RESERVED_BYTES", 10)
    server, client = room.worker("<c.1@a>"), room.client()
    room.send(server, REPLY, CLIENT)
    room.send(server, REPLY, CLIENT)
    assert [process for process, _ in room.closed] == [client.process]


def test_too_many_calls_at_one_server(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "CALLS_MAX", 1)
    server, client = room.worker("<c.1@a>", "counter"), room.client()
    room.send(client, CALL, "counter", ref=1, ttl=500)
    room.send(client, CALL, "counter", ref=2)
    assert failures(client) == [(2, Failure("overloaded", "1 calls wait there"))]
    room.time += 1.0
    assert list(room.router.sweep()) == [] and server.calls == {}
    room.send(client, CALL, "counter", ref=3)
    assert failures(client) == []


def test_pickle_from_the_network_is_refused_and_among_our_own_is_not(room: Room) -> None:
    server, client, own = room.worker("<c.1@a>", "counter"), room.client(), room.worker("<c.2@a>")
    room.send(client, CALL, "counter", codec=PICKLE)
    assert taken(server) == []
    ((_, failure),) = failures(client)
    assert failure.kind == "undecodable" and "refused from the network" in failure.text
    room.send(own, CALL, "counter", codec=PICKLE)
    assert len(taken(server)) == 1


def test_frames_that_only_mailrooms_send_close_whoever_else_sends_them(room: Room) -> None:
    for kind in (DOWN, MONITOR, MOVED, HELLO, 0, 99, -1):
        client = room.client()
        room.send(client, kind, "counter")
        assert not client.open
        assert room.closed.pop() == (CLIENT, f"it sent a frame of kind {kind}")


def test_a_client_that_left_hears_nothing(room: Room) -> None:
    server, client = room.worker("<c.1@a>", "counter"), room.client()
    room.send(client, CALL, "counter")
    room.close(client, "")
    room.send(server, REPLY, CLIENT)
    room.send(server, CALL, CLIENT, ref=8)
    assert taken(client) == []
    assert [(envelope.kind, envelope.ref) for envelope in taken(server)] == [(CALL, 1), (ERROR, 8)]


# ---------------------------------------------------------------- other nodes


def test_a_call_to_another_node_goes_over_its_link(room: Room) -> None:
    client, out, back = room.client(), room.peers["b"].up(), room.link()
    call = room.send(client, CALL, "counter@b", ref=5)
    assert taken(out) == [call]
    room.send(back, REPLY, CLIENT, ref=5, frm="<c.1@b>")
    assert [envelope.ref for envelope in taken(client)] == [5]
    room.router.lose("b", "cut")
    assert failures(client) == [], "it has its answer"


def test_a_node_that_is_down_or_unknown_is_nodedown(room: Room) -> None:
    client = room.client()
    room.send(client, CALL, "counter@b", ref=1)
    room.send(client, CALL, "counter@nowhere", ref=2)
    room.send(client, CAST, "counter@b", ref=3)
    assert failures(client) == [(1, Failure("nodedown", "b")), (2, Failure("nodedown", "nowhere"))]


def test_a_lost_peer_is_told_once_to_each_who_waits_for_it(room: Room) -> None:
    client, out = room.client(), room.peers["b"].up()
    back = room.link()
    room.send(client, CALL, "counter@b", ref=1)
    room.send(client, CAST, "counter@b", ref=2)
    room.router.lose("b", "cut")
    assert failures(client) == [(1, LOST)]
    assert room.lost_nodes == ["b"] and not back.open and len(taken(out)) == 2


def test_calls_that_wait_for_a_link_hear_that_it_was_not_made(room: Room) -> None:
    client, peer = room.client(), room.peers["b"]
    peer.obstacle = ""
    room.send(client, CALL, "counter@b", ref=1)
    room.send(client, CAST, "counter@b", ref=2)
    assert len(peer.backlog) == 2
    peer.fail("refused")
    assert failures(client) == [(1, Failure("nodedown", "b"))], "it did not happen"
    peer.obstacle = "full"
    room.send(client, CALL, "counter@b", ref=3)
    assert failures(client) == [(3, Failure("overloaded", "the link to b is being made"))]


def test_the_end_of_an_incoming_link_ends_the_outgoing_one_too(room: Room) -> None:
    client, peer = room.client(), room.peers["b"]
    peer.up()
    back = room.link()
    room.send(client, CALL, "counter@b", ref=1)
    room.close(back, "it hung up")
    assert failures(client) == [(1, LOST)]
    assert room.lost_nodes == ["b"] and peer.port is None


def test_a_call_on_its_way_through_is_the_business_of_its_own_node(room: Room) -> None:
    out, back = room.peers["b"].up(), room.link()
    room.router.is_peer(room.client("<c.c8@a>"), "c", "127.0.0.1:9")
    room.peers["c"].up()
    room.send(back, CALL, "counter@c", frm="<c.c4@b>", ref=1)
    room.router.lose("c", "cut")
    assert taken(out) == [], "node b hears of c's loss by itself"


def test_too_many_calls_abroad(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "CALLS_MAX", 1)
    client, out = room.client(), room.peers["b"].up()
    room.send(client, CALL, "counter@b", ref=1, ttl=500)
    room.send(client, CALL, "counter@b", ref=2)
    assert failures(client) == [(2, Failure("overloaded", "1 calls to other nodes wait"))]
    room.time += 1.0
    assert list(room.router.sweep()) == []
    room.send(client, CALL, "counter@b", ref=3)
    assert failures(client) == [] and len(taken(out)) == 2


def test_a_pickled_reply_from_another_node_is_told_to_its_caller(room: Room) -> None:
    client, back = room.client(), room.link()
    room.peers["b"].up()
    room.send(client, CALL, "counter@b", ref=1)
    room.send(back, REPLY, CLIENT, ref=1, codec=PICKLE)
    ((ref, failure),) = failures(client)
    assert (ref, failure.kind) == (1, "undecodable")


def test_ties_of_other_nodes_go_to_our_node(room: Room) -> None:
    back = room.link()
    room.send(back, MONITOR, "counter", frm="<c.1@b>")
    assert [(envelope.kind, remote) for envelope, remote in room.node] == [(MONITOR, True)]
    room.node_behind = True
    room.send(back, DOWN, "node@a", frm="<c.1@b>")
    assert room.lost_nodes == ["b"], "a tie must not be missed: both sides forget them all"


# ---------------------------------------------------------------- who is a peer


def test_a_node_that_says_hello_is_heard_and_if_new_can_be_answered(room: Room) -> None:
    room.link()
    assert room.peers["b"].forgiven == 1
    new = room.client("<c.c5@a>")
    room.router.is_peer(new, "c", "127.0.0.1:9")
    assert (new.kind, new.peer) == ("link", "c") and room.peers["c"].address == "127.0.0.1:9"
    again = room.client("<c.c6@a>")
    room.router.is_peer(again, "c", "127.0.0.1:10")
    assert not new.open and again.open and room.lost_nodes == ["c"]
    assert room.peers["c"].address == "127.0.0.1:10"
    assert room.peers["b"].address == "127.0.0.1:1"


def test_a_hello_in_our_own_name_or_none_is_refused(room: Room) -> None:
    for name in ("", "a"):
        stranger = room.client()
        room.router.is_peer(stranger, name, "")
        assert not stranger.open


def test_the_number_of_nodes_that_make_themselves_known_is_bounded(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "PEERS_MAX", 1)
    room.router.is_peer(room.client(), "c", "127.0.0.1:9")
    assert "c" not in room.peers


# ---------------------------------------------------------------- keys


def test_a_message_to_a_key_goes_where_the_topology_says(room: Room) -> None:
    manager, client, out = room.worker("<c.1@a>", "manager"), room.client(), room.peers["b"].up()
    room.send(client, CALL, KEY)
    (call,) = taken(manager)
    assert (call.to, call.via, call.hops) == ("manager", KEY, 1)
    room.send(client, CALL, "via:elections:8")
    assert [envelope.to for envelope in taken(out)] == ["manager@b"]


@pytest.mark.parametrize("key", ["via:elections:9", "via:nothing:7", "via:elections:odd", "via:"])
def test_a_key_that_is_nowhere(room: Room, key: str) -> None:
    client = room.client()
    room.send(client, CALL, key)
    assert failures(client) == [(1, Failure("noproc", key))]


def test_a_topology_that_raises_fails_the_call_and_not_the_mailroom(
    room: Room, capsys: pytest.CaptureFixture[str]
) -> None:
    client = room.client()
    room.send(client, CALL, "via:elections:bad")
    assert [failure.kind for _, failure in failures(client)] == ["noproc"]
    assert "topology of 'elections' failed: RuntimeError" in capsys.readouterr().err


def test_what_a_manager_passes_on_goes_straight_there_next_time(room: Room) -> None:
    manager, client = room.worker("<c.1@a>", "manager"), room.client()
    writer = room.worker("<c.2@a>", "writer-7")
    room.send(client, CALL, KEY, ref=1)
    (call,) = taken(manager)
    room.send(manager, CALL, "writer-7", frm=CLIENT, ref=1, via=call.via, hops=call.hops + 1)
    assert manager.calls == {} and len(taken(writer)) == 1
    room.send(client, CALL, KEY, ref=2)
    assert taken(manager) == [] and [envelope.ref for envelope in taken(writer)] == [2]
    room.router.detach("<c.2@a>", KILLED)
    room.send(client, CALL, KEY, ref=3)
    assert [envelope.ref for envelope in taken(manager)] == [3], "the topology is asked again"


def test_another_nodes_caller_learns_the_way_and_its_wait_moves_along(room: Room) -> None:
    manager = room.worker("<c.1@a>", "manager")
    room.worker("<c.2@a>", "writer-7")
    back, out = room.link(), room.peers["b"].up()
    room.send(back, CALL, "manager", frm="<c.c4@b>", ref=6, via=KEY, hops=1)
    room.send(manager, CALL, "writer-7", frm="<c.c4@b>", ref=6, via=KEY, hops=2)
    (moved,) = taken(out)
    assert (moved.kind, moved.to, moved.frm) == (MOVED, "mailroom@b", "writer-7@a")
    assert (moved.via, moved.ref, moved.body) == (KEY, 6, b"<c.c4@b>")


def test_what_another_node_taught_is_used_and_forgotten_when_it_is_lost(room: Room) -> None:
    client, out, back = room.client(), room.peers["b"].up(), room.link()
    manager = room.worker("<c.1@a>", "manager")
    room.send(back, MOVED, "mailroom@a", frm="writer-7@b", via=KEY, body=b"<c.c4@a>")
    room.send(client, CALL, KEY, ref=1)
    assert [envelope.to for envelope in taken(out)] == ["writer-7@b"]
    room.router.lose("b", "cut")
    assert failures(client) == [(1, LOST)]
    room.send(client, CALL, KEY, ref=2)
    assert [envelope.ref for envelope in taken(manager)] == [2]


def test_the_ways_that_are_remembered_are_bounded(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MOVED_MAX", 2)
    back = room.link()
    for key in ("1", "2", "1", "3"):
        room.send(back, MOVED, "mailroom@a", frm="w@b", via=f"via:elections:{key}")
    assert list(room.router._keys._moved) == ["via:elections:1", "via:elections:3"]


def test_a_message_that_goes_round_in_circles_ends(room: Room) -> None:
    """The manager passes the key on to an address that nobody has, again and again."""
    manager, client = room.worker("<c.1@a>", "manager"), room.client()
    room.send(client, CALL, KEY)
    passed = 0
    while calls := taken(manager):
        (call,) = calls
        passed += 1
        room.send(manager, CALL, "nobody", frm=CLIENT, ref=1, via=KEY, hops=call.hops + 1)
    assert failures(client) == [(1, Failure("noproc", KEY))]
    assert 1 <= passed <= PASSED_ON_MAX


@pytest.mark.parametrize(("hops", "arrives"), [(HOPS_MAX - 1, 1), (HOPS_MAX, 0)])
def test_a_key_is_looked_up_only_so_often(room: Room, hops: int, arrives: int) -> None:
    manager, client = room.worker("<c.1@a>", "manager"), room.client()
    room.send(client, CALL, KEY, hops=hops)
    assert len(taken(manager)) == arrives and len(failures(client)) == 1 - arrives


def test_hops_below_zero_are_garbage(room: Room) -> None:
    client = room.client()
    room.worker("<c.1@a>", "counter")
    room.send(client, CALL, "counter", hops=-(10**6))
    assert not client.open
