"""Pauses between restarts, as numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.backoff import is_stable, jittered, next_pause
from otp.wire_tree import WireBackoff

BACKOFF = WireBackoff(initial=0.5, factor=3.0, max=10.0, jitter=0.2, stable_after=60.0)


def test_the_first_restart_is_at_once_and_each_further_one_waits_longer() -> None:
    pauses: list[float | None] = [None]
    for _ in range(6):
        pauses.append(next_pause(BACKOFF, pauses[-1]))
    assert pauses == [None, 0.0, 0.5, 1.5, 4.5, 10.0, 10.0]


@pytest.mark.parametrize(("up", "stable"), [(0.0, False), (59.9, False), (60.0, True)])
def test_who_was_up_for_long_begins_again(up: float, stable: bool) -> None:
    assert is_stable(BACKOFF, up) is stable


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1e6), st.floats(0, 1), st.floats(0, 1))
def test_jitter_makes_a_pause_only_shorter_and_never_negative(
    seconds: float, jitter: float, chance: float
) -> None:
    assert 0 <= jittered(seconds, jitter, chance) <= seconds
    assert jittered(10.0, 0.2, 1.0) == pytest.approx(8.0)
