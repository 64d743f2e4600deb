"""A supervisor's table of children, and the rules that a child's specification must keep. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import get_args

from otp.messages import ChildCounts
from otp.signals import (
    AutoShutdown,
    ByPid,
    Child,
    ChildEntry,
    ChildState,
    ChildType,
    CountChildren,
    DeleteChild,
    Flags,
    GetChildSpec,
    Ignored,
    Ok,
    Outcome,
    Query,
    Refused,
    Restart,
    Result,
    Started,
    StartFailed,
    Strategy,
    WhichChildren,
)

STRATEGIES = get_args(Strategy)
AUTO_SHUTDOWNS = get_args(AutoShutdown)
RESTARTS = get_args(Restart)
CHILD_TYPES = get_args(ChildType)


class Slot:
    """One child of one supervisor: its specification and, while it runs, its process.

    `restarting` stands between two attempts to start it again. A dynamic child keeps its old
    `pid` meanwhile, because that is the only name by which it can be terminated. `wait` is the
    number of the wait before its next start (`gave_up`: after too many), `pause` how long the last
    one by its backoff was, `since` when it was started last.
    """

    __slots__ = (
        *("args", "child", "dynamic", "gave_up", "key", "label"),
        *("pause", "pid", "restarting", "since", "wait"),
    )

    def __init__(self, key: int, child: Child, *, label: str, args: object, dynamic: bool) -> None:
        self.key = key
        self.child = child
        self.label = label
        self.args = args
        self.dynamic = dynamic
        self.pid: Hashable | None = None
        self.restarting = False
        self.wait = 0
        self.gave_up = False
        self.pause: float | None = None
        self.since = 0.0

    @property
    def running(self) -> bool:
        """It has a process whose end has not been handled yet."""
        return self.pid is not None and not self.restarting

    @property
    def name(self) -> str:
        """The label of a dynamic child, else its id."""
        return self.label if self.dynamic else self.child.id

    @property
    def resume_name(self) -> str | int:
        """By what a later attempt finds it again."""
        return self.key if self.dynamic else self.child.id

    @property
    def state(self) -> ChildState:
        """OTP's word, as which_children answers it."""
        if self.restarting:
            return "restarting"
        return "undefined" if self.pid is None else "running"

    def entry(self) -> ChildEntry:
        """This child's row of which_children."""
        pid = self.pid if self.running else None
        return ChildEntry(self.key, self.name, self.state, self.child.type, pid)


class Children:
    """All slots of one supervisor, in start order: the order in which they were added.

    A dict keeps that order through everything that may happen: what is added comes last, what is
    deleted and added again moves to the end, what is only stopped keeps its place. With a
    `template` (simple_one_for_one) all slots are dynamic: they have no id and are found by pid.
    """

    def __init__(self, template: Child | None = None) -> None:
        self.template = template
        self.by_key: dict[int, Slot] = {}
        self.by_id: dict[str, Slot] = {}
        self.by_pid: dict[Hashable, Slot] = {}
        self._last_key = 0

    def add(self, child: Child, *, label: str = "", args: object = None) -> Slot:
        """A new slot at the end, without a process."""
        self._last_key += 1
        dynamic = self.template is not None
        slot = Slot(self._last_key, child, label=label, args=args, dynamic=dynamic)
        self.by_key[slot.key] = slot
        if not dynamic:
            self.by_id[child.id] = slot
        return slot

    def began(self, slot: Slot, pid: Hashable) -> None:
        """The slot's process is now this one."""
        self.ended(slot)
        slot.pid = pid
        self.by_pid[pid] = slot

    def ended(self, slot: Slot) -> None:
        """The slot has no process and nobody tries to start one."""
        if slot.pid is not None:
            self.by_pid.pop(slot.pid, None)
        slot.pid = None
        slot.restarting = False
        slot.wait = 0

    def remove(self, slot: Slot) -> None:
        """The slot is gone, its specification with it."""
        self.ended(slot)
        del self.by_key[slot.key]
        if not slot.dynamic:
            del self.by_id[slot.child.id]

    def forget(self, slot: Slot) -> None:
        """What an end leaves behind: the specification, unless temporary or dynamic."""
        if slot.dynamic or slot.child.restart == "temporary":
            self.remove(slot)
        else:
            self.ended(slot)

    def in_start_order(self) -> list[Slot]:
        """A list that stays as it is while children come and go."""
        return list(self.by_key.values())

    def find(self, name: str | ByPid) -> Slot | None:
        """By id; by pid only where children are dynamic, because others have an id."""
        if isinstance(name, str):
            return self.by_id.get(name)
        return self.by_pid.get(name.pid) if self.template is not None else None

    def find_again(self, name: str | int) -> Slot | None:
        """The child that a `Resume` is about: by id, a dynamic one by its key."""
        return self.by_id.get(name) if isinstance(name, str) else self.by_key.get(name)

    def was_ours(self, name: str | ByPid) -> bool:
        """A dead pid may have been a dynamic child: OTP gives it the benefit of the doubt."""
        return self.template is not None and isinstance(name, ByPid) and not name.alive

    def find_stopped(self, name: str | ByPid) -> Slot | Refused:
        """The static child of this name if it has no process and gets none, else why not."""
        if self.template is not None:
            return Refused("simple_one_for_one")
        slot = self.find(name)
        if slot is None:
            return Refused("not_found")
        if slot.restarting:
            return Refused("restarting")
        return Refused("running") if slot.running else slot

    def significant_left(self) -> bool:
        """A significant child runs, or may run again without being asked for."""
        return any(
            slot.child.significant and slot.state != "undefined" for slot in self.by_key.values()
        )

    def answer(self, op: Query, *, dead: Collection[int]) -> Result:
        """What needs no waiting; `dead` are the keys of those whose death is not handled yet."""
        match op:
            case DeleteChild(name):
                return self.delete(name)
            case WhichChildren():
                return self.entries()
            case CountChildren():
                return self.counts(dead)
            case GetChildSpec(name):
                return self.spec(name)

    def delete(self, name: str | ByPid) -> Ok | Refused:
        """Forget the static child of this name, if it has no process and gets none."""
        slot = self.find_stopped(name)
        if isinstance(slot, Refused):
            return slot
        self.remove(slot)
        return Ok()

    def spec(self, name: str | ByPid) -> Child | Refused:
        """The specification of this child; the template for every dynamic one."""
        if self.template is not None and (name == self.template.id or self.was_ours(name)):
            return self.template
        slot = self.find(name)
        return Refused("not_found") if slot is None else slot.child

    def entries(self) -> tuple[ChildEntry, ...]:
        """which_children, in start order."""
        return tuple(slot.entry() for slot in self.by_key.values())

    def counts(self, dead: Collection[int]) -> ChildCounts:
        """count_children: the dead are not active, except dynamic ones, which OTP only counts."""
        slots = self.by_key.values()
        if self.template is not None:
            dead = ()
        active = sum(slot.running and slot.key not in dead for slot in slots)
        supervisors = sum(slot.child.type == "supervisor" for slot in slots)
        specs = len(slots) if self.template is None else 1
        return ChildCounts(specs, active, supervisors, len(slots) - supervisors)


