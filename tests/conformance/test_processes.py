"""Scenarios on real OS processes: our own always, the recorded ones where they are at hand."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.conformance.__main__ import main
from tests.conformance.compare import run
from tests.conformance.invent import as_line, invented
from tests.conformance.judge import judge, side_by_side
from tests.conformance.real import Processes
from tests.conformance.scenario import Scenario, load
from tests.conformance.virtual import Virtual

OURS = list(load([Path(__file__).parent / "scenarios"]))
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "conformance"
# Those with random trees and those that wait for seconds run in .ci/run.
LEFT_OUT = {"random", "window"}
AT_LEAST = 150
INVENTED = 20
FIRST: dict[str, Any] = {
    "id": "first",
    "class": "here",
    "title": "one child",
    "tree": {"id": "root", "children": [{"id": "a"}]},
    "steps": [],
    "expected": [
        {
            "result": "ok",
            "events": [["start", "root", 1], ["start", "root/a", 1]],
            "state": {
                "root": {"children": [["a", "running", "worker", 1]], "counts": [1, 1, 0, 1]}
            },
        }
    ],
}


@pytest.fixture(scope="module")
def world() -> Iterator[Processes]:
    with Processes() as made:
        yield made


@pytest.mark.parametrize("scenario", OURS, ids=[scenario.id for scenario in OURS])
def test_our_scenarios_without_processes_and_with(scenario: Scenario, world: Processes) -> None:
    assert run(scenario, Virtual()) == ""
    assert run(scenario, world) == ""


def test_recorded_scenarios_on_processes() -> None:
    if not CORPUS.is_dir():
        pytest.skip("no recorded scenarios beside the repository (../shared/conformance)")
    scenarios = [
        scenario
        for scenario in load([CORPUS])
        if not scenario.is_quirk
        and not scenario.kills_supervisors
        and scenario.class_ not in LEFT_OUT
    ]
    assert len(scenarios) > AT_LEAST
    assert [v.failure for v in side_by_side(scenarios, jobs=3) if v.failure] == []


@pytest.mark.parametrize("seed", range(INVENTED))
def test_processes_do_what_the_state_machine_does(seed: int, world: Processes) -> None:
    scenario = invented(seed)
    assert run(scenario, world) == "", as_line(scenario)


def test_what_differs_is_shown_and_the_next_scenario_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {**FIRST["expected"][0], "events": [["start", "root", 1]]}
    juggle = {"op": "juggle", "sup": "root"}
    lines = [
        FIRST | {"id": "wrong", "expected": [other]},
        FIRST | {"id": "no-such-step", "steps": [juggle], "expected": FIRST["expected"] * 2},
        FIRST,
    ]
    (tmp_path / "here.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert main([str(tmp_path), "--processes", "--jobs=1", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["passed"], printed["failed"]) == (1, 2)
    assert [failure["id"] for failure in printed["failures"]] == ["wrong", "no-such-step"]
    assert '+   ["start", "root/a", 1]' in printed["failures"][0]["failure"]


def test_scenarios_that_kill_a_supervisor_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kill = {"op": "exit", "path": "root", "reason": "kill", "unordered": True}
    lines = [FIRST, FIRST | {"steps": [kill], "expected": FIRST["expected"] * 2}]
    (tmp_path / "here.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert main([str(tmp_path), "--processes"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "1 skipped: they kill a supervisor, which is no process here",
        "1 passed, 0 failed",
    ]


def test_a_world_that_loses_its_zygote_says_so() -> None:
    with Processes() as doomed:
        os.kill(doomed.zygote_pid, signal.SIGKILL)
        verdict, broken = judge(msgspec.convert(FIRST, Scenario), doomed)
    assert broken and "the zygote died" in verdict.failure
