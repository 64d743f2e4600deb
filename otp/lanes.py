"""Lanes: connections that two processes have to themselves, beside their mailroom.

For those who talk in bulk: a call by a lane costs about half, what goes by one does not wait behind
what goes by another, and a mailroom that dies takes no lane along. A lane has no name and no
restart: it leads to one process, and when either of the two ends, so does it. Order holds within a
lane, not between it and the mailroom.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from otp import codec
from otp.codec import decode_envelope, encode
from otp.errors import Disconnected, Overloaded
from otp.frames import (
    CALL,
    CAST,
    ERROR,
    INFO,
    MSGPACK,
    PICKLE,
    REPLY,
    Control,
    Envelope,
    Failure,
)
from otp.lane_frames import LaneAsked, LaneOpened, LaneRefused, OpenLane
from otp.messages import Pid
from otp.pending import Continuation, Pending, Waiting
from otp.transport import FrameSocket, ProtocolError

LANES_MAX = 1_024
"""Lanes of one process, both ways; one more is `Overloaded` for whoever asks for it."""
LANE_BYTES_MAX = 16 * 1024 * 1024
"""What may wait in a lane whose other end is slow; beyond it, what is sent is `Overloaded`."""
REPLY_BYTES_MAX = 20 * 1024 * 1024
"""The same where replies are included; beyond it the lane is closed: no reply is lost silently."""
AT_ONCE_BYTES_MAX = 1024 * 1024
"""A handler that has more than this unwritten writes what the lane takes before it sends more."""
OWED_MAX = 100_000
"""Calls that may wait for one process's replies by lanes; beyond it a call is `Overloaded`."""
DRAIN_SECONDS_MAX = 1.0
"""How long a process that ends waits for slow ends of its lanes to take their replies."""
NO_PICKLE = "it travels as pickle, which is refused from the network; declare an otp.Request"
_KINDS = frozenset({CALL, CAST, INFO, REPLY, ERROR})


class Owner(Protocol):
    """What lanes need of their process."""

    mailbox: deque[Envelope]

    def report(self, message: Control) -> None: ...
    def wait_for(self, ref: int, waiting: Waiting) -> Any: ...
    def sort_in(self, envelope: Envelope) -> None: ...


class Lane:
    """A connection of one's own to one process; `self.lane("sink")` makes one.

    `to` is the address that was asked for, `pid` the process that it leads to.
    """

    __slots__ = ("_blocked", "_channel", "_lanes", "open", "pid", "remote", "to")

    def __init__(
        self, lanes: Lanes, sock: socket.socket, to: str, pid: str, *, remote: bool
    ) -> None:
        self.to, self.pid, self.remote = to, Pid(pid), remote
        self.open = True
        self._lanes = lanes
        self._channel = FrameSocket(sock)
        self._blocked = False

    def call(self, request: Any, *, timeout: float = 5.0) -> Any:
        """Ask and wait for the reply.

        Raises CallTimeout, Disconnected (the other end or the way to it is gone), Overloaded, or
        what the server `refuses` with.
        """
        return self._lanes.call(self, request, timeout)

    def send_request(self, request: Any, then: Continuation, *, timeout: float = 5.0) -> None:
        """Ask and go on; `then(reply, error)` runs later, between two handlers."""
        self._lanes.ask(self, request, timeout, then)

    def cast(self, message: Any) -> None:
        """Send; it arrives in handle_cast. Raises Disconnected or Overloaded."""
        self._send(CAST, message)

    def send(self, message: Any) -> None:
        """Send; it arrives in handle_info. Raises Disconnected or Overloaded."""
        self._send(INFO, message)

    def close(self) -> None:
        """Hang up; what was sent before still arrives. Calls under way raise Disconnected."""
        self._lanes.hang_up(self)

    def _send(self, kind: int, message: Any) -> None:
        how, body = codec.dump(message)
        self._lanes.post(self, Envelope(kind, "", "", 0, 0, 0, how, "", body), message)

    # ------------------------------------------------------------ for Lanes and the process

    def fileno(self) -> int:
        return self._channel.fileno()

    def post(self, envelope: Envelope, message: Any, *, now: bool = False) -> None:
        """Queue a frame, or write it at once. Raises Disconnected, Overloaded."""
        if not self.open:
            raise Disconnected(what=_what(envelope, message), to=self.to)
        frame, channel = encode(envelope), self._channel
        if now and not channel.waiting:
            channel.send_now(frame)
            return
        most = REPLY_BYTES_MAX if envelope.kind in (REPLY, ERROR) else LANE_BYTES_MAX
        if channel.waiting and channel.waiting + len(frame) > most:
            limit = f"{most} bytes wait in the lane"
            raise Overloaded(what=_what(envelope, message), to=self.to, limit=limit)
        channel.send(frame)
        if channel.waiting > AT_ONCE_BYTES_MAX:
            channel.flush()

    @property
    def waiting(self) -> int:
        """Bytes that are not yet written."""
        return self._channel.waiting

    def flush(self, poll: select.poll) -> None:
        """Write what can be written; poll tells when there is room for more. Raises EOFError."""
        blocked = not self._channel.flush()
        if blocked != self._blocked:
            self._blocked = blocked
            poll.modify(self.fileno(), select.POLLIN | (select.POLLOUT if blocked else 0))

    def receive(self) -> list[bytes]:
        """The frames that have arrived. Raises EOFError, ProtocolError."""
        return self._channel.receive()

    def shut(self) -> None:
        """Close it, for `Lanes`."""
        self.open = False
        self._channel.close()


