"""One worker's process from the inside, with the test as its node and its mailroom."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import otp
from otp import inbox, mail
from otp.codec import decode_envelope, encode
from otp.endings import Killed, ShutDown
from otp.frames import (
    CALL,
    CAST,
    DEMONITOR,
    DOWN,
    ERROR,
    EXIT,
    INFO,
    LINK,
    MONITOR,
    MSGPACK,
    REPLY,
    SYSTEM,
    UNLINK,
    Envelope,
    Failure,
    Finish,
    FromWorker,
    Heard,
    Post,
    Rewire,
)
from otp.messages import Exit
from otp.process import Process
from otp.transport import CONTROL_FRAME_BYTES_MAX, FrameSocket

PID = "<1.1@a>"
_decode = msgspec.msgpack.Decoder(FromWorker).decode


class Add(otp.Request[int], frozen=True):
    n: int


class Note(otp.Message, frozen=True):
    text: str


class World:
    """The other ends of a worker's two sockets."""

    def __init__(self) -> None:
        control, ours = socket.socketpair()
        mail, self.mail_end = socket.socketpair()
        self.control = FrameSocket(ours, fds=True, frame_bytes_max=CONTROL_FRAME_BYTES_MAX)
        self.mail = FrameSocket(self.mail_end)
        self.process = Process(
            otp.Pid(PID),
            "counter",
            "a",
            FrameSocket(control, fds=True),
            FrameSocket(mail),
        )

    def gives(self, kind: int, *, ref: int = 0, body: bytes = b"", how: int = MSGPACK) -> None:
        """The mailroom delivers this."""
        self.mail.send(encode(Envelope(kind, PID, "<1.2@a>", ref, 0, 0, how, "", body)))
        assert self.mail.flush()

    def gets(self) -> list[Envelope]:
        """What the worker has sent."""
        return [decode_envelope(frame) for frame in self.mail.receive()]

    def says(self) -> list[Any]:
        """What the worker has said to its node."""
        return [_decode(frame) for frame in self.control.receive()]

    def tells(self, message: Any, *fds: int) -> None:
        """The node says this."""
        self.control.send(encode(message), fds)
        assert self.control.flush()

    def dies(self) -> None:
        """The mailroom does."""
        self.mail.close()

    def renews(self) -> None:
        """There is a new mailroom."""
        self.mail_end, theirs = socket.socketpair()
        self.mail = FrameSocket(self.mail_end)
        with theirs:
            self.tells(Rewire(), theirs.fileno())

    def close(self) -> None:
        for channel in (self.control, self.mail, self.process._control):
            channel.close()
        if self.process._mail.up:
            self.process._mail.lost()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def kinds(process: Process) -> list[tuple[int, int]]:
    return [(envelope.kind, envelope.ref) for envelope in process.mailbox]


# ---------------------------------------------------------------- calls


def test_what_comes_during_a_call_waits_in_order(world: World) -> None:
    me = world.process
    for ref in (7, 8):
        world.gives(CAST, ref=ref)
    world.gives(REPLY, ref=1, body=encode(3))
    world.gives(CAST, ref=9)
    assert me.call("x", Add(1), 5.0) == 3
    assert kinds(me) == [(CAST, 7), (CAST, 8), (CAST, 9)]
    (sent,) = world.gets()
    assert (sent.kind, sent.to, sent.frm, sent.ref, sent.ttl) == (CALL, "x", PID, 1, 5000)


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        (ERROR, encode(Failure("noproc", "x")), otp.NoProcess),
        (ERROR, b"junk", ValueError),
        (REPLY, encode("no number"), otp.OtpError),
    ],
)
def test_a_call_that_fails(world: World, kind: int, body: bytes, error: type[Exception]) -> None:
    world.gives(kind, ref=1, body=body)
    with pytest.raises(error):
        world.process.call("x", Add(1), 5.0)


def test_a_call_that_nobody_answers(world: World) -> None:
    with pytest.raises(otp.CallTimeout):
        world.process.call("x", Add(1), 0.02)
    world.gives(REPLY, ref=1, body=encode(3))
    world.gives(REPLY, ref=2, body=encode(4))
    assert world.process.call("x", Add(1), 5.0) == 4


