"""`ballot demo` as a person runs it: the whole command, its exit code and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.ports import ports_in_a_row

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 120.0
GONE_SECONDS_MAX = 10.0
"""How long anything may live after the command was killed, on however busy a machine."""
NODES_AND_HOST = 9
KILLS = ["writer", "follower", "mailroom", "node"]


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, with its own folders and ports."""
    places = [
        "--run-dir",
        str(tmp_path / "runs"),
        "--base-port",
        str(ports_in_a_row(NODES_AND_HOST)),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "ballot", "demo", *places, *arguments],
        cwd=ROOT,
        env={**os.environ, "BALLOT_TEST": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def family(tmp_path: Path) -> list[psutil.Process]:
    """All processes that descend from the command of this test."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BALLOT_TEST") == str(tmp_path):
                found.append(process)
        except psutil.Error:
            continue
    return found


def copies(tmp_path: Path) -> list[Path]:
    """The folders of all copies that are there."""
    return list((tmp_path / "ram").glob("*/*/demo~*"))


def test_every_ballot_is_accounted_for_while_four_things_are_killed(tmp_path: Path) -> None:
    demo = start(tmp_path, "--ballots", "800", "--json")
    out, error = demo.communicate(timeout=SECONDS_MAX)
    assert demo.returncode == 0, error
    assert out.count("\n") == 1
    found: dict[str, Any] = json.loads(out)
    assert {found[name] for name in ("submitted", "acknowledged", "counted")} == {800}
    assert (found["lost"], found["doubled"], found["heads_equal"]) == (0, 0, True)
    assert (found["ok"], found["refused"], found["differences"]) == (True, [], [])
    assert len(found["winners"]) == 1
    assert found["rounds"][-1]["elected"] == found["winners"]
    assert found["expected_winners"] is None  # result.json is about all ballots
    assert [kill["what"] for kill in found["kills"]] == KILLS
    assert all(0 < kill["back_ms"] < 20_000 for kill in found["kills"])
    assert len({kill["pid"] for kill in found["kills"]}) == 4
    assert len(found["heads"]) == 5 and len({copy["node"] for copy in found["heads"]}) == 5
    assert (found["nodes"], found["commands_per_s"] > 0, found["seconds"] > 0) == (8, True, True)
    assert found["processes"] > 40
    assert family(tmp_path) == []
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_result_that_differs_is_a_failure(tmp_path: Path) -> None:
    election = tmp_path / "election"
    election.mkdir()
    contest = {
        "id": "q",
        "method": "plurality",
        "max_choices": 1,
        "candidates": [{"id": "a", "name": "A"}, {"id": "b", "name": "B"}],
        "rules": {"overvote": "not-counted"},
    }
    about = {
        "format": "ballot-election/1",
        "id": "--",
        "title": "X",
        "contest": contest,
        "ballots": {"file": "ballots.jsonl", "kind": "choice", "count": 3},
    }
    (election / "election.json").write_text(json.dumps(about))
    (election / "ballots.jsonl").write_text('{"n": 2, "v": ["a"]}\n{"n": 1, "v": ["b"]}\n')
    (election / "result.json").write_text('{"winners": ["b"], "tally": {"a": 2, "b": 1}}')
    demo = start(tmp_path, "--election", str(election), "--json", "--kills", "writer,writer")
    out, error = demo.communicate(timeout=SECONDS_MAX)
    assert demo.returncode == 1, error
    found = json.loads(out)
    assert (found["ok"], found["winners"], found["expected_winners"]) == (False, ["a"], ["b"])
    assert found["differences"] == ["winners: a, expected b"]
    assert (found["counted"], len(found["kills"])) == (3, 2)


def test_a_demo_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    demo = started(tmp_path)
    demo.terminate()
    _, error = demo.communicate(timeout=SECONDS_MAX)
    assert (demo.returncode, error) == (1, "ballot: interrupted; everything was stopped\n")
    assert family(tmp_path) == []
    assert left(tmp_path) == []


def test_of_a_demo_that_is_killed_nothing_lives_and_the_next_one_sweeps(tmp_path: Path) -> None:
    demo = started(tmp_path)
    demo.kill()
    demo.communicate(timeout=SECONDS_MAX)
    psutil.wait_procs(family(tmp_path), timeout=GONE_SECONDS_MAX)
    assert family(tmp_path) == []
    assert copies(tmp_path)  # nobody was there to remove them
    again = start(tmp_path, "--data-dir", str(tmp_path / "ram"), "--kills", "none")
    out, error = again.communicate(timeout=SECONDS_MAX)
    assert again.returncode == 0, error
    assert "submitted 6,400 = acknowledged 6,400 = counted 6,400; lost 0, doubled 0" in out
    assert "as in result.json" in out
    assert left(tmp_path) == []


def started(tmp_path: Path) -> subprocess.Popen[str]:
    """A demo in the midst of its work."""
    demo = start(tmp_path, "--data-dir", str(tmp_path / "ram"))
    assert demo.stdout is not None
    while "nodes up" not in (line := demo.stdout.readline()):
        assert line, demo.communicate()
    while not copies(tmp_path):
        assert demo.poll() is None, demo.communicate()
    return demo


def left(tmp_path: Path) -> list[Path]:
    """What is left of all runs."""
    return [path for home in ("ram", "runs") for path in (tmp_path / home).iterdir()]
