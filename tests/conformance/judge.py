"""Verdicts on scenarios, in a world without processes or, several side by side, in real ones."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import traceback
from collections.abc import Sequence
from subprocess import PIPE

import msgspec

from tests.conformance.compare import run
from tests.conformance.real import Processes
from tests.conformance.scenario import Scenario, World


class Verdict(msgspec.Struct, frozen=True):
    """How one scenario ended; `failure` says what differs, "" if nothing does."""

    id: str
    class_: str = msgspec.field(name="class")
    failure: str = ""


def judge(scenario: Scenario, world: World) -> tuple[Verdict, bool]:
    """The verdict, and whether the world broke down: that fails its scenario and no other."""
    try:
        failure = run(scenario, world)
    except Exception:
        failure = f"{scenario.id}: {scenario.title}\n{traceback.format_exc()}"
        return Verdict(scenario.id, scenario.class_, failure), True
    return Verdict(scenario.id, scenario.class_, failure), False


def on_processes(scenarios: Sequence[Scenario]) -> list[Verdict]:
    """Act them out one after the other on one zygote, on a new one where it broke down."""
    found: list[Verdict] = []
    while len(found) < len(scenarios):
        with Processes() as world:
            for scenario in scenarios[len(found) :]:
                verdict, broken = judge(scenario, world)
                found.append(verdict)
                if broken:
                    break
    return found


def side_by_side(scenarios: list[Scenario], jobs: int) -> list[Verdict]:
    """The same in several programs; the verdicts come in the order of the scenarios."""
    jobs = max(1, min(jobs, len(scenarios)))
    if jobs == 1:
        return on_processes(scenarios)
    command = [sys.executable, "-m", "tests.conformance.judge"]
    with contextlib.ExitStack() as stack:
        programs = [
            stack.enter_context(subprocess.Popen(command, stdin=PIPE, stdout=PIPE))
            for _ in range(jobs)
        ]
        for first, program in enumerate(programs):
            assert program.stdin is not None
            program.stdin.write(msgspec.json.encode(scenarios[first::jobs]))
            program.stdin.close()
        parts = [_verdicts_of(program) for program in programs]
    return [parts[n % jobs][n // jobs] for n in range(len(scenarios))]


def _verdicts_of(program: subprocess.Popen[bytes]) -> list[Verdict]:
    assert program.stdout is not None
    said = program.stdout.read()
    if program.wait() != 0:
        raise RuntimeError(f"a runner ended with {program.returncode}; see above")
    return msgspec.json.decode(said, type=list[Verdict])


def main() -> None:
    """`python -m tests.conformance.judge`: scenarios on standard input, verdicts on output."""
    scenarios = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Scenario])
    sys.stdout.buffer.write(msgspec.json.encode(on_processes(scenarios)))


if __name__ == "__main__":
    main()