def test_a_request_goes_on_in_its_turn(world: World) -> None:
    """What was sent before the reply is handled before it, even while a call waits."""
    me, order = world.process, []
    me.send_request("x", Add(1), 5.0, lambda reply, error: order.append(("then", reply)))
    world.gives(CAST, ref=7)
    world.gives(REPLY, ref=1, body=encode(3))
    world.gives(CAST, ref=8)
    world.gives(REPLY, ref=2, body=encode(4))
    assert me.call("x", Add(1), 5.0) == 4
    assert order == []
    while me.mailbox:
        envelope = me.take()
        if envelope.kind == REPLY:
            me.settle(envelope)
        else:
            order.append(("cast", envelope.ref))
    assert order == [("cast", 7), ("then", 3), ("cast", 8)]
    me.settle(Envelope(REPLY, PID, "x", 1, 0, 0, MSGPACK, "", encode(5)))
    assert len(order) == 3


def test_a_request_that_nobody_answers_goes_on_between_two_handlers(world: World) -> None:
    me, errors = world.process, []
    me.send_request("x", Add(1), 0.01, lambda reply, error: errors.append(type(error)))
    me.wait()
    assert me.due() == []
    assert errors == [otp.CallTimeout]
    world.gives(REPLY, ref=1, body=encode(3))
    me.wait()
    assert me.mailbox == me.mailbox.__class__()


# ---------------------------------------------------------------- the mailroom's death


def test_a_lost_mailroom_ends_calls_and_keeps_what_is_sent_from_then_on(world: World) -> None:
    me, errors = world.process, []
    me.send_request("x", Add(1), 5.0, lambda reply, error: errors.append(type(error)))
    me.flush()
    world.dies()
    with pytest.raises(otp.Disconnected):
        me.call("x", Add(1), 5.0)
    assert errors == []
    assert me.due() == []
    assert errors == [otp.Disconnected]
    me.cast("x", Note("a"))
    me.cast("x", Note("b"))
    world.renews()
    me.wait()
    me.flush()
    assert [envelope.kind for envelope in world.gets()] == [CAST, CAST]


def test_what_the_dead_mailroom_had_delivered_is_not_lost(world: World) -> None:
    me = world.process
    world.gives(CAST, ref=7)
    world.dies()
    world.renews()
    world.gives(CAST, ref=8)
    while len(me.mailbox) < 2:
        me.wait()
        me.flush()
    assert kinds(me) == [(CAST, 7), (CAST, 8)]


def test_what_is_kept_for_the_next_mailroom_is_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "UNSENT_BYTES_MAX", 1000)
    world.dies()
    world.process.wait()
    with pytest.raises(otp.Overloaded, match="1000 bytes unsent"):
        for _ in range(100):
            world.process.cast("x", Note("a"))
    with pytest.raises(otp.Overloaded):
        world.process.call("x", Add(1), 1.0)
    assert not world.process._pending._requests


def test_much_at_once_waits_until_the_mailroom_has_taken_it(world: World) -> None:
    got: list[bytes] = []

    def read() -> None:
        while len(got) < 100:
            got.extend(world.mail.receive())

    reading = threading.Thread(target=read)
    reading.start()
    for _ in range(100):
        world.process.cast("x", Note("x" * 100_000))
        channel = world.process._mail._channel
        assert channel is not None
        assert channel.waiting <= mail.AT_ONCE_BYTES_MAX + 101_000, "one more than that"
    world.process.flush()
    reading.join()
    assert len(got) == 100


def test_a_call_is_not_held_up_by_a_mailroom_that_does_not_read(world: World) -> None:
    world.process.cast("x", Note("x" * 900_000))
    with pytest.raises(otp.CallTimeout):
        world.process.call("x", Add(1), 0.05)


# ---------------------------------------------------------------- signals


def test_links_and_monitors_go_to_the_node(world: World) -> None:
    me = world.process
    ref = me.monitor("x")
    me.demonitor(ref)
    me.link("x")
    me.unlink(otp.Via("k", "1"))
    posts = [decode_envelope(said.envelope) for said in world.says() if isinstance(said, Post)]
    expected = [
        (MONITOR, "x", ref),
        (DEMONITOR, PID, ref),
        (LINK, "x", ref + 1),
        (UNLINK, "via:k:1", ref + 2),
    ]
    assert [(post.kind, post.to, post.ref) for post in posts] == expected


