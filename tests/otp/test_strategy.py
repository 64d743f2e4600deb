"""The supervisor's rules as tables, and its conversation with a shell, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otp import mailbox
from otp.messages import KILLED, NORMAL, SHUTDOWN, ChildCounts, Reason, ReasonKind
from otp.signals import (
    Begin,
    ByPid,
    Call,
    Child,
    CountChildren,
    Effect,
    Exited,
    Flags,
    GetChildSpec,
    Gone,
    Ignored,
    Input,
    Kill,
    Ok,
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
from otp.strategy import PLANS, RESTARTED, Plan, Supervision, one_for_all, one_for_one, rest_for_one
from tests.conformance.__main__ import main

CRASH = Reason("crash", "boom")
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "conformance"


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("failed", ["a", "b", "c"])
def test_one_for_one(failed: str) -> None:
    assert one_for_one(["a", "b", "c"], failed) == Plan([], [failed])


@pytest.mark.parametrize(
    ("failed", "stop"), [("a", ["c", "b"]), ("b", ["c", "a"]), ("c", ["b", "a"])]
)
def test_one_for_all(failed: str, stop: list[str]) -> None:
    assert one_for_all(["a", "b", "c"], failed) == Plan(stop, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("failed", "stop", "start"),
    [("a", ["c", "b"], ["a", "b", "c"]), ("b", ["c"], ["b", "c"]), ("c", [], ["c"])],
)
def test_rest_for_one(failed: str, stop: list[str], start: list[str]) -> None:
    assert rest_for_one(["a", "b", "c"], failed) == Plan(stop, start)


@pytest.mark.parametrize("name", sorted(PLANS))
def test_every_strategy_restarts_the_failed_child_and_stops_only_others(name: str) -> None:
    plan = PLANS[name](["a", "b", "c"], "b")
    assert "b" in plan.start and "b" not in plan.stop
    assert plan.start == sorted(plan.start)
    assert plan.stop == sorted(plan.stop, reverse=True)


@pytest.mark.parametrize(
    ("restart", "restarted"),
    [
        ("permanent", {"normal", "shutdown", "killed", "crash", "noconnection", "noproc"}),
        ("transient", {"killed", "crash", "noconnection", "noproc"}),
        ("temporary", set()),
    ],
)
def test_which_reasons_restart_which_child(restart: str, restarted: set[ReasonKind]) -> None:
    kinds: list[ReasonKind] = ["normal", "shutdown", "killed", "crash", "noconnection", "noproc"]
    assert {kind for kind in kinds if RESTARTED[restart](Reason(kind, "term"))} == restarted


# ---------------------------------------------------------------- a supervisor and its shell


class Shell:
    """Feeds a machine; starts that it asks for succeed at once unless held back."""

    def __init__(self, *children: Child | str, **flags: Any) -> None:
        specs = [Child(child) if isinstance(child, str) else child for child in children]
        self.machine = Supervision(Flags(**flags), specs)
        self.pid = 0
        self.now = 0.0

    def begin(self) -> Shell:
        """Start all declared children."""
        self.settle(Begin())
        return self

    def step(self, message: Input) -> list[Effect]:
        """What the machine asks for, without its reports."""
        effects = self.machine.step(message, self.now)
        return [effect for effect in effects if not isinstance(effect, Report)]

    def settle(self, message: Input) -> list[Effect]:
        """What it asks for in the end, if all starts succeed and all stops obey."""
        done, todo = [], self.step(message)
        while todo:
            effect = todo.pop(0)
            done.append(effect)
            for answer in self.answers(effect):
                todo += self.step(answer)
        return done

    def answers(self, effect: Effect) -> list[Input]:
        """How a shell in a perfect world answers."""
        match effect:
            case Start(key):
                self.pid += 1
                return [Started(key, self.pid)]
            case Stop(key, pid):
                return [Exited(key, pid, SHUTDOWN)]
            case StopMany(stops):
                return [Exited(stop.key, stop.pid, SHUTDOWN) for stop in stops]
            case Requeue(message):
                return [message]
        return []

    def call(self, op: Any) -> Any:
        """The answer to a call, once everything has settled."""
        replies = [e.result for e in self.settle(Call("call", op)) if isinstance(e, Reply)]
        assert len(replies) == 1
        return replies[0]


def names(effects: list[Effect]) -> list[str]:
    """Starts and stops, by key: `+1` and `-1`."""
    signs = {Start: "+", Stop: "-"}
    return [f"{signs[type(e)]}{e.key}" for e in effects if isinstance(e, Start | Stop)]


def test_children_start_one_after_the_other_and_stop_in_reverse() -> None:
    shell = Shell("a", "b")
    assert names(shell.step(Begin())) == ["+1"], "the second waits for the first"
    assert names(shell.step(Started(1, 11))) == ["+2"]
    assert shell.step(Started(2, 12)) == [Ready()]
    assert shell.step(Shutdown(SHUTDOWN)) == [Stop(2, 12, 5.0)]
    assert shell.step(Exited(2, 12, SHUTDOWN)) == [Stop(1, 11, 5.0)]
    assert shell.step(Exited(1, 11, CRASH)) == [Gone(SHUTDOWN)]


def test_an_invalid_specification_starts_nothing() -> None:
    shell = Shell("a", "a")
    (gone,) = shell.step(Begin())
    assert gone == Gone(Reason("crash", "duplicate_child_name"), "bad_spec:duplicate_child_name")


def test_a_failed_child_undoes_the_start_of_its_supervisor() -> None:
    shell = Shell("a", "b")
    shell.step(Begin())
    shell.step(Started(1, 11))
    assert names(shell.step(StartFailed(2, CRASH))) == ["-1"]
    gone = Gone(Reason("shutdown", "failed_to_start_child"), "child:b")
    assert shell.step(Exited(1, 11, SHUTDOWN)) == [gone]


@pytest.mark.parametrize(
    ("strategy", "asked"),
    [
        ("one_for_one", ["+2"]),
        ("one_for_all", ["-3", "-1", "+1", "+2", "+3"]),
        ("rest_for_one", ["-3", "+2", "+3"]),
    ],
)
def test_a_death_restarts_what_the_strategy_says(strategy: str, asked: list[str]) -> None:
    shell = Shell("a", "b", "c", strategy=strategy).begin()
    assert names(shell.settle(Exited(2, 2, CRASH))) == asked


def test_two_deaths_in_a_group_are_one_restart() -> None:
    shell = Shell("a", "b", "c", strategy="one_for_all", max_restarts=1).begin()
    assert names(shell.step(Exited(3, 3, CRASH))) == ["-2"]
    shell.step(Exited(1, 1, CRASH))  # waits in the mailbox, and is found there
    assert names(shell.settle(Exited(2, 2, SHUTDOWN))) == ["+1", "+2", "+3"]
    assert shell.machine.idle and not shell.machine.gone


def test_who_waits_is_served_before_the_next_attempt() -> None:
    shell = Shell("a", "b").begin()
    shell.step(Exited(1, 1, CRASH))
    assert shell.step(Call("c", RestartChild("a"))) == []
    effects = shell.step(StartFailed(1, CRASH))
    assert effects == [Requeue(Resume("a")), Reply("c", Refused("restarting"))]
    assert shell.call(TerminateChild("a")) == Ok()
    assert shell.step(Resume("a")) == [], "its attempts have been ended"


def test_more_restarts_than_allowed_end_the_supervisor() -> None:
    shell = Shell("a", "b", max_restarts=1, max_seconds=5.0).begin()
    shell.settle(Exited(1, 1, CRASH))
    shell.now = 6.0
    assert names(shell.settle(Exited(1, 3, CRASH))) == ["+1"], "the first one is too long ago"
    effects = shell.settle(Exited(2, 2, CRASH))
    assert effects == [Stop(1, 4, 5.0), Gone(SHUTDOWN, gave_up=True)]


def test_a_shutdown_waits_for_a_start_in_progress() -> None:
    shell = Shell("a").begin()
    shell.step(Exited(1, 1, CRASH))
    assert shell.step(Shutdown(NORMAL)) == []
    assert shell.settle(Started(1, 2)) == [Stop(1, 2, 5.0), Gone(NORMAL)]


def test_dynamic_children_stop_at_the_same_time() -> None:
    shell = Shell(Child("t", shutdown=0.3), strategy="simple_one_for_one").begin()
    for label in ("k1", "k2"):
        assert isinstance(shell.call(StartDynamic(label, {"n": 1})), Ok)
    stops = (Stop(1, 1, 0.3), Stop(2, 2, 0.3))
    assert shell.step(Shutdown(SHUTDOWN)) == [StopMany(stops, 0.3)]
    assert shell.step(Exited(2, 2, SHUTDOWN)) == []
    assert shell.step(Exited(1, 1, SHUTDOWN)) == [Gone(SHUTDOWN)]


def test_a_dynamic_child_restarts_with_its_label_and_arguments() -> None:
    shell = Shell("t", strategy="simple_one_for_one").begin()
    shell.call(StartDynamic("k1", {"n": 1}))
    (start,) = shell.step(Exited(1, 1, CRASH))
    assert start == Start(1, Child("t"), "k1", {"n": 1})


@pytest.mark.parametrize(
    ("op", "answer"),
    [
        (TerminateChild("t"), Refused("simple_one_for_one")),
        (StartChild(Child("x")), Refused("simple_one_for_one")),
        (TerminateChild(ByPid(9, alive=True)), Refused("not_found")),
        (TerminateChild(ByPid(9)), Ok()),
        (TerminateChild(ByPid(1, alive=True)), Ok()),
        (GetChildSpec("t"), Child("t")),
        (CountChildren(), ChildCounts(1, 1, 0, 1)),
    ],
)
def test_calls_to_a_simple_one_for_one_supervisor(op: Any, answer: Any) -> None:
    shell = Shell("t", strategy="simple_one_for_one").begin()
    shell.call(StartDynamic("k1"))
    assert shell.call(op) == answer


def test_a_killed_supervisor_stops_nobody_and_leaves_orphans() -> None:
    shell = Shell("a", "b").begin()
    shell.step(Exited(2, 2, CRASH))
    shell.step(Call("c", WhichChildren()))
    effects = shell.step(Kill())
    assert effects == [Orphan(1, 1), Orphan(2), Gone(KILLED), Reply("c", Refused("noproc"))]
    assert shell.step(Started(2, 3)) == [Orphan(2, 3)], "nobody waits for it any more"
    assert shell.step(Call("d", WhichChildren())) == [Reply("d", Refused("noproc"))]


def test_a_call_in_progress_is_answered_when_the_supervisor_is_killed() -> None:
    shell = Shell().begin()
    assert names(shell.step(Call("c", StartChild(Child("a"))))) == ["+1"]
    assert shell.step(Kill()) == [Orphan(1), Gone(KILLED), Reply("c", Refused("noproc"))]


def test_what_is_killed_before_it_begins_never_begins() -> None:
    shell = Shell("a")
    assert shell.step(Kill()) == [Gone(KILLED)]
    assert shell.step(Begin()) == []


def test_too_many_waiting_calls_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "CALLS_WAITING_MAX", 1)
    shell = Shell("a")
    shell.step(Begin())
    assert shell.step(Call("c", CountChildren())) == []
    assert shell.step(Call("d", CountChildren())) == [Reply("d", Refused("overloaded"))]
    assert Reply("c", ChildCounts(1, 1, 0, 1)) in shell.step(Started(1, 1))


def test_stale_and_repeated_deaths_change_nothing() -> None:
    shell = Shell("a").begin()
    shell.settle(Exited(1, 1, CRASH))
    assert shell.step(Exited(1, 1, CRASH)) == []
    assert shell.step(Exited(99, 1, CRASH)) == []
    assert shell.call(CountChildren()) == ChildCounts(1, 1, 0, 1)


def test_reports_say_what_happened_and_what_follows() -> None:
    shell = Shell("a", max_restarts=0)
    shell.step(Begin())
    (started, _) = shell.machine.step(Started(1, 7), 0.0)
    assert started == Report("child_started", 1, "a", 7)
    effects = shell.machine.step(Exited(1, 7, CRASH), 0.0)
    assert [e.kind for e in effects if isinstance(e, Report)] == ["child_exited", "gave_up"]
    assert effects[0] == Report("child_exited", 1, "a", 7, CRASH, restart=False)


def test_auto_shutdown_when_the_last_significant_child_has_ended() -> None:
    children = [Child(name, "transient", significant=True) for name in ("a", "b")]
    shell = Shell(*children, "c", auto_shutdown="all_significant").begin()
    assert shell.settle(Exited(1, 1, NORMAL)) == []
    assert shell.settle(Exited(2, 2, NORMAL)) == [Stop(3, 3, 5.0), Gone(SHUTDOWN)]


def test_a_child_that_ignores_its_restart_is_left_alone() -> None:
    shell = Shell("a").begin()
    shell.step(Exited(1, 1, CRASH))
    assert shell.step(Ignored(1)) == []
    assert shell.call(CountChildren()) == ChildCounts(1, 0, 0, 1)


def test_all_significant_waits_for_one_that_is_restarting() -> None:
    children = [Child(name, "transient", significant=True) for name in ("a", "b")]
    shell = Shell(*children, auto_shutdown="all_significant", max_restarts=3).begin()
    shell.step(Exited(1, 1, CRASH))
    shell.step(Exited(2, 2, NORMAL))
    assert shell.step(StartFailed(1, CRASH)) == [Requeue(Resume("a"))]
    assert names(shell.settle(Resume("a"))) == ["+1"]
    assert shell.settle(Exited(1, 3, NORMAL)) == [Gone(SHUTDOWN)]


def test_a_failed_start_child_leaves_no_trace() -> None:
    shell = Shell().begin()
    shell.step(Call("c", StartChild(Child("a"))))
    refused = Refused("start_failed", "child:x", reason=CRASH)
    assert shell.step(StartFailed(1, CRASH, "child:x")) == [Reply("c", refused)]
    assert shell.call(WhichChildren()) == ()


def test_a_child_between_two_attempts_is_present_but_not_started() -> None:
    shell = Shell("a").begin()
    shell.step(Exited(1, 1, CRASH))
    shell.step(StartFailed(1, CRASH))
    assert shell.call(StartChild(Child("a"))) == Refused("already_present")
    assert shell.call(CountChildren()) == ChildCounts(1, 0, 0, 1)


def test_a_temporary_child_that_wants_no_process_is_forgotten() -> None:
    shell = Shell(Child("a", "temporary"), "b")
    shell.step(Begin())
    shell.settle(Ignored(1))
    assert [entry.id for entry in shell.call(WhichChildren())] == ["b"]


def test_a_group_restart_does_not_bring_a_temporary_sibling_back() -> None:
    shell = Shell("a", Child("b", "temporary"), "c", strategy="one_for_all").begin()
    assert names(shell.settle(Exited(1, 1, CRASH))) == ["-3", "-2", "+1", "+3"]
    assert [entry.id for entry in shell.call(WhichChildren())] == ["a", "c"]


def test_a_dynamic_child_between_two_attempts_has_its_old_pid() -> None:
    shell = Shell("t", strategy="simple_one_for_one").begin()
    shell.call(StartDynamic("k1"))
    shell.step(Exited(1, 1, CRASH))
    shell.step(StartFailed(1, CRASH))
    assert shell.step(Exited(1, 1, CRASH)) == [], "that death has been handled"
    assert shell.call(TerminateChild(ByPid(1))) == Ok()
    assert shell.call(CountChildren()) == ChildCounts(1, 0, 0, 0)
    assert shell.step(Resume(1)) == []


def test_nothing_is_left_of_a_dynamic_child_that_is_not_restarted() -> None:
    shell = Shell(Child("t", "transient"), strategy="simple_one_for_one").begin()
    shell.call(StartDynamic("k1"))
    shell.step(Exited(1, 1, NORMAL))
    assert shell.call(WhichChildren()) == ()


# ---------------------------------------------------------------- what real Erlang does


def test_it_behaves_like_the_recorded_supervisors(capsys: pytest.CaptureFixture[str]) -> None:
    if not CORPUS.is_dir():
        pytest.skip("no recorded scenarios beside the repository (../shared/conformance)")
    failed = main([str(CORPUS)])
    printed = capsys.readouterr().out
    assert failed == 0, printed
    assert int(printed.splitlines()[-1].split()[0]) > 0
