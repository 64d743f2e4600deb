"""Which children of this process nobody has asked for: the kernel's list of them, kept open.

Looking the list up by its path takes longer than a fork's parent needs to answer for a death, so
it is opened once; as long as the list is no longer than it should be, nobody parses it.
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
        try:
            self._fd = os.open(f"/proc/self/task/{self._pid}/children", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = -1

    def strays(self, *known: Collection[int]) -> set[int]:
        """Those that are not among the known, none of which has been reaped: who came to us."""
        if self._fd < 0:
            return self._otherwise(self._pid).difference(*known)
        listed = self._read()
        if listed.count(b" ") == sum(map(len, known)):
            return set()
        return set(map(int, listed.split())).difference(*known)

    def _read(self) -> bytes:
        found = b""
        while chunk := os.pread(self._fd, READ_BYTES, len(found)):
            found += chunk
        return found

    def fds(self) -> list[int]:
        """What a forked child must close."""
        return [self._fd] if self._fd >= 0 else []
