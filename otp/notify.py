"""sd_notify, both ways: how a program says that it is ready, and how a node says it of itself."""

from __future__ import annotations

import contextlib
import os
import socket

from otp.reactor import Callback, Reactor

VARIABLE = "NOTIFY_SOCKET"
"""The environment variable that names the socket, as systemd has it."""
READY = b"READY=1"
TEXT_BYTES_MAX = 4096
"""The longest message that is read."""


class NotifySocket:
    """Where one program says that it is ready; `path` is for its environment. Raises OSError."""

    def __init__(self, reactor: Reactor, path: str, ready: Callback) -> None:
        self.path = path
        self._reactor, self._ready = reactor, ready
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.bind(path)
        except OSError:
            self._socket.close()
            raise
        reactor.read(self._socket, self._read)

    def _read(self) -> None:
        try:
            text = self._socket.recv(TEXT_BYTES_MAX)
        except BlockingIOError:
            return
        if READY in text.split(b"\n"):
            self._ready()

    def close(self) -> None:
        """Listen no more, and leave no file."""
        self._reactor.forget(self._socket)
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def notify_ready(address: str) -> None:
    """Tell whoever started this process, and listens at `address`, that it is up."""
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        # Whoever is gone or not listening does not want to know.
        sock.sendto(READY, "\0" + address[1:] if address.startswith("@") else address)
