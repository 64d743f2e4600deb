"""The event loop of a node, a zygote and a mailroom: sockets, timers, and nothing else.

All that has arrived is drained and acted on before anything is written: what a callback wants to
do once per round (flush a socket, say) it leaves with `at_end_of_round`. There are no threads, no
tasks and no futures: a callback runs to its end.
"""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable
from typing import Protocol

Callback = Callable[[], None]
WAIT_SECONDS_MAX = 3600.0
"""The longest wait for events: epoll takes no longer one, whatever a timer says."""
_GONE = select.EPOLLHUP | select.EPOLLERR
_READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
_WRITE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Descriptor:
    """A bare descriptor as something with a fileno."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


class Timer:
    """A callback at a moment; `cancel()` makes it never."""

    __slots__ = ("at", "callback")

    def __init__(self, at: float, callback: Callback) -> None:
        self.at = at
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class Reactor:
    """One epoll, one heap of timers."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._held: set[int] = set()
        self._turns: dict[int, int] = {}
        self._forgotten: set[int] = set()
        self._timers: list[tuple[float, int, Timer]] = []
        self._sequence = itertools.count()
        self._end_of_round: dict[Callback, None] = {}
        self._running = False
        self.alone = False
        """This round has one event: what it leads to need not wait for what others lead to."""

    now = staticmethod(time.monotonic)
    """Monotonic seconds."""

    def read(self, source: HasFileno, callback: Callback, *, turn: int = 0) -> None:
        """Call back whenever the source has something to read or is closed.

        One of a later `turn` may speak of what those of earlier ones have said: they are heard
        before it in each round, in whatever order epoll tells of them.
        """
        fd = source.fileno()
        self._turns.pop(fd, None)
        if turn:
            self._turns[fd] = turn
        known = fd in self._readers
        self._readers[fd] = callback
        if not known:
            self._epoll.register(fd, _READ)

    def write(self, source: HasFileno, callback: Callback | None) -> None:
        """Call back when the source can be written to; None ends it.

        Nothing happens for a source that is not read (any more): its reader saw the end.
        """
        fd = source.fileno()
        if fd not in self._readers or (fd in self._writers) == (callback is not None):
            return
        if callback is None:
            del self._writers[fd]
        else:
            self._writers[fd] = callback
        self._epoll.modify(fd, self._events(fd))

    def hold(self, source: HasFileno, held: bool) -> None:
        """While it is held, what a source has to read stays there; its end is still told."""
        fd = source.fileno()
        if fd not in self._readers or (fd in self._held) == held:
            return
        (self._held.add if held else self._held.discard)(fd)
        self._epoll.modify(fd, self._events(fd))

    def _events(self, fd: int) -> int:
        reading = _GONE if fd in self._held else _READ
        return reading | (select.EPOLLOUT if fd in self._writers else 0)

    def when_writable(self, source: HasFileno, callback: Callback | None) -> None:
        """The same for a source that is only written to (a standard stream); None ends it."""
        fd = source.fileno()
        if callback is None:
            if self._writers.pop(fd, None) is not None:
                self._epoll.unregister(fd)
        elif fd not in self._writers:
            self._writers[fd] = callback
            self._epoll.register(fd, select.EPOLLOUT)

    def forget(self, source: HasFileno) -> None:
        """No more callbacks for this source; call it before closing."""
        fd = source.fileno()
        self._writers.pop(fd, None)
        self._held.discard(fd)
        self._turns.pop(fd, None)
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._forgotten.add(fd)

    def after(self, seconds: float, callback: Callback) -> Timer:
        """Call back once, so many seconds from now (at once if that is no positive number)."""
        timer = Timer(self.now() + (seconds if seconds > 0 else 0.0), callback)
        heapq.heappush(self._timers, (timer.at, next(self._sequence), timer))
        return timer

    def at_end_of_round(self, callback: Callback) -> None:
        """Call back once when this round's events have all been handled (at most once a round)."""
        self._end_of_round[callback] = None

    def stop(self) -> None:
        """Return from `run` after this round."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`."""
        self._running = True
        while self._running:
            self.run_once()

    def run_once(self) -> None:
        """One round: wait, read, write, timers, then what was left for the end of the round."""
        if self._forgotten:
            self._forgotten.clear()
        ready = self._epoll.poll(self._timeout())
        self.alone = len(ready) == 1
        if self._turns and not self.alone:
            ready.sort(key=lambda event: self._turns.get(event[0], 0))
        for fd, events in ready:
            if fd in self._forgotten:
                continue  # closed in this round; its number may be another's by now
            if events & _READ and (callback := self._readers.get(fd)):
                callback()
            if events & _WRITE and (callback := self._writers.get(fd)):
                callback()
        if self._timers and self._timers[0][0] <= self.now():
            self._run_timers()
        while self._end_of_round:
            callbacks, self._end_of_round = self._end_of_round, {}
            for callback in callbacks:
                callback()

    def _timeout(self) -> float:
        if self._end_of_round:
            return 0
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        if not timers:
            return -1
        seconds = timers[0][0] - self.now()
        return 0 if seconds < 0 else min(seconds, WAIT_SECONDS_MAX)

    def _run_timers(self) -> None:
        now = self.now()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if (callback := timer.callback) is not None:
                timer.callback = None
                callback()

    def fileno(self) -> int:
        """The epoll descriptor, which a forked child must close."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()
