"""What the machine does beyond OTP: pauses between restarts, essential and parallel children."""

from __future__ import annotations

from typing import Any

import pytest

from otp.messages import KILLED, NORMAL, SHUTDOWN, Reason
from otp.signals import (
    Begin,
    Call,
    Child,
    Delay,
    DeleteChild,
    Effect,
    Essential,
    Exited,
    Gone,
    Kill,
    Ok,
    Orphan,
    Ready,
    Refused,
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
from otp.wire_tree import WireBackoff
from tests.otp.test_strategy import CRASH, Shell, names

BACKOFF = WireBackoff(initial=1.0, factor=2.0, max=4.0, jitter=0.0, stable_after=60.0)


def shell(*ids: str, **flags: Any) -> Shell:
    children = [Child(id, backoff=BACKOFF) for id in ids]
    return Shell(*children, **({"max_restarts": 100, "max_seconds": 1000.0} | flags)).begin()


def die(machine: Shell, key: int, at: float, reason: Reason = CRASH) -> list[Effect]:
    """The child's process dies at this moment."""
    machine.now = at
    pid = next(e.pid for e in machine.machine.entries() if e.key == key)
    return machine.settle(Exited(key, pid, reason))


def delay_of(effects: list[Effect]) -> Delay:
    (found,) = [effect for effect in effects if isinstance(effect, Delay)]
    return found


def state(machine: Shell) -> list[str]:
    return [entry.state for entry in machine.machine.entries()]


# ---------------------------------------------------------------- backoff


def test_the_first_restart_is_at_once_the_next_ones_wait() -> None:
    machine = shell("a")
    assert names(die(machine, 1, 0.0)) == ["+1"]
    for seconds in (1.0, 2.0, 4.0, 4.0):
        delay = delay_of(die(machine, 1, 0.0))
        assert (delay.key, delay.id, delay.seconds, delay.gave_up) == (1, "a", seconds, False)
        assert state(machine) == ["restarting"]
        assert names(machine.settle(delay.input)) == ["+1"]


def test_who_was_up_long_enough_begins_again_at_once() -> None:
    machine = shell("a")
    die(machine, 1, 0.0)
    delay = delay_of(die(machine, 1, 59.0))
    machine.settle(delay.input)
    assert names(die(machine, 1, 119.0)) == ["+1"]


def test_a_start_that_fails_is_one_more_step_of_the_ladder_and_of_the_intensity() -> None:
    machine = shell("a", max_restarts=3)
    machine.step(Exited(1, 1, CRASH))
    assert machine.step(StartFailed(1, CRASH)) == [Requeue(Resume("a"))]
    (delay,) = machine.step(Resume("a"))
    assert isinstance(delay, Delay) and delay.seconds == 1.0
    assert names(machine.step(delay.input)) == ["+1"]
    assert machine.step(StartFailed(1, CRASH)) == [Requeue(Resume("a"))]
    second = delay_of(machine.step(Resume("a")))
    machine.step(second.input)
    machine.step(StartFailed(1, CRASH))
    assert machine.step(Resume("a")) == [Gone(SHUTDOWN, gave_up=True)]


@pytest.mark.parametrize(
    ("strategy", "failed", "stopped", "started"),
    [
        ("one_for_one", 2, [], ["+2"]),
        ("one_for_all", 2, ["-3", "-1"], ["+1", "+2", "+3"]),
        ("rest_for_one", 2, ["-3"], ["+2", "+3"]),
    ],
)
def test_a_group_stops_at_once_and_starts_after_the_pause(
    strategy: str, failed: int, stopped: list[str], started: list[str]
) -> None:
    machine = shell("a", "b", "c", strategy=strategy)
    die(machine, failed, 0.0)
    effects = die(machine, failed, 0.0)
    assert [name for name in names(effects) if name[0] in "+-"] == stopped
    assert names(machine.settle(delay_of(effects).input)) == started
    assert state(machine) == ["running"] * 3


def test_requests_are_answered_meanwhile_as_in_otp() -> None:
    machine = shell("a")
    die(machine, 1, 0.0)
    delay = delay_of(die(machine, 1, 0.0))
    assert machine.call(RestartChild("a")) == Refused("restarting")
    assert machine.call(DeleteChild("a")) == Refused("restarting")
    assert machine.call(StartChild(Child("a"))) == Refused("already_present")
    assert machine.call(TerminateChild("a")) == Ok()
    assert machine.step(delay.input) == [], "its pause was ended"
    assert isinstance(machine.call(RestartChild("a")), Ok)


def test_a_pause_that_was_ended_does_not_shorten_the_next_one() -> None:
    machine = shell("a")
    die(machine, 1, 0.0)
    stale = delay_of(die(machine, 1, 0.0))
    machine.call(TerminateChild("a"))
    machine.call(RestartChild("a"))
    fresh = delay_of(die(machine, 1, 0.0))
    assert fresh.seconds == 2.0
    assert machine.step(stale.input) == []
    assert state(machine) == ["restarting"]
    assert names(machine.settle(fresh.input)) == ["+1"]


def test_a_sibling_that_was_started_by_hand_meanwhile_is_part_of_the_group() -> None:
    machine = shell("a", "b", strategy="one_for_all")
    die(machine, 1, 0.0)
    delay = delay_of(die(machine, 1, 0.0))
    assert state(machine) == ["restarting", "undefined"]
    assert isinstance(machine.call(RestartChild("b")), Ok)
    assert names(machine.settle(delay.input)) == ["-2", "+1", "+2"]


def test_a_shutdown_or_a_kill_does_not_wait_for_the_pause() -> None:
    for message, last in ((Shutdown(SHUTDOWN), SHUTDOWN), (Kill(), KILLED)):
        machine = shell("a")
        die(machine, 1, 0.0)
        delay = delay_of(die(machine, 1, 0.0))
        assert machine.step(message) == [Gone(last)]
        assert machine.step(delay.input) == []


def test_a_dynamic_child_waits_under_its_old_pid() -> None:
    template = Child("t", backoff=BACKOFF)
    machine = Shell(template, strategy="simple_one_for_one", max_restarts=100).begin()
    assert isinstance(machine.call(StartDynamic("k")), Ok)
    die(machine, 1, 0.0)
    delay = delay_of(die(machine, 1, 0.0))
    assert delay.input == Resume(1, 1)
    assert machine.call(WhichChildren())[0].state == "restarting"
    assert names(machine.settle(delay.input)) == ["+1"]


# ---------------------------------------------------------------- give_up: wait


def test_who_was_too_much_stays_down_and_is_tried_again_with_an_empty_log() -> None:
    machine = Shell("a", "b", max_restarts=1, max_seconds=5.0, give_up=30.0).begin()
    assert names(die(machine, 1, 0.0)) == ["+1"]
    delay = delay_of(die(machine, 1, 1.0))
    assert (delay.seconds, delay.jitter, delay.gave_up) == (30.0, 0.0, True)
    assert state(machine) == ["restarting", "running"]
    machine.now = 2.0
    assert names(machine.settle(delay.input)) == ["+1"]
    assert names(die(machine, 2, 2.0)) == ["+2"], "the log is empty again"


def test_it_waits_for_who_does_not_start_as_well() -> None:
    machine = Shell("a", max_restarts=0, give_up=30.0).begin()
    delay = delay_of(machine.step(Exited(1, 1, CRASH)))
    machine.step(delay.input)
    assert machine.step(StartFailed(1, CRASH)) == [Requeue(Resume("a"))]
    assert delay_of(machine.step(Resume("a"))).gave_up


# ---------------------------------------------------------------- essential


@pytest.mark.parametrize(
    ("restart", "reason"), [("temporary", CRASH), ("transient", NORMAL), ("temporary", NORMAL)]
)
def test_the_end_for_good_of_an_essential_child_is_told(restart: Any, reason: Reason) -> None:
    machine = Shell(Child("a", restart=restart, essential=True), "b").begin()
    assert die(machine, 1, 0.0, reason) == [Essential(1, "a")]


def test_restarting_or_stopping_it_by_hand_is_no_end_for_good() -> None:
    machine = Shell(Child("a", essential=True)).begin()
    assert names(die(machine, 1, 0.0)) == ["+1"]
    assert machine.call(TerminateChild("a")) == Ok()


def test_giving_up_because_of_it_or_by_it_is() -> None:
    machine = Shell(Child("a", essential=True), "b", max_restarts=0).begin()
    effects = die(machine, 1, 0.0)
    assert effects == [Essential(1, "a"), Stop(2, 2, 5.0), Gone(SHUTDOWN, gave_up=True)]
    outer = Shell(Child("s", essential=True, type="supervisor")).begin()
    assert outer.settle(Exited(1, 1, SHUTDOWN, gave_up=True)) == [Essential(1, "s")]
    assert state(outer) == ["undefined"]


# ---------------------------------------------------------------- parallel


def test_parallel_children_start_and_stop_at_the_same_time() -> None:
    machine = Shell("a", "b", parallel=True)
    assert names(machine.step(Begin())) == ["+1", "+2"]
    assert machine.step(Started(2, 12)) == []
    assert machine.step(Exited(2, 12, CRASH)) == [], "in its turn, when all have started"
    effects = machine.step(Started(1, 11))
    assert effects[0] == Ready() and names(effects[1:]) == ["+2"]
    machine.step(Started(2, 22))
    stops = (Stop(1, 11, 5.0), Stop(2, 22, 5.0))
    assert machine.step(Shutdown(SHUTDOWN)) == [StopMany(stops, 5.0)]
    assert machine.step(Exited(1, 11, SHUTDOWN)) == []
    assert machine.step(Exited(2, 22, SHUTDOWN)) == [Gone(SHUTDOWN)]


def test_if_one_of_them_does_not_start_the_others_are_stopped() -> None:
    machine = Shell("a", "b", "c", parallel=True)
    assert all(isinstance(effect, Start) for effect in machine.step(Begin()))
    assert machine.step(StartFailed(2, CRASH)) == []
    assert machine.step(Call("c", WhichChildren())) == []
    machine.step(Started(1, 11))
    (stop,) = machine.step(Started(3, 13))
    assert stop == StopMany((Stop(1, 11, 5.0), Stop(3, 13, 5.0)), 5.0)
    machine.step(Exited(1, 11, SHUTDOWN))
    gone, *replies = machine.step(Exited(3, 13, SHUTDOWN))
    assert gone == Gone(Reason("shutdown", "failed_to_start_child"), "child:b")
    assert len(replies) == 1


def test_killed_in_the_middle_all_of_them_are_orphans() -> None:
    machine = Shell("a", "b", parallel=True)
    machine.step(Begin())
    machine.step(Started(2, 12))
    assert machine.step(Kill()) == [Orphan(1), Orphan(2, 12), Gone(KILLED)]
