"""`python -m tests.conformance [--processes] PATH...`: run recorded scenarios.

Without an option they run against the pure state machine, in virtual time; with --processes against
real OS processes, save those in which a supervisor is killed (here it is no process). The last
line is the score. The exit code is 1 if any failed, 2 if there is none to run.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import msgspec

from tests.conformance.judge import Verdict, judge, side_by_side
from tests.conformance.scenario import load
from tests.conformance.virtual import Virtual

JOBS = 4
"""Zygotes side by side: most of a run is waiting for children that take their time to stop."""


class Score(msgspec.Struct, frozen=True):
    """What `--json` prints: counts in all and by class, and each failure."""

    world: str
    passed: int
    failed: int
    skipped: int
    classes: dict[str, dict[str, int]]
    failures: list[Verdict]


def score(verdicts: list[Verdict], *, world: str, skipped: int) -> Score:
    """Count."""
    passed = Counter(verdict.class_ for verdict in verdicts if not verdict.failure)
    failed = Counter(verdict.class_ for verdict in verdicts if verdict.failure)
    classes = {
        name: {"passed": passed[name], "failed": failed[name]}
        for name in dict.fromkeys(verdict.class_ for verdict in verdicts)
    }
    failures = [verdict for verdict in verdicts if verdict.failure]
    return Score(world, passed.total(), failed.total(), skipped, classes, failures)


def show(result: Score) -> None:
    """Each failing scenario with what differs, a line for each class, the score."""
    for verdict in result.failures:
        print(f"{verdict.failure}\n")
    for name, counts in result.classes.items():
        print(f"  {name:20} {counts['passed']:4} passed, {counts['failed']} failed")
    if result.skipped:
        print(f"{result.skipped} skipped: they kill a supervisor, which is no process here")
    print(f"{result.passed} passed, {result.failed} failed")


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line names; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or folder")
    parser.add_argument("--processes", action="store_true", help="against real OS processes")
    parser.add_argument("--jobs", type=int, default=JOBS, help="with --processes: side by side")
    parser.add_argument("--json", action="store_true", help="print one object on one line")
    chosen = parser.parse_args(arguments)
    if missing := [str(path) for path in chosen.paths if not path.exists()]:
        parser.error(f"no such file or folder: {', '.join(missing)}")
    found = [scenario for scenario in load(chosen.paths) if not scenario.is_quirk]
    scenarios = [s for s in found if not (chosen.processes and s.kills_supervisors)]
    if not scenarios:
        parser.error(f"no scenarios to run in {', '.join(map(str, chosen.paths))}")
    if chosen.processes:
        verdicts = side_by_side(scenarios, chosen.jobs)
    else:
        verdicts = [judge(scenario, Virtual())[0] for scenario in scenarios]
    world = "processes" if chosen.processes else "pure"
    result = score(verdicts, world=world, skipped=len(found) - len(scenarios))
    if chosen.json:
        print(msgspec.json.encode(result).decode())
    else:
        show(result)
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
