"""The restart log against OTP's own formulation of it, which keeps and filters a whole list."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.intensity import RestartLog


class NaiveLog:
    def __init__(self, limit: int, period: float) -> None:
        self.limit = limit
        self.period = period
        self.times: list[float] = []

    def add(self, now: float) -> bool:
        self.times = [then for then in [*self.times, now] if now - then <= self.period]
        return len(self.times) <= self.limit


@pytest.mark.parametrize(
    ("limit", "times", "allowed"),
    [
        (0, [0.0], [False]),
        (1, [0.0, 1.0], [True, False]),
        (1, [0.0, 5.0], [True, False]),  # as old as the period still counts
        (1, [0.0, 5.1], [True, True]),
        (2, [0.0, 3.0, 5.5, 6.0], [True, True, True, False]),
    ],
)
def test_one_more_than_the_limit_within_the_period_is_too_many(
    limit: int, times: list[float], allowed: list[bool]
) -> None:
    log = RestartLog(limit, 5.0)
    assert [log.add(now) for now in times] == allowed


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 5), st.floats(0.5, 5.0), st.lists(st.floats(0, 3.0), max_size=30))
def test_it_agrees_with_the_naive_log(limit: int, period: float, pauses: list[float]) -> None:
    log, naive, now = RestartLog(limit, period), NaiveLog(limit, period), 0.0
    for pause in pauses:
        now += pause
        assert log.add(now) == naive.add(now)


def test_it_keeps_no_more_than_can_matter() -> None:
    log = RestartLog(3, 1e9)
    for now in range(10_000):
        log.add(float(now))
    assert len(log._times) <= 3 + 1
