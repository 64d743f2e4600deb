"""otp logs: what children wrote, and what they write, from another terminal."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

import otp
from otp.testing import Start, eventually
from tests.otp import programs
from tests.otp.programs import SECONDS_MAX, Command, is_one_line, run_otp


def program(id: str, code: str, folder: Path) -> otp.ChildSpec:
    command = ["/bin/sh", "-c", code]
    return otp.ChildSpec(id, command=command, restart="temporary", cwd=str(folder))


@pytest.fixture
def folder(home: Path, otp_start: Start, tmp_path: Path) -> Path:
    """Where the log files of a node lie, whose children `ticks` and `pool/talks` say something."""
    ticks = program("ticks", "while :; do echo tick; sleep 0.05; done", tmp_path)
    talks = program("talks", "echo hello; printf '\\033[31mred'", tmp_path)
    tree = otp.Supervisor("root", children=[ticks, otp.Supervisor("pool", children=[talks])])
    logs = otp.LogOptions(dir=str(tmp_path / "logs"), output="none")
    otp_start(tree, name="a", logs=logs)
    file = tmp_path / "logs" / "root@pool@talks.log"
    eventually(lambda: "ended, pid" in file.read_text(), ignoring=(FileNotFoundError,))
    return tmp_path / "logs"


def test_lines_with_their_paths(folder: Path, otp_main: Command) -> None:
    def said(*arguments: str) -> str:
        done = otp_main("logs", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    shown = said("pool").splitlines()
    assert [line for line in shown if "(" not in line] == [
        "pool/talks | hello",
        "pool/talks | red",
    ]
    assert shown[-1].startswith("pool/talks | (ended, pid ")
    assert said("-n", "1", "root/pool/talks").splitlines() == shown[-1:]
    assert said("-n", "0") == ""
    found = [json.loads(line) for line in said("--json", "pool/talks").splitlines()]
    assert {"stdout", "report"} == {line["stream"] for line in found}
    assert found[-1]["path"] == "root/pool/talks" and found[-1]["node"] == "a"
    assert said("--dir", str(folder), "pool").splitlines() == shown
    assert re.match(r"\d\d:\d\d:\d\d pool/talks \| \(ended", said("-t", "-n", "1", "pool"))


def test_what_comes_is_followed_until_the_node_ends(folder: Path) -> None:
    command = programs.otp_command("logs", "-f", "-n", "0", "ticks")
    with subprocess.Popen(
        command, env=programs.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as follows:
        assert follows.stdout is not None and follows.stderr is not None
        assert follows.stdout.readline() == "ticks | tick\n"
        assert run_otp("stop", "--name", "a").returncode == 0
        assert "the node has ended" in follows.stderr.read()
        assert follows.wait(SECONDS_MAX) == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("tikcs",), "otp logs: nothing was written by 'tikcs'; did you mean 'ticks'? ("),
        (("--dir", "/no/such"), "otp logs: /no/such cannot be read: No such file or directory"),
        (("-n", "-1"), "otp logs: argument -n: '-1' is not a whole number from 0 on"),
    ],
)
def test_what_cannot_be_shown(
    folder: Path, otp_main: Command, arguments: tuple[str, ...], problem: str
) -> None:
    done = otp_main("logs", *arguments)
    assert done.returncode in (1, 2) and done.stdout == ""
    assert done.stderr.startswith(problem)


def test_a_node_that_keeps_nothing_says_so(home: Path, otp_start: Start, otp_main: Command) -> None:
    otp_start(otp.Supervisor("root"), name="a", log="none")
    done = otp_main("logs")
    is_one_line(done, 1, "otp logs: this node keeps no log files: `otp run` keeps them by default")
