from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import otp
from otp.testing import Start, eventually
from otp.yaml_tree import load
from tests.otp import programs
from tests.otp.programs import Command, is_one_line, write

OLD = """\
id: root
children:
  - {id: a, start: "counter:Counter", args: {start: 1}}
  - {id: b, start: "counter:Counter"}
  - id: pool
    children:
      - {id: w1, command: [sleep, "60"]}
      - {id: w2, command: [sleep, "60"], env: {SECRET: one}}
"""
NEW = """\
id: root
max_restarts: 9
children:
  - {id: first, start: "counter:Counter"}
  - {id: a, start: "counter:Counter", args: {start: 1}, shutdown: 1s}
  - id: pool
    children:
      - {id: w2, command: [sleep, "60"], env: {SECRET: two}}
      - {id: w3, command: [sleep, "60"]}
      - {id: w1, command: [sleep, "60"]}
"""
CHANGES = [
    ("root", "flags"),
    ("root/b", "remove"),
    ("root/first", "add"),
    ("root/a", "adjust"),
    ("root/pool", "reorder"),
    ("root/pool/w2", "restart"),
    ("root/pool/w3", "add"),
]


@pytest.fixture
def node(
    otp_main: Command, project: Path, otp_start: Start, monkeypatch: pytest.MonkeyPatch
) -> otp.StartedNode:
    monkeypatch.syspath_prepend(project)
    write(project, old_yaml=OLD, new_yaml=NEW)
    return otp_start(load(project / "old.yaml"), log="none")


def pids(node: otp.Node) -> dict[str, int]:
    rows = node.processes()
    root = next(place for place, row in enumerate(rows) if row.path == "root")
    return {row.path: row.pid for row in rows[root:]}


def test_nothing_to_do(node: otp.Node, otp_main: Command) -> None:
    done = otp_main("diff", "old.yaml")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == (
        "0 to add, 0 to remove, 0 to restart, 0 in place, 6 unchanged"
    )
    before = pids(node)
    assert otp_main("reload", "old.yaml").stdout.splitlines()[-1] == "nothing to do"
    assert pids(node) == before


def test_only_what_has_changed_is_touched(node: otp.Node, otp_main: Command) -> None:
    before = pids(node)
    done = otp_main("diff", "new.yaml", "--json")
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert [(line["path"], line["change"]) for line in found["changes"]] == CHANGES
    assert found["unchanged"] == ["root/pool/w1"]
    assert found["changes"][5]["fields"] == {"env": "changed: SECRET"}
    assert pids(node) == before

    done = otp_main("reload", "new.yaml")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "done: 7 changes")
    after = pids(node)
    assert list(after) == [
        "root",
        "root/first",
        "root/a",
        "root/pool",
        "root/pool/w2",
        "root/pool/w3",
        "root/pool/w1",
    ]
    assert {path for path in before if before[path] == after.get(path)} == {
        "root",
        "root/a",
        "root/pool",
        "root/pool/w1",
    }
    assert otp_main("diff", "new.yaml").returncode == 0


def test_what_was_reloaded_is_what_comes_back(node: otp.Node, otp_main: Command) -> None:
    """After the fall of a supervisor, and of the whole tree."""
    assert otp_main("reload", "new.yaml").returncode == 0
    expected = list(pids(node))
    assert otp_main("restart", "pool").returncode == 0
    assert list(pids(node)) == expected
    with node.expect(otp.ChildStarted, "root/pool"):
        node.kill("zygote")
    assert list(pids(node)) == expected
    assert node.call("first", counter_add(0)) == 0


def counter_add(n: int) -> Any:
    import counter  # type: ignore[import-not-found]

    return counter.Add(n)


def test_a_start_that_fails_ends_it_where_it_is(
    node: otp.Node, otp_main: Command, project: Path
) -> None:
    write(project, bad_yaml=NEW.replace('[sleep, "60"], env', "[no-such-program], env"))
    before = pids(node)
    done = otp_main("reload", "bad.yaml")
    assert done.returncode == 1
    assert "otp reload: root/pool/w2 did not start: crash: cannot run no-such-pro" in done.stderr
    assert "it is stopped, as it was declared before; 5 of 7 changes are done" in done.stderr
    after = pids(node)
    assert after["root/pool/w2"] == 0
    assert after["root/pool/w1"] == before["root/pool/w1"]
    assert "root/pool/w3" not in after
    assert otp_main("start", "pool/w2").returncode == 0
    assert otp_main("reload", "new.yaml").stdout.splitlines()[-1] == "done: 2 changes"
    assert otp_main("diff", "new.yaml").returncode == 0


