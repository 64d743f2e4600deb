from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otp import cli
from otp.testing import Start, eventually
from tests.otp import programs
from tests.otp.programs import SECONDS_MAX, Command, is_one_line, run_otp, write

COMMANDS = [command.name for command in cli.COMMANDS]


class Running:
    """An `otp run` in the foreground of nobody; `log` is what it has said so far."""

    def __init__(self, cwd: Path, *arguments: str) -> None:
        self._file = cwd / f"log-{len(list(cwd.iterdir()))}"
        with self._file.open("wb") as log:
            self.process = subprocess.Popen(
                programs.otp_command("run", *arguments),
                cwd=cwd,
                env=programs.environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._file.read_text()

    def says(self, text: str) -> None:
        eventually(lambda: text in self.log, what=f"it says {text!r}", within=SECONDS_MAX)

    def ends(self) -> int:
        return self.process.wait(SECONDS_MAX)

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.ends()


@pytest.fixture
def start(home: Path, project: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def run(*arguments: str, cwd: Path = project) -> Running:
        started.append(Running(cwd, *arguments))
        return started[-1]

    yield run
    for running in started:
        running.process.terminate()
        running.ends()


def answer(*arguments: str) -> Any:
    """What a command prints with --json: one value on one line."""
    done = run_otp(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


# ---------------------------------------------------------------- a node in the foreground


def test_run_until_interrupted(start: Callable[..., Running], tmp_path: Path) -> None:
    running = start("supervisors.yaml")
    running.says("root/pool: started")
    assert running.interrupt() == 0
    sentences = [line.split("] ", 1)[1] for line in running.log.splitlines()]
    assert [re.sub(r", pid \d+", "", line) for line in sentences] == [
        "otp/logger: started",
        "otp/mailroom: started",
        "root/counter: started",
        "root/pool/w1: started",
        "root/pool: started",
        "root/pool/w1: ended: shutdown",
        "root/pool: ended: shutdown",
        "root/counter: ended: shutdown",
    ]


def test_reports_as_json_lines(start: Callable[..., Running]) -> None:
    running = start("supervisors.yaml", "--json", "--name", "j")
    running.says('"path": "root/pool"')
    assert running.interrupt() == 0
    reports = [json.loads(line) for line in running.log.splitlines()]
    assert {report["node"] for report in reports} == {"j"}
    kinds = [(report["type"], report["path"]) for report in reports]
    assert kinds[2] == ("ChildStarted", "root/counter")
    assert kinds[-1] == ("ChildExited", "root/counter")


def test_look_at_it_and_kill_in_it(start: Callable[..., Running]) -> None:
    running = start("supervisors.yaml")
    running.says("root/pool: started")
    before = {row["path"]: row for row in answer("ps")}
    assert before["root/counter"]["state"] == "running"
    assert before["root/counter"]["last_exit"] == ""

    killed = run_otp("kill", "counter")
    assert (killed.returncode, killed.stderr) == (0, "")
    assert int(killed.stdout) == before["root/counter"]["pid"]
    running.says("root/counter: started, pid ")
    assert answer("kill", "root/pool/w1", "--signal", "term") == {
        "path": "root/pool/w1",
        "pid": before["root/pool/w1"]["pid"],
        "signal": 15,
    }
    running.says("(restart 1)")

    after = eventually(lambda: _all_running(answer("ps")), what="all are back")
    assert after["root/counter"]["pid"] != before["root/counter"]["pid"]
    assert (after["root/counter"]["restarts"], after["root/counter"]["last_exit"]) == (1, "killed")
    assert "SIGTERM" in after["root/pool/w1"]["last_exit"]
    _is_drawn(after)


def _all_running(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]] | None:
    found = {row["path"]: row for row in rows}
    back = ("root/counter", "root/pool/w1")
    ready = all(found[path]["state"] == "running" and found[path]["restarts"] for path in back)
    return found if ready else None


def _is_drawn(rows: dict[str, dict[str, Any]]) -> None:
    drawn = run_otp("tree")
    assert (drawn.returncode, drawn.stderr) == (0, "")
    lines = drawn.stdout.splitlines()
    assert len(lines) == len(rows) == 9
    assert re.fullmatch(r"local +node  pid \d+  up \d+s", lines[0])
    assert re.match(r"   ├─ counter +running  pid \d+  up \d+s  restarts 1  last exit: k", lines[6])
    assert "\033" not in drawn.stdout
    table = run_otp("ps").stdout.splitlines()
    assert table[0].split() == ["PATH", "TYPE", "STATE", "PID", "UP", "RESTARTS", "LAST", "EXIT"]
    assert [line.split()[0] for line in table[1:]] == list(rows)
    tree = answer("tree")
    assert [child["path"] for child in tree["children"]] == ["zygote", "otp", "root"]
    assert tree["children"][2]["children"][0] == rows["root/counter"] | {"children": []}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("countr", "there is no process 'countr'; did you mean 'counter'? (`otp ps` lists them)"),
        ("pool", "'pool' is a supervisor, which is no process; kill one of its children"),
        ("local", "'local' is the node itself: stop it with `kill "),
    ],
)
def test_what_cannot_be_killed(home: Path, otp_start: Start, path: str, message: str) -> None:
    tree = programs.tree()
    node = otp_start(tree)
    refused = run_otp("kill", path, "--run-dir", node.run_dir)
    is_one_line(refused, 1, f"otp kill: {message}")


