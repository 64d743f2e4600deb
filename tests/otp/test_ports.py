"""A port's bounds: what is queued, what is refused, and which calls still wait."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from otp import ports
from otp.codec import encode
from otp.frames import CALL, CAST, DOWN, ERROR, HELLO, INFO, MOVED, REPLY, Envelope
from otp.ports import CALL_SECONDS_MAX, Port, call_deadline
from otp.transport import FrameSocket, ProtocolError


def envelope(kind: int = CALL, *, ref: int = 1, ttl: int = 0, frm: str = "<c.9@a>") -> Envelope:
    return Envelope(kind, "counter", frm, ref, ttl, 0, 0, "", b"")


@pytest.fixture
def ends() -> Iterator[tuple[FrameSocket, FrameSocket]]:
    one, other = (FrameSocket(sock) for sock in socket.socketpair())
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def port(ends: tuple[FrameSocket, FrameSocket]) -> Port:
    return Port(ends[0], "<c.1@a>")


@pytest.fixture
def far(ends: tuple[FrameSocket, FrameSocket]) -> FrameSocket:
    """The other end of the port's connection."""
    return ends[1]


def test_a_call_is_remembered_until_its_callers_deadline() -> None:
    assert call_deadline(envelope(ttl=1500), 10.0) == 11.5
    assert call_deadline(envelope(), 10.0) == 10.0 + CALL_SECONDS_MAX


def test_what_arrives_is_decoded_and_taken_once(port: Port, far: FrameSocket) -> None:
    frames = [encode(envelope(ref=ref)) for ref in range(3)]
    for frame in frames:
        far.send(frame)
    far.flush()
    port.receive()
    assert port.take() == [(envelope(ref=ref), frame) for ref, frame in enumerate(frames)]
    assert port.take() == []


@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"\x90", encode("text"), b"\x91" * 5000])
def test_garbage_is_told_from_an_end(port: Port, far: FrameSocket, garbage: bytes) -> None:
    far.send(garbage)
    far.flush()
    with pytest.raises(ProtocolError, match="it sent a frame that is none: "):
        port.receive()


def test_a_closed_connection_is_the_end(port: Port, far: FrameSocket) -> None:
    far.close()
    with pytest.raises(EOFError):
        port.receive()


# ---------------------------------------------------------------- bounds


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "QUEUE_BYTES_MAX", 100)
    monkeypatch.setattr(ports, "RESERVED_BYTES", 50)


@pytest.mark.usefixtures("narrow")
def test_a_full_queue_has_room_for_signals_only(port: Port) -> None:
    assert port.offer(envelope(CAST), bytes(90))
    for kind in (CALL, CAST, INFO):
        assert not port.offer(envelope(kind), bytes(10))
    assert port.dropped == 3
    assert port.offer(envelope(REPLY), bytes(10))
    assert port.offer(envelope(DOWN), bytes(10))
    assert port.channel.waiting == 90 + 10 + 10 + 3 * 4
    for kind in (REPLY, ERROR, DOWN, MOVED, HELLO):
        assert not port.offer(envelope(kind), bytes(50)), "that room has its bound too"


@pytest.mark.usefixtures("narrow")
def test_one_frame_of_any_length_has_room_where_nothing_waits(port: Port) -> None:
    assert port.offer(envelope(CALL), bytes(1000))
    assert not port.offer(envelope(CALL), b"")
    port.channel.flush()
    assert port.offer(envelope(CALL), bytes(1000))


def test_what_is_written_now_never_overtakes_what_waits(port: Port, far: FrameSocket) -> None:
    assert port.offer(envelope(CAST), b"first", now=True)
    assert far.receive() == [b"first"] and not port.channel.waiting
    port.offer(envelope(CAST), b"second")
    assert port.offer(envelope(CAST), b"third", now=True)
    assert port.channel.flush()
    assert far.receive() == [b"second", b"third"]


def test_an_end_that_is_met_while_writing_is_left_to_whoever_flushes(
    port: Port, far: FrameSocket
) -> None:
    far.close()
    assert port.offer(envelope(CALL), b"in vain", now=True)
    with pytest.raises(EOFError):
        port.channel.flush()


# ---------------------------------------------------------------- calls


def test_calls_wait_until_they_are_answered_or_nobody_waits_for_them(port: Port) -> None:
    port.expect(envelope(ref=1, ttl=1000), 10.0)
    port.expect(envelope(ref=2, ttl=9000), 10.0)
    port.expect(envelope(ref=1, ttl=9000, frm="<c.8@a>"), 10.0)
    port.answered("<c.8@a>", 1)
    port.answered("<c.8@a>", 1)
    assert port.calls == {("<c.9@a>", 1): 11.0, ("<c.9@a>", 2): 19.0}
    port.sweep(11.0)
    assert len(port.calls) == 2, "its caller may wait until that very moment"
    port.sweep(11.5)
    assert port.calls == {("<c.9@a>", 2): 19.0}


def test_closing_keeps_the_calls_for_whoever_answers_for_them(port: Port) -> None:
    port.expect(envelope(), 10.0)
    port.close()
    assert not port.open and port.channel.fileno() == -1 and len(port.calls) == 1


def test_a_ports_callback_is_always_the_same_one(port: Port) -> None:
    flushed: list[Port] = []
    callback = port.flush_callback(flushed.append)
    assert port.flush_callback(flushed.append) is callback
    callback()
    assert flushed == [port]