def test_what_programs_have_added_stays(node: otp.Node, otp_main: Command) -> None:
    node.start_child("pool", otp.ChildSpec("added", command=["sleep", "60"]))
    before = pids(node)
    assert otp_main("reload", "new.yaml").returncode == 0
    assert pids(node)["root/pool/added"] == before["root/pool/added"]
    assert list(pids(node))[-1] == "root/pool/added"


def test_a_group_grows_member_by_member(node: otp.Node, otp_main: Command, project: Path) -> None:
    group = "  - {id: g, command: [sleep, '60'], replicas: %d}\n"
    for text in (OLD + group % 2, OLD.replace("id: root", "id: root\nmax_restarts: 8") + group % 2):
        write(project, more_yaml=text)
        assert otp_main("reload", "more.yaml").returncode == 0
        before = pids(node)
    assert {"root/g/0", "root/g/1"} <= before.keys()
    write(project, more_yaml=OLD + group % 3)
    found = json.loads(otp_main("diff", "more.yaml", "--json").stdout)["changes"]
    assert [(line["path"], line["change"]) for line in found] == [
        ("root", "flags"),
        ("root/g", "flags"),
        ("root/g/0", "restart"),  # it knows how many there are
        ("root/g/1", "restart"),
        ("root/g/2", "add"),
    ]
    assert otp_main("reload", "more.yaml").returncode == 0
    after = pids(node)
    assert list(after)[-4:] == ["root/g", "root/g/0", "root/g/1", "root/g/2"]
    assert otp_main("diff", "more.yaml").returncode == 0


def test_a_supervisor_that_does_not_run_is_told_at_its_next_start(
    node: otp.Node, otp_main: Command
) -> None:
    node.terminate_child("/", "pool")
    assert otp_main("reload", "new.yaml").returncode == 0
    assert otp_main("start", "pool").returncode == 0
    assert list(pids(node))[-3:] == ["root/pool/w2", "root/pool/w3", "root/pool/w1"]


WRONG = [
    ("id: root\nchild: []\n", 2, "bad.yaml:2:1: 'child' is not a key of a supervisor"),
    ("id: other\n", 2, "the root is 'root' there and 'other' here: it is another tree"),
    ("id: root\nname: n\n", 2, "the name of the root, or whether it is simple_one_for_one, c"),
]


def test_a_file_that_cannot_be_reloaded_changes_nothing(
    node: otp.Node, otp_main: Command, project: Path
) -> None:
    before = pids(node)
    for text, code, message in WRONG:
        write(project, bad_yaml=text)
        for command in ("diff", "reload"):
            is_one_line(otp_main(command, "bad.yaml"), code, message)
    assert pids(node) == before


def test_what_a_file_says_of_the_node_itself_is_told_to_have_no_effect(
    node: otp.Node, otp_main: Command, project: Path
) -> None:
    write(project, bad_yaml=OLD + "node: {preload: [json]}\n")
    done = otp_main("diff", "bad.yaml")
    assert done.returncode == 0
    assert done.stderr.startswith("otp diff: node.preload is another in the file: it takes effect")


@pytest.fixture
def reloading(node: otp.Node, project: Path) -> Iterator[subprocess.Popen[str]]:
    """A reload that waits for a child that never says that it is ready."""
    slow = '{id: slow, command: [sleep, "60"], ready: notify}'
    write(project, slow_yaml=f"{OLD}  - {slow}\n")
    with subprocess.Popen(
        programs.otp_command("reload", "slow.yaml"),
        cwd=project,
        env=programs.environ(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        eventually(lambda: node.processes()[-1].state in ("starting", "unready"))
        yield process
        process.kill()


def failed(process: subprocess.Popen[str]) -> str:
    """What it says at its end."""
    assert process.wait(programs.SECONDS_MAX) == 1
    assert process.stderr is not None
    return process.stderr.read()


def test_one_at_a_time(
    reloading: subprocess.Popen[str], node: otp.StartedNode, otp_main: Command
) -> None:
    done = otp_main("reload", "new.yaml")
    assert (done.returncode, "another reload is under way" in done.stderr) == (1, True)
    node.stop()
    assert failed(reloading).count("\n") == 1


def test_a_zygote_that_dies_meanwhile_takes_no_half_of_it_along(
    reloading: subprocess.Popen[str], node: otp.StartedNode, otp_main: Command
) -> None:
    """What had not started is not declared: the tree comes back without it."""
    with node.expect(otp.ChildStarted, "root/pool"):
        node.kill("zygote")
    assert "the tree has ended, or was started again, meanwhile" in failed(reloading)
    assert list(pids(node))[-1] == "root/pool/w2"
    assert otp_main("diff", "old.yaml").returncode == 0
