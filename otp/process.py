"""One worker process from the inside: its mailbox, its calls, its timers.

A worker has a whole process, so it is plain synchronous code: it waits on two sockets, one to its
mailroom and one to its node, handles what has arrived, and then writes once.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from otp import codec
from otp.agenda import Agenda
from otp.codec import decode_envelope, decode_failure, encode
from otp.endings import Killed, ShutDown
from otp.frames import (
    CALL,
    CAST,
    DOWN,
    ERROR,
    EXIT,
    INFO,
    MSGPACK,
    PROBE,
    REPLY,
    Answered,
    Ask,
    Began,
    Control,
    Ended,
    Envelope,
    Failure,
    Finish,
    Heard,
    Ignored,
    Ping,
    Pong,
    Rewire,
    ToWorker,
)
from otp.inbox import MAILBOX_BYTES_MAX, Inbox
from otp.lanes import Lanes
from otp.mail import PAUSE_MS_MAX, Mail, flush
from otp.messages import Address, Pid, Reason
from otp.pending import Continuation, Pending, Waiting
from otp.transport import FrameSocket
from otp.tying import Tying

_decode_control = msgspec.msgpack.Decoder(ToWorker).decode
WAKE_BYTES = 4096
"""How much is read of what says that a signal has come: any of it will do."""


class Process(Tying):
    """The running process: what `self` of a GenServer is made of. One per OS process."""

    def __init__(
        self, pid: Pid, path: str, node: str, control: FrameSocket, mail: FrameSocket
    ) -> None:
        self.pid, self.path, self.node = pid, path, node
        self.inbox = Inbox()
        self.mailbox = self.inbox.queue
        self._refused = 0
        self.finishing = False
        self.has_begun = False
        self.traps_exits = False
        self.sent = 0
        self.idle_seconds = 0.0
        self.trace: Callable[[bytes], None] | None = None
        self._control, self._control_fd = control, control.fileno()
        self._refs = itertools.count(1)
        self._agenda = Agenda()
        self._pending = Pending(self._agenda)
        self._killed: Reason | None = None
        self._signals_heard = 0
        self._poll = select.poll()
        self._poll.register(control.fileno(), select.POLLIN)
        self._mail = Mail(self._poll, mail)
        self.lanes = Lanes(self, self._poll, self._pending, self._refs)
        self._interruptible = False
        self._woken = -1

    def wake_by(self, fd: int) -> None:
        """Whatever can be read there ends a wait, so that a signal is handled at once."""
        self._woken = fd
        self._poll.register(fd, select.POLLIN)

    # ------------------------------------------------------------ sending

    def post(
        self,
        kind: int,
        to: str,
        ref: int,
        body: bytes,
        *,
        codec: int = MSGPACK,
        ttl: int = 0,
        until: float | None = None,
    ) -> None:
        """Queue one frame; it is written when the handler is done, or before waiting."""
        if to == PROBE:  # the node itself had asked
            return self.report(Answered(ref, "" if kind == REPLY else decode_failure(body).text))
        if self.lanes.owed and self.lanes.answer(kind, to, ref, body, codec):
            return
        self.post_raw(encode(Envelope(kind, to, self.pid, ref, ttl, 0, codec, "", body)), to, until)

    def post_raw(self, frame: bytes, to: str, until: float | None = None) -> None:
        """Queue an encoded envelope. Raises Overloaded while the mailroom is away for long."""
        self.sent += 1
        if self.trace is not None:
            self.trace(frame)
        try:
            self._mail.send(frame, to, until)
        except EOFError:
            self._lost_mailroom()

    def cast(self, to: Address, message: Any) -> None:
        """Send without waiting for anything."""
        how, body = codec.dump(message)
        self.post(CAST, codec.wire_address(to), 0, body, codec=how)

    def abcast(self, to: Sequence[Address], message: Any) -> None:
        """Cast one message to several, encoded once."""
        how, body = codec.dump(message)
        for address in to:
            self.post(CAST, codec.wire_address(address), 0, body, codec=how)

    def send(self, to: Address, message: Any) -> None:
        """Send a message that arrives in `handle_info`."""
        how, body = codec.dump(message)
        self.post(INFO, codec.wire_address(to), 0, body, codec=how)

    def reply(self, to: str, ref: int, request: type | None, value: Any) -> None:
        """Answer a call."""
        how, body = codec.dump_reply(request, value)
        self.post(REPLY, to, ref, body, codec=how)

    def fail(self, to: str, ref: int, failure: Failure) -> None:
        """Answer a call with an error."""
        self.post(ERROR, to, ref, encode(failure))

    def new_ref(self) -> int:
        """A number that this process has not used yet."""
        return next(self._refs)

    def report(self, message: Control) -> None:
        """Tell the node, at once."""
        self._control.send(encode(message))
        with contextlib.suppress(EOFError):  # it is gone; we see that when we read from it
            flush(self._control)

    def ending(self) -> None:
        """From now on nothing cuts a call short: it is `terminate` that calls."""
        self._killed, self.traps_exits = None, True

    def began(self) -> None:
        self.has_begun = True
        self.report(Began())

    def ignored(self) -> None:
        self.report(Ignored())

    def ended(self, reason: Reason, *, began: bool) -> None:
        self.report(Ended(reason, began))

    # ------------------------------------------------------------ calls

    def call(self, to: Address, request: Any, timeout: float) -> Any:
        """Send, and wait for the reply; other messages wait in the mailbox meanwhile."""
        return self.wait_for(*self._ask(to, request, timeout, None))

    def wait_for(self, ref: int, waiting: Waiting) -> Any:
        """Until it is settled, whatever else arrives."""
        self._interruptible = True
        try:
            while not waiting.settled:
                self._pump(waiting.deadline - time.monotonic())
                if not waiting.settled:
                    self._pending.expire(time.monotonic())
        finally:
            self._interruptible = False
            self._pending.forget(ref)
        if waiting.error is not None:
            raise waiting.error
        return waiting.reply

    def send_request(self, to: Address, request: Any, timeout: float, then: Continuation) -> None:
        """Send, and go on; `then(reply, error)` runs between two handlers later."""
        self._ask(to, request, timeout, then)

    def ask(self, to: Address, request: Any, seconds: float) -> Waiting:
        """Send, and go on; `pump` until it is `settled`, if ever that is wanted."""
        return self._ask(to, request, seconds, None)[1]

    def pump(self, deadline: float) -> None:
        """Wait until something has arrived, or until then; messages stay in the mailbox."""
        self._interruptible = True
        try:
            self._pump(deadline - time.monotonic())
            self._pending.expire(time.monotonic())
        finally:
            self._interruptible = False

    def _ask(
        self, to: Address, request: Any, timeout: float, then: Continuation | None
    ) -> tuple[int, Waiting]:
        ref = next(self._refs)
        how_long = codec.ttl_ms(timeout)
        how, body = codec.dump(request)
        waiting = Waiting(to, request, timeout, then)
        self._pending.add(ref, waiting)
        try:
            ttl, until = how_long, waiting.deadline
            self.post(CALL, codec.wire_address(to), ref, body, codec=how, ttl=ttl, until=until)
        except BaseException:
            self._pending.forget(ref)
            raise
        return ref, waiting

    def settle(self, envelope: Envelope) -> None:
        """The answer to a request, in its turn among the messages if something goes on with it."""
        self._pending.settle(envelope)

    # ------------------------------------------------------------ timers

    def send_after(self, seconds: float, message: Any) -> int:
        """Put a message into the own mailbox later; the reference is for `cancel_timer`."""
        ref = next(self._refs)
        self._agenda.add(time.monotonic() + seconds, ref, message)
        return ref

    def send_interval(self, seconds: float, message: Any) -> int:
        """The same again and again; one that comes late is not made up for."""
        if seconds <= 0:
            raise ValueError(f"send_interval: every {seconds} s? it must be more than 0")
        ref = next(self._refs)
        self._agenda.add(time.monotonic() + seconds, ref, message, every=seconds)
        return ref

    def cancel_timer(self, ref: int) -> float | None:
        """Its message does not come any more; how many seconds were left, None if it has come."""
        at = self._agenda.remove(ref)
        return None if at is None else max(0.0, at - time.monotonic())

    @property
    def timers(self) -> int:
        """How many timers and deadlines are set."""
        return len(self._agenda)

    def due(self) -> list[Any]:
        """Messages of timers whose time has come; requests that were not answered in time end."""
        self._pending.finish_broken()
        messages: list[Any] = []
        if not self._agenda:
            return messages
        for ref, item in self._agenda.due(time.monotonic()):
            if isinstance(item, Waiting):
                self._pending.overdue(ref, item)
            else:
                messages.append(item)
        return messages

    # ------------------------------------------------------------ waiting

    def take(self) -> Envelope:
        """The oldest message."""
        return self.inbox.take()

    def wait(self, until: float | None = None) -> None:
        """Write what waits, then sleep until something arrives, a timer is due, or `until`."""
        inbox = self.inbox
        if inbox.waiting or self.finishing or (self._pending.broken and not inbox.suspended):
            self._pump(0)
            return
        at = None if inbox.suspended else self._agenda.next()
        if at is None or (until is not None and until < at):
            at = until
        began = time.monotonic()
        self._pump(PAUSE_MS_MAX / 1000 if at is None else at - began)
        self.idle_seconds += time.monotonic() - began

    def flush(self) -> None:
        """Write everything that waits; blocks while the mailroom is slow."""
        self.lanes.drain()
        try:
            self._mail.flush()
        except EOFError:
            self._lost_mailroom()

    def _pump(self, seconds: float) -> None:
        if self.lanes.dirty:
            self.lanes.flush()
        try:
            self._mail.write()
        except EOFError:
            self._lost_mailroom()
            return  # whoever waits for a reply has it now: an error
        pause = int(min(PAUSE_MS_MAX, seconds * 1000 + 1)) if seconds > 0 else 0
        for fd, events in self._poll.poll(pause):
            if fd == self._mail.fd:
                if events != select.POLLOUT:
                    self._read_mail()
            elif fd == self._control_fd:
                self._read_control()
            elif fd == self._woken:
                os.read(fd, WAKE_BYTES)
            else:
                self.lanes.ready(fd, events)
        if self._interruptible and self._killed is not None:
            raise Killed(self._killed)

    def _read_mail(self) -> None:
        try:
            frames = self._mail.receive()
        except EOFError:
            self._lost_mailroom()
            return
        heard = self._signals_heard
        for frame in frames:
            self.sort_in(decode_envelope(frame))
        if self._signals_heard != heard:
            self.report(Heard(self._signals_heard))

    def sort_in(self, envelope: Envelope) -> None:
        """A message that has arrived, by mail or by a lane."""
        kind = envelope.kind
        if kind in (REPLY, ERROR):
            if self._pending.goes_on(envelope.ref):
                self.inbox.keep(envelope)
            else:
                self._pending.settle(envelope)
        elif kind in (DOWN, EXIT):
            # After a mailroom's death the node says again what was not confirmed.
            if envelope.ref > self._signals_heard:
                self._signals_heard = envelope.ref
                self._signal(envelope)
        elif self.inbox.full and not self.inbox.overtakes(envelope):
            self._refuse(envelope)
        else:
            self.inbox.keep(envelope)

    def _signal(self, envelope: Envelope) -> None:
        self.inbox.keep(envelope)
        if envelope.kind == EXIT and not self.traps_exits and self._killed is None:
            reason = codec.decode_exit(envelope.body).reason  # our own node made it
            self._killed = None if reason.kind == "normal" else reason

    def _refuse(self, envelope: Envelope) -> None:
        if envelope.kind == CALL:
            limit = f"{MAILBOX_BYTES_MAX} bytes wait in its mailbox"
            self.fail(envelope.frm, envelope.ref, Failure("overloaded", limit))
            return
        self._refused += 1
        if self._refused.bit_count() == 1:  # at 1, 2, 4, 8, ..: often enough to be seen
            text = f"its mailbox is full, {self._refused} messages were dropped so far"
            print(f"{self.path}: {text}", file=sys.stderr)

    def _lost_mailroom(self) -> None:
        """Whoever waits for a reply is told; what is sent from now on waits for the next one."""
        self._mail.lost()
        self._pending.lost()

    def _read_control(self) -> None:
        try:
            frames = self._control.receive()
        except EOFError:
            raise SystemExit(1) from None  # the node is gone, and so is all that it supervised
        told = False
        for frame in frames:
            match _decode_control(frame):
                case Finish():
                    self.finishing = told = True
                case Rewire():
                    self._rewire(self._control.fds.popleft())
                case Ping(serial):
                    self.report(Pong(serial))
                case Ask(ref, how, body):
                    self.inbox.keep(Envelope(CALL, "", PROBE, ref, 0, 0, how, "", body))
                case _ as about_a_lane:
                    self.lanes.told(about_a_lane, self._control.fds)
        if told and self._interruptible:  # once: what `terminate` asks for is not cut short
            raise ShutDown

    def _rewire(self, fd: int) -> None:
        while self._mail.up:  # what the dead mailroom had delivered is still there
            self._read_mail()
            if self._mail.up and self._mail.dry:
                self._lost_mailroom()
        self._mail.renew(FrameSocket(socket.socket(fileno=fd)))