def test_a_node_is_chosen_among_several(home: Path, otp_start: Start) -> None:
    for name in ("a", "b"):
        otp_start(programs.tree(), name=name)
    is_one_line(run_otp("ps"), 1, "otp ps: 2 nodes are running, choose one with --name: a, b")
    is_one_line(run_otp("ps", "--name", "c"), 1, "no node 'c' is running; these are: a, b")
    assert answer("ps", "--name", "b")[0]["path"] == "b"


def test_a_tree_from_python(start: Callable[..., Running]) -> None:
    running = start("counter:tree", "--name", "python")
    running.says("[python] root/counter: started")
    assert running.interrupt() == 0


def test_modules_are_found_next_to_the_file(
    start: Callable[..., Running], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    running = start(str(project / "supervisors.yaml"), cwd=tmp_path_factory.mktemp("elsewhere"))
    running.says("root/pool: started")
    assert running.interrupt() == 0


def test_a_root_that_gives_up_ends_the_node_with_1(start: Callable[..., Running]) -> None:
    running = start("supervisors.yaml")
    running.says("root/pool: started")
    assert run_otp("kill", "counter").returncode == 0
    running.says("(restart 1)")
    assert run_otp("kill", "counter").returncode == 0
    assert running.ends() == 1
    assert "the root supervisor root gave up; the node ends" in running.log.splitlines()[-1]


def test_an_interrupt_at_the_very_beginning_is_not_lost(
    start: Callable[..., Running], home: Path
) -> None:
    running = start("supervisors.yaml")
    eventually(lambda: list(home.glob("*")))
    assert running.interrupt() in (0, 130)
    assert "Traceback" not in running.log
    run_otp("ps")  # sweeps, in case it was interrupted between the folder and the node


# ---------------------------------------------------------------- a file that is checked


def test_check_says_that_all_is_well(project: Path, otp_main: Command) -> None:
    done = otp_main("check", "supervisors.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok: 3 children\n", "")
    done = otp_main("check", "counter:tree", "--json")
    assert json.loads(done.stdout) == {"ok": True, "children": 1, "problems": []}


def test_check_tells_all_problems(project: Path, otp_main: Command) -> None:
    write(
        project,
        bad_yaml="id: root\nstrategie: one_for_one\nchildren:\n"
        '  - {id: a, start: "counter:Countr"}\n  - {id: a, start: "counter:Counter"}\n',
    )
    done = otp_main("check", "bad.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [
        "bad.yaml:2:1",
        "bad.yaml:4:20",
        "bad.yaml:5:10",
    ]
    done = otp_main("check", "bad.yaml", "--json")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (2, "", 1)
    found = json.loads(done.stdout)
    assert (found["ok"], len(found["problems"])) == (False, 3)
    assert (found["problems"][1]["line"], found["problems"][1]["column"]) == (4, 20)


# ---------------------------------------------------------------- how it feels


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_examples(command: str, otp_main: Command) -> None:
    done = otp_main(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"\nexamples:\n  otp {command}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_help_lists_the_commands_and_the_exit_codes(otp_main: Command) -> None:
    text = otp_main("--help").stdout
    assert all(f"\n    {command}" in text for command in COMMANDS)
    assert "exit codes:" in text


def test_looking_costs_no_more_than_it_must() -> None:
    """A glance must not take as long as an import of what only others need."""
    code = "import sys, otp.cli; print(*sys.modules)"
    loaded = set(programs.run_python("-c", code).stdout.split())
    assert "otp.cli" in loaded
    assert not loaded & {"asyncio", "rich", "psutil", "multiprocessing", "pytest"}


@pytest.mark.parametrize(
    ("environ", "is_coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colour_only_on_a_terminal_that_wants_it(
    home: Path, otp_start: Start, environ: dict[str, str], is_coloured: bool
) -> None:
    otp_start(programs.tree())
    ours, theirs = os.openpty()
    base = {k: v for k, v in programs.environ().items() if k != "NO_COLOR"}
    process = subprocess.run(
        programs.otp_command("tree"),
        env=base | environ,
        stdout=theirs,
        stderr=theirs,
        timeout=SECONDS_MAX,
        check=False,
    )
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert process.returncode == 0
    assert ("\033[" in text) is is_coloured
    assert "└─ " in text


def test_a_terminal_without_unicode(home: Path, otp_start: Start) -> None:
    otp_start(programs.tree())
    ascii_only = programs.environ(PYTHONIOENCODING="ascii")
    done = subprocess.run(
        programs.otp_command("tree"),
        env=ascii_only,
        capture_output=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0
    assert b"`- root" in done.stdout
