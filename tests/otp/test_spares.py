"""Spares by themselves: who gets a job, and what becomes of it when its spare dies."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from otp import spares
from otp.codec import encode
from otp.frames import Spawn
from otp.messages import WireChild
from otp.reactor import Reactor
from otp.spares import JOB_BYTES_MAX, Spares
from otp.transport import receive_fds

JOB = Spawn(1, "<1.1@here>", "a", WireChild("a"))
FRAME = encode(JOB)


class Zygote:
    """Spares whose processes are only sockets here; nobody is forked, or killed."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.forked: dict[int, socket.socket] = {}
        self.room = True
        self.spares = Spares(self.reactor, self._fork)

    def _fork(self, theirs: socket.socket, ours: socket.socket) -> int:
        if not self.room:
            raise BlockingIOError("no more processes")
        pid = 10_000_000 + len(self.forked)  # beyond what Linux gives anybody
        self.forked[pid] = theirs.dup()
        return pid

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.reactor.run_once()

    def one(self) -> int:
        self.spares.refill(0)
        self.until(self.spares.pids)
        (pid,) = self.spares.pids()
        return pid


@pytest.fixture
def fd() -> Iterator[int]:
    read, write = os.pipe()
    os.close(write)
    yield read
    if is_open(read):
        os.close(read)


@pytest.fixture
def zygote(fd: int) -> Iterator[Zygote]:
    made = Zygote()
    yield made
    for _, sock in [
        *made.spares._idle.values(),
        *((0, j.sock) for j in made.spares._jobs.values()),
    ]:
        sock.close()
    for sock in made.forked.values():
        sock.close()
    made.reactor.close()


def is_open(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


def give(zygote: Zygote, fd: int, *, needs: int = 0, frame: bytes = FRAME) -> int:
    return zygote.spares.give(JOB, frame, [fd], needs=needs)


def test_without_a_spare_nobody_takes_the_job(zygote: Zygote, fd: int) -> None:
    assert give(zygote, fd) == 0
    assert is_open(fd)


def test_a_job_goes_to_a_spare_and_is_its_own_once_it_has_read_it(zygote: Zygote, fd: int) -> None:
    pid = zygote.one()
    assert give(zygote, fd) == pid
    assert not zygote.spares.pids()
    with zygote.forked[pid] as sock:
        frame, fds = receive_fds(sock, JOB_BYTES_MAX)
    assert (frame, len(fds)) == (FRAME, 1)
    os.close(fds[0])
    zygote.until(lambda: not is_open(fd))
    assert zygote.spares.died(pid) is None


@pytest.mark.parametrize("told_first", [False, True])
def test_a_job_that_was_not_read_is_given_back(zygote: Zygote, fd: int, told_first: bool) -> None:
    pid = zygote.one()
    give(zygote, fd)
    zygote.forked[pid].close()
    if told_first:
        zygote.reactor.run_once()
    job = zygote.spares.died(pid)
    assert job is not None
    assert (job.spawn, job.fds) == (JOB, [fd])
    assert is_open(fd)


def test_a_job_whose_spare_was_killed_by_its_node_is_not_given_back(
    zygote: Zygote, fd: int
) -> None:
    pid = zygote.one()
    give(zygote, fd)
    zygote.spares.signalled(pid)
    zygote.forked[pid].close()
    assert zygote.spares.died(pid) is None
    assert not is_open(fd)


def test_a_spare_that_died_while_it_waited_is_passed_over(zygote: Zygote, fd: int) -> None:
    zygote.forked[zygote.one()].close()
    assert give(zygote, fd) == 0
    assert is_open(fd)


def test_a_spare_that_lacks_what_was_prepared_since_takes_no_job_that_needs_it(
    zygote: Zygote, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spares, "RENEW_SECONDS", 0)
    old = zygote.one()
    zygote.spares.made = 1
    assert give(zygote, fd, needs=1) == 0
    zygote.spares.refill(0)
    zygote.until(lambda: old not in zygote.spares.pids() and zygote.spares.pids())
    assert give(zygote, fd, needs=1) in zygote.forked.keys() - {old}


def test_a_long_job_is_not_for_spares(zygote: Zygote, fd: int) -> None:
    pid = zygote.one()
    assert give(zygote, fd, frame=bytes(JOB_BYTES_MAX + 1)) == 0
    assert give(zygote, fd, frame=bytes(JOB_BYTES_MAX)) == pid


def test_no_room_for_a_spare_is_no_trouble(zygote: Zygote, fd: int) -> None:
    zygote.room = False
    zygote.spares.refill(0)
    zygote.reactor.run_once()
    assert give(zygote, fd) == 0
    zygote.room = True
    assert give(zygote, fd) in (0, zygote.one())
