"""One worker process from the inside: its mailbox, its calls, its timers.

A worker has a whole process, so it is plain synchronous code: it waits on two sockets, one to its
mailroom and one to its node, handles what has arrived, and then writes once.
"""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from otp import codec
from otp.codec import decode_envelope, decode_failure, encode
from otp.errors import Disconnected, Overloaded
from otp.frames import (
    CALL,
    CAST,
    DEMONITOR,
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
    Ignored,
    Rewire,
    ToWorker,
)
from otp.messages import Address, Exit, Pid, Reason
from otp.transport import FrameSocket

UNSENT_BYTES_MAX = 64 * 1024 * 1024
"""What a worker may have waiting while its mailroom is away; beyond it, sending is `Overloaded`."""
PAUSE_MS_MAX = 60_000
"""The longest sleep in poll; a longer wait is several of them."""

Continuation = Callable[[Any, Exception | None], None]
_decode_control = msgspec.msgpack.Decoder(ToWorker).decode


class ShutDown(BaseException):
    """Raised inside a blocked call when the supervisor wants this process gone."""


class _Request:
    """A call that waits for its reply."""

    __slots__ = ("deadline", "error", "reply", "request", "seconds", "settled", "then", "to")

    def __init__(self, to: Address, request: Any, seconds: float, then: Continuation | None) -> None:
        self.to, self.request, self.seconds, self.then = to, request, seconds, then
        self.deadline = time.monotonic() + seconds
        self.settled = False
        self.reply: Any = None
        self.error: Exception | None = None

    @property
    def what(self) -> str:
        return f"call {codec.describe(self.request)}"


