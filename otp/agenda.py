"""What is due when: messages to oneself, once or again and again, and the deadlines of requests.
Pure.

Things that are taken back leave a gap in the heap; gaps are swept out when they are most of it, so
that a process that sets and cancels timers for ever does not grow.
"""

from __future__ import annotations

import heapq
from typing import Any

GAPS_MAX = 1_000
"""So many gaps do no harm; beyond it they are swept out once they are half of the heap."""


class Agenda:
    """Items by reference, each due at a moment; references are never used again."""

    def __init__(self) -> None:
        self._items: dict[int, tuple[float, Any, float]] = {}
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._items)

    def add(self, at: float, ref: int, item: Any, *, every: float = 0.0) -> None:
        """The item is due at this moment and, with `every`, each time so many seconds later."""
        self._items[ref] = (at, item, every)
        heapq.heappush(self._heap, (at, ref))

    def remove(self, ref: int) -> float | None:
        """It is not due any more; the moment at which it was to be, None if it is not there."""
        entry = self._items.pop(ref, None)
        if entry is None:
            return None
        gaps = len(self._heap) - len(self._items)
        if gaps > GAPS_MAX and 2 * gaps > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[1] in self._items]
            heapq.heapify(self._heap)
        return entry[0]

    def next(self) -> float | None:
        """The moment to look again; None if there is nothing to wait for."""
        while self._heap and self._heap[0][1] not in self._items:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[tuple[int, Any]]:
        """(Reference, item) of all that is due by now, in order; each only once.

        One that comes again and again is not made up for: of several that were missed, one.
        """
        found, again = [], []
        while (at := self.next()) is not None and at <= now:
            ref = heapq.heappop(self._heap)[1]
            _, item, every = self._items.pop(ref)
            found.append((ref, item))
            if every:
                missed = (now - at) // every
                again.append((at + (missed + 1) * every, ref, item, every))
        for at, ref, item, every in again:
            self.add(at, ref, item, every=every)
        return found
