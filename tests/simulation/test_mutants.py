"""The mutation gate: each rule that is broken is noticed, and noticed for what it breaks."""

from __future__ import annotations

import pytest

from tests.simulation.ghost import Violation
from tests.simulation.mutants import MUTANTS
from tests.simulation.runs import run
from tests.simulation.schedules import KILLERS, OTHERS, Schedule, play

FOUND_AT_RANDOM = {  # the seeds in which the storm alone must find it
    "no-activation": 5,
    "same-epoch-resumed": 5,
    "overwrite": 10,
    "amnesia-votes": 20,
    "amnesia-promises": 40,
    "read-uncommitted": 5,
    "no-dedupe": 5,
    "dedupe-in-memory": 10,
}


def test_there_is_a_schedule_for_every_mutant() -> None:
    assert set(KILLERS) == set(MUTANTS)


@pytest.mark.parametrize("schedule", [*(s for many in KILLERS.values() for s in many), *OTHERS])
def test_the_rules_as_they_are_survive(schedule: Schedule) -> None:
    play(schedule)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_noticed(name: str) -> None:
    for schedule in KILLERS[name]:
        with pytest.raises(Violation):
            play(schedule, MUTANTS[name])


@pytest.mark.parametrize(("name", "seeds"), FOUND_AT_RANDOM.items())
def test_the_storm_finds_it_too(name: str, seeds: int) -> None:
    assert any(run(seed, MUTANTS[name]).problem for seed in range(seeds))
