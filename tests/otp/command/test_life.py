from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import otp
from otp.testing import Start, eventually
from tests.otp import programs
from tests.otp.programs import Command, Idle, is_one_line, run_otp, write
from tests.system.help import assert_gone


class Fragile(otp.GenServer):
    """Starts as long as its file is there."""

    def __init__(self, file: str) -> None:
        os.stat(file)


@pytest.fixture
def node(home: Path, otp_start: Start, tmp_path: Path) -> otp.Node:
    (tmp_path / "there").touch()
    pool = otp.Supervisor(
        "pool",
        max_restarts=10,
        children=[
            otp.ChildSpec("w1", Idle),
            otp.ChildSpec("w2", Fragile, args={"file": str(tmp_path / "there")}),
            otp.ChildSpec("w3", Idle),
        ],
    )
    jobs = otp.Supervisor(
        "jobs", strategy="simple_one_for_one", children=[otp.ChildSpec("job", Idle)]
    )
    once = otp.ChildSpec("once", Idle, restart="temporary")
    return otp_start(otp.Supervisor("root", children=[pool, jobs, once]))


def pids(node: otp.Node) -> dict[str, int]:
    return {row.path: row.pid for row in node.processes()}


def test_what_is_stopped_stays_stopped_until_it_is_started(
    node: otp.Node, otp_main: Command
) -> None:
    before = pids(node)
    assert otp_main("stop", "pool/w1").stdout == "root/pool/w1: stopped\n"
    assert pids(node) == before | {"root/pool/w1": 0}
    done = otp_main("start", "root/pool/w1", "--json")
    assert json.loads(done.stdout) == {
        "path": "root/pool/w1",
        "state": "started",
        "pid": pids(node)["root/pool/w1"],
    }
    is_one_line(otp_main("start", "pool/w1"), 1, "root/pool/w1 runs already; `otp restart` restar")


def test_a_supervisor_is_stopped_with_all_below_it(node: otp.Node, otp_main: Command) -> None:
    with node.expect(otp.ChildExited, "root/pool") as ended:
        assert otp_main("stop", "pool").returncode == 0
    assert ended.report.reason == otp.Reason("shutdown")
    assert not any(path.startswith("root/pool/") for path in pids(node))
    row = next(row for row in node.processes() if row.path == "root/pool")
    assert (row.type, row.state) == ("supervisor", "undefined")
    assert otp_main("start", "pool").stdout == "root/pool: started\n"
    assert pids(node)["root/pool/w3"]


def test_restarts_touch_nothing_else(node: otp.Node, otp_main: Command) -> None:
    before = pids(node)
    assert otp_main("restart", "pool/w1").returncode == 0
    after = pids(node)
    assert [path for path in before if before[path] != after[path]] == ["root/pool/w1"]


def test_rolling_is_one_after_the_other(node: otp.Node, otp_main: Command) -> None:
    otp_main("stop", "pool/w3")
    before = pids(node)
    done = otp_main("restart", "pool", "--rolling")
    said = [line.split(",")[0] for line in done.stdout.splitlines()]
    assert said == [
        f"root/pool/{id}: {what}" for id in ("w1", "w2") for what in ("stopped", "started")
    ]
    after = pids(node)
    assert [path for path in before if before[path] != after[path]] == [
        "root/pool/w1",
        "root/pool/w2",
    ]


def test_rolling_ends_where_one_does_not_come_back(
    node: otp.Node, otp_main: Command, tmp_path: Path
) -> None:
    before = pids(node)
    (tmp_path / "there").unlink()
    done = otp_main("restart", "pool", "--rolling")
    assert done.returncode == 1
    assert "otp restart: root/pool/w2 did not start: crash: FileNotFoundError" in done.stderr
    assert "it is stopped, `otp start` tries again" in done.stderr
    assert pids(node)["root/pool/w3"] == before["root/pool/w3"]
    assert pids(node)["root/pool/w2"] == 0


REFUSED = [
    ("stop poll", "there is no 'poll'; did you mean 'pool'?"),
    ("stop root", "root is the root: `otp stop` without PATH stops the node"),
    ("stop mailroom", "there is no 'mailroom'"),
    ("stop otp/mailroom", "otp/mailroom is a part of the node itself"),
    ("start zygote", "zygote is a part of the node itself"),
    ("restart once", "root/once is temporary: once stopped, it is forgotten"),
    ("restart root", "root/once is temporary: once stopped, it is forgotten"),
    ("restart jobs/first", "root/jobs/first is one of many of one template"),
    ("restart local", "local is a part of the node itself, not of its tree"),
    ("restart local --rolling", "local is a part of the node itself, not of its tree"),
    ("restart jobs --rolling", "root/jobs/first is one of many of one template"),
]


