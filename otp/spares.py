"""Children in waiting: forked ahead of need, so that a restart does not wait for a fork.

A spare is a child of the zygote that has settled in and waits for its job on a socket of its own.
Nobody counts on one: where there is none, where it was made before what the job needs, or where it
was killed, the zygote forks as if there were no spares. A spare that dies with its job unread has
not begun it (the kernel tells: ECONNRESET), and the job is done again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Collection

import msgspec

from otp.frames import Spawn
from otp.reactor import Reactor, Timer
from otp.transport import receive_fds

SPARES_MAX = 1
"""How many wait at a time; what is started in a burst beyond them is forked."""
JOB_BYTES_MAX = 64 * 1024
"""The longest job for a spare: a datagram of it fits into any socket's buffer."""
REFILL_SECONDS = 0.01
"""How long after a spawn the next spare is forked: not while what was started needs the cores."""
RENEW_SECONDS = 0.25
"""After so long without a spawn a spare that lacks what was prepared since is replaced."""


class Job(msgspec.Struct):
    """What a spare was given, until it has taken it: then the descriptors are its own alone."""

    spawn: Spawn
    fds: list[int]
    sock: socket.socket
    unread: bool = False
    meant: bool = False


class Spares:
    """The spares of one zygote. `fork` makes a child that closes the second of two sockets, our
    end, and calls `wait` with the first."""

    def __init__(
        self, reactor: Reactor, fork: Callable[[socket.socket, socket.socket], int]
    ) -> None:
        self._reactor = reactor
        self._fork = fork
        self._idle: dict[int, tuple[int, socket.socket]] = {}
        self._jobs: dict[int, Job] = {}
        self._timer: Timer | None = None
        self.made = 0
        """How much was prepared by now: a spare has what was prepared before it was forked."""

    def pids(self) -> Collection[int]:
        """Those that wait: children of the zygote that no node knows."""
        return self._idle.keys()

    def give(self, spawn: Spawn, frame: bytes, fds: list[int], *, needs: int) -> int:
        """Give a job, with its descriptors, to a spare; its pid, or 0 where none can take it."""
        if len(frame) > JOB_BYTES_MAX:
            return 0
        for pid in [pid for pid, (made, _) in self._idle.items() if made >= needs]:
            _, sock = self._idle.pop(pid)
            try:
                socket.send_fds(sock, [frame], fds)
            except OSError:  # it was killed while it waited, or else is of no use
                self._discard(pid, sock)
                continue
            self._jobs[pid] = Job(spawn, fds, sock)
            self._reactor.read(sock, lambda pid=pid: self._heard(pid))  # type: ignore[misc]
            return pid
        return 0

    def _heard(self, pid: int) -> None:
        """A spare has closed its socket: it has its job, or else it is dead."""
        job = self._jobs[pid]
        self._reactor.forget(job.sock)
        try:
            job.sock.recv(1)
        except ConnectionResetError:
            job.unread = True
            return
        finally:
            job.sock.close()
        self._finish(pid)

    def _finish(self, pid: int) -> None:
        for fd in self._jobs.pop(pid).fds:
            os.close(fd)

    def signalled(self, pid: int) -> None:
        """The node has sent it a signal: if it dies, then it was meant to."""
        if pid in self._jobs:
            self._jobs[pid].meant = True

    def died(self, pid: int) -> Job | None:
        """A child has ended: what is to be done again if it was a spare with its job unread."""
        if pid in self._idle:
            self._idle.pop(pid)[1].close()
            self.refill()
        if pid in self._jobs and not self._jobs[pid].unread:
            self._heard(pid)
        if pid in self._jobs and self._jobs[pid].meant:
            self._finish(pid)
        return self._jobs.pop(pid, None)

    # ------------------------------------------------------------ having enough

    def refill(self, seconds: float = REFILL_SECONDS) -> None:
        """See to it, when nothing was started for so long, that there are spares."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.after(seconds, self._make)

    def _make(self) -> None:
        self._timer = None
        try:
            while len(self._idle) < SPARES_MAX:
                self._make_one()
        except OSError:
            return  # no room for more processes: what must be started is forked, or fails
        if self._outdated():
            self._timer = self._reactor.after(RENEW_SECONDS, self._renew)

    def _make_one(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                pid = self._fork(theirs, ours)
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self._idle[pid] = (self.made, ours)

    def _outdated(self) -> list[int]:
        return [pid for pid, (made, _) in self._idle.items() if made < self.made]

    def _renew(self) -> None:
        for pid in self._outdated():
            self._discard(pid, self._idle.pop(pid)[1])
        self._make()

    def _discard(self, pid: int, sock: socket.socket) -> None:
        sock.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def fds(self) -> list[int]:
        """Descriptors that a forked child must close: they are others'."""
        socks = [sock for _, sock in self._idle.values()]
        socks += [job.sock for job in self._jobs.values() if not job.unread]
        return [
            *(sock.fileno() for sock in socks),
            *(fd for j in self._jobs.values() for fd in j.fds),
        ]


def wait(sock: socket.socket) -> tuple[bytes, list[int]]:
    """In a spare: its job, and the descriptors. Does not return if there is none any more."""
    with sock, contextlib.suppress(OSError):
        frame, fds = receive_fds(sock, JOB_BYTES_MAX)
        if frame:
            return frame, fds
    os._exit(0)
