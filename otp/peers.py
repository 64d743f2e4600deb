"""Links between mailrooms, and strangers at the door.

Each direction between two nodes has a connection of its own, made by the sender when it first has
something to send: so there is no tie to break when both begin at once, and order is kept.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from otp.codec import encode
from otp.frames import CALL, HELLO, MSGPACK, Envelope
from otp.ports import Port
from otp.reactor import Reactor, Timer
from otp.transport import HANDSHAKE_FRAME_BYTES_MAX, FRAME_BYTES_MAX, FrameSocket, Handshake, ProtocolError

HANDSHAKE_SECONDS_MAX = 2.0
"""A connection that is not authenticated by then is closed."""
BACKLOG_BYTES_MAX = 8 * 1024 * 1024
"""What may wait for a link that is being made."""
RETRY_SECONDS_FIRST, RETRY_SECONDS_MAX = 0.02, 0.5
"""After a link failed no new one is tried for this long (doubled each time)."""
_RANDOM_BYTES = 40


def handshake(authkey: bytes, *, accepting: bool) -> Handshake:
    """A handshake with fresh randomness."""
    return Handshake(authkey, accepting=accepting, random=os.urandom(_RANDOM_BYTES))


def hello(frm: str, to: str, listen: str = "") -> bytes:
    """The first frame after the handshake: who I am, where I listen, and (to a client) who you are."""
    return encode(Envelope(HELLO, to, frm, 0, 0, 0, MSGPACK, "", listen.encode()))


class Stranger:
    """An incoming connection under its handshake: it becomes a port, or is closed in time."""

    def __init__(
        self,
        reactor: Reactor,
        channel: FrameSocket,
        authkey: bytes,
        done: Callable[[Stranger, bool], None],
    ) -> None:
        self._reactor = reactor
        self.channel = channel
        self._done = done
        self._handshake = handshake(authkey, accepting=True)
        self._deadline = reactor.after(HANDSHAKE_SECONDS_MAX, lambda: self.finish(False))
        channel.frame_bytes_max = HANDSHAKE_FRAME_BYTES_MAX
        reactor.read(channel, self._read)
        for frame in self._handshake.opening():
            channel.send(frame)
        channel.flush()

    def _read(self) -> None:
        try:
            for frame in self.channel.receive():
                for answer in self._handshake.feed(frame):
                    self.channel.send(answer)
            self.channel.flush()
        except (EOFError, ProtocolError, IndexError):
            self.finish(False)
            return
        if self._handshake.done:
            self.channel.frame_bytes_max = FRAME_BYTES_MAX
            self.finish(True)

    def finish(self, authenticated: bool) -> None:
        """Hand over, or close."""
        self._deadline.cancel()
        self._reactor.forget(self.channel)
        if not authenticated:
            self.channel.close()
        self._done(self, authenticated)


class Peer:
    """The way to another node: down, connecting or up. Frames wait in a bounded backlog."""

    def __init__(
        self,
        reactor: Reactor,
        name: str,
        address: str,
        *,
        authkey: bytes,
        me: str,
        listen: str,
        up: Callable[[Peer], None],
        lost: Callable[[Peer, str, list[Envelope]], None],
    ) -> None:
        self.name = name
        self.port: Port | None = None
        self._reactor = reactor
        self._address = address
        self._authkey = authkey
        self._me, self._listen = me, listen
        self._up, self._lost = up, lost
        self._channel: FrameSocket | None = None
        self._handshake: Handshake | None = None
        self._backlog: list[tuple[Envelope, bytes]] = []
        self._backlog_bytes = 0
        self._deadline: Timer | None = None
        self._retry_at = 0.0
        self._pause = RETRY_SECONDS_FIRST

    def queue(self, envelope: Envelope, frame: bytes) -> str:
        """Send, or wait for the link; what keeps it from being sent: "down", "full" or ""."""
        if self._channel is None:
            if self._reactor.now() < self._retry_at or not self._connect():
                return "down"
        if self._backlog_bytes + len(frame) > BACKLOG_BYTES_MAX:
            return "full"
        self._backlog.append((envelope, frame))
        self._backlog_bytes += len(frame)
        return ""

    def _connect(self) -> bool:
        host, _, port = self._address.rpartition(":")
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        try:
            sock.connect((host, int(port)))
        except BlockingIOError:
            pass  # under way; the handshake's first frame, or an error, will tell
        except OSError:
            sock.close()
            self._postpone()
            return False
        self._channel = FrameSocket(sock)
        self._channel.frame_bytes_max = HANDSHAKE_FRAME_BYTES_MAX
        self._handshake = handshake(self._authkey, accepting=False)
        self._deadline = self._reactor.after(HANDSHAKE_SECONDS_MAX, lambda: self.fail("no answer"))
        self._reactor.read(self._channel, self._read)
        return True

    def _read(self) -> None:
        assert self._channel is not None and self._handshake is not None
        try:
            for frame in self._channel.receive():
                if self._handshake.done:
                    self._established()
                    return
                for answer in self._handshake.feed(frame):
                    self._channel.send(answer)
            self._channel.flush()
        except (EOFError, ProtocolError, IndexError) as error:
            self.fail(str(error))

    def _established(self) -> None:
        """The other side has said hello: what has waited goes out, after our own hello."""
        assert self._channel is not None and self._deadline is not None
        self._deadline.cancel()
        self._pause = RETRY_SECONDS_FIRST
        self._channel.frame_bytes_max = FRAME_BYTES_MAX
        self._channel.send(hello(self._me, self.name, self._listen))
        self.port = Port(self._channel, f"mailroom@{self.name}", remote=True)
        self.port.peer = self.name
        now = self._reactor.now()
        for envelope, frame in self._backlog:
            self.port.channel.send(frame)
            if envelope.kind == CALL:
                self.port.expect(envelope, now)
        self._backlog, self._backlog_bytes = [], 0
        self._up(self)

    def fail(self, text: str) -> None:
        """The link is lost, or was not made: whoever waits for it is told by our owner."""
        if self._channel is None:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._reactor.forget(self._channel)
        if self.port is None:
            self._channel.close()
        else:
            self.port.close()
        waiting = [envelope for envelope, _ in self._backlog]
        self._backlog, self._backlog_bytes = [], 0
        self._channel = None
        self._postpone()
        self._lost(self, text, waiting)
        self.port = None

    def _postpone(self) -> None:
        self._retry_at = self._reactor.now() + self._pause
        self._pause = min(self._pause * 2, RETRY_SECONDS_MAX)
