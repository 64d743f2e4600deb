"""Links between mailrooms over real sockets on one reactor: made, refused, lost, tried again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from otp import lookup, peers
from otp.approach import HANDSHAKE_SECONDS_MAX, SILENT, Approach
from otp.codec import decode_envelope, encode
from otp.frames import CALL, HELLO, MSGPACK, Envelope, Serve
from otp.peers import Peer, hello
from otp.reactor import Reactor
from otp.transport import REJECTED, FrameSocket

KEY = b"the cluster's key"
SECONDS_MAX = 5.0


def call(ref: int = 1) -> tuple[Envelope, bytes]:
    envelope = Envelope(CALL, "counter@b", "<c.c1@a>", ref, 0, 0, MSGPACK, "", b"\xc0")
    return envelope, encode(envelope)


class Clocked(Reactor):
    """A reactor whose time only the test moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 100.0

    def now(self) -> float:
        return self.time


class World:
    """A peer of node a, and the door that it knocks at, of the node `name`."""

    def __init__(self) -> None:
        self.reactor = Clocked()
        self.door = socket.create_server(("127.0.0.1", 0))
        self.door.setblocking(False)
        self.name = "b"
        self.accepted: list[FrameSocket] = []
        self.strangers: list[str] = []
        self.up: list[Peer] = []
        self.lost: list[tuple[str, list[int]]] = []
        self.reactor.read(self.door, self._accept)

    @property
    def address(self) -> str:
        host, port = self.door.getsockname()
        return f"{host}:{port}"

    def _accept(self) -> None:
        sock = self.door.accept()[0]
        approach = Approach(
            self.reactor, sock, authkey=KEY, tls=None, accepting=True, done=self._done
        )
        self.accepted.append(approach.channel)
        approach.begin()

    def _done(self, approach: Approach, problem: str) -> None:
        self.strangers.append(problem)
        if not problem:
            approach.channel.send(hello(self.name, ""))
            approach.channel.flush()

    def peer(self, key: bytes = KEY, address: str = "") -> Peer:
        def lost(peer: Peer, text: str, waiting: list[Envelope]) -> None:
            self.lost.append((text, [envelope.ref for envelope in waiting]))

        return Peer(
            self.reactor, "b", address or self.address,
            me=Serve("a", "", key, {}, {}, "here:1"), tls=None, up=self.up.append, lost=lost,
        )  # fmt: skip

    def until(self, condition: Callable[[], object]) -> None:
        """Run rounds until it holds; a deadline says that it never will."""
        late = time.monotonic() + SECONDS_MAX
        wake = self.reactor.after(SECONDS_MAX, lambda: None)  # no round waits longer than that
        while not condition():
            assert time.monotonic() < late, "it has not come to that in time"
            self.reactor.run_once()
        wake.cancel()

    def close(self) -> None:
        for channel in self.accepted:
            channel.close()
        self.door.close()
        self.reactor.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_a_link_is_made_by_the_first_frame_and_what_waited_goes_out(world: World) -> None:
    peer = world.peer()
    assert peer.queue(*call(1)) == "" and peer.queue(*call(2)) == ""
    assert peer.port is None
    world.until(lambda: world.up)
    assert world.up == [peer] and world.strangers == [""] and peer.port is not None
    assert (peer.port.kind, peer.port.remote, peer.port.peer) == ("link", True, "b")
    peer.port.channel.flush()
    got: list[bytes] = []
    (theirs,) = world.accepted
    world.reactor.read(theirs, lambda: got.extend(theirs.receive()))
    world.until(lambda: len(got) == 3)
    first, *rest = map(decode_envelope, got)
    assert (first.kind, first.frm, first.to, first.body) == (HELLO, "a", "b", b"here:1")
    assert rest == [call(1)[0], call(2)[0]]
    world.reactor.forget(theirs)
    assert peer.fail("the end") and not peer.fail("again")
    assert world.lost == [("the end", [])] and peer.port is None


def test_another_key_makes_no_link_on_either_side(world: World) -> None:
    peer = world.peer(key=b"another")
    peer.queue(*call(1))
    world.until(lambda: world.lost and world.strangers)
    assert world.strangers == ["wrong authkey"] and world.up == []
    assert [refs for _, refs in world.lost] == [[1]], "who waits is told"
    assert peer.queue(*call(2)) == "down"


def test_a_node_of_another_name_is_not_the_one_that_was_meant(world: World) -> None:
    world.name = "c"
    world.peer().queue(*call(1))
    world.until(lambda: world.lost)
    assert world.lost == [(f"at {world.address} is c", [1])] and world.up == []


