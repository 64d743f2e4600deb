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
mailbox, so whoever waits is served first. The same is so where a restart is to wait (`backoff`,
`give_up`, both beyond OTP): the `Resume` comes later, and until then the child is `restarting`.
A new strategy is one function and its entry in `PLANS`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Reversible, Sequence
from itertools import takewhile
from typing import Any, Final, Generic, TypeVar

import msgspec

from otp.backoff import is_stable, next_pause
from otp.children import Children, Slot, result_of_start, validate, validate_child
from otp.intensity import RestartLog
from otp.mailbox import Mail
from otp.messages import KILLED, SHUTDOWN, Reason
from otp.nursery import Nursery, Task
from otp.signals import (
    Begin,
    Call,
    Child,
    ChildEntry,
    Delay,
    Effect,
    Essential,
    Exited,
    Flags,
    Gone,
    Input,
    Kill,
    Ok,
    Op,
    Orphan,
    Ready,
    Refused,
    Reply,
    Requeue,
    RestartChild,
    Result,
    Resume,
    Shutdown,
    StartChild,
    StartDynamic,
    Started,
    StartFailed,
    TerminateChild,
)

T = TypeVar("T", bound=Hashable)

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


class Supervision(Nursery):
    """One supervisor, from `Begin` to `Gone`; a restarted supervisor is a new machine."""

    def __init__(self, flags: Flags, children: Sequence[Child]) -> None:
        super().__init__(flags, children)
        self.gone = False
        self._begun = False
        self._log = RestartLog(flags.max_restarts, flags.max_seconds)
        self._serving: list[Call] = []
        self._waits = 0
        self._task: Task[None] | None = None
        self._now = 0.0

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
            case Exited(key, _, reason, gave_up):
                yield from self._handle_exit(self._children.by_key[key], reason, gave_up)
            case Resume(child, wait):
                slot = self._children.find_again(child)
                # Anything may have happened to it since: terminated, deleted, started again.
                if slot is not None and slot.restarting and slot.wait == wait:
                    yield from self._resume(slot)
            case Shutdown(reason):
                yield from self._leave(reason)

    # ------------------------------------------------------------ beginning and end

    def _begin(self) -> Task[None]:
        if words := validate(self.flags, self.declared):
            self._depart(Reason("crash", words[0]), f"bad_spec:{words[0]}")
            return
        for child in () if self._simple else self.declared:
            self._children.add(child)
        failed = yield from self._start_all(self._children.in_start_order())
        if failed is not None:
            reason = Reason("shutdown", "failed_to_start_child")
            yield from self._leave(reason, f"child:{failed.child.id}")
            return
        self._effects.append(Ready())

    def _leave(self, reason: Reason, error: str = "", *, gave_up: bool = False) -> Task[None]:
        yield from self._stop_all(self._children.in_start_order())
        self._depart(reason, error, gave_up=gave_up)

    def _depart(self, reason: Reason, error: str = "", *, gave_up: bool = False) -> None:
        self.gone = True
        self._effects.append(Gone(reason, error, gave_up))
        for call in [*self._serving, *self._mailbox.close()]:
            self._effects.append(Reply(call.request_id, Refused("noproc")))
        self._children = Children()

    def _die(self) -> None:
        if self.gone:
            return
        for slot in self._children.in_start_order():
            if slot.key in self._starting:
                self._effects.append(Orphan(slot.key))
            elif slot.running and slot.key not in self._mailbox.deaths:
                self._effects.append(Orphan(slot.key, slot.pid))
        self._task = None
        self._starting, self._stopping = set(), {}
        self._depart(KILLED)

    # ------------------------------------------------------------ deaths and restarts

    def _handle_exit(self, slot: Slot, reason: Reason, gave_up: bool) -> Task[None]:
        restart = RESTARTED[slot.child.restart](reason)
        if slot.child.essential and (gave_up or not restart):
            self._report("child_exited", slot, reason)
            self._effects.append(Essential(slot.key, slot.name))
            self._children.forget(slot)
            return
        allowed = restart and self._log.add(self._now)
        comes_back = allowed or (restart and self.flags.give_up > 0)
        self._report("child_exited", slot, reason, restart=comes_back)
        if restart:
            if slot.child.backoff and is_stable(slot.child.backoff, self._now - slot.since):
                slot.pause = None
            yield from self._restart(slot, allowed)
            return
        self._children.forget(slot)
        any_will_do = self.flags.auto_shutdown == "any_significant"
        if slot.child.significant and (any_will_do or not self._children.significant_left()):
            self._report("auto_shutdown", slot, reason)
            yield from self._leave(SHUTDOWN)

    def _restart(self, slot: Slot, allowed: bool) -> Task[None]:
        if not allowed and not self.flags.give_up:
            yield from self._give_up(slot)
            return
        pause = self.flags.give_up
        if allowed and slot.child.backoff is not None:
            pause = slot.pause = next_pause(slot.child.backoff, slot.pause)
        elif allowed:
            pause = 0.0
        if pause:
            yield from self._wait(slot, pause, gave_up=not allowed)
        else:
            yield from self._replace(slot)

    def _give_up(self, slot: Slot) -> Task[None]:
        self._report("gave_up", slot, SHUTDOWN)
        if slot.child.essential:
            self._effects.append(Essential(slot.key, slot.name))
        self._children.forget(slot)
        yield from self._leave(SHUTDOWN, gave_up=True)

    def _wait(self, slot: Slot, seconds: float, *, gave_up: bool) -> Task[None]:
        """It is started later; those that its strategy stops are stopped now."""
        yield from self._stop_group(slot)
        self._waits += 1
        slot.restarting, slot.wait, slot.gave_up = True, self._waits, gave_up
        jitter = slot.child.backoff.jitter if slot.child.backoff and not gave_up else 0.0
        again = Resume(slot.resume_name, slot.wait)
        self._effects.append(Delay(slot.key, slot.name, seconds, jitter, again, gave_up))

    def _resume(self, slot: Slot) -> Task[None]:
        if not slot.wait:
            yield from self._restart(slot, self._log.add(self._now))
            return
        if slot.gave_up:
            self._log.clear()
        slot.wait = 0
        yield from self._replace(slot)

    def _replace(self, slot: Slot) -> Task[None]:
        yield from self._start_group((yield from self._stop_group(slot)))

    def _stop_group(self, slot: Slot) -> Task[list[int]]:
        """Stop whom the strategy stops for this child; the keys of whom it starts then."""
        plan = PLANS[self.flags.strategy](self._children.by_key, slot.key)
        if not slot.dynamic:
            self._children.ended(slot)
        for key in plan.stop:
            sibling = self._children.by_key[key]
            yield from self._stop(sibling, restart=sibling.child.restart != "temporary")
            self._children.forget(sibling)
        return plan.start

    def _start_group(self, keys: list[int]) -> Task[None]:
        for key in keys:
            slot = self._children.by_key.get(key)
            if slot is None:  # a temporary sibling, gone with its process
                continue
            if isinstance((yield from self._start(slot, restart=True)), StartFailed):
                slot.restarting = True
                self._effects.append(Requeue(Resume(slot.resume_name)))
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
