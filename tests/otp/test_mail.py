"""A worker's way to its mailroom: what is sent while there is none, and across two of them."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from threading import Thread

import pytest

from otp import mail as module
from otp.errors import Overloaded
from otp.mail import Mail, flush
from otp.transport import FrameSocket

ROUNDS_MAX = 1_000  # reads of half a frame's length at most; far fewer are needed


class Room:
    """A worker's mail, and the mailroom's ends of all that it was given."""

    def __init__(self) -> None:
        self.poll = select.poll()
        self.ends: list[FrameSocket] = []
        self.mail = Mail(self.poll, self.channel())

    def channel(self) -> FrameSocket:
        one, other = socket.socketpair()
        self.ends.append(FrameSocket(other))
        return FrameSocket(one)

    def close(self) -> None:
        if self.mail.up:
            self.mail.lost()
        for end in self.ends:
            end.close()


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.close()


def test_frames_go_out_when_written_and_come_in_when_read(room: Room) -> None:
    assert room.mail.up and room.mail.fileno() >= 0
    room.mail.send(b"one", "a")
    room.mail.send(b"two", "b")
    assert room.ends[0].receive() == []
    room.mail.write()
    assert room.ends[0].receive() == [b"one", b"two"]
    room.ends[0].send(b"reply")
    room.ends[0].flush()
    assert room.poll.poll(1000) == [(room.mail.fileno(), select.POLLIN)]
    assert room.mail.receive() == [b"reply"] and not room.mail.dry
    assert room.mail.receive() == [] and room.mail.dry


def test_a_dead_mailroom_is_an_end_and_then_there_is_none(room: Room) -> None:
    room.ends[0].close()
    with pytest.raises(EOFError):
        room.mail.receive()
    room.mail.lost()
    assert not room.mail.up and room.mail.dry and room.mail.fileno() == -1
    assert room.mail.receive() == [] and room.poll.poll(0) == []
    room.mail.write()
    room.mail.flush()


def test_what_is_sent_without_a_mailroom_waits_for_the_next(room: Room) -> None:
    room.mail.send(b"gone with the first", "a")
    room.mail.lost()
    room.mail.send(b"waits", "a")
    room.mail.send(b"waits too", "a")
    room.mail.renew(room.channel())
    room.mail.send(b"and this", "a")
    room.mail.flush()
    assert room.ends[1].receive() == [b"waits", b"waits too", b"and this"]


def test_what_waits_is_bounded_and_the_room_comes_back(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNSENT_BYTES_MAX", 10)
    for _ in range(2):
        room.mail.lost()
        room.mail.send(bytes(10), "counter")
        with pytest.raises(Overloaded, match="send to counter: the queue is full"):
            room.mail.send(b"x", "counter")
        room.mail.renew(room.channel())


def test_a_mailroom_that_reads_nothing_is_polled_for_room(room: Room) -> None:
    frame = bytes(module.AT_ONCE_BYTES_MAX // 2)
    room.mail.send(frame, "a")
    room.mail.write()
    assert room.poll.poll(0) == [], "there is no room now"
    got, rounds = list[bytes](), 0
    while not got and rounds < ROUNDS_MAX:
        got = room.ends[0].receive()
        rounds += 1
        for _, events in room.poll.poll(0):
            assert events == select.POLLOUT
            room.mail.write()
    assert got == [frame]
    room.mail.write()
    assert room.poll.poll(0) == [], "all is written: room is no news"


def test_much_at_once_waits_until_it_is_taken(room: Room) -> None:
    frame = bytes(module.AT_ONCE_BYTES_MAX + 1)
    got: list[bytes] = []
    reader = Thread(target=read_one, args=(room.ends[0], got), daemon=True)
    reader.start()
    room.mail.send(frame, "a")
    room.mail.flush()
    reader.join(10)
    assert got == [frame]


def read_one(end: FrameSocket, got: list[bytes]) -> None:
    """Read until one whole frame is there."""
    readable = select.poll()
    readable.register(end.fileno(), select.POLLIN)
    while not got and readable.poll(5_000):
        got += end.receive()


def test_flushing_to_one_who_is_gone_says_so(room: Room) -> None:
    channel = room.channel()
    channel.send(b"x")
    room.ends[-1].close()
    with pytest.raises(EOFError):
        flush(channel)
    channel.close()


def test_a_mailroom_that_takes_nothing_holds_nobody_up(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE_BYTES_MAX", 1000)
    room.mail.send(bytes(1_000_000), "a")
    until = time.monotonic() + 0.05
    with pytest.raises(Overloaded, match="took nothing in time"):
        room.mail.send(b"one more", "b", until)
    assert until <= time.monotonic() < until + 1
    monkeypatch.setattr(module, "SEND_SECONDS_MAX", 0.05)
    with pytest.raises(Overloaded):
        room.mail.send(b"one more", "b")
    room.mail.flush()
