"""The calls of one process that wait for their answers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from otp import codec
from otp.agenda import Agenda
from otp.codec import decode_failure
from otp.errors import Disconnected, OtpError
from otp.frames import REPLY, Envelope
from otp.messages import Address

Continuation = Callable[[Any, Exception | None], None]


class Waiting:
    """A call that waits for its reply; with `then`, nobody blocks for it.

    `way` is the lane by which it went; None: by the mailroom.
    """

    __slots__ = ("deadline", "error", "reply", "request", "seconds", "settled", "then", "to", "way")

    def __init__(
        self,
        to: Address,
        request: Any,
        seconds: float,
        then: Continuation | None,
        way: object = None,
    ) -> None:
        self.way = way
        self.to, self.request, self.seconds, self.then = to, request, seconds, then
        self.deadline = time.monotonic() + seconds
        self.settled = False
        self.reply: Any = None
        self.error: Exception | None = None

    @property
    def what(self) -> str:
        return f"call {codec.describe(self.request)}"

    def finish(self) -> None:
        """It has its reply or error: whoever waits for it goes on."""
        self.settled = True
        if self.then is not None:
            self.then(self.reply, self.error)


class Pending:
    """Calls by reference; each ends once: answered, out of time, or with the mailroom."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._requests: dict[int, Waiting] = {}
        self.broken: deque[Waiting] = deque()

    def add(self, ref: int, waiting: Waiting) -> None:
        """It has been asked; what goes on meanwhile is in the agenda."""
        self._requests[ref] = waiting
        if waiting.then is not None:
            self._agenda.add(waiting.deadline, ref, waiting)

    def forget(self, ref: int) -> None:
        """Nobody waits for it any more."""
        if self._requests.pop(ref, None) is not None:
            self._agenda.remove(ref)

    def goes_on(self, ref: int) -> bool:
        """Its answer takes its turn among the messages, since nobody blocks for it."""
        waiting = self._requests.get(ref)
        return waiting is not None and waiting.then is not None

    def take(self, ref: int) -> Waiting | None:
        """Who waits for this; from now on nobody does."""
        return self._requests.pop(ref, None)

    def went_by(self, ref: int, way: object) -> bool:
        """Only by the way that a call went may it be answered."""
        waiting = self._requests.get(ref)
        return waiting is not None and waiting.way is way

    def settle(self, envelope: Envelope) -> None:
        """The answer to a request; nothing happens where its caller gave up waiting."""
        waiting = self._requests.pop(envelope.ref, None)
        if waiting is None:
            return
        if waiting.then is not None:
            self._agenda.remove(envelope.ref)
        try:
            if envelope.kind == REPLY:
                waiting.reply = codec.load_reply(waiting.request, envelope.codec, envelope.body)
            else:
                failure = decode_failure(envelope.body)
                to = codec.wire_address(waiting.to)
                waiting.error = codec.raised(failure, what=waiting.what, to=to)
        except (OtpError, ValueError) as error:
            waiting.error = error
        waiting.finish()

    def expire(self, now: float) -> None:
        """Only calls that block end here; what goes on with an error waits for `overdue`."""
        for ref, waiting in [(r, w) for r, w in self._requests.items() if w.deadline <= now]:
            if waiting.then is None:
                del self._requests[ref]
                waiting.error = codec.timed_out(waiting.request, waiting.to, waiting.seconds)
                waiting.settled = True

    def overdue(self, ref: int, waiting: Waiting) -> None:
        """The agenda says that its time is over."""
        if self._requests.pop(ref, None) is not None:
            waiting.error = codec.timed_out(waiting.request, waiting.to, waiting.seconds)
            waiting.finish()

    def lost(self, way: object = None) -> None:
        """The way is gone: whoever waits there is told, those who go on in `finish_broken`."""
        lost = [(ref, waiting) for ref, waiting in self._requests.items() if waiting.way is way]
        for ref, waiting in lost:
            del self._requests[ref]
            waiting.error = Disconnected(what=waiting.what, to=codec.wire_address(waiting.to))
            if waiting.then is None:
                waiting.settled = True
            else:
                self._agenda.remove(ref)
                self.broken.append(waiting)

    def finish_broken(self) -> None:
        """Those who go on learn that the way is gone, between two handlers."""
        while self.broken:
            self.broken.popleft().finish()
