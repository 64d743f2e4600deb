"""sd_notify, both ways: how a program says that it is ready, and how a node says it of itself."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

from otp.reactor import Callback, Reactor

VARIABLE = "NOTIFY_SOCKET"
"""The environment variable that names the socket, as systemd has it."""
READY = b"READY=1"
TEXT_BYTES_MAX = 4096
"""The longest message that is read."""
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_CREDENTIALS_SPACE = socket.CMSG_SPACE(_CREDENTIALS.size)


def _bindable(address: str) -> str:
    return "\0" + address[1:] if address.startswith("@") else address


class NotifySocket:
    """Where one program says that it is ready; `path` is for its environment. Raises OSError.

    A `path` that begins with @ is an abstract address, for a program of another user, who may not
    look into the node's folder. Anybody could write there, so only that `uid` is listened to.
    """

    def __init__(
        self, reactor: Reactor, path: str, ready: Callback, *, uid: int | None = None
    ) -> None:
        self.path = path
        self._reactor, self._ready, self._uid = reactor, ready, uid
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.bind(_bindable(path))
        except OSError:
            self._socket.close()
            raise
        reactor.read(self._socket, self._read)

    def _read(self) -> None:
        try:
            text, ancillary, _, _ = self._socket.recvmsg(TEXT_BYTES_MAX, _CREDENTIALS_SPACE)
        except BlockingIOError:
            return
        if self._uid not in (None, *_uids(ancillary)):
            return
        if READY in text.split(b"\n"):
            self._ready()

    def close(self) -> None:
        """Listen no more, and leave no file."""
        self._reactor.forget(self._socket)
        self._socket.close()
        if not self.path.startswith("@"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)


def _uids(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Who sent it, as the kernel says."""
    return [
        _CREDENTIALS.unpack(data)[1]
        for level, kind, data in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    ]


def notify_ready(address: str) -> None:
    """Tell whoever started this process, and listens at `address`, that it is up."""
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        # Whoever is gone or not listening does not want to know.
        sock.sendto(READY, _bindable(address))
