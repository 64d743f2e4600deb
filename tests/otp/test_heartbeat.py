"""Heartbeats, with a clock that the test turns."""

from __future__ import annotations

import pytest

from otp.heartbeat import Heartbeat
from otp.reactor import Callback, Reactor, Timer


class Turned(Reactor):
    """A reactor whose time goes on when the test says so."""

    def __init__(self) -> None:
        self.time = 0.0
        self.timers: list[Timer] = []

    def now(self) -> float:
        return self.time

    def after(self, seconds: float, callback: Callback) -> Timer:
        self.timers.append(timer := Timer(self.time + seconds, callback))
        return timer

    def turn(self, seconds: float) -> None:
        self.time += seconds
        due, self.timers = [t for t in self.timers if t.at <= self.time], []
        for callback in [t.callback for t in due if t.callback]:
            callback()


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def beating(clock: Turned, told: list[str]) -> Heartbeat:
    made = Heartbeat(
        clock,
        2.0,
        ask=lambda serial: told.append(f"ask {serial}"),
        silent=lambda missed: told.append(f"silent {missed}"),
    )
    made.start()
    return made


def test_who_answers_is_asked_again(clock: Turned, beating: Heartbeat, told: list[str]) -> None:
    for serial in (1, 2):
        beating.heard(serial)
        clock.turn(2.0)
    assert told == ["ask 1", "ask 2", "ask 3"]


def test_each_silence_is_told_until_there_is_an_answer(
    clock: Turned, beating: Heartbeat, told: list[str]
) -> None:
    clock.turn(2.0)
    beating.heard(1)  # late: it answers a question that counts no more
    clock.turn(2.0)
    beating.heard(3)
    clock.turn(2.0)
    clock.turn(2.0)
    assert told == [
        "ask 1", "ask 2", "silent 1", "ask 3", "silent 2", "ask 4", "ask 5", "silent 1",
    ]  # fmt: skip


def test_who_stood_still_blames_nobody(clock: Turned, beating: Heartbeat, told: list[str]) -> None:
    clock.turn(3.5)
    assert told == ["ask 1", "ask 2"]


def test_stopped_by_whoever_hears_of_the_silence(clock: Turned) -> None:
    def silent(missed: int) -> None:
        made.stop()

    made = Heartbeat(clock, 1.0, ask=lambda serial: None, silent=silent)
    made.start()
    clock.turn(1.0)
    assert all(timer.callback is None for timer in clock.timers)
