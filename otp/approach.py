"""From a bare connection to one whose other end is known: TLS or the challenge, under a deadline.

Both ends of a new connection run one `Approach`, without blocking. Over TLS the certificates are
the authentication, and there is no challenge; without it there is only the challenge.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from otp.reactor import Reactor
from otp.transport import (
    FRAME_BYTES_MAX,
    HANDSHAKE_FRAME_BYTES_MAX,
    REJECTED,
    AuthenticationError,
    FrameSocket,
    Handshake,
    ProtocolError,
)

if TYPE_CHECKING:  # without certificates nobody pays for `ssl`
    from otp.tls import Tls, TlsHandshake

HANDSHAKE_SECONDS_MAX = 2.0
"""A connection that is not authenticated by then is closed."""
SILENT = "no answer in time"
_RANDOM_BYTES = 40


def handshake(authkey: bytes, *, accepting: bool) -> Handshake:
    """A handshake with fresh randomness."""
    return Handshake(authkey, accepting=accepting, random=os.urandom(_RANDOM_BYTES))


class Approach:
    """A new connection until it is authenticated: `done(self, problem)` is called once.

    `problem` is empty where all is well; then `channel` is the caller's to read and to close, and
    `names` are the nodes that the other's certificate is for (None where there is no TLS).
    Otherwise everything is closed. A connection that is still being made is awaited, too.
    """

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        *,
        authkey: bytes,
        tls: Tls | None,
        accepting: bool,
        done: Callable[[Approach, str], None],
    ) -> None:
        sock.setblocking(False)
        self.names: frozenset[str] | None = None
        self._reactor, self._sock, self._done = reactor, sock, done
        self._tls, self._accepting = tls, accepting
        self._secured: TlsHandshake | None = None
        self._handshake: Handshake | None = None if tls else handshake(authkey, accepting=accepting)
        self.channel = FrameSocket(sock, frame_bytes_max=HANDSHAKE_FRAME_BYTES_MAX)
        self._deadline = reactor.after(HANDSHAKE_SECONDS_MAX, lambda: self.finish(SILENT))
        self._over = False

    def begin(self) -> None:
        """Go: `done` may be called before this returns."""
        self._reactor.read(self._sock, self._go_on)
        if self._tls is not None and not self._accepting:
            self._reactor.write(self._sock, self._go_on)  # TLS begins when we are connected
        else:
            self._attempt(self._open)

    def _open(self) -> None:
        if self._handshake is not None:
            self._send(self._handshake.opening())

    def _go_on(self) -> None:
        self._attempt(self._advance)

    def _advance(self) -> None:
        if self._tls is not None:
            self._advance_tls(self._tls)
            return
        shake = self._handshake
        assert shake is not None
        # One frame at a time: whoever has passed may send at once, and that is not for us.
        while not shake.done and (frames := self.channel.receive(1)):
            self._send(shake.feed(frames[0]))
        if shake.done:
            self.finish("")

    def _advance_tls(self, tls: Tls) -> None:
        if self._secured is None:
            if problem := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise EOFError(os.strerror(problem))
            # The descriptor stays, but should this fail it is closed, and must not be watched.
            self._reactor.forget(self._sock)
            self._secured = tls.begin(self._sock, accepting=self._accepting)
            self._sock = self._secured.sock
            self.channel = FrameSocket(self._sock, frame_bytes_max=HANDSHAKE_FRAME_BYTES_MAX)
            self._reactor.read(self._sock, self._go_on)
        wants_room = self._secured.advance()
        self._reactor.write(self._sock, self._go_on if wants_room else None)
        if self._secured.done:
            self.names = self._secured.names
            self.finish("")

    def _send(self, frames: list[bytes]) -> None:
        for frame in frames:
            self.channel.send(frame)
        self.channel.flush()

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except AuthenticationError as error:
            if self._accepting:
                self._attempt(lambda: self._send([REJECTED]))
            self.finish(str(error))
        except (EOFError, ProtocolError) as error:
            self.finish(str(error))

    def finish(self, problem: str) -> None:
        """Hand over, or close; only once."""
        if self._over:
            return
        self._over = True
        self._deadline.cancel()
        self._reactor.forget(self._sock)
        if problem:
            self.channel.close()
        else:
            self.channel.frame_bytes_max = FRAME_BYTES_MAX
        self._done(self, problem)
