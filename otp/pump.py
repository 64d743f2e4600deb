"""Bytes from one socket to another and back, for lanes that no process can hold itself.

A TLS connection lives in the mailroom's memory and cannot be handed over: so the mailroom hands
over one end of a socket pair, and pumps. It looks at nothing.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from otp.reactor import Reactor

PUMP_BYTES_MAX = 256 * 1024
"""What is taken from one side before the other has taken it: then the first has to wait."""
READ_BYTES = 64 * 1024


class Pump:
    """Two non-blocking sockets, joined until either ends; `ended(self)` is called once."""

    def __init__(
        self,
        reactor: Reactor,
        one: socket.socket,
        other: socket.socket,
        ended: Callable[[Pump], None],
    ) -> None:
        self._reactor, self._ended = reactor, ended
        self._other = {one: other, other: one}
        self._waiting = {one: bytearray(), other: bytearray()}
        self._finished = False
        for sock in (one, other):
            sock.setblocking(False)

    def begin(self) -> None:
        """Pump from now on."""
        for sock in self._other:
            self._reactor.read(sock, lambda sock=sock: self._read(sock))  # type: ignore[misc]

    def _read(self, sock: socket.socket) -> None:
        if sock.fileno() < 0:
            return  # ended in this very round
        try:
            data = sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        other = self._other[sock]
        self._waiting[other] += data
        self._write(other)
        if not data:
            self._finish(other)
        elif len(self._waiting[other]) > PUMP_BYTES_MAX:
            self._reactor.hold(sock, True)

    def _write(self, sock: socket.socket) -> None:
        waiting = self._waiting[sock]
        try:
            while waiting:
                del waiting[: sock.send(waiting)]
        except BlockingIOError:
            self._reactor.write(sock, lambda: self._write(sock))
            return
        except OSError:
            self.end()
            return
        if self._finished:
            self.end()
        elif sock.fileno() >= 0:
            self._reactor.write(sock, None)
            self._reactor.hold(self._other[sock], False)

    def _finish(self, sock: socket.socket) -> None:
        """The other side has hung up: what it had sent before still goes out."""
        self._finished = True
        self._reactor.hold(self._other[sock], True)
        self._write(sock)

    def end(self) -> None:
        """Close both; only once."""
        socks = [sock for sock in self._other if sock.fileno() >= 0]
        for sock in socks:
            self._reactor.forget(sock)
            with contextlib.suppress(OSError):
                sock.close()
        if socks:
            self._ended(self)
