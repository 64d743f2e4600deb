"""Links between mailrooms.

Each direction between two nodes has a connection of its own, made by the sender when it first has
something to send: so there is no tie to break when both begin at once, and order is kept. A link
that was lost is made again, with pauses that grow, whether or not there is something to send.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from otp.approach import HANDSHAKE_SECONDS_MAX, Approach
from otp.codec import decode_envelope, encode
from otp.frames import HELLO, MSGPACK, Envelope
from otp.lookup import Lookup, is_numeric
from otp.ports import Port
from otp.reactor import Reactor, Timer
from otp.transport import FrameSocket, ProtocolError, split

if TYPE_CHECKING:  # without certificates nobody pays for `ssl`
    from otp.tls import Tls

BACKLOG_BYTES_MAX = 8 * 1024 * 1024
"""What may wait for a link that is being made."""
RETRY_SECONDS_FIRST, RETRY_SECONDS_MAX = 0.02, 0.5
"""After a link failed nothing that is sent makes one for this long (doubled each time)."""
AGAIN_SECONDS_FIRST, AGAIN_SECONDS_MAX = 0.1, 5.0
"""A lost link is tried again by itself after this long (doubled each time, and jittered)."""
AGAIN_MAX = 60
"""How often a node that nobody configured is tried again: it knows us, and may come back to us."""
JITTER = 0.5
"""Pauses are longer by up to this part of them, so that many nodes do not come back as one."""


def hello(frm: str, to: str, listen: str = "") -> bytes:
    """The first frame after the handshake: who I am, where I listen, and who you are to me."""
    return encode(Envelope(HELLO, to, frm, 0, 0, 0, MSGPACK, "", listen.encode()))


def dial(host: str, port: int) -> socket.socket:
    """A TCP connection in the making, to an IP address. Raises OSError, OverflowError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        keep_alive(sock)
        sock.setblocking(False)
        sock.connect((host, port))
    except BlockingIOError:
        pass  # under way; the handshake's first frame, or an error, will tell
    except BaseException:
        sock.close()
        raise
    return sock


KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 2, socket.TCP_KEEPCNT: 3}
"""Seconds and probes until the kernel gives a silent connection up, whoever is at its end."""
UNACKNOWLEDGED_MS_MAX = 10_000
"""How long what was sent may stay unacknowledged."""


