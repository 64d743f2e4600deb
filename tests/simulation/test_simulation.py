"""The protocol in bad weather; a failing seed is replayed by `python -m tests.simulation`."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.runs import FAULTS, run

SEEDS = 300
GROUP = 50
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_every_promise_holds(first: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first, first + GROUP):
        result = run(seed)
        assert result.problem is None, f"--seed {seed} --trace: {result.problem}"
        seen.update(result.counts)
    # A storm that never blows proves nothing.
    assert len(FAULTS) == 6
    happened = ("crash", "writer crash", "freeze", "wipe", "partition", "store away", "doom")
    said = ("Promise", "Refuse", "FetchChunk", "Gap", "Adopt", "NoCopy", "HeartbeatOk")
    answered = ("answer Recorded", "answer AlreadyVoted", "read confirmed")
    assert [what for what in (*happened, *said, *answered) if not seen[what]] == []


def test_a_seed_is_a_run() -> None:
    one, two, other = run(7, tracing=True), run(7, tracing=True), run(8, tracing=True)
    assert one == two
    assert len(one.trace) > 100
    assert one.trace != other.trace


def test_the_command_replays_a_seed() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", "7", "--seeds", "2", "--trace"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "2 passed, 0 failed"
    assert lines[-2] == "seeds 7 to 8"
    assert lines[:-2] == run(7, tracing=True).trace + run(8, tracing=True).trace
