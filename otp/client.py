"""The synchronous client of a node (`aio` has the asynchronous one, over the same frames).

A client is a stranger to the node's tree: it has a pid of its own and may call, cast and send. It
connects to the mailroom's socket; when the mailroom dies, calls under way raise `Disconnected`
and the next one connects again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar, overload

from otp import codec
from otp.codec import decode_envelope, decode_failure, encode
from otp.errors import Disconnected, NotRunning, Overloaded, Undecodable
from otp.frames import CALL, CAST, ERROR, HELLO, INFO, LANE, MSGPACK, PICKLE, REPLY, Envelope
from otp.lane_frames import OpenLane
from otp.lanes import NO_PICKLE
from otp.links import node_of
from otp.messages import Address, Pid, Request
from otp.node_messages import NODE, Nodes, whereis
from otp.transport import FrameSocket

R = TypeVar("R")

CONNECT_SECONDS_MAX = 5.0
"""How long a connection may take, hello included."""
SEND_SECONDS_MAX = 30.0
"""How long a message may wait for a mailroom that does not read, where no timeout is given."""
PAUSE_SECONDS_MAX = 60.0
"""The longest sleep in poll, which takes no more than some days; a longer wait is several."""
RESOLUTION_SECONDS = 0.001
"""That of poll: a wait is rounded up to it, so that no deadline is met too early."""


def envelope(kind: int, to: Address, frm: str, ref: int, message: Any, ttl: int = 0) -> bytes:
    """An encoded frame around a message."""
    how, body = codec.dump(message)
    return encode(Envelope(kind, codec.wire_address(to), frm, ref, ttl, 0, how, "", body))


def outcome(request: Any, to: Address, answer: Envelope) -> Any:
    """The reply in an answer. Raises what an ERROR frame stands for."""
    if answer.kind == REPLY:
        return codec.load_reply(request, answer.codec, answer.body)
    what = f"call {codec.describe(request)}"
    raise codec.raised(decode_failure(answer.body), what=what, to=codec.wire_address(to))


class Unsent(EOFError):
    """The connection was over before anything of a frame was written: the other side has seen
    nothing of it."""


class Channel:
    """One blocking connection: frames out, frames in until a deadline. Not for two threads."""

    def __init__(self, sock: socket.socket) -> None:
        self._frames = FrameSocket(sock)
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)
        self._arrived: list[bytes] = []
        self.refs = itertools.count(1)

    @classmethod
    def connect(cls, path: str) -> Channel:
        """Connect to a Unix socket. Raises NotRunning where nobody listens."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(CONNECT_SECONDS_MAX)
            sock.connect(path)
        except OSError as error:
            sock.close()
            raise NotRunning(where=path, problem=error.strerror or str(error)) from error
        return cls(sock)

    def send(self, frame: bytes, deadline: float | None = None) -> bool:
        """Write a frame; blocks while the other side is slow. Raises EOFError, Unsent.

        False at the deadline (monotonic): part of the frame may be written, so close the channel.
        """
        try:
            self._frames.send_now(frame)
        except EOFError as error:
            raise Unsent(str(error)) from error
        if not self._frames.waiting:
            return True
        until = time.monotonic() + SEND_SECONDS_MAX if deadline is None else deadline
        writable = select.poll()
        writable.register(self._frames.fileno(), select.POLLOUT)
        while (seconds := until - time.monotonic()) > 0:
            if writable.poll(_milliseconds(seconds)) and self._frames.flush():
                return True
        return False

    @property
    def readable(self) -> bool:
        """Whether something has arrived, or the other side has closed."""
        return bool(self._arrived or self._poll.poll(0))

    def receive(self, deadline: float | None) -> bytes | None:
        """The next frame, or None at the deadline (monotonic). Raises EOFError."""
        while not self._arrived:
            seconds = None if deadline is None else deadline - time.monotonic()
            if seconds is not None and seconds <= 0:
                return None
            if self._poll.poll(None if seconds is None else _milliseconds(seconds)):
                self._arrived = self._frames.receive()[::-1]
        return self._arrived.pop()

    def hang_up(self) -> None:
        """End the connection under whoever is waiting for a frame, who then closes it."""
        with contextlib.suppress(OSError):
            self._frames.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._frames.close()


def _milliseconds(seconds: float) -> int:
    return int(min(seconds, PAUSE_SECONDS_MAX) / RESOLUTION_SECONDS) + 1


