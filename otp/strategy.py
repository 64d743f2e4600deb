"""The supervisor as a pure state machine: OTP's rules, no process, no clock, no I/O.

One `Supervision` is one supervisor. The shell calls `step(input, now)` and carries out the effects
that it returns; nested supervisors are machines of their own which the shell puts together.

It reads like sequential code because it is: each task below is a generator, and a bare `yield` in
it is a place where the supervisor waits for the end of one start or one stop. Whatever else
arrives meanwhile (calls, deaths, a shutdown, its own `Resume`) lies in the mailbox and is handled,
in the order of its arrival, when the task has ended. Two exceptions:
- A child that is to be stopped and whose death already lies in the mailbox counts as stopped, and
  that death is not handled again. So two simultaneous deaths in a group are one restart.
- `Kill` waits for nothing.

After a failed attempt to restart a child the task ends and a `Resume` goes to the end of the
mailbox, so whoever waits is served first. A new strategy is one function and its entry in `PLANS`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Reversible, Sequence
from itertools import takewhile
from typing import Any, Final, Generic, TypeVar

import msgspec

from otp.children import Children, Slot, result_of_start, validate, validate_child
from otp.intensity import RestartLog
from otp.mailbox import Mail, Mailbox
from otp.messages import KILLED, SHUTDOWN, Reason
from otp.signals import (
    Begin,
    Call,
    Child,
    ChildEntry,
    Effect,
    Exited,
    Flags,
    Gone,
    Ignored,
    Input,
    Kill,
    Ok,
    Op,
    Orphan,
    Outcome,
    Ready,
    Refused,
    Reply,
    Report,
    ReportKind,
    Requeue,
    RestartChild,
    Result,
    Resume,
    Shutdown,
    Start,
    StartChild,
    StartDynamic,
    Started,
    StartFailed,
    Stop,
    StopMany,
    TerminateChild,
)

T = TypeVar("T", bound=Hashable)
R = TypeVar("R")
Task = Generator[None, Any, R]

# ---------------------------------------------------------------- strategies


class Plan(msgspec.Struct, Generic[T], frozen=True):
    """Whom to stop, then whom to start, each one after the other, when one child must restart."""

    stop: list[T]
    start: list[T]


def one_for_one(siblings: Reversible[T], failed: T) -> Plan[T]:
    """Only the failed child."""
    return Plan([], [failed])


def one_for_all(siblings: Reversible[T], failed: T) -> Plan[T]:
    """All others stop in reverse order, then all start in order."""
    everyone = list(siblings)
    return Plan([other for other in reversed(everyone) if other != failed], everyone)


def rest_for_one(siblings: Reversible[T], failed: T) -> Plan[T]:
    """Those that come after the failed child stop in reverse order; it and they start in order."""
    later = list(takewhile(lambda other: other != failed, reversed(siblings)))
    return Plan(later, [failed, *reversed(later)])


PLANS: Final[dict[str, Callable[[Reversible[Any], Any], Plan[Any]]]] = {
    "one_for_one": one_for_one,
    "one_for_all": one_for_all,
    "rest_for_one": rest_for_one,
    "simple_one_for_one": one_for_one,
}

RESTARTED: Final[dict[str, Callable[[Reason], bool]]] = {
    "permanent": lambda reason: True,
    "transient": lambda reason: reason.kind not in ("normal", "shutdown"),
    "temporary": lambda reason: False,
}

# ---------------------------------------------------------------- the machine


class Supervision:
    """One supervisor, from `Begin` to `Gone`; a restarted supervisor is a new machine."""

    def __init__(self, flags: Flags, children: Sequence[Child]) -> None:
        self.flags = flags
        self.declared = tuple(children)
        self.gone = False
        self._begun = False
        self._simple = flags.strategy == "simple_one_for_one"
        self._children = Children(self.declared[0] if self._simple and children else None)
        self._log = RestartLog(flags.max_restarts, flags.max_seconds)
        self._mailbox = Mailbox()
        self._serving: list[Call] = []
        self._starting: int | None = None
        self._stopping: dict[int, Hashable] = {}
        self._task: Task[None] | None = None
        self._now = 0.0
        self._effects: list[Effect] = []

    def step(self, incoming: Input, now: float) -> list[Effect]:
        """Take one input at `now` (seconds, monotonic); the effects are to be done in order."""
        self._now = now
        self._effects = []
        if isinstance(incoming, Kill):
            self._die()
        elif isinstance(incoming, Begin) and not self.gone:
            assert not self._begun, "Begin comes once; a restarted supervisor is a new machine"
            self._begun = True
            self._run(self._begin())
        elif self._awaits(incoming):
            self._run(self._task, incoming)
        else:
            self._post(incoming)
        while self._begun and self._task is None and (mail := self._mailbox.take()) is not None:
            self._run(self._receive(mail))
        return self._effects

    @property
    def idle(self) -> bool:
        """It waits for nothing and has handled all that it was given."""
        return self._task is None and not self._mailbox

    def entries(self) -> tuple[ChildEntry, ...]:
        """The children as they are at this moment, in start order, busy or not."""
        return self._children.entries()

    def _run(self, task: Task[None] | None, answer: Input | None = None) -> None:
        assert task is not None
        self._task = task
        try:
            task.send(answer)
        except StopIteration:
            self._task = None

    # ------------------------------------------------------------ mailbox

    def _awaits(self, incoming: Input) -> bool:
        match incoming:
            case Started(key) | Ignored(key) | StartFailed(key):
                return key == self._starting
            case Exited(key, pid):
                return key in self._stopping and self._stopping[key] == pid
        return False

    def _post(self, incoming: Input) -> None:
        match incoming:
            case Call(request_id):
                if self.gone:
                    self._effects.append(Reply(request_id, Refused("noproc")))
                elif not self._mailbox.post(incoming):
                    self._effects.append(Reply(request_id, Refused("overloaded")))
            case Exited(key, pid):
                slot = self._children.by_key.get(key)
                if slot is not None and slot.running and slot.pid == pid:
                    self._mailbox.post(incoming)
            case Resume() | Shutdown() if not self.gone:
                self._mailbox.post(incoming)
            case Started(key, pid):
                # Nobody waits for it: we were killed while it started.
                self._effects.append(Orphan(key, pid))

    def _receive(self, mail: Mail) -> Task[None]:
        match mail:
            case Call(request_id, op):
                self._serving = [mail]
                result = yield from self._perform(op)
                self._serving = []
                self._effects.append(Reply(request_id, result))
            case Exited(key, _, reason):
                yield from self._handle_exit(self._children.by_key[key], reason)
            case Resume(child):
                slot = self._children.find_again(child)
                # Anything may have happened to it since: terminated, deleted, started again.
                if slot is not None and slot.restarting:
                    yield from self._restart(slot, self._log.add(self._now))
            case Shutdown(reason):
                yield from self._leave(reason)

    # ------------------------------------------------------------ beginning and end

    def _begin(self) -> Task[None]:
        if words := validate(self.flags, self.declared):
            self._depart(Reason("crash", words[0]), f"bad_spec:{words[0]}")
            return
        for child in () if self._simple else self.declared:
            self._children.add(child)
        for slot in self._children.in_start_order():
            if isinstance((yield from self._start(slot)), StartFailed):
                failed = Reason("shutdown", "failed_to_start_child")
                yield from self._leave(failed, f"child:{slot.child.id}")
                return
        self._effects.append(Ready())

    def _leave(self, reason: Reason, error: str = "") -> Task[None]:
        if self._simple:
            yield from self._stop_together(self._children.in_start_order())
        else:
            for slot in reversed(self._children.in_start_order()):
                yield from self._stop(slot)
        self._depart(reason, error)

    def _depart(self, reason: Reason, error: str = "") -> None:
        self.gone = True
        self._effects.append(Gone(reason, error))
        for call in [*self._serving, *self._mailbox.close()]:
            self._effects.append(Reply(call.request_id, Refused("noproc")))
        self._children = Children()

    def _die(self) -> None:
        if self.gone:
            return
        for slot in self._children.in_start_order():
            if slot.key == self._starting:
                self._effects.append(Orphan(slot.key))
            elif slot.running and slot.key not in self._mailbox.deaths:
                self._effects.append(Orphan(slot.key, slot.pid))
        self._task = self._starting = None
        self._stopping = {}
        self._depart(KILLED)

    # ------------------------------------------------------------ one child

    def _start(self, slot: Slot, *, restart: bool = False) -> Task[Outcome]:
        self._effects.append(Start(slot.key, slot.child, slot.label, slot.args))
        self._starting = slot.key
        outcome: Outcome = yield
        self._starting = None
        match outcome:
            case Started(_, pid):
                self._children.began(slot, pid)
                self._report("child_started", slot, restart=restart)
            case Ignored():
                self._children.forget(slot)
            case StartFailed(_, reason):
                self._report("child_start_failed", slot, reason, restart=restart)
        return outcome

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

    # ------------------------------------------------------------ deaths and restarts

    def _handle_exit(self, slot: Slot, reason: Reason) -> Task[None]:
        restart = RESTARTED[slot.child.restart](reason)
        allowed = restart and self._log.add(self._now)
        self._report("child_exited", slot, reason, restart=allowed)
        if restart:
            yield from self._restart(slot, allowed)
            return
        self._children.forget(slot)
        any_will_do = self.flags.auto_shutdown == "any_significant"
        if slot.child.significant and (any_will_do or not self._children.significant_left()):
            self._report("auto_shutdown", slot, reason)
            yield from self._leave(SHUTDOWN)

    def _restart(self, slot: Slot, allowed: bool) -> Task[None]:
        if not allowed:
            self._report("gave_up", slot, SHUTDOWN)
            self._children.forget(slot)
            yield from self._leave(SHUTDOWN)
            return
        plan = PLANS[self.flags.strategy](self._children.by_key, slot.key)
        if not slot.dynamic:
            self._children.ended(slot)
        for key in plan.stop:
            sibling = self._children.by_key[key]
            yield from self._stop(sibling, restart=sibling.child.restart != "temporary")
            self._children.forget(sibling)
        yield from self._start_group(plan.start)

    def _start_group(self, keys: list[int]) -> Task[None]:
        for key in keys:
            slot = self._children.by_key.get(key)
            if slot is None:  # a temporary sibling, gone with its process
                continue
            if isinstance((yield from self._start(slot, restart=True)), StartFailed):
                slot.restarting = True
                again = Resume(slot.key if slot.dynamic else slot.child.id)
                self._effects.append(Requeue(again))
                return

    # ------------------------------------------------------------ operations

    def _perform(self, op: Op) -> Task[Result]:
        match op:
            case StartChild():
                return (yield from self._start_child(op))
            case StartDynamic():
                return (yield from self._start_dynamic(op))
            case TerminateChild():
                return (yield from self._terminate_child(op))
            case RestartChild():
                return (yield from self._restart_child(op))
        return self._children.answer(op, dead=self._mailbox.deaths)

    def _start_child(self, op: StartChild) -> Task[Result]:
        if self._simple:
            return Refused("simple_one_for_one")
        if words := validate_child(op.child, self.flags):
            return Refused("bad_spec", words[0])
        known = self._children.by_id.get(op.child.id)
        if known is None:
            return (yield from self._start_new(self._children.add(op.child)))
        if known.running:
            return Refused("already_started", pid=known.pid)
        return Refused("already_present")

    def _start_dynamic(self, op: StartDynamic) -> Task[Result]:
        if not self._simple:
            return Refused("bad_spec", "invalid_child_spec")
        slot = self._children.add(self.declared[0], label=op.label, args=op.args)
        return (yield from self._start_new(slot))

    def _start_new(self, slot: Slot) -> Task[Result]:
        outcome = yield from self._start(slot)
        if isinstance(outcome, StartFailed):
            self._children.remove(slot)
        return result_of_start(outcome)

    def _terminate_child(self, op: TerminateChild) -> Task[Result]:
        if self._simple and isinstance(op.id, str):
            return Refused("simple_one_for_one")
        slot = self._children.find(op.id)
        if slot is not None:
            yield from self._stop(slot)
            self._children.forget(slot)
        elif not self._children.was_ours(op.id):
            return Refused("not_found")
        return Ok()

    def _restart_child(self, op: RestartChild) -> Task[Result]:
        slot = self._children.find_stopped(op.id)
        if isinstance(slot, Refused):
            return slot
        return result_of_start((yield from self._start(slot, restart=True)))
