"""What a supervisor does with one child or with all at once, as tasks that wait. Pure.

A task is a generator; a bare `yield` in it is a place where it waits for the end of one start or
one stop. `strategy` decides when which of these is done.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from typing import Any, TypeVar

from otp.children import Children, Slot
from otp.mailbox import Mailbox
from otp.messages import Reason
from otp.signals import (
    Child,
    Effect,
    Exited,
    Flags,
    Ignored,
    Input,
    Outcome,
    Report,
    ReportKind,
    Start,
    Started,
    StartFailed,
    Stop,
    StopMany,
)

R = TypeVar("R")
Task = Generator[None, Any, R]


class Nursery:
    """The children of one supervisor, and the starts and stops that it waits for."""

    def __init__(self, flags: Flags, children: Sequence[Child]) -> None:
        self.flags = flags
        self.declared = tuple(children)
        self._simple = flags.strategy == "simple_one_for_one"
        self._children = Children(self.declared[0] if self._simple and children else None)
        self._mailbox = Mailbox()
        self._starting: set[int] = set()
        self._stopping: dict[int, Hashable] = {}
        self._now = 0.0
        self._effects: list[Effect] = []

    def _awaits(self, incoming: Input) -> bool:
        match incoming:
            case Started(key) | Ignored(key) | StartFailed(key):
                return key in self._starting
            case Exited(key, pid):
                return key in self._stopping and self._stopping[key] == pid
        return False

    def _start(self, slot: Slot, *, restart: bool = False) -> Task[Outcome]:
        self._order(slot)
        outcome: Outcome = yield
        self._settle(slot, outcome, restart=restart)
        return outcome

    def _order(self, slot: Slot) -> None:
        self._effects.append(Start(slot.key, slot.child, slot.label, slot.args))
        self._starting.add(slot.key)

    def _settle(self, slot: Slot, outcome: Outcome, *, restart: bool = False) -> None:
        self._starting.discard(slot.key)
        match outcome:
            case Started(_, pid):
                self._children.began(slot, pid)
                slot.since = self._now
                self._report("child_started", slot, restart=restart)
            case Ignored():
                self._children.forget(slot)
            case StartFailed(_, reason):
                self._report("child_start_failed", slot, reason, restart=restart)

    def _start_all(self, slots: list[Slot]) -> Task[Slot | None]:
        """Start them by the supervisor's flags; the first that could not be, if any."""
        if self.flags.parallel:
            return (yield from self._start_together(slots))
        for slot in slots:
            if isinstance((yield from self._start(slot)), StartFailed):
                return slot
        return None

    def _start_together(self, slots: list[Slot]) -> Task[Slot | None]:
        failed = None
        for slot in slots:
            self._order(slot)
        while self._starting:
            outcome = yield
            slot = self._children.by_key[outcome.key]
            self._settle(slot, outcome)
            if isinstance(outcome, StartFailed) and failed is None:
                failed = slot
        return failed

    def _stop(self, slot: Slot, *, restart: bool = False) -> Task[None]:
        if not slot.running:
            return
        ended = self._mailbox.claim_death(slot.key)
        if ended is None:
            self._effects.append(Stop(slot.key, slot.pid, slot.child.shutdown))
            self._stopping = {slot.key: slot.pid}
            ended = yield
            self._stopping = {}
        self._ended(slot, ended.reason, restart=restart)

    def _stop_all(self, slots: list[Slot]) -> Task[None]:
        if self._simple or self.flags.parallel:
            yield from self._stop_together(slots)
            return
        for slot in reversed(slots):
            yield from self._stop(slot)

    def _stop_together(self, slots: list[Slot]) -> Task[None]:
        running = {slot.key: slot for slot in slots if slot.running}
        for slot in slots:
            if slot.running and (exited := self._mailbox.claim_death(slot.key)) is not None:
                self._ended(running.pop(slot.key), exited.reason)
        if not running:
            return
        time = self.declared[0].shutdown
        stops = tuple(Stop(slot.key, slot.pid, time) for slot in running.values())
        self._stopping = {stop.key: stop.pid for stop in stops}
        self._effects.append(StopMany(stops, time))
        while self._stopping:
            exited = yield
            del self._stopping[exited.key]
            self._ended(running[exited.key], exited.reason)

    def _ended(self, slot: Slot, reason: Reason, *, restart: bool = False) -> None:
        self._report("child_exited", slot, reason, restart=restart)
        self._children.ended(slot)

    def _report(
        self, kind: ReportKind, slot: Slot, reason: Reason | None = None, *, restart: bool = False
    ) -> None:
        self._effects.append(Report(kind, slot.key, slot.name, slot.pid, reason, restart))
