"""Which children of this process nobody has asked for: the kernel's list of them, kept open.

Looking the list up by its path takes longer than a fork's parent needs to answer for a death, so
it is opened once; and listing a thousand children takes a fifth of a millisecond, so each look goes
on where the last one ended: as long as the list is no longer than it should be, nothing is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

READ_BYTES = 65_536
"""How much one read asks for; the kernel gives a page at a time."""


class OwnChildren:
    """The children of a process with a single thread, zombies included."""

    def __init__(self, otherwise: Callable[[int], set[int]]) -> None:
        """`otherwise` finds them where the kernel keeps no such list."""
        self._otherwise = otherwise
        self._pid = os.getpid()
        self._passed = 0
        try:
            self._fd = os.open(f"/proc/self/task/{self._pid}/children", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = -1

    def strays(self, *known: Collection[int]) -> set[int]:
        """Those that are not among the known, none of which has been reaped: who came to us."""
        if self._fd < 0:
            return self._otherwise(self._pid).difference(*known)
        if self._more_than(sum(map(len, known))):
            return set(map(int, self._read().split())).difference(*known)
        return set()

    def _more_than(self, count: int) -> bool:
        """The list is longer than this.

        Where the last look ended behind so many children or fewer, only what follows is listed:
        the kernel goes on by number, and whoever is new comes last.
        """
        if self._passed > count:
            self._read()
        else:
            self._passed += self._rest().count(b" ")
        return self._passed > count

    def _read(self) -> bytes:
        os.lseek(self._fd, 0, os.SEEK_SET)
        found = self._rest()
        self._passed = found.count(b" ")
        return found

    def _rest(self) -> bytes:
        found = b""
        while chunk := os.read(self._fd, READ_BYTES):
            found += chunk
        return found

    def fds(self) -> list[int]:
        """What a forked child must close."""
        return [self._fd] if self._fd >= 0 else []
