"""The runner itself: it must notice what differs, and say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.__main__ import main

USAGE = 2
RUNNING: Any = {"root": {"children": [["a", "running", "worker", 1]], "counts": [1, 1, 0, 1]}}
AGAIN: Any = {"root": {"children": [["a", "running", "worker", 2]], "counts": [1, 1, 0, 1]}}
BEGUN: Any = {
    "result": "ok",
    "events": [["start", "root", 1], ["start", "root/a", 1]],
    "state": RUNNING,
}
RESTARTED: Any = {
    "result": "ok",
    "events": [["exit", "root/a", 1, "crash"], ["start", "root/a", 2]],
    "state": AGAIN,
}


def scenario(*, second: dict[str, Any] = RESTARTED, **more: Any) -> dict[str, Any]:
    return {
        "id": "made-up",
        "class": "here",
        "title": "one child dies",
        "tree": {"id": "root", "children": [{"id": "a"}]},
        "steps": [{"op": "exit", "path": "root/a", "reason": "crash"}],
        "expected": [BEGUN, second],
        **more,
    }


def score(
    folder: Path, capsys: pytest.CaptureFixture[str], *scenarios: dict[str, Any]
) -> tuple[int, str]:
    (folder / "here.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in scenarios))
    return main([str(folder)]), capsys.readouterr().out


def test_what_agrees_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = score(tmp_path, capsys, scenario())
    assert code == 0
    assert " ".join(printed.split()) == "here 1 passed, 0 failed 1 passed, 0 failed"


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"result": "noproc"}, "-   noproc"),
        ({"events": RESTARTED["events"][:1]}, '+   ["start", "root/a", 2]'),
        ({"state": {}}, "state (- recorded, + here)"),
    ],
)
def test_what_differs_is_shown(
    changed: dict[str, Any], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = scenario(second={**RESTARTED, **changed})
    code, printed = score(tmp_path, capsys, scenario(), wrong)
    assert code == 1
    assert "made-up: one child dies" in printed and line in printed
    assert printed.splitlines()[-1] == "1 passed, 1 failed"


def test_order_matters_unless_the_step_is_unordered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = {**RESTARTED, "events": RESTARTED["events"][::-1]}
    assert score(tmp_path, capsys, scenario(second=swapped))[0] == 1
    step = {"op": "exit", "path": "root/a", "reason": "crash", "unordered": True}
    assert score(tmp_path, capsys, scenario(second=swapped, steps=[step]))[0] == 0


def test_what_is_to_be_ignored_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    miscounted = {**RESTARTED, "state": {"root": {**AGAIN["root"], "counts": [1, 0, 0, 1]}}}
    assert score(tmp_path, capsys, scenario(second=miscounted))[0] == 1
    assert score(tmp_path, capsys, scenario(second=miscounted, ignore=["counts"]))[0] == 0


@pytest.mark.parametrize("quirk", [{"class": "quirks"}, {"tags": ["quirk"]}])
def test_quirks_are_not_counted(
    quirk: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = score(tmp_path, capsys, scenario(), scenario(second=BEGUN, **quirk))
    assert code == 0 and printed.endswith("\n1 passed, 0 failed\n")


def test_a_scenario_that_cannot_be_acted_out_fails_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stuck = scenario(steps=[{"op": "juggle", "sup": "root", "id": "a"}])
    code, printed = score(tmp_path, capsys, stuck, scenario())
    assert code == 1 and printed.splitlines()[-1] == "1 passed, 1 failed"


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_nothing_to_run_is_an_error(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / path)])
    assert stopped.value.code == USAGE
    assert "no s" in capsys.readouterr().err
