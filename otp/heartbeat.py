"""A heartbeat: ask at regular times, and say so when an answer is missing."""

from __future__ import annotations

from collections.abc import Callable

from otp.reactor import Reactor, Timer


class Heartbeat:
    """Asks each `seconds`; `silent(n)` when n times in a row no answer had come by the next time.

    Who asks may itself have stood still (a frozen container, a suspended machine); then nobody else
    is blamed for it and the question is asked again.
    """

    def __init__(
        self,
        reactor: Reactor,
        seconds: float,
        *,
        ask: Callable[[int], None],
        silent: Callable[[int], None],
    ) -> None:
        self._reactor, self._seconds = reactor, seconds
        self._ask, self._silent = ask, silent
        self._asked = self._answered = self._missed = 0
        self._due = 0.0
        self._timer: Timer | None = None

    def start(self) -> None:
        """Ask now, and from now on."""
        self._asked += 1
        self._due = self._reactor.now() + self._seconds
        self._timer = self._reactor.after(self._seconds, self._beat)
        self._ask(self._asked)

    def heard(self, serial: int) -> None:
        """The answer to the question with this number."""
        if serial == self._asked:
            self._answered = serial

    def stop(self) -> None:
        """Nothing more is asked."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        held_up = self._reactor.now() - self._due > self._seconds / 2
        if self._answered == self._asked or held_up:
            self._missed = 0
            self.start()
            return
        self._missed += 1
        self.start()  # first: whoever hears of the silence may stop this
        self._silent(self._missed)
