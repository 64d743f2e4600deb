"""What has arrived for a supervisor while it was busy, in the order of arrival. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

from otp.signals import Call, Exited, Resume, Shutdown

Mail = Call | Exited | Resume | Shutdown

CALLS_WAITING_MAX: Final = 10_000
"""Calls that may wait at one supervisor. One that is busy for so long would answer more of them to
nobody, since their callers have given up. All else is bounded by itself: one death for each child,
one `Resume` for each failed start, one `Shutdown`."""


class Mailbox:
    """A queue out of which a death can be claimed before its turn.

    That is how a supervisor that stops a child finds that it has died already; a claimed death is
    not taken again. `deaths` holds those still in the queue, by the child's key.
    """

    def __init__(self) -> None:
        self.deaths: dict[int, Exited] = {}
        self._queue: deque[Mail] = deque()
        self._calls = 0
        self._closing = False

    def __bool__(self) -> bool:
        return bool(self._queue)

    def post(self, mail: Mail) -> bool:
        """Put it at the end; False if there is no room for one more call.

        A second `Shutdown` is dropped: the first one leaves nothing to shut down.
        """
        if isinstance(mail, Call):
            if self._calls >= CALLS_WAITING_MAX:
                return False
            self._calls += 1
        elif isinstance(mail, Exited):
            self.deaths[mail.key] = mail
        elif isinstance(mail, Shutdown):
            if self._closing:
                return True
            self._closing = True
        self._queue.append(mail)
        return True

    def claim_death(self, key: int) -> Exited | None:
        """This child's death, if it lies here; from now on it does not."""
        return self.deaths.pop(key, None)

    def take(self) -> Mail | None:
        """The oldest one that still counts; None where there is none."""
        while self._queue:
            mail = self._queue.popleft()
            if isinstance(mail, Call):
                self._calls -= 1
            elif isinstance(mail, Exited):
                if self.deaths.get(mail.key) is not mail:
                    continue  # claimed meanwhile
                del self.deaths[mail.key]
            return mail
        return None

    def close(self) -> list[Call]:
        """Empty it for good; the calls that nobody will serve any more."""
        calls = [mail for mail in self._queue if isinstance(mail, Call)]
        self._queue.clear()
        self.deaths.clear()
        self._calls = 0
        return calls