def result_of_start(outcome: Outcome) -> Ok | Refused:
    """What start_child and restart_child answer."""
    match outcome:
        case Started(_, pid):
            return Ok(pid)
        case Ignored():
            return Ok(ignored=True)
        case StartFailed(_, reason, error):
            return Refused("start_failed", error, reason=reason)


def _seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _sensible_significance(child: Child, flags: Flags) -> bool:
    # A significant child must be able to end for good, and somebody must be asking for that end.
    if child.significant is not True:
        return True
    return flags.auto_shutdown != "never" and child.restart != "permanent"


# One row per rule, in the order in which OTP looks: its first word is the one it answers.
FLAG_RULES: tuple[tuple[str, Callable[[Flags], bool]], ...] = (
    ("invalid_strategy", lambda flags: flags.strategy in STRATEGIES),
    ("invalid_intensity", lambda flags: _count(flags.max_restarts)),
    ("invalid_period", lambda flags: _seconds(flags.max_seconds)),
    ("invalid_auto_shutdown", lambda flags: flags.auto_shutdown in AUTO_SHUTDOWNS),
)
CHILD_RULES: tuple[tuple[str, Callable[[Child, Flags], bool]], ...] = (
    ("missing_id", lambda child, _: bool(child.id)),
    ("invalid_mfa", lambda child, _: child.startable),
    ("invalid_restart_type", lambda child, _: child.restart in RESTARTS),
    ("bad_combination", _sensible_significance),
    ("invalid_significant", lambda child, _: isinstance(child.significant, bool)),
    ("invalid_child_type", lambda child, _: child.type in CHILD_TYPES),
    (
        "invalid_shutdown",
        lambda child, _: child.shutdown in ("infinity", "brutal_kill") or _seconds(child.shutdown),
    ),
)


def validate_child(child: Child, flags: Flags) -> list[str]:
    """OTP's words for what is wrong with one child under these flags; the first is its answer."""
    return [word for word, holds in CHILD_RULES if not holds(child, flags)]


def validate(flags: Flags, children: Sequence[Child]) -> list[str]:
    """OTP's words for all that is wrong, in its order of looking; empty where nothing is.

    Every child is checked before any is started. Ids are unique within one supervisor only;
    simple_one_for_one has exactly one child, the template of all its dynamic children.
    """
    words = [word for word, holds in FLAG_RULES if not holds(flags)]
    if flags.strategy == "simple_one_for_one" and len(children) != 1:
        words.append("bad_start_spec")
    seen: set[str] = set()
    for child in children:
        words += validate_child(child, flags)
        if child.id in seen:
            words.append("duplicate_child_name")
        seen.add(child.id)
    return words
