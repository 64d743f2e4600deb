"""What Linux tells of processes, by /proc: their children, their start, their memory.

Without psutil, which a zygote would keep in memory for all that it forks.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

# Not every kernel is built with it; looking at all processes is slower and as good.
_KERNEL_LISTS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
_GONE = (FileNotFoundError, ProcessLookupError)


def children(pid: int) -> set[int]:
    """The living children of a process (zombies of other parents are not seen here)."""
    if not _KERNEL_LISTS_CHILDREN:
        return set(families().get(pid, ()))
    found: set[int] = set()
    with contextlib.suppress(*_GONE):  # it has ended meanwhile
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found.update(map(int, file.read().split()))
    return found


def families() -> dict[int, list[int]]:
    """pid -> the pids of its children, of the whole machine, in one look."""
    found: dict[int, list[int]] = {}
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        with contextlib.suppress(*_GONE, PermissionError):  # a /proc that hides what is not ours
            found.setdefault(int(_stat(pid)[1]), []).append(pid)
    return found


def family(
    pid: int, below: Mapping[int, Sequence[int]], others: Collection[int] = ()
) -> Iterator[int]:
    """A process and all below it, in `families`; where one of the others begins, it ends."""
    left = [pid]
    while left:
        yield (one := left.pop())
        left += [child for child in below.get(one, ()) if child not in others]


def started_at(pid: int) -> float:
    """When a process was started, in seconds since the epoch; 0 if it is gone."""
    try:
        ticks = int(_stat(pid)[19])
    except _GONE:
        return 0.0
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - since_boot + ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """What follows its name, which may hold anything, in /proc/PID/stat: state, parent, .."""
    with open(f"/proc/{pid}/stat", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def memory(pid: int, *kinds: str) -> int:
    """The bytes of its memory that the kernel counts as of these kinds, such as "Pss".

    Raises OSError where it is gone, or not ours to look at so closely.
    """
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as file:
        fields = [line.split() for line in file]
    return 1024 * sum(int(field[1]) for field in fields if field[0].rstrip(":") in kinds)