class Process:
    """The running process: what `self` of a GenServer is made of. One per OS process."""

    current: Process | None = None

    def __init__(self, pid: Pid, path: str, node: str, control: FrameSocket, mail: FrameSocket) -> None:
        self.pid, self.path, self.node = pid, path, node
        self.mailbox: deque[Envelope] = deque()
        self.finishing = False
        self.has_begun = False
        self._control = control
        self._mail: FrameSocket | None = mail
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._refs = itertools.count(1)
        self._requests: dict[int, _Request] = {}
        self._timers: list[tuple[float, int, Any]] = []
        self._cancelled: set[int] = set()
        self._poll = select.poll()
        self._poll.register(control.fileno(), select.POLLIN)
        self._poll.register(mail.fileno(), select.POLLIN)
        self._interruptible = False
        Process.current = self

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
        if self._mail is not None:
            self._mail.send(frame)
            return
        if self._unsent_bytes + len(frame) > UNSENT_BYTES_MAX:
            raise Overloaded(what="send", to=to, limit=f"{UNSENT_BYTES_MAX} bytes unsent")
        self._unsent.append(frame)
        self._unsent_bytes += len(frame)

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
        ref = next(self._refs)
        self.post(MONITOR, codec.wire_address(to), ref, b"")
        return ref

    def demonitor(self, ref: int) -> None:
        """No Down for this reference any more (one may be under way)."""
        self.post(DEMONITOR, self.pid, ref, b"")

    def link(self, to: Address) -> None:
        """Two-way: when one of the two ends abnormally, so does the other (or it gets an Exit)."""
        self.post(LINK, codec.wire_address(to), next(self._refs), b"")

    def unlink(self, to: Address) -> None:
        """Undo `link`."""
        self.post(UNLINK, codec.wire_address(to), 0, b"")

    def exit(self, to: Address, reason: Reason) -> None:
        """Send an exit signal, as a link would."""
        body = encode(Exit(self.pid, reason))
        self.post(EXIT, codec.wire_address(to), 0, body)

    def report(self, message: Control) -> None:
        """Tell the node, at once."""
        self._control.send(encode(message))
        self._flush(self._control)

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
        self._ask(to, request, timeout, then)

    def _ask(
        self, to: Address, request: Any, timeout: float, then: Continuation | None
    ) -> tuple[int, _Request]:
        ref = next(self._refs)
        how, body = codec.dump(request)
        waiting = _Request(to, request, timeout, then)
        self._requests[ref] = waiting
        heapq.heappush(self._timers, (waiting.deadline, ref, waiting))
        self.post(CALL, codec.wire_address(to), ref, body, codec=how, ttl=int(timeout * 1000))
        return ref, waiting

    def _settle(self, envelope: Envelope) -> None:
        waiting = self._requests.pop(envelope.ref, None)
        if waiting is None:
            return  # its caller gave up waiting
        if envelope.kind == REPLY:
            waiting.reply = codec.load_reply(waiting.request, envelope.codec, envelope.body)
        else:
            failure = decode_failure(envelope.body)
            to = codec.wire_address(waiting.to)
            waiting.error = codec.raised(failure, what=waiting.what, to=to)
        self._finish_request(waiting)

    def _finish_request(self, waiting: _Request) -> None:
        waiting.settled = True
        if waiting.then is not None:
            waiting.then(waiting.reply, waiting.error)

    # ------------------------------------------------------------ timers

    def send_after(self, seconds: float, message: Any) -> int:
        """Put a message into the own mailbox later; the reference is for `cancel_timer`."""
        ref = next(self._refs)
        heapq.heappush(self._timers, (time.monotonic() + seconds, ref, _Later(message)))
        return ref

    def cancel_timer(self, ref: int) -> None:
        """The message of this timer does not come, unless it is there already."""
        self._cancelled.add(ref)

    def due(self) -> list[Any]:
        """Messages of timers whose time has come; requests that were not answered in time end."""
        now, messages = time.monotonic(), []
        while self._timers and self._timers[0][0] <= now:
            _, ref, item = heapq.heappop(self._timers)
            if isinstance(item, _Request):
                if not item.settled and self._requests.pop(ref, None) is not None:
                    item.error = codec.timed_out(item.request, item.to, item.seconds)
                    self._finish_request(item)
            elif ref in self._cancelled:
                self._cancelled.discard(ref)
            else:
                messages.append(item.message)
        return messages

    # ------------------------------------------------------------ waiting

    def wait(self) -> None:
        """Write what waits, then sleep until something arrives or a timer is due."""
        if self.mailbox or self.finishing:
            self._pump(0)
            return
        pause = PAUSE_MS_MAX / 1000
        if self._timers:
            pause = self._timers[0][0] - time.monotonic()
        self._pump(pause)

    def flush(self) -> None:
        """Write everything that waits; blocks while the mailroom is slow."""
        if self._mail is not None and self._mail.waiting:
            try:
                self._flush(self._mail)
            except EOFError:
                self._lost_mailroom()

    def _flush(self, sock: FrameSocket) -> None:
        if sock.flush():
            return
        writable = select.poll()
        writable.register(sock.fileno(), select.POLLOUT)
        while not sock.flush():
            writable.poll(PAUSE_MS_MAX)

    def _pump(self, seconds: float) -> None:
        self.flush()
        pause = max(0, min(PAUSE_MS_MAX, int(seconds * 1000) + 1)) if seconds > 0 else 0
        for fd, _ in self._poll.poll(pause):
            if fd == self._control.fileno():
                self._read_control()
            elif self._mail is not None and fd == self._mail.fileno():
                self._read_mail()
        if self._requests and seconds <= 0 or self._interruptible:
            self._expire()

    def _expire(self) -> None:
        """Only requests end here; messages of timers wait for `due`."""
        now = time.monotonic()
        for ref, waiting in [(r, w) for r, w in self._requests.items() if w.deadline <= now]:
            if waiting.then is None:
                del self._requests[ref]
                waiting.error = codec.timed_out(waiting.request, waiting.to, waiting.seconds)
                waiting.settled = True

    def _read_mail(self) -> None:
        assert self._mail is not None
        try:
            frames = self._mail.receive()
        except EOFError:
            self._lost_mailroom()
            return
        for frame in frames:
            envelope = decode_envelope(frame)
            if envelope.kind in (REPLY, ERROR):
                self._settle(envelope)
            else:
                self.mailbox.append(envelope)

    def _lost_mailroom(self) -> None:
        """Whoever waits for a reply is told; what is sent from now on waits for the next one."""
        assert self._mail is not None
        self._poll.unregister(self._mail.fileno())
        self._mail.close()
        self._mail = None
        requests, self._requests = self._requests, {}
        for waiting in requests.values():
            waiting.error = Disconnected(what=waiting.what, to=codec.wire_address(waiting.to))
            self._finish_request(waiting)

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
        if self._mail is not None:
            self._lost_mailroom()
        self._mail = FrameSocket(socket.socket(fileno=fd))
        self._poll.register(fd, select.POLLIN)
        while self._unsent:
            self._mail.send(self._unsent.popleft())
        self._unsent_bytes = 0


class _Later:
    """The message of a timer; never compared, since references differ."""

    __slots__ = ("message",)

    def __init__(self, message: Any) -> None:
        self.message = message