def greeted(channel: Channel, where: str) -> str:
    """Our pid, from the mailroom's first frame. Raises NotRunning where none comes."""
    try:
        frame = channel.receive(time.monotonic() + CONNECT_SECONDS_MAX)
    except EOFError as error:
        raise NotRunning(where=where, problem="closed before hello") from error
    hello = decode_envelope(frame) if frame is not None else None
    if hello is None or hello.kind != HELLO:
        raise NotRunning(where=where, problem="no hello from a mailroom")
    return hello.to


class ClientLane:
    """A connection of a program's own to one process; `client.lane("sink")` makes one.

    Order holds within it. It is over when either of the two ends, and for one thread at a time.
    `pid` is the process that it leads to.
    """

    def __init__(self, path: str, to: str, timeout: float) -> None:
        self.to = to
        self._channel = Channel.connect(path)
        try:
            self.pid = self._open(path, time.monotonic() + timeout, timeout)
        except BaseException:
            self._channel.close()
            raise

    def __enter__(self) -> ClientLane:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, request: Any, *, timeout: float = 5.0) -> Any:
        """Ask and wait. Raises CallTimeout, Disconnected, Overloaded, or what it `refuses` with."""
        ref, deadline = next(self._channel.refs), time.monotonic() + timeout
        frame = envelope(CALL, "", "", ref, request, codec.ttl_ms(timeout))
        try:
            answer = None
            if self._channel.send(frame, deadline):
                answer = _answer(self._channel, ref, deadline)
        except EOFError as error:
            raise Disconnected(what=f"call {codec.describe(request)}", to=self.to) from error
        if answer is None:
            raise codec.timed_out(request, self.to, timeout)
        if self._remote and answer.codec == PICKLE:
            what = f"call {codec.describe(request)}"
            raise Undecodable(what=what, to=self.to, problem=NO_PICKLE)
        return outcome(request, self.to, answer)

    def cast(self, message: Any) -> None:
        """Send; it arrives in handle_cast. Raises Disconnected, Overloaded."""
        self._post(CAST, message)

    def send(self, message: Any) -> None:
        """Send; it arrives in handle_info. Raises Disconnected, Overloaded."""
        self._post(INFO, message)

    def close(self) -> None:
        """Hang up; what was sent before still arrives."""
        self._channel.close()

    def _open(self, path: str, deadline: float, timeout: float) -> str:
        me = greeted(self._channel, path)
        asked = OpenLane(0, self.to)
        try:
            self._channel.send(encode(Envelope(LANE, self.to, me, 0, 0, 0, MSGPACK, "", b"")))
            frame = self._channel.receive(deadline)
        except EOFError as error:
            raise Disconnected(what="open a lane", to=self.to) from error
        if frame is None:
            raise codec.timed_out(asked, self.to, timeout)
        answer = decode_envelope(frame)
        if answer.kind == ERROR:
            raise codec.raised(decode_failure(answer.body), what="open a lane", to=self.to)
        self._remote = node_of(answer.frm) != node_of(me)
        return answer.frm

    def _post(self, kind: int, message: Any) -> None:
        what = f"{codec.KINDS[kind]} {codec.describe(message)}"
        try:
            sent = self._channel.send(envelope(kind, "", "", 0, message))
        except EOFError as error:
            raise Disconnected(what=what, to=self.to) from error
        if not sent:
            limit = f"the other end took nothing for {SEND_SECONDS_MAX:g} s"
            raise Overloaded(what=what, to=self.to, limit=limit)


