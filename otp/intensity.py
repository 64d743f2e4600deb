"""How many restarts are too many. Pure: time comes in as an argument."""

from __future__ import annotations

from collections import deque


class RestartLog:
    """Counts restarts within a period (seconds): one more than `limit` of them is too many.

    OTP's rule: enter now, drop what is older than the period, too many if more than `limit` remain.
    Only the last `limit + 1` entries can matter, so no more are kept and a restart costs the same
    however many came before it.
    """

    def __init__(self, limit: int, period: float) -> None:
        self._limit = limit
        self._period = period
        self._times: deque[float] = deque()

    def add(self, now: float) -> bool:
        """Enter one restart at `now` (seconds, monotonic); False if it is one too many."""
        self._times.append(now)
        while now - self._times[0] > self._period or len(self._times) > self._limit + 1:
            self._times.popleft()
        return len(self._times) <= self._limit

    def allow(self, limit: int, period: float) -> None:
        """Another budget from now on; what was entered before still counts."""
        self._limit = limit
        self._period = period

    def clear(self) -> None:
        """As if there had been no restart."""
        self._times.clear()
