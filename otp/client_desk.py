"""The tasks of a program that holds a node: one connection for them all, for any thread.

A second connection, to the node itself, is the program's life as far as its tasks go: at its end
they are killed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from otp import codec
from otp.client import Channel, Client, envelope, greeted, outcome, socket_in
from otp.codec import decode_envelope, ttl_ms
from otp.errors import Disconnected
from otp.frames import CALL, ERROR, REPLY, Envelope
from otp.messages import Own
from otp.task import SUPERVISOR_SECONDS_MAX, Answer


class Lifeline(Protocol):
    """A control connection of our own."""

    def ask(self, request: Any) -> Any: ...
    def close(self) -> None: ...


class _Answer:
    """What was asked, and what came of it."""

    __slots__ = ("error", "reply", "request", "settled", "to")

    def __init__(self, to: str, request: Any) -> None:
        self.to, self.request = to, request
        self.settled = False
        self.reply: Any = None
        self.error: Exception | None = None

    def lost(self) -> None:
        what = f"call {codec.describe(self.request)}"
        self.settled, self.error = True, Disconnected(what=what, to=self.to)

    def settle(self, answer: Envelope) -> None:
        try:
            self.reply = outcome(self.request, self.to, answer)
        except Exception as error:  # whatever the server refuses with
            self.error = error
        self.settled = True


class ClientDesk:
    """Asks tasks for their results. Threads that wait take turns in reading for all."""

    def __init__(self, client: Client, run_dir: str, lifeline: Callable[[], Lifeline]) -> None:
        self._client, self._path = client, socket_in(run_dir, "mailroom.sock")
        self._make_lifeline = lifeline
        self._lifeline: Lifeline | None = None
        self._changed = threading.Condition()
        self._reading = self._closed = False
        self._channel: Channel | None = None
        self._waiting: dict[int, _Answer] = {}
        self._me = self._owner = ""
        self.cast = client.cast

    def owner(self) -> str:
        with self._changed:
            if self._lifeline is None:
                self._lifeline = self._make_lifeline()
                self._owner = self._lifeline.ask(Own())
            return self._owner

    def call(self, to: str, request: Any) -> Any:
        return self._client.call(to, request, timeout=SUPERVISOR_SECONDS_MAX)

    def ask(self, to: str, request: Any, seconds: float) -> Answer:
        answer = _Answer(to, request)
        with self._changed:
            if self._closed:
                raise Disconnected(what=f"call {codec.describe(request)}", to=to)
            channel = self._connected()
            ref = next(channel.refs)
            self._waiting[ref] = answer
            try:
                sent = channel.send(envelope(CALL, to, self._me, ref, request, ttl_ms(seconds)))
            except EOFError:
                sent = False
            if not sent:
                self._lost()
        return answer

    def pump(self, deadline: float, arrived: Callable[[], bool]) -> None:
        with self._changed:
            if arrived():
                return
            channel = self._channel
            if self._reading:
                seconds = max(0.0, deadline - time.monotonic())
                self._changed.wait(min(seconds, threading.TIMEOUT_MAX))
                return
            if channel is None:
                return
            self._reading = True
        frame, gone = None, False
        try:
            frame = channel.receive(deadline)
        except EOFError:  # the mailroom, or `close` in another thread
            gone = True
        with self._changed:
            self._reading = False
            if channel is not self._channel:
                channel.close()
            elif gone:
                self._lost()
            elif frame is not None:
                self._take(decode_envelope(frame))
            self._changed.notify_all()

    def close(self) -> None:
        """Our tasks end; who waits for one is told."""
        with self._changed:
            self._closed = True
            self._lost()
            if self._lifeline is not None:
                self._lifeline.close()
                self._lifeline = None
            self._changed.notify_all()

    def after_fork(self) -> None:
        """In a forked child: our ends of the parent's connections must not outlive it."""
        for connection in (self._channel, self._lifeline):
            if connection is not None:
                connection.close()

    def _connected(self) -> Channel:
        if self._channel is None:
            channel = Channel.connect(self._path)
            try:
                self._me = greeted(channel, self._path)
            except BaseException:
                channel.close()
                raise
            self._channel = channel
        return self._channel

    def _take(self, answer: Envelope) -> None:
        waiting = self._waiting.get(answer.ref)
        if waiting is not None and answer.kind in (REPLY, ERROR):
            del self._waiting[answer.ref]
            waiting.settle(answer)

    def _lost(self) -> None:
        if self._channel is not None and self._reading:
            self._channel.hang_up()  # whoever reads closes it
        elif self._channel is not None:
            self._channel.close()
        self._channel = None
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.lost()
