"""One worker process from the inside: its mailbox, its calls, its timers.

A worker has a whole process, so it is plain synchronous code: it waits on two sockets, one to its
mailroom and one to its node, handles what has arrived, and then writes once.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from otp import codec
from otp.agenda import Agenda
from otp.codec import decode_envelope, decode_failure, encode
from otp.errors import Disconnected, OtpError
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
    UNLINK,
    Began,
    Control,
    Ended,
    Envelope,
    Failure,
    Finish,
    Heard,
    Ignored,
    Post,
    Rewire,
    ToWorker,
)
from otp.mail import PAUSE_MS_MAX, Mail, flush
from otp.messages import Address, Pid, Reason
from otp.transport import FrameSocket

MAILBOX_BYTES_MAX = 64 * 1024 * 1024
"""What may pile up while a handler waits for a reply; beyond it calls are refused, casts lost."""
ENVELOPE_BYTES = 100
"""What a message costs besides its body, roughly."""

Continuation = Callable[[Any, Exception | None], None]
_decode_control = msgspec.msgpack.Decoder(ToWorker).decode


class ShutDown(BaseException):
    """Raised inside a blocked call when the supervisor wants this process gone."""


class _Request:
    """A call that waits for its reply."""

    __slots__ = ("deadline", "error", "reply", "request", "seconds", "settled", "then", "to")

    def __init__(
        self, to: Address, request: Any, seconds: float, then: Continuation | None
    ) -> None:
        self.to, self.request, self.seconds, self.then = to, request, seconds, then
        self.deadline = time.monotonic() + seconds
        self.settled = False
        self.reply: Any = None
        self.error: Exception | None = None

    @property
    def what(self) -> str:
        return f"call {codec.describe(self.request)}"

    def finish(self) -> None:
        """It has its reply or error: whoever waits for it goes on."""
        self.settled = True
        if self.then is not None:
            self.then(self.reply, self.error)


class Process:
    """The running process: what `self` of a GenServer is made of. One per OS process."""

    def __init__(
        self, pid: Pid, path: str, node: str, control: FrameSocket, mail: FrameSocket
    ) -> None:
        self.pid, self.path, self.node = pid, path, node
        self.mailbox: deque[Envelope] = deque()
        self._mailbox_bytes = 0
        self._refused = 0
        self.finishing = False
        self.has_begun = False
        self._control = control
        self._refs = itertools.count(1)
        self._requests: dict[int, _Request] = {}
        self._broken: deque[_Request] = deque()
        self._agenda = Agenda()
        self._signals_heard = 0
        self._poll = select.poll()
        self._poll.register(control.fileno(), select.POLLIN)
        self._mail = Mail(self._poll, mail)
        self._interruptible = False

    # ------------------------------------------------------------ sending

    def post(self, kind: int, to: str, ref: int, body: bytes, **more: Any) -> None:
        """Queue one frame; it is written when the handler is done, or before waiting."""
        envelope = Envelope(
            kind=kind,
            to=to,
            frm=self.pid,
            ref=ref,
            ttl=more.get("ttl", 0),
            hops=0,
            codec=more.get("codec", MSGPACK),
            via="",
            body=body,
        )
        self.post_raw(encode(envelope), to)

    def post_raw(self, frame: bytes, to: str) -> None:
        """Queue an encoded envelope. Raises Overloaded while the mailroom is away for long."""
        try:
            self._mail.send(frame, to)
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

    def monitor(self, to: Address) -> int:
        """One-way: a Down with this reference arrives when that process ends, or at once."""
        return self._tie(MONITOR, codec.wire_address(to))

    def demonitor(self, ref: int) -> None:
        """No Down for this reference any more (one may be under way)."""
        self._tie(DEMONITOR, self.pid, ref)

    def link(self, to: Address) -> None:
        """Two-way: when one of the two ends abnormally, so does the other (or it gets an Exit)."""
        self._tie(LINK, codec.wire_address(to))

    def unlink(self, to: Address) -> None:
        """Undo `link`."""
        self._tie(UNLINK, codec.wire_address(to))

    def _tie(self, kind: int, to: str, ref: int = 0) -> int:
        """Straight to the node, which holds all links: no mailroom can lose it."""
        ref = ref or next(self._refs)
        self.report(Post(encode(Envelope(kind, to, self.pid, ref, 0, 0, MSGPACK, "", b""))))
        return ref

    def report(self, message: Control) -> None:
        """Tell the node, at once."""
        self._control.send(encode(message))
        with contextlib.suppress(EOFError):  # it is gone; we see that when we read from it
            flush(self._control)

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
        ref, waiting = self._ask(to, request, timeout, None)
        self._interruptible = True
        try:
            while not waiting.settled:
                self._pump(waiting.deadline - time.monotonic())
        finally:
            self._interruptible = False
            self._requests.pop(ref, None)
        if waiting.error is not None:
            raise waiting.error
        return waiting.reply

    def send_request(self, to: Address, request: Any, timeout: float, then: Continuation) -> None:
        """Send, and go on; `then(reply, error)` runs between two handlers later."""
        ref, waiting = self._ask(to, request, timeout, then)
        self._agenda.add(waiting.deadline, ref, waiting)

    def _ask(
        self, to: Address, request: Any, timeout: float, then: Continuation | None
    ) -> tuple[int, _Request]:
        ref = next(self._refs)
        how, body = codec.dump(request)
        waiting = self._requests[ref] = _Request(to, request, timeout, then)
        try:
            self.post(CALL, codec.wire_address(to), ref, body, codec=how, ttl=int(timeout * 1000))
        except BaseException:
            self._requests.pop(ref, None)
            raise
        return ref, waiting

    def settle(self, envelope: Envelope) -> None:
        """The answer to a request, in its turn among the messages if something goes on with it."""
        waiting = self._requests.pop(envelope.ref, None)
        if waiting is None:
            return  # its caller gave up waiting
        self._agenda.remove(envelope.ref)
        try:
            if envelope.kind == REPLY:
                waiting.reply = codec.load_reply(waiting.request, envelope.codec, envelope.body)
            else:
                failure = decode_failure(envelope.body)
                to = codec.wire_address(waiting.to)
                waiting.error = codec.raised(failure, what=waiting.what, to=to)
        except (OtpError, ValueError) as error:
            waiting.error = error
        waiting.finish()

    # ------------------------------------------------------------ timers

    def send_after(self, seconds: float, message: Any) -> int:
        """Put a message into the own mailbox later; the reference is for `cancel_timer`."""
        ref = next(self._refs)
        self._agenda.add(time.monotonic() + seconds, ref, message)
        return ref

    def cancel_timer(self, ref: int) -> None:
        """The message of this timer does not come, unless it is there already."""
        self._agenda.remove(ref)

    def due(self) -> list[Any]:
        """Messages of timers whose time has come; requests that were not answered in time end."""
        while self._broken:
            self._broken.popleft().finish()
        messages = []
        for ref, item in self._agenda.due(time.monotonic()):
            if not isinstance(item, _Request):
                messages.append(item)
            elif self._requests.pop(ref, None) is not None:
                item.error = codec.timed_out(item.request, item.to, item.seconds)
                item.finish()
        return messages

    # ------------------------------------------------------------ waiting

    def take(self) -> Envelope:
        """The oldest message."""
        envelope = self.mailbox.popleft()
        self._mailbox_bytes -= len(envelope.body) + ENVELOPE_BYTES
        return envelope

    def wait(self) -> None:
        """Write what waits, then sleep until something arrives or a timer is due."""
        if self.mailbox or self.finishing or self._broken:
            self._pump(0)
            return
        at = self._agenda.next()
        self._pump(PAUSE_MS_MAX / 1000 if at is None else at - time.monotonic())

    def flush(self) -> None:
        """Write everything that waits; blocks while the mailroom is slow."""
        try:
            self._mail.flush()
        except EOFError:
            self._lost_mailroom()

    def _pump(self, seconds: float) -> None:
        try:
            self._mail.write()
        except EOFError:
            self._lost_mailroom()
            return  # whoever waits for a reply has it now: an error
        pause = max(0, min(PAUSE_MS_MAX, int(seconds * 1000) + 1)) if seconds > 0 else 0
        for fd, events in self._poll.poll(pause):
            if fd == self._control.fileno():
                self._read_control()
            elif fd == self._mail.fileno() and events != select.POLLOUT:
                self._read_mail()
        if self._interruptible:
            self._expire()

    def _expire(self) -> None:
        """Only calls that block end here; what goes on with an error waits for `due`."""
        now = time.monotonic()
        for ref, waiting in [(r, w) for r, w in self._requests.items() if w.deadline <= now]:
            if waiting.then is None:
                del self._requests[ref]
                waiting.error = codec.timed_out(waiting.request, waiting.to, waiting.seconds)
                waiting.settled = True

    def _read_mail(self) -> None:
        try:
            frames = self._mail.receive()
        except EOFError:
            self._lost_mailroom()
            return
        heard = self._signals_heard
        for frame in frames:
            self._sort_in(decode_envelope(frame))
        if self._signals_heard != heard:
            self.report(Heard(self._signals_heard))

    def _sort_in(self, envelope: Envelope) -> None:
        kind = envelope.kind
        if kind in (REPLY, ERROR):
            waiting = self._requests.get(envelope.ref)
            if waiting is not None and waiting.then is not None:
                self._keep(envelope)
            else:
                self.settle(envelope)
        elif kind in (DOWN, EXIT):
            # After a mailroom's death the node says again what was not confirmed.
            if envelope.ref > self._signals_heard:
                self._signals_heard = envelope.ref
                self._keep(envelope)
        elif self._mailbox_bytes > MAILBOX_BYTES_MAX:
            self._refuse(envelope)
        else:
            self._keep(envelope)

    def _keep(self, envelope: Envelope) -> None:
        self.mailbox.append(envelope)
        self._mailbox_bytes += len(envelope.body) + ENVELOPE_BYTES

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
        requests, self._requests = self._requests, {}
        for ref, waiting in requests.items():
            waiting.error = Disconnected(what=waiting.what, to=codec.wire_address(waiting.to))
            if waiting.then is None:
                waiting.settled = True
            else:
                self._agenda.remove(ref)
                self._broken.append(waiting)

    def _read_control(self) -> None:
        try:
            frames = self._control.receive()
        except EOFError:
            raise SystemExit(1) from None  # the node is gone, and so is all that it supervised
        for frame in frames:
            match _decode_control(frame):
                case Finish():
                    self.finishing = True
                case Rewire():
                    self._rewire(self._control.fds.popleft())
        if self.finishing and self._interruptible:
            raise ShutDown

    def _rewire(self, fd: int) -> None:
        while self._mail.up:  # what the dead mailroom had delivered is still there
            self._read_mail()
            if self._mail.up and self._mail.dry:
                self._lost_mailroom()
        self._mail.renew(FrameSocket(socket.socket(fileno=fd)))
