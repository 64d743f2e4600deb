"""Links between mailrooms, and strangers at the door.

Each direction between two nodes has a connection of its own, made by the sender when it first has
something to send: so there is no tie to break when both begin at once, and order is kept.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from otp.codec import decode_envelope, encode
from otp.frames import HELLO, MSGPACK, Envelope
from otp.ports import Port
from otp.reactor import Reactor, Timer
from otp.transport import (
    FRAME_BYTES_MAX,
    HANDSHAKE_FRAME_BYTES_MAX,
    REJECTED,
    AuthenticationError,
    FrameSocket,
    Handshake,
    ProtocolError,
)

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
    """The first frame after the handshake: who I am, where I listen, and who you are to me."""
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
        self._over = False
        channel.frame_bytes_max = HANDSHAKE_FRAME_BYTES_MAX

    def begin(self) -> None:
        """Challenge it; `done` is called when it has passed or failed, perhaps at once."""
        self._reactor.read(self.channel, self._read)
        self._attempt(lambda: self._send(self._handshake.opening()))

    def _read(self) -> None:
        self._attempt(self._advance)

    def _advance(self) -> None:
        # One frame at a time: whoever has passed may send at once, and that is not for us.
        while not self._handshake.done and (frames := self.channel.receive(1)):
            self._send(self._handshake.feed(frames[0]))
        if self._handshake.done:
            self.channel.frame_bytes_max = FRAME_BYTES_MAX
            self.finish(True)

    def _send(self, frames: list[bytes]) -> None:
        for frame in frames:
            self.channel.send(frame)
        self.channel.flush()

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except AuthenticationError:
            self._attempt(lambda: self._send([REJECTED]))
            self.finish(False)
        except (EOFError, ProtocolError):
            self.finish(False)

    def finish(self, authenticated: bool) -> None:
        """Hand over, or close; only once."""
        if self._over:
            return
        self._over = True
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
        self.address = address
        self.port: Port | None = None
        self._reactor = reactor
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
        if not self.open():
            return "down"
        if self._backlog and self._backlog_bytes + len(frame) > BACKLOG_BYTES_MAX:
            return "full"
        self._backlog.append((envelope, frame))
        self._backlog_bytes += len(frame)
        return ""

    def open(self) -> bool:
        """Make the link if there is none; False if it cannot be made at this moment."""
        if self._channel is not None:
            return True
        return self._reactor.now() >= self._retry_at and self._connect()

    def heard(self) -> None:
        """The other node is there: it has just connected to us, so there is no need to hold off."""
        self._retry_at, self._pause = 0.0, RETRY_SECONDS_FIRST

    def _connect(self) -> bool:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            host, _, port = self.address.rpartition(":")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            sock.connect((host, int(port)))
        except BlockingIOError:
            pass  # under way; the handshake's first frame, or an error, will tell
        except (OSError, ValueError, OverflowError):
            sock.close()
            self._postpone()
            return False
        self._channel = FrameSocket(sock, frame_bytes_max=HANDSHAKE_FRAME_BYTES_MAX)
        self._handshake = handshake(self._authkey, accepting=False)
        self._deadline = self._reactor.after(HANDSHAKE_SECONDS_MAX, self._expired)
        self._reactor.read(self._channel, self._read)
        return True

    def _expired(self) -> None:
        self.fail("no answer")

    def _read(self) -> None:
        channel, shake = self._channel, self._handshake
        assert channel is not None and shake is not None
        try:
            while self.port is None and (frames := channel.receive(1)):
                if shake.done:
                    self._established(frames[0])
                    return
                for answer in shake.feed(frames[0]):
                    channel.send(answer)
                if shake.done:
                    channel.frame_bytes_max = FRAME_BYTES_MAX
            channel.flush()
        except (EOFError, ProtocolError) as error:
            self.fail(str(error))

    def _established(self, frame: bytes) -> None:
        """The other side has said hello: what has waited goes out, after our own hello."""
        assert self._channel is not None and self._deadline is not None
        name = _name_in(frame)
        if name != self.name:
            self.fail(f"at {self.address} is {name or 'no mailroom'}")
            return
        self._deadline.cancel()
        self._pause = RETRY_SECONDS_FIRST
        self._channel.send(hello(self._me, self.name, self._listen))
        pid = f"mailroom@{self.name}"
        self.port = Port(self._channel, pid, "link", remote=True, peer=self.name)
        for _, waiting in self._backlog:
            self.port.channel.send(waiting)
        self._backlog, self._backlog_bytes = [], 0
        self._up(self)

    def fail(self, text: str) -> bool:
        """The link is lost, or was not made: whoever waits for it is told by our owner.

        False where there was none, and nobody is told anything.
        """
        if self._channel is None:
            return False
        if self._deadline is not None:
            self._deadline.cancel()
        self._reactor.forget(self._channel)
        if self.port is None:
            self._channel.close()
        else:
            self.port.close()
        waiting = [envelope for envelope, _ in self._backlog]
        self._backlog, self._backlog_bytes = [], 0
        self._channel = self.port = None
        self._postpone()
        self._lost(self, text, waiting)
        return True

    def _postpone(self) -> None:
        self._retry_at = self._reactor.now() + self._pause
        self._pause = min(self._pause * 2, RETRY_SECONDS_MAX)


def _name_in(frame: bytes) -> str:
    """The name of the node that says hello; empty if this is no hello."""
    try:
        envelope = decode_envelope(frame)
    except (ValueError, RecursionError):
        return ""
    return envelope.frm if envelope.kind == HELLO else ""
