"""Whatever happens in whatever order: what must always hold of a supervisor and its processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from otp.messages import KILLED, NORMAL, SHUTDOWN, ChildCounts, Reason
from otp.signals import (
    Begin,
    ByPid,
    Call,
    Child,
    CountChildren,
    Delay,
    DeleteChild,
    Effect,
    Essential,
    Exited,
    Flags,
    Gone,
    Ignored,
    Input,
    Kill,
    Orphan,
    Ready,
    Refused,
    Reply,
    Report,
    Requeue,
    RestartChild,
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
    WhichChildren,
)
from otp.strategy import Supervision
from otp.wire_tree import WireBackoff

BACKOFF = WireBackoff(initial=1.0, factor=2.0, max=3.0, jitter=0.1, stable_after=6.0)
EARLIEST_END = 5  # most walks should get somewhere first
IDS = ("a", "b", "c", "d")
REASONS = st.sampled_from([NORMAL, SHUTDOWN, KILLED, Reason("shutdown", "bye"), Reason("crash")])
RESTARTS: Any = st.sampled_from(["permanent", "transient", "temporary"])
GROUPS: Any = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
AUTO: Any = st.sampled_from(["never", "any_significant", "all_significant"])
STATIC_CALLS: list[Callable[[str], Any]] = [
    TerminateChild,
    RestartChild,
    DeleteChild,
    lambda name: StartChild(Child(name)),
    lambda name: StartChild(Child(name, "temporary")),
    lambda name: TerminateChild(ByPid(name, alive=True)),
]


class Everything(RuleBasedStateMachine):
    """A shell that keeps the rules of `otp.signals` and otherwise does as hypothesis likes."""

    def __init__(self) -> None:
        super().__init__()
        self.machine: Supervision
        self.now = 0.0
        self.serial = 0
        self.live: dict[int, int] = {}  # pid -> key
        self.starting: int | None = None
        self.stopping: dict[int, int] = {}  # pid -> key
        self.requeued: list[Resume] = []
        self.waiting: set[int] = set()
        self.gone = False
        self.killed = False

    # ------------------------------------------------------------ begin

    @initialize(
        strategy=GROUPS,
        auto=AUTO,
        limit=st.integers(0, 4),
        restarts=st.lists(RESTARTS, max_size=4),
        significant=st.lists(st.booleans(), min_size=4, max_size=4),
        backoff=st.sampled_from([None, BACKOFF]),
        give_up=st.sampled_from([0.0, 0.0, 3.0]),
    )
    def begin_static(
        self,
        strategy: Any,
        auto: Any,
        limit: int,
        restarts: list[Any],
        significant: list[bool],
        backoff: WireBackoff | None,
        give_up: float,
    ) -> None:
        flags = Flags(strategy, limit, 5.0, auto, give_up)
        children = [
            Child(
                name,
                restart,
                significant=sig and auto != "never" and restart != "permanent",
                backoff=backoff,
                essential=name == "d",
            )
            for name, restart, sig in zip(IDS, restarts, significant, strict=False)
        ]
        self.machine = Supervision(flags, children)
        self.feed(Begin())

    @property
    def dynamic(self) -> bool:
        return self.machine.flags.strategy == "simple_one_for_one"

    # ------------------------------------------------------------ the shell's side of the contract

    def feed(self, message: Input) -> None:
        for effect in self.machine.step(message, self.now):
            self.check(effect)

    def check(self, effect: Effect) -> None:
        match effect:
            case Start(key):
                assert not self.gone and self.starting is None and not self.stopping
                assert key not in self.live.values(), "two processes in one slot"
                self.starting = key
            case Stop(key, pid):
                self.check_stop(key, pid)
            case StopMany(stops):
                assert self.dynamic and stops
                for stop in stops:
                    self.check_stop(stop.key, stop.pid)
            case Orphan(key, pid):
                assert self.killed
                assert pid is None or self.live.pop(self.number(pid)) == key
            case Reply(request_id):
                self.waiting.remove(self.number(request_id))
            case Requeue(message):
                self.requeued.append(message)
            case Delay(seconds=seconds, input=message):
                assert seconds > 0 and not self.gone
                self.requeued.append(message)
            case Gone():
                assert not self.gone
                self.gone = True
            case Ready() | Report() | Essential():
                assert not self.gone

    def check_stop(self, key: int, pid: Any) -> None:
        assert self.live[pid] == key, "asked to stop what does not run"
        assert self.starting is None and (self.dynamic or not self.stopping)
        self.stopping[pid] = key

    @staticmethod
    def number(value: Any) -> int:
        assert isinstance(value, int)
        return value

    # ------------------------------------------------------------ what may happen

    @precondition(lambda self: self.starting is not None)
    @rule(outcome=st.sampled_from(["started", "started", "started", "ignored", "failed"]))
    def a_start_ends(self, outcome: str) -> None:
        key, self.starting = self.number(self.starting), None
        if outcome == "started":
            self.serial += 1
            self.live[self.serial] = key
            self.feed(Started(key, self.serial))
        else:
            failed = StartFailed(key, Reason("crash"))
            self.feed(Ignored(key) if outcome == "ignored" else failed)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), reason=REASONS)
    def a_process_ends(self, data: st.DataObject, reason: Reason) -> None:
        pid = data.draw(st.sampled_from(sorted(self.live)))
        self.stopping.pop(pid, None)
        self.feed(Exited(self.live.pop(pid), pid, reason))

    @precondition(lambda self: self.stopping)
    @rule()
    def a_stop_is_obeyed(self) -> None:
        pid, key = next(iter(self.stopping.items()))
        del self.stopping[pid], self.live[pid]
        self.feed(Exited(key, pid, SHUTDOWN))

    @precondition(lambda self: self.requeued)
    @rule()
    def it_hears_itself(self) -> None:
        self.feed(self.requeued.pop(0))

    @rule(seconds=st.floats(0, 4.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from(IDS), call=st.sampled_from(STATIC_CALLS))
    def somebody_calls(self, name: str, call: Callable[[str], Any]) -> None:
        self.ask(call(name))

    def ask(self, op: Any) -> None:
        self.serial += 1
        self.waiting.add(self.serial)
        self.feed(Call(self.serial, op))

    @precondition(lambda self: self.serial > EARLIEST_END)
    @rule(reason=REASONS)
    def it_is_told_to_leave(self, reason: Reason) -> None:
        self.feed(Shutdown(reason))

    @precondition(lambda self: self.serial > EARLIEST_END)
    @rule()
    def it_is_killed(self) -> None:
        self.killed = True
        self.stopping.clear()
        self.feed(Kill())

    # ------------------------------------------------------------ what must hold

    @invariant()
    def it_waits_only_for_what_it_asked_for(self) -> None:
        busy = self.starting is not None or bool(self.stopping)
        assert self.gone or self.machine.idle != busy

    @invariant()
    def whoever_calls_an_idle_supervisor_has_been_answered(self) -> None:
        if self.gone or self.machine.idle:
            assert not self.waiting

    @invariant()
    def nothing_outlives_it(self) -> None:
        if self.gone:
            assert not self.live and not self.stopping

    @invariant()
    def it_knows_its_processes(self) -> None:
        if self.gone or not self.machine.idle:
            return
        entries = self.answer(WhichChildren())
        keys = [entry.key for entry in entries]
        assert keys == sorted(set(keys)), "not in start order"
        assert {e.pid: e.key for e in entries if e.state == "running"} == self.live
        counts = self.answer(CountChildren())
        assert counts.active == len(self.live)
        assert isinstance(counts, ChildCounts) and counts.workers == len(entries)
        restarting = {e.key if self.dynamic else e.id for e in entries if e.state == "restarting"}
        assert restarting <= {message.child for message in self.requeued}, "nobody will try again"

    def answer(self, op: Any) -> Any:
        (reply,) = self.machine.step(Call(0, op), self.now)
        assert isinstance(reply, Reply) and not isinstance(reply.result, Refused)
        return reply.result

    def teardown(self) -> None:
        """Everybody can always be stopped: no state may make a shutdown hang."""
        if not hasattr(self, "machine"):
            return
        if not self.gone:
            self.feed(Shutdown(SHUTDOWN))
        while not self.gone:
            if self.starting is not None:
                self.a_start_ends("started")
            else:
                self.a_stop_is_obeyed()
        self.nothing_outlives_it()
        assert not self.waiting


class EverythingDynamic(Everything):
    """The same with dynamic children."""

    @initialize(auto=AUTO, limit=st.integers(0, 4), restart=RESTARTS, significant=st.booleans())
    def begin_static(self, auto: Any, limit: int, restart: Any, significant: bool) -> None:
        significant = significant and auto != "never" and restart != "permanent"
        flags = Flags("simple_one_for_one", limit, 5.0, auto)
        self.machine = Supervision(flags, [Child("t", restart, significant=significant)])
        self.feed(Begin())

    @rule(label=st.sampled_from(IDS))
    def somebody_starts_one(self, label: str) -> None:
        self.ask(StartDynamic(label))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def somebody_terminates_one(self, data: st.DataObject) -> None:
        pid = data.draw(st.sampled_from(sorted(self.live)))
        self.ask(TerminateChild(ByPid(pid, alive=True)))


TestEverything = Everything.TestCase
TestEverythingDynamic = EverythingDynamic.TestCase
TestEverything.settings = TestEverythingDynamic.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
