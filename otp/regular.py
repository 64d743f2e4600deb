"""Files that a person names: read at most so far, and only where reading ends."""

from __future__ import annotations

import os
import stat


def regular_bytes(path: str, most: int) -> bytes:
    """The first `most` bytes of a regular file: a pipe or a device may block, or never end.

    Raises OSError, for what is none as well.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(most)
    finally:
        os.close(descriptor)