def test_what_is_refused_changes_nothing(node: otp.Node, otp_main: Command) -> None:
    node.start_dynamic("jobs", "first")
    before = pids(node)
    for arguments, message in REFUSED:
        is_one_line(otp_main(*arguments.split()), 1, message)
    assert pids(node) == before


def test_one_of_many_is_stopped_for_good(node: otp.Node, otp_main: Command) -> None:
    node.start_dynamic("jobs", "first")
    assert otp_main("stop", "jobs/first").stdout == "root/jobs/first: stopped\n"
    assert "root/jobs/first" not in pids(node)


def test_what_takes_too_long_goes_on(node: otp.Node, otp_main: Command) -> None:
    spec = otp.ChildSpec("slow", command=["sh", "-c", "trap '' TERM; sleep 60"], shutdown=1.0)
    node.start_child("/", spec)
    with node.expect(otp.ChildExited, "root/slow"):
        done = otp_main("stop", "slow", "--timeout", "100ms")
        is_one_line(done, 1, "root/slow is not done after 0.1 s; it goes on, `otp ps` shows it")


# ---------------------------------------------------------------- a whole node


@pytest.fixture
def detached(home: Path, project: Path) -> Iterator[int]:
    """The pid of a detached node."""
    done = run_otp("run", "-d", "supervisors.yaml", "--log", "run.log", "--json", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    pid = json.loads(done.stdout)["pid"]
    yield pid
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    assert_gone([pid])


def test_a_detached_node(detached: int, project: Path, otp_main: Command) -> None:
    assert os.getsid(detached) == detached
    assert os.readlink(f"/proc/{detached}/fd/0") == os.devnull
    assert '"path": "root/pool"' in (project / "run.log").read_text()
    rows = json.loads(otp_main("ps", "--json").stdout)
    assert (rows[0]["pid"], rows[-1]["path"]) == (detached, "root/pool/w1")
    is_one_line(otp_main("run", "-d", "supervisors.yaml"), 1, "a node named 'local' runs already")

    done = otp_main("stop")
    assert (done.returncode, done.stdout) == (0, f"stopped, pid {detached}\n")
    assert_gone([row["pid"] for row in rows if row["pid"]], 0.0)
    is_one_line(otp_main("stop"), 1, "no node is running")


def test_a_frozen_node_is_not_waited_for(
    detached: int, otp_main: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otp.command.lifecycle.ANSWER_SECONDS_MAX", 0.1)
    os.kill(detached, signal.SIGSTOP)
    try:
        is_one_line(otp_main("stop"), 1, "the node does not answer; is it stopped?")
    finally:
        os.kill(detached, signal.SIGCONT)


@pytest.mark.parametrize("child", ["[false]", '[sh, -c, "sleep 0.3; exit 1"]'])
def test_wait_tells_of_what_does_not_stay_up(home: Path, project: Path, child: str) -> None:
    write(project, bad_yaml=f"id: root\nchildren:\n  - {{id: x, command: {child}}}\n")
    done = run_otp("run", "--wait", "bad.yaml", cwd=project)
    assert done.returncode == 1
    assert "the node ended meanwhile" in done.stderr


def test_a_tree_that_does_not_come_up(home: Path, project: Path) -> None:
    write(project, bad_yaml="id: root\nchildren:\n  - {id: x, command: [no-such-program]}\n")
    done = run_otp("run", "-d", "bad.yaml", cwd=project)
    is_one_line(done, 1, "node local did not start: root/x: crash: cannot run no-such-program")


def test_a_node_ends_with_a_command_that_is_killed_while_it_waits(
    home: Path, project: Path
) -> None:
    write(
        project, slow_yaml="id: root\nchildren:\n  - {id: x, command: [sleep, 60], ready: notify}"
    )
    process = subprocess.Popen(
        programs.otp_command("run", "-d", "slow.yaml"), cwd=project, env=programs.environ()
    )
    socket = eventually(lambda: next(home.glob("*/control.sock"), None))
    process.kill()
    process.wait()
    eventually(lambda: not socket.exists())
