"""Hostile bytes at every place where a network reaches us: closed in time, bounded, no traceback.

Each stream is cut into pieces at random places. What may come of it: frames, a ProtocolError or an
EOFError, and never more memory than the bound that is named.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.approach import Approach
from otp.codec import decode_envelope, encode
from otp.frames import HELLO, Envelope
from otp.peers import Outgoing
from otp.ports import Port
from otp.reactor import Reactor
from otp.transport import (
    HANDSHAKE_FRAME_BYTES_MAX,
    READ_BYTES,
    AuthenticationError,
    FrameSocket,
    Handshake,
    ProtocolError,
)
from tests.otp.routing_room import Room

EXAMPLES = 150
KEY = b"the key"
lengths = st.one_of(
    st.integers(0, 40), st.sampled_from([255, 256, 257, 2**31 - 1, 2**31, 2**32 - 1])
)
frames = st.builds(
    lambda length, body: length.to_bytes(4, "big") + body, lengths, st.binary(max_size=60)
)
envelopes = st.builds(
    lambda *fields: encode(list(fields)),
    st.integers(-3, 20) | st.none(),
    st.sampled_from(
        ["counter", "", "via:", "via:x:", "@", "a@b", "<c.1@a>", "mailroom@a", ":node"]
    ),
    st.sampled_from(["", "b", "<c.1@b>", "a", "<", "@@"]),
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-5, 5),
    st.integers(-5, 9),
    st.integers(-1, 3),
    st.sampled_from(["", "via:", "via:elections:7", "via:elections:bad", "x"]),
    st.binary(max_size=30),
)
whole = envelopes.map(lambda frame: len(frame).to_bytes(4, "big") + frame)
streams = st.lists(st.one_of(st.binary(max_size=80), frames, whole), max_size=8).map(b"".join)
fuzz = settings(max_examples=EXAMPLES, deadline=None)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@fuzz
@given(streams, st.integers(1, 90))
def test_a_stream_is_frames_or_an_error(data: bytes, size: int) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = FrameSocket(ours, frame_bytes_max=HANDSHAKE_FRAME_BYTES_MAX)
        got: list[bytes] = []
        try:
            for piece in pieces(data, size):
                theirs.sendall(piece)
                got += channel.receive()
                assert len(channel._in) <= HANDSHAKE_FRAME_BYTES_MAX + READ_BYTES + 4
        except ProtocolError:
            assert any(int.from_bytes(data[i : i + 4], "big") > 256 for i in range(len(data)))
        joined = b"".join(len(frame).to_bytes(4, "big") + frame for frame in got)
        assert data.startswith(joined), "what was taken is what was sent, in its order"
        channel.close()


@fuzz
@given(st.lists(st.binary(max_size=300), max_size=6), st.booleans())
def test_a_handshake_is_never_passed_by_chance(said: list[bytes], accepting: bool) -> None:
    shake = Handshake(KEY, accepting=accepting, random=bytes(40))
    shake.opening()
    for frame in said:
        try:
            answers = shake.feed(frame)
        except AuthenticationError:
            break
        assert sum(map(len, answers)) < 2 * HANDSHAKE_FRAME_BYTES_MAX
    assert not shake.done


def talk(
    data: bytes, size: int, begin: Callable[[Reactor, socket.socket, list[str]], None]
) -> list[str]:
    """Say it to whatever `begin` sets up, hang up, and let the loop run until it has ended."""
    reactor, ended = Reactor(), list[str]()
    ours, theirs = socket.socketpair()
    with theirs:
        begin(reactor, ours, ended)
        for piece in pieces(data, size):
            try:
                theirs.sendall(piece)
            except OSError:
                break  # closed already, as it should be
            reactor.at_end_of_round(lambda: None)
            reactor.run_once()
    wake = reactor.after(5, lambda: ended.append("it hangs"))
    while not ended:
        reactor.run_once()
    wake.cancel()
    reactor.close()
    return ended


@fuzz
@given(streams, st.integers(1, 90))
def test_a_stranger_is_turned_away_whatever_it_says(data: bytes, size: int) -> None:
    def begin(reactor: Reactor, sock: socket.socket, ended: list[str]) -> None:
        Approach(
            reactor, sock, authkey=KEY, tls=None, accepting=True,
            done=lambda _, problem: ended.append(problem),
        ).begin()  # fmt: skip

    (problem,) = talk(data, size, begin)
    assert problem and problem != "it hangs"


class Dialled(Outgoing):
    """An outgoing connection to somebody hostile, who has passed the handshake."""

    def __init__(self, reactor: Reactor, sock: socket.socket, ended: list[str]) -> None:
        self._reactor, self._name, self._address, self._done = reactor, "b", "b:1", ended.append
        self._deadline, self._lookup, self._over = None, None, False
        self._approach = Approach(
            reactor, sock, authkey=KEY, tls=None, accepting=False, done=self._approached
        )
        self.channel = self._approach.channel


@fuzz
@given(streams, st.integers(1, 90))
def test_one_who_is_dialled_may_say_what_it_wants(data: bytes, size: int) -> None:
    made: list[Dialled] = []

    def begin(reactor: Reactor, sock: socket.socket, ended: list[str]) -> None:
        made.append(Dialled(reactor, sock, ended))
        approach = made[0]._approach
        assert approach is not None
        approach.finish("")

    assert talk(data, size, begin) != ["it hangs"]
    made[0].channel.close()  # it may have guessed our hello


@fuzz
@given(st.lists(envelopes, max_size=12), st.booleans())
def test_whoever_has_the_key_cannot_break_the_tables(sent: list[bytes], link: bool) -> None:
    room = Room()
    room.worker("<c.1@a>", "counter", "manager")
    source = room.link() if link else room.client()
    for frame in sent:
        try:
            envelope = decode_envelope(frame)
        except msgspec.DecodeError:
            continue
        if envelope.kind == HELLO:
            room.router.is_peer(source, envelope.frm, "h:1")
        else:
            room.router.route(envelope, frame, source)
    list(room.router.sweep())
    assert room.router.port("<c.1@a>") is not None


@fuzz
@given(streams, st.integers(1, 90))
def test_a_port_gives_envelopes_or_an_error(data: bytes, size: int) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        port = Port(FrameSocket(ours), "x", "client", remote=True)
        try:
            for piece in pieces(data, size):
                theirs.sendall(piece)
                port.receive()
        except ProtocolError:
            pass
        assert all(isinstance(envelope, Envelope) for envelope, _ in port.take())
        port.close()