class Lanes:
    """All lanes of one process: those that it opened and those that lead to it."""

    def __init__(
        self, owner: Owner, poll: select.poll, pending: Pending, refs: Iterator[int]
    ) -> None:
        self.dirty: dict[Lane, None] = {}
        self._owner, self._refs = owner, refs
        self._poll, self._pending = poll, pending
        self._lanes: dict[int, Lane] = {}
        self._owed: dict[tuple[str, int], Lane] = {}

    def open(self, to: str, timeout: float) -> Lane:
        """A new lane to that process. Raises what a call would."""
        if len(self._lanes) >= LANES_MAX:
            raise Overloaded(what="lane", to=to, limit=f"{LANES_MAX} lanes")
        ref = next(self._refs)
        request = OpenLane(ref, to)
        waiting = Waiting(to, request, timeout, None, way=self)
        self._pending.add(ref, waiting)
        self._owner.report(request)
        lane: Lane = self._owner.wait_for(ref, waiting)
        return lane

    def told(self, message: Control, fds: deque[int]) -> None:
        """What the node says of lanes; the descriptors came with it."""
        match message:
            case LaneAsked(process, remote):
                self._accept(fds.popleft(), process, remote=remote)
            case LaneOpened(ref, process, remote):
                self._opened(ref, fds.popleft(), process, remote=remote)
            case LaneRefused(ref, failure):
                if (waiting := self._pending.take(ref)) is not None:
                    to = codec.wire_address(waiting.to)
                    waiting.error = codec.raised(failure, what="open a lane", to=to)
                    waiting.finish()

    def _accept(self, fd: int, pid: str, *, remote: bool) -> None:
        if len(self._lanes) >= LANES_MAX:
            socket.close(fd)  # whoever asked is told by the end of the connection
        else:
            self._add(fd, pid, pid, remote=remote)

    def _opened(self, ref: int, fd: int, pid: str, *, remote: bool) -> None:
        waiting = self._pending.take(ref)
        if waiting is None:  # nobody waits for it any more
            socket.close(fd)
            return
        waiting.reply = self._add(fd, codec.wire_address(waiting.to), pid, remote=remote)
        waiting.finish()

    def _add(self, fd: int, to: str, pid: str, *, remote: bool) -> Lane:
        lane = Lane(self, socket.socket(fileno=fd), to, pid, remote=remote)
        self._lanes[fd] = lane
        self._poll.register(fd, select.POLLIN)
        return lane

    # ------------------------------------------------------------ calls

    def call(self, lane: Lane, request: Any, timeout: float) -> Any:
        """Ask by a lane, and wait."""
        return self._owner.wait_for(*self._ask(lane, request, timeout, None))

    def ask(self, lane: Lane, request: Any, timeout: float, then: Continuation) -> None:
        """Ask by a lane, and go on."""
        self._ask(lane, request, timeout, then)

    def _ask(
        self, lane: Lane, request: Any, timeout: float, then: Continuation | None
    ) -> tuple[int, Waiting]:
        ref, ttl = next(self._refs), codec.ttl_ms(timeout)
        how, body = codec.dump(request)
        waiting = Waiting(lane.to, request, timeout, then, way=lane)
        self._pending.add(ref, waiting)
        envelope = Envelope(CALL, "", "", ref, ttl, 0, how, "", body)
        try:
            self.post(lane, envelope, request, now=then is None)
        except BaseException:
            self._pending.forget(ref)
            raise
        return ref, waiting

    def post(self, lane: Lane, envelope: Envelope, message: Any, *, now: bool = False) -> None:
        """At once where somebody waits for it; what comes in numbers is written together."""
        try:
            lane.post(envelope, message, now=now)
        except EOFError:
            self.lose(lane)
        if lane.waiting:
            self.dirty[lane] = None

    # ------------------------------------------------------------ bytes

    def ready(self, fd: int, events: int) -> None:
        """Something is to be done for this descriptor, if it is a lane's."""
        lane = self._lanes.get(fd)
        if lane is None:
            return
        if events & ~select.POLLOUT:
            self._read(lane)
        if events & select.POLLOUT and fd in self._lanes:
            self.dirty[lane] = None

    def flush(self) -> None:
        """Write what can be written now."""
        dirty, self.dirty = self.dirty, {}
        for lane in dirty:
            if self._lanes.get(lane.fileno()) is not lane:
                continue  # it is over
            try:
                lane.flush(self._poll)
            except EOFError:
                self.lose(lane)
            if not lane.open and not lane.waiting:
                self.lose(lane)

    def drain(self) -> None:
        """Write all that waits, for a moment: the process is about to end."""
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        writable = select.poll()
        for lane in list(self._lanes.values()):
            self.dirty[lane] = None
        while self.dirty and (left := deadline - time.monotonic()) > 0:
            self.flush()
            blocked = [lane for lane in self._lanes.values() if lane._blocked]
            for lane in blocked:
                writable.register(lane.fileno(), select.POLLOUT)
                self.dirty[lane] = None
            if blocked:
                writable.poll(left * 1000)

    def _read(self, lane: Lane) -> None:
        try:
            for frame in lane.receive():
                if not lane.open:
                    return  # hung up: only its end counts
                envelope = decode_envelope(frame)
                if envelope.kind not in _KINDS:
                    raise ProtocolError(f"a frame of kind {envelope.kind} in a lane")
                self._take(lane, envelope)
        except (EOFError, ProtocolError, ValueError, RecursionError):
            self.lose(lane)

    def _take(self, lane: Lane, envelope: Envelope) -> None:
        refused = lane.remote and envelope.codec == PICKLE
        if envelope.kind in (REPLY, ERROR):
            if not self._pending.went_by(envelope.ref, lane):
                return  # its caller gave up waiting
            if refused:
                envelope.kind, envelope.codec = ERROR, MSGPACK
                envelope.body = encode(Failure("undecodable", NO_PICKLE))
        elif refused or (envelope.kind == CALL and len(self._owed) >= OWED_MAX):
            failure = Failure("overloaded", f"{OWED_MAX} calls wait there")
            if envelope.kind == CALL:
                failure = Failure("undecodable", NO_PICKLE) if refused else failure
                self._answer(lane, ERROR, envelope.ref, encode(failure), MSGPACK)
            return
        elif envelope.kind == CALL:
            self._owed[lane.pid, envelope.ref] = lane
        envelope.frm, envelope.via = lane.pid, ""
        self._owner.sort_in(envelope)

    # ------------------------------------------------------------ answers

    def answer(self, kind: int, to: str, ref: int, body: bytes, how: int) -> bool:
        """Send a reply or error back by the lane that the call came by; False: it came by none."""
        lane = self._owed.pop((to, ref), None) if kind in (REPLY, ERROR) else None
        if lane is None:
            return False
        self._answer(lane, kind, ref, body, how)
        return True

    def _answer(self, lane: Lane, kind: int, ref: int, body: bytes, how: int) -> None:
        envelope = Envelope(kind, "", "", ref, 0, 0, how, "", body)
        try:
            self.post(lane, envelope, None, now=not self._owner.mailbox)
        except Disconnected:
            return  # nobody waits for it any more
        except Overloaded:
            self.lose(lane)

    @property
    def owed(self) -> bool:
        """Some call that came by a lane is not answered yet."""
        return bool(self._owed)

    def hang_up(self, lane: Lane) -> None:
        """Nothing more goes by it, either way; it is over when what was sent is written."""
        if lane.open:
            lane.open = False
            self._let_go(lane)
            self.dirty[lane] = None
            self.flush()

    def lose(self, lane: Lane) -> None:
        """The lane is over: whoever waits for a reply by it is told."""
        if self._lanes.pop(lane.fileno(), None) is None:
            return
        self._poll.unregister(lane.fileno())
        lane.shut()
        self.dirty.pop(lane, None)
        self._let_go(lane)

    def _let_go(self, lane: Lane) -> None:
        for key in [key for key, owed in self._owed.items() if owed is lane]:
            del self._owed[key]
        self._pending.lost(lane)


def _what(envelope: Envelope, message: Any) -> str:
    return f"{codec.KINDS[envelope.kind]} {codec.describe(message)}"
