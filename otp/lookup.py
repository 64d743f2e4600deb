"""Host names to addresses, without blocking a loop: a resolver may take many seconds.

The one place where a mailroom has threads: each waits for one answer, and nothing is forked here.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from otp.reactor import Reactor

if TYPE_CHECKING:
    import threading

LOOKUPS_MAX = 32
"""Resolvers that may be waited for at a time; beyond it a name is not found."""


@functools.cache
def _running() -> threading.BoundedSemaphore:
    import threading  # it has a hook in every fork of a process that has imported it

    return threading.BoundedSemaphore(LOOKUPS_MAX)


def is_numeric(host: str) -> bool:
    """An IP address needs no resolver."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return True
    return False


class Lookup:
    """One name: `done(address)` is called once on the reactor, with "" where there is none."""

    def __init__(self, reactor: Reactor, host: str, done: Callable[[str], None]) -> None:
        self._reactor, self._done = reactor, done
        self._ours, theirs = socket.socketpair()
        reactor.read(self._ours, self._read)
        if _running().acquire(blocking=False):
            import threading

            resolving = threading.Thread(
                target=_resolve, args=(host, theirs), name=__name__, daemon=True
            )
            resolving.start()
        else:
            theirs.close()

    def _read(self) -> None:
        answer = self._ours.recv(256).decode()
        self.cancel()
        self._done(answer)

    def cancel(self) -> None:
        """Nobody wants to know any more; the thread ends when its resolver does."""
        if self._ours.fileno() >= 0:
            self._reactor.forget(self._ours)
            self._ours.close()


def _resolve(host: str, answer: socket.socket) -> None:
    try:
        with answer, contextlib.suppress(OSError, UnicodeError):  # no such name, or nobody listens
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            answer.send(str(found[0][4][0]).encode())
    finally:
        _running().release()