def test_a_signal_that_is_told_again_is_not_heard_again(world: World) -> None:
    me = world.process
    me.traps_exits = True
    for serial in (3, 5):
        world.gives(DOWN, ref=serial)
    me.wait()
    assert world.says() == [Heard(5)]
    for serial in (3, 5, 9):
        world.gives(EXIT, ref=serial)
    me.wait()
    assert world.says() == [Heard(9)]
    assert kinds(me) == [(DOWN, 3), (DOWN, 5), (EXIT, 9)]


def test_an_exit_ends_a_call_that_blocks_unless_exits_are_trapped(world: World) -> None:
    me = world.process
    killed = encode(Exit("<1.2@a>", otp.Reason("crash", "boom")))
    world.gives(EXIT, ref=1, body=encode(Exit("<1.2@a>", otp.Reason("normal"))))
    with pytest.raises(otp.CallTimeout):
        me.call("x", Add(1), 0.02)
    world.gives(EXIT, ref=2, body=killed)
    with pytest.raises(Killed, match="crash: boom"):
        me.call("x", Add(1), 5.0)
    me.ending()
    world.gives(EXIT, ref=3, body=killed)
    with pytest.raises(otp.CallTimeout):
        me.call("x", Add(1), 0.02)


# ---------------------------------------------------------------- limits, timers, the end


def test_a_full_mailbox_refuses_calls_and_drops_casts_but_no_signals(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inbox, "MAILBOX_BYTES_MAX", 10_000)
    me = world.process
    world.gives(CAST, ref=1, body=bytes(20_000))
    for ref, kind in enumerate((CALL, CAST, INFO, DOWN, CAST), 2):
        world.gives(kind, ref=ref)
    me.wait()
    me.flush()
    assert kinds(me) == [(CAST, 1), (DOWN, 5)]
    (answer,) = world.gets()
    assert (answer.kind, answer.ref) == (ERROR, 2)
    assert b"overloaded" in answer.body
    assert "its mailbox is full, 2 messages were dropped so far" in capsys.readouterr().err
    while me.mailbox:
        me.take()
    world.gives(CAST, ref=9)
    me.wait()
    assert kinds(me) == [(CAST, 9)]


def test_timers(world: World) -> None:
    me = world.process
    me.send_after(0.02, Note("b"))
    me.send_after(0.01, Note("a"))
    me.cancel_timer(me.send_after(0.001, Note("never")))
    got: list[Any] = []
    while len(got) < 2:
        me.wait()
        got += me.due()
    assert got == [Note("a"), Note("b")]


def test_an_interval_comes_again_until_it_is_cancelled(world: World) -> None:
    me, got = world.process, list[Any]()
    ref = me.send_interval(0.005, Note("tick"))
    while len(got) < 3:
        me.wait()
        got += me.due()
    left = me.cancel_timer(ref)
    assert left is not None and 0 <= left <= 0.005
    assert me.cancel_timer(ref) is None
    assert me.timers == 0
    with pytest.raises(ValueError, match="more than 0"):
        me.send_interval(0, Note("tick"))


def test_a_suspended_worker_takes_system_messages_only_however_much_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MAILBOX_BYTES_MAX", 250)
    me = world.process
    for ref, how in enumerate((MSGPACK, SYSTEM, MSGPACK), 1):
        world.gives(CALL, ref=ref, how=how)
    me.wait()
    me.inbox.suspend()
    world.gives(CALL, ref=4, how=SYSTEM)
    me.wait()
    me.wait()
    assert [me.take().ref for _ in range(2)] == [2, 4]
    assert not me.inbox.waiting
    world.gives(CALL, ref=5, how=SYSTEM)
    me.wait()
    me.inbox.resume()
    assert kinds(me) == [(CALL, 5), (CALL, 1), (CALL, 3)]


def test_a_wait_without_end(world: World) -> None:
    me = world.process
    me.send_after(math.inf, Note("never"))
    me.send_request("x", Add(1), math.inf, lambda reply, error: None)
    world.gives(CAST, ref=9)
    me.wait()
    assert kinds(me) == [(CAST, 9)]
    assert me.timers == 2


def test_a_worker_that_shall_finish_does_not_wait_for_a_reply(world: World) -> None:
    world.tells(Finish())
    with pytest.raises(ShutDown):
        world.process.call("x", Add(1), 5.0)
    assert world.process.finishing


def test_a_worker_without_a_node_ends(world: World) -> None:
    world.control.close()
    world.process.report(Heard(1))
    with pytest.raises(SystemExit):
        world.process.wait()
