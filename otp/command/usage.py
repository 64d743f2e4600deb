"""What processes take of the machine: CPU and memory, each with all that it has started."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

import psutil

from otp import proc
from otp.command.top_state import Usage

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


SHARES_MAX = 300
"""With more processes than this their memory is told as resident, which is cheaper to find out."""


class Sampler:
    """Samples again and again; the first sample knows no CPU."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = 0.0
        self._seconds: dict[tuple[int, float], float] = {}

    def sample(self, pids: Collection[int]) -> dict[int, Usage]:
        """The usage of each pid and its descendants, without those that are pids themselves."""
        now, known = self._clock(), self._seconds
        elapsed, self._at, self._seconds = now - self._at, now, {}
        below = proc.families()
        wanted = set(pids)
        memory = _share if len(wanted) <= SHARES_MAX else _resident
        return {
            pid: self._usage(proc.family(pid, below, wanted), known, elapsed, memory)
            for pid in pids
        }

    def _usage(
        self,
        family: Iterator[int],
        known: dict[tuple[int, float], float],
        elapsed: float,
        memory_of: Callable[[psutil.Process], int],
    ) -> Usage:
        used, memory = 0.0, 0
        for pid in family:
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    key = (pid, process.create_time())
                    times = process.cpu_times()
                    memory += memory_of(process)
            except _GONE:
                continue
            self._seconds[key] = seconds = times.user + times.system
            used += max(0.0, seconds - known.get(key, seconds if not known else 0.0))
        return Usage(100 * used / elapsed if known and elapsed > 0 else 0.0, memory)


def _share(process: psutil.Process) -> int:
    try:
        return proc.memory(process.pid, "Pss")
    except OSError:
        return _resident(process)


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)