class Client:
    """Calls and casts to the processes of a node, from any thread (each has its connection).

    A process that is forked from this one has connections of its own as well.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.ended: Callable[[], str] = str  # why the node has ended, where that is known
        self._local = threading.local()
        self._channels: dict[threading.Thread, Channel] = {}
        self._lock = threading.Lock()
        _clients.add(self)

    @overload
    def call(self, to: Address, request: Request[R], *, timeout: float = 5.0) -> R: ...
    @overload
    def call(self, to: Address, request: Any, *, timeout: float = 5.0) -> Any: ...
    def call(self, to: Address, request: Any, *, timeout: float = 5.0) -> Any:
        """Ask and wait for the reply.

        Raises CallTimeout, NoProcess, ServerDown, NodeDown, Disconnected, Overloaded, or what
        the server `refuses` with.
        """
        deadline = time.monotonic() + timeout
        channel, ref, sent = self._sent(CALL, to, request, deadline, codec.ttl_ms(timeout))
        if not sent:
            raise codec.timed_out(request, to, timeout)
        try:
            answer = _answer(channel, ref, deadline)
        except EOFError as error:
            self._forget(channel)
            what = f"call {codec.describe(request)}"
            raise Disconnected(what=what, to=codec.wire_address(to)) from error
        if answer is None:
            raise codec.timed_out(request, to, timeout)
        return outcome(request, to, answer)

    def cast(self, to: Address, message: Any) -> None:
        """Send without waiting; it arrives in handle_cast, or nobody hears of it."""
        self._post(CAST, to, message)

    def send(self, to: Address, message: Any) -> None:
        """Send without waiting; it arrives in handle_info, or nobody hears of it."""
        self._post(INFO, to, message)

    def lane(self, to: str, *, timeout: float = 5.0) -> ClientLane:
        """A connection of one's own to that process, for those who talk in bulk; close it."""
        return ClientLane(self._path, to, timeout)

    def whereis(self, address: str, *, timeout: float = 5.0) -> Pid | None:
        """The pid behind an address, here or (`name@node`) on another node; raises as `call`."""
        return self.call(*whereis(address), timeout=timeout)

    def nodes(self, *, timeout: float = 5.0) -> list[str]:
        """The other nodes that there are links to at this moment; raises as `call`."""
        return self.call(NODE, Nodes(), timeout=timeout)

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            channels, self._channels = self._channels, {}
            self._local = threading.local()
        for channel in channels.values():
            channel.hang_up()  # another thread may wait there, and must not wait on
            channel.close()

    def after_fork(self) -> None:
        """In a forked child: what the parent's threads have open stays theirs."""
        channels, self._channels = self._channels, {}
        self._lock, self._local = threading.Lock(), threading.local()
        for channel in channels.values():
            channel.close()

    def _post(self, kind: int, to: Address, message: Any) -> None:
        if not self._sent(kind, to, message)[2]:
            what = f"{codec.KINDS[kind]} {codec.describe(message)}"
            limit = f"the mailroom took nothing for {SEND_SECONDS_MAX:g} s"
            raise Overloaded(what=what, to=codec.wire_address(to), limit=limit)

    def _sent(
        self, kind: int, to: Address, message: Any, deadline: float | None = None, ttl: int = 0
    ) -> tuple[Channel, int, bool]:
        """Send by this thread's connection; where that had ended unnoticed, by the next one.

        The connection, the frame's number in it, and whether all was written in time.
        """
        known: Channel | None = getattr(self._local, "channel", None)
        try:
            channel = known or self._connected()
        except NotRunning as error:
            raise error.because(self.ended()) from error
        try:
            ref = next(channel.refs) if kind == CALL else 0
            sent = channel.send(envelope(kind, to, self._local.pid, ref, message, ttl), deadline)
        except EOFError as error:
            self._forget(channel)
            if channel is known and isinstance(error, Unsent):
                return self._sent(kind, to, message, deadline, ttl)
            what = f"{codec.KINDS[kind]} {codec.describe(message)}"
            raise Disconnected(what=what, to=codec.wire_address(to)) from error
        if not sent:
            self._forget(channel)
        return channel, ref, sent

    def _connected(self) -> Channel:
        channel = Channel.connect(self._path)
        try:
            pid = greeted(channel, self._path)
        except BaseException:
            channel.close()
            raise
        self._local.channel, self._local.pid = channel, pid
        self._remember(channel)
        return channel

    def _remember(self, channel: Channel) -> None:
        """Threads come and go: the connections of those that have ended are closed here."""
        with self._lock:
            ended = [thread for thread in self._channels if not thread.is_alive()]
            for thread in ended:
                self._channels.pop(thread).close()
            self._channels[threading.current_thread()] = channel

    def _forget(self, channel: Channel) -> None:
        channel.close()
        with self._lock:
            self._channels.pop(threading.current_thread(), None)
        self._local.channel = None


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_clients):
        client.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _answer(channel: Channel, ref: int, deadline: float) -> Envelope | None:
    """The answer to one call; answers to earlier ones, which came too late, are passed over."""
    while (frame := channel.receive(deadline)) is not None:
        answer = decode_envelope(frame)
        if answer.kind in (REPLY, ERROR) and answer.ref == ref:
            return answer
    return None


def socket_in(run_dir: str, name: str) -> str:
    """The path of a node's socket: `mailroom.sock` or `control.sock`."""
    return os.path.join(run_dir, name)
