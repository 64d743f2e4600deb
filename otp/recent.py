"""The last reports of a node, for whoever asks later what has happened. Pure."""

from __future__ import annotations

from collections import deque
from itertools import islice

REPORTS_MAX = 1_000
"""How many reports a node keeps."""
BYTES_MAX = 1_000_000
"""What they may take; the text of a reason can be long, and then fewer are kept."""


class Recent:
    """Encoded reports, the oldest given up first."""

    def __init__(self) -> None:
        self._bodies: deque[bytes] = deque()
        self._bytes = 0

    def add(self, body: bytes) -> None:
        """Keep one more."""
        self._bodies.append(body)
        self._bytes += len(body)
        while len(self._bodies) > REPORTS_MAX or self._bytes > BYTES_MAX:
            self._bytes -= len(self._bodies.popleft())

    def last(self, count: int) -> list[bytes]:
        """The last `count`, the oldest first."""
        first = max(0, len(self._bodies) - count)
        return list(islice(self._bodies, first, None)) if count > 0 else []
