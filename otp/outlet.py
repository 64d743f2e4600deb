"""A standard stream that never blocks whoever writes to it.

What is not taken at once waits, in a bounded queue; what finds the queue full is counted instead,
and the count is written when somebody reads again. The stream is opened anew where possible: the
flag for not blocking belongs to the open file, which we share with our parent and its shell.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from otp.reactor import Callback, Descriptor, Reactor

OUTLET_BYTES_MAX = 256 * 1024
"""What may wait for a slow reader; a terminal shows that much in a moment."""
AT_ONCE_BYTES_MAX = 64 * 1024
"""How much is joined into one write."""
POLITE_BYTES_MAX = 512
"""What a stream that could not be opened anew takes at a time, where poll says that it does:
POSIX's smallest PIPE_BUF."""

Write = Callable[[bytes], int]


def missing_lines(count: int) -> bytes:
    """What stands in the place of lines that found no room."""
    return b"otp: %d lines were not shown: nobody read them in time\n" % count


class Outlet:
    """One output stream. `broken` says that nobody will ever read it any more."""

    def __init__(
        self,
        reactor: Reactor,
        fd: int,
        *,
        drained: Callback | None = None,
        missing: Callable[[int], bytes] = missing_lines,
    ) -> None:
        self._reactor = reactor
        self._drained, self._missing = drained, missing
        self._queue: deque[bytes] = deque()
        self._way = _open(fd)
        self._source, self.broken = Descriptor(self._way.fd), self._way.closed
        self.waiting = self.written = 0
        self.dropped = 0

    @property
    def full(self) -> bool:
        """There is no room for more."""
        return self.waiting >= OUTLET_BYTES_MAX

    def offer(self, data: bytes, lines: int = 1) -> bool:
        """Write it now or when somebody reads; where there is no room its lines are counted."""
        if self.broken:
            return False
        if self.full:
            self.dropped += lines
            return False
        self.put(data)
        return True

    def put(self, data: bytes) -> None:
        """Write it now or when somebody reads, room or not: for whoever watches `full`."""
        if self.broken or not (data or self.dropped):
            return
        if self.dropped and not self._queue:
            self._queue_up(self._missing(self.dropped))
            self.dropped = 0
        self._queue_up(data)
        self._reactor.at_end_of_round(self.flush)

    def _queue_up(self, data: bytes) -> None:
        self._queue.append(data)
        self.waiting += len(data)

    def flush(self) -> None:
        """Write what is taken."""
        try:
            while self._queue:
                self._write_some()
        except BlockingIOError:
            self._reactor.when_writable(self._source, self.flush)
            return
        except OSError:
            self._break()
        self._reactor.when_writable(self._source, None)
        if self.dropped:
            self.put(b"")
        elif self._drained is not None:
            self._drained()

    def _write_some(self) -> None:
        chunk = self._queue[0]
        if len(self._queue) > 1:
            chunk = self._joined()
        sent = self._way.write(chunk)
        self.waiting -= sent
        self.written += sent
        if sent < len(chunk):
            self._queue[0] = chunk[sent:]
        else:
            self._queue.popleft()

    def _joined(self) -> bytes:
        parts, size = [], 0
        while self._queue and size < AT_ONCE_BYTES_MAX:
            parts.append(self._queue.popleft())
            size += len(parts[-1])
        self._queue.appendleft(b"".join(parts))
        return self._queue[0]

    def _break(self) -> None:
        self.broken = True
        self._queue.clear()
        self.waiting = 0

    def finish(self, seconds: float) -> None:
        """Write what waits, at most so long: for the end of a process."""
        deadline = self._reactor.now() + seconds
        self.flush()
        while self._queue and (left := deadline - self._reactor.now()) > 0:
            poll = select.poll()
            poll.register(self._source.fileno(), select.POLLOUT)
            poll.poll(int(left * 1000) + 1)
            self.flush()

    def close(self) -> None:
        """Write no more; what waits is lost."""
        if not self.broken:
            self._break()
            self._reactor.when_writable(self._source, None)
        self._way.close()


def same(one: int, other: int) -> bool:
    """Whether two descriptors lead to the same file: then one outlet keeps their order."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(one), os.fstat(other))
    return False


class _Way(NamedTuple):
    """How to write to a stream, what to wait for, and what to close at the end."""

    fd: int
    write: Write
    close: Callback
    closed: bool = False


def _open(fd: int) -> _Way:
    try:
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
    except OSError:
        return _Way(fd, len, _nothing, closed=True)
    if kind == stat.S_IFSOCK:
        sock = socket.socket(fileno=os.dup(fd))
        return _Way(sock.fileno(), lambda data: sock.send(data, socket.MSG_DONTWAIT), sock.close)
    if kind in (stat.S_IFIFO, stat.S_IFCHR):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            mine = os.open(f"/proc/self/fd/{fd}", flags)
        except OSError:  # another user's terminal
            return _Way(fd, lambda data: _politely(fd, data), _nothing)
        return _Way(mine, lambda data: os.write(mine, data), lambda: os.close(mine))
    return _Way(fd, lambda data: os.write(fd, data), _nothing)


def _nothing() -> None:
    """The stream belongs to others."""


def _politely(fd: int, data: bytes) -> int:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(fd, data[:POLITE_BYTES_MAX])