def keep_alive(sock: socket.socket) -> None:
    """A network connection that sends at once and does not outlive its other end for long."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)


class Identity(Protocol):
    """Who a mailroom is to others; `Serve` is one."""

    @property
    def node(self) -> str: ...
    @property
    def listen(self) -> str: ...
    @property
    def authkey(self) -> bytes: ...


class Outgoing:
    """A new connection to another node's mailroom, until that has said hello.

    `done(problem)` is called once; where it is empty `channel` and `pid` (ours, over there) are
    there, and the channel is the caller's to read.
    """

    channel: FrameSocket
    pid: str

    def __init__(
        self,
        reactor: Reactor,
        name: str,
        address: str,
        *,
        authkey: bytes,
        tls: Tls | None,
        done: Callable[[str], None],
    ) -> None:
        self._reactor, self._name, self._address, self._done = reactor, name, address, done
        self._authkey, self._tls = authkey, tls
        self._deadline: Timer | None = None
        self._approach: Approach | None = None
        self._lookup: Lookup | None = None
        self._over = False
        host, port = split(address)
        if is_numeric(host):
            self._dial(host, port)
        else:
            self._deadline = reactor.after(HANDSHAKE_SECONDS_MAX, self._unknown)
            self._lookup = Lookup(reactor, host, lambda found: self._found(found, port))

    def _found(self, host: str, port: int) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        try:
            if not host:
                raise OSError
            self._dial(host, port)
        except (OSError, OverflowError):
            self._unknown()
        else:
            self.begin()

    def _unknown(self) -> None:
        self._finish(f"no address is found for {self._address}")

    def _dial(self, host: str, port: int) -> None:
        self._approach = Approach(
            self._reactor,
            dial(host, port),
            authkey=self._authkey,
            tls=self._tls,
            accepting=False,
            done=self._approached,
        )
        self.channel = self._approach.channel

    def begin(self) -> None:
        """Go: `done` may be called before this returns."""
        if self._approach is not None:
            self._approach.begin()

    def give_up(self) -> None:
        """Close it; `done` is not called any more."""
        if not self._over:
            self._over = True
            if self._approach is not None:
                self._approach.finish("given up")
            self._close()

    def _approached(self, approach: Approach, problem: str) -> None:
        self.channel = approach.channel
        if self._over:
            return
        if not problem and approach.names is not None and self._name not in approach.names:
            names = ", ".join(sorted(approach.names)) or "nobody"
            problem = f"the certificate at {self._address} is for {names}"
        if problem:
            self._finish(problem)
            return
        self._deadline = self._reactor.after(HANDSHAKE_SECONDS_MAX, self._expired)
        self._reactor.read(self.channel, self._read)
        self._read()

    def _expired(self) -> None:
        self._finish("no hello in time")

    def _read(self) -> None:
        try:
            frames = self.channel.receive(1)
        except (EOFError, ProtocolError) as error:
            self._finish(str(error))
            return
        if not frames:
            return
        name, self.pid = _named(frames[0])
        same = name == self._name
        self._finish("" if same else f"at {self._address} is {name or 'no mailroom'}")

    def _finish(self, problem: str) -> None:
        if self._over:
            return
        self._over = True
        if problem:
            self._close()
        else:
            self._forget()
        self._done(problem)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._reactor.forget(self.channel)

    def _close(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._lookup is not None:
            self._lookup.cancel()
        if self._approach is not None and self.channel.fileno() >= 0:
            self._reactor.forget(self.channel)
            self.channel.close()


class Peer:
    """The way to another node: down, connecting or up. Frames wait in a bounded backlog."""

    def __init__(
        self,
        reactor: Reactor,
        name: str,
        address: str,
        *,
        me: Identity,
        tls: Tls | None,
        up: Callable[[Peer], None],
        lost: Callable[[Peer, str, list[Envelope]], None],
        again_max: int | None = None,
    ) -> None:
        self.name = name
        self.address = address
        self.port: Port | None = None
        self._reactor, self._me, self._tls = reactor, me, tls
        self._up, self._lost = up, lost
        self._outgoing: Outgoing | None = None
        self._backlog: list[tuple[Envelope, bytes]] = []
        self._backlog_bytes = 0
        self._retry_at = 0.0
        self._pause = RETRY_SECONDS_FIRST
        self._again_max = again_max
        self._again = 0
        self._kept = False
        self._timer: Timer | None = None

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
        if self.port is not None or self._outgoing is not None:
            return True
        return self._reactor.now() >= self._retry_at and self._connect()

    def keep(self) -> None:
        """Make the link now, and again whenever it is lost."""
        self._kept = True
        if not self.open():
            self._try_again()

    def heard(self) -> None:
        """The other node is there: it has just connected to us, so there is no need to hold off."""
        self._retry_at, self._pause, self._again = 0.0, RETRY_SECONDS_FIRST, 0

    def _connect(self) -> bool:
        try:
            self._outgoing = Outgoing(
                self._reactor,
                self.name,
                self.address,
                authkey=self._me.authkey,
                tls=self._tls,
                done=self._done,
            )
        except (OSError, ValueError, OverflowError):
            self._postpone()
            return False
        self._outgoing.begin()
        return self._outgoing is not None

    def _done(self, problem: str) -> None:
        if problem:
            self.fail(problem)
            return
        assert self._outgoing is not None
        channel, self._outgoing = self._outgoing.channel, None
        self._pause, self._again, self._kept = RETRY_SECONDS_FIRST, 0, True
        channel.send(hello(self._me.node, self.name, self._me.listen))
        self.port = Port(channel, f"mailroom@{self.name}", "link", remote=True, peer=self.name)
        for _, waiting in self._backlog:
            channel.send(waiting)
        self._backlog, self._backlog_bytes = [], 0
        self._up(self)

    def fail(self, text: str) -> bool:
        """The link is lost, or was not made: whoever waits for it is told by our owner.

        False where there was none, and nobody is told anything.
        """
        outgoing, port = self._outgoing, self.port
        if outgoing is None and port is None:
            return False
        self._outgoing = self.port = None
        if outgoing is not None:
            outgoing.give_up()
        if port is not None:
            self._reactor.forget(port.channel)
            port.close()
        waiting = [envelope for envelope, _ in self._backlog]
        self._backlog, self._backlog_bytes = [], 0
        self._postpone()
        self._lost(self, text, waiting)
        return True

    def _postpone(self) -> None:
        self._retry_at = self._reactor.now() + self._pause
        self._pause = min(self._pause * 2, RETRY_SECONDS_MAX)
        if self._kept:
            self._try_again()

    def _try_again(self) -> None:
        import random  # it reseeds in every fork of a process that has imported it

        enough = self._again_max is not None and self._again >= self._again_max
        if self._timer is not None or enough:
            return
        pause = min(AGAIN_SECONDS_FIRST * 2.0 ** min(self._again, 16), AGAIN_SECONDS_MAX)
        self._again += 1
        self._timer = self._reactor.after(pause * (1 + JITTER * random.random()), self._by_itself)

    def _by_itself(self) -> None:
        self._timer = None
        if not self.open():
            self._try_again()


def _named(frame: bytes) -> tuple[str, str]:
    """The node that says hello, and who we are to it; empty if this is no hello."""
    try:
        envelope = decode_envelope(frame)
    except (ValueError, RecursionError):
        return "", ""
    return (envelope.frm, envelope.to) if envelope.kind == HELLO else ("", "")
