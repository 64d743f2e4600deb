"""What a child and all below it have in RAM, and what happens when that is too much."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import cast

import pytest

from otp import memory
from otp.memory import MemoryGuard, subtree, used
from otp.messages import Reason, WireChild
from otp.reactor import Reactor
from otp.running import Owner, Running

MEGABYTE = 2**20
HOLDER = "import sys; x = b'1' * int(sys.argv[1]); print(flush=True); sys.stdin.read()"
PARENT = (
    "import os, sys; x = b'1' * int(sys.argv[1]); os.fork(); print(flush=True); sys.stdin.read()"
)


def measured(code: str, size: int) -> tuple[int, int]:
    """(all that it and its children have, as exactly as it goes; how many processes that is)."""
    command = [sys.executable, "-c", code, str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        if code == PARENT:
            process.stdout.readline()
        found = used(process.pid, most=0), len(list(subtree(process.pid)))
        process.stdin.close()
    return found


def test_memory_is_counted() -> None:
    size, count = measured(HOLDER, 64 * MEGABYTE)
    assert 64 * MEGABYTE < size < 96 * MEGABYTE
    assert count == 1


def test_what_a_child_shares_counts_once() -> None:
    size, count = measured(PARENT, 64 * MEGABYTE)
    assert 64 * MEGABYTE < size < 96 * MEGABYTE
    assert count == 2


def test_the_cheap_sum_is_enough_below_the_limit() -> None:
    assert MEGABYTE < used(os.getpid(), most=2**50) < 2**40
    assert used(2**22 + 1, most=0) == 0  # nobody has this pid


class Kills:
    """A spawner that only notes."""

    def __init__(self) -> None:
        self.running: dict[int, Running] = {}
        self.killed: list[int] = []

    def add(self, serial: int, memory_max: int) -> Running:
        child = WireChild("a", "program", command=("a",), memory_max=memory_max)
        running = Running(serial, f"<c.{serial}@n>", "a", child, cast(Owner, None))
        running.os_pid = serial
        self.running[serial] = running
        return running

    def kill(self, running: Running) -> None:
        self.killed.append(running.serial)


def test_only_who_has_more_is_killed_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SAMPLE_SECONDS", 0)
    reactor, kills = Reactor(), Kills()
    has = {1: 512 * MEGABYTE, 2: 613 * MEGABYTE, 3: 613 * MEGABYTE}
    guard = MemoryGuard(reactor, kills, lambda pid, most: has[pid])
    one, two, free = kills.add(1, 512 * MEGABYTE), kills.add(2, 512 * MEGABYTE), kills.add(3, 0)
    for running in (one, two, free):
        guard.watch(running)
    reactor.run_once()
    reactor.run_once()
    assert kills.killed == [2]
    assert two.verdict == Reason("killed", "memory_max 512M exceeded (613M)")
    assert one.verdict is free.verdict is None


def test_it_looks_no_longer_than_somebody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SAMPLE_SECONDS", 0)
    looks: list[int] = []

    def measure(pid: int, most: int) -> int:
        looks.append(pid)
        return 0

    reactor, kills = Reactor(), Kills()
    guard = MemoryGuard(reactor, kills, measure)
    guard.watch(kills.add(1, 1))
    reactor.run_once()
    kills.running.clear()
    reactor.run_once()
    reactor.after(0, reactor.stop)
    reactor.run()
    assert looks == [1]


def test_a_node_without_descriptors_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SAMPLE_SECONDS", 0)
    found: list[int | OSError] = [OSError(errno.EMFILE, "Too many open files"), 2]

    def measure(pid: int, most: int) -> int:
        if isinstance(has := found.pop(0), OSError):
            raise has
        return has

    reactor, kills = Reactor(), Kills()
    MemoryGuard(reactor, kills, measure).watch(kills.add(1, 1))
    reactor.run_once()
    assert not kills.killed
    reactor.run_once()
    assert kills.killed == [1]
