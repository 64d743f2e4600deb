"""`memory_max:` what a child and all below it may have in RAM, looked at again and again.

The resident sizes are summed first: they cost a microsecond each, but count what processes share
once for each of them. Only where they are too many the proportional sizes decide, in which shared
pages count once (and swapped ones, too). So neither a zygote's memory, which every worker shares,
nor a pool of forked children is held against a child.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Protocol

from otp import proc, sizes
from otp.messages import Reason
from otp.reactor import Reactor, Timer
from otp.running import Running

SAMPLE_SECONDS = 0.5
"""Between two looks: a program that takes 1 GB/s is half a gigabyte over at most."""
SHARE_MAX = 0.05
"""How much of the node's time may go into looking: beyond it, looks are further apart."""
PROCESSES_MAX = 10_000
"""How many processes of one child are looked at; a fork bomb is a matter for `nproc`."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Owner(Protocol):
    """Who can kill: the spawner."""

    running: dict[int, Running]

    def kill(self, running: Running) -> None: ...


def subtree(pid: int) -> Iterator[int]:
    """A process and all below it, daemons that its own subreaper got back included."""
    waiting, seen = [pid], {pid}
    while waiting and len(seen) < PROCESSES_MAX:
        yield (one := waiting.pop())
        waiting += (below := proc.children(one) - seen)
        seen |= below


def used(pid: int, most: int) -> int:
    """The bytes that a process and all below it have: exact where they may be more than `most`."""
    found = list(subtree(pid))
    resident = sum(map(_resident, found))
    return resident if resident <= most else sum(map(_proportional, found))


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has ended meanwhile


def _proportional(pid: int) -> int:
    try:
        return proc.memory(pid, "Pss", "SwapPss")
    except OSError:
        return _resident(pid)  # not ours to look at so closely, or gone


class MemoryGuard:
    """Looks at all children that have a `memory_max`, as long as there are any, and kills."""

    def __init__(
        self, reactor: Reactor, owner: Owner, measure: Callable[[int, int], int] = used
    ) -> None:
        self._reactor, self._owner, self._measure = reactor, owner, measure
        self._watched: dict[int, Running] = {}
        self._timer: Timer | None = None

    def watch(self, running: Running) -> None:
        """From now to its end."""
        if running.child.memory_max:
            self._watched[running.serial] = running
            if self._timer is None:
                self._timer = self._reactor.after(SAMPLE_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        began = self._reactor.now()
        for serial, running in list(self._watched.items()):
            if serial not in self._owner.running:
                del self._watched[serial]
            elif running.os_pid and running.verdict is None:
                self._judge(running)
        if self._watched:
            spent = self._reactor.now() - began
            self._timer = self._reactor.after(max(SAMPLE_SECONDS, spent / SHARE_MAX), self._look)

    def _judge(self, running: Running) -> None:
        most = running.child.memory_max
        try:
            has = self._measure(running.os_pid, most)
        except OSError:  # out of descriptors, say: it is looked at again
            return
        if has > most:
            text = f"memory_max {sizes.as_text(most)} exceeded ({sizes.as_text(has)})"
            running.verdict = Reason("killed", text)
            self._owner.kill(running)