@pytest.mark.parametrize("address", ["", "nonsense", "127.0.0.1:x", "127.0.0.1:99999", ":"])
def test_an_address_that_is_none_is_down(world: World, address: str) -> None:
    assert world.peer(address=address or "no port").queue(*call()) == "down"
    assert world.lost == []


def test_a_name_is_looked_up_without_holding_anybody_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = world.door.getsockname()[1]
    peer = world.peer(address=f"localhost:{port}")
    assert peer.queue(*call(1)) == ""
    world.until(lambda: world.up)
    resolving, never = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> list[object]:
        resolving.set()
        never.wait(SECONDS_MAX)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    other = world.peer(address=f"slow.example:{port}")
    other.queue(*call(2))
    assert resolving.wait(SECONDS_MAX)
    world.reactor.time += HANDSHAKE_SECONDS_MAX
    world.until(lambda: world.lost)
    never.set()
    for thread in threading.enumerate():
        if thread.name == lookup.__name__:
            thread.join(SECONDS_MAX)
    assert world.lost == [(f"no address is found for slow.example:{port}", [2])]
    assert peer.fail("the end")


def test_nobody_listening_is_tried_again_after_a_pause_that_grows(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    peer = world.peer(address=address)
    pause = peers.RETRY_SECONDS_FIRST
    for attempt in range(1, 9):
        assert peer.queue(*call()) == "", attempt
        world.until(lambda: len(world.lost) == attempt)  # noqa: B023
        world.reactor.time += pause * 0.99
        assert peer.queue(*call()) == "down"
        world.reactor.time += pause * 0.02
        pause = min(2 * pause, peers.RETRY_SECONDS_MAX)
    assert peer.queue(*call()) == ""
    world.until(lambda: len(world.lost) == 9)
    peer.heard()
    peer.address = world.address
    assert peer.queue(*call()) == "", "it is there: it has just connected to us"
    world.until(lambda: world.up)
    assert peer.fail("the end")


def test_what_waits_for_a_link_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "BACKLOG_BYTES_MAX", 100)
    peer = world.peer()
    envelope, _ = call(1)
    assert peer.queue(envelope, bytes(1000)) == "", "one frame of any length has room"
    assert peer.queue(envelope, b"x") == "full"
    assert peer.fail("enough")


def test_one_who_never_answers_is_given_up(world: World) -> None:
    world.reactor.forget(world.door)
    world.peer().queue(*call(1))
    world.reactor.time += HANDSHAKE_SECONDS_MAX
    world.until(lambda: world.lost)
    assert world.lost == [(SILENT, [1])]


# ---------------------------------------------------------------- strangers


@pytest.fixture
def stranger(world: World) -> Iterator[FrameSocket]:
    """A connection from somebody, who has been challenged."""
    with socket.create_connection(world.door.getsockname()) as sock:
        channel = FrameSocket(sock)
        got: list[bytes] = []
        world.reactor.read(channel, lambda: got.extend(channel.receive(1)))
        world.until(lambda: got)
        world.reactor.forget(channel)
        assert got[0].startswith(b"#CHALLENGE#")
        yield channel


def test_a_silent_stranger_is_closed_in_time(world: World, stranger: FrameSocket) -> None:
    assert world.strangers == []
    world.reactor.time += HANDSHAKE_SECONDS_MAX
    world.until(lambda: world.strangers)
    assert world.strangers == [SILENT] and world.accepted[0].fileno() == -1


def test_a_stranger_without_the_key_is_told_and_closed(world: World, stranger: FrameSocket) -> None:
    stranger.send(b"{sha256}" + bytes(32))
    stranger.flush()
    world.until(lambda: world.strangers)
    stranger.sock.settimeout(SECONDS_MAX)
    assert world.strangers == ["wrong authkey"] and stranger.receive() == [REJECTED]
    with pytest.raises(EOFError):
        stranger.receive()


def test_a_stranger_cannot_announce_a_long_frame(world: World, stranger: FrameSocket) -> None:
    stranger.send(bytes(1000))
    stranger.flush()
    world.until(lambda: world.strangers)
    assert "at most 256" in world.strangers[0]


def test_a_stranger_who_leaves_is_forgotten(world: World, stranger: FrameSocket) -> None:
    stranger.close()
    world.until(lambda: world.strangers)
    assert world.strangers == ["closed by the other side"]
