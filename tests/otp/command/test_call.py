from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import otp
from otp.testing import Start, eventually
from tests.otp import programs
from tests.otp.programs import Command, is_one_line


class Add(otp.Request[int], frozen=True):
    n: int


class Odd(otp.Request[Any], frozen=True):
    """Answered with what JSON does not know."""


class Counter(otp.GenServer):
    refuses = (ValueError,)

    def __init__(self) -> None:
        self.count = 0

    def handle_call(self, request: Add | Odd, sender: otp.From[int]) -> Any:
        if isinstance(request, Odd):
            return {"a": object, "b": [1, None]}
        if request.n < 0:
            raise ValueError("it only counts up")
        self.count += request.n
        return self.count


@pytest.fixture
def node(home: None, otp_start: Start) -> otp.Node:
    program = otp.ChildSpec("program", command=["sleep", "60"])
    pool = otp.Supervisor("pool", children=[otp.ChildSpec("w1", Counter, name="w")])
    return otp_start(otp.Supervisor("root", children=[program, pool]))


def test_a_call_by_any_name(node: otp.Node, otp_main: Command) -> None:
    for times, path in enumerate(["pool/w1", "root/pool/w1", "w", "w@local"]):
        done = otp_main("call", path, "Add", "n=5")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{7 * times + 5}\n", "")
        done = otp_main("call", path, '{"type": "Add", "n": 2}', "--json")
        assert done.stdout == f"{7 * times + 7}\n"


def test_an_answer_without_json(node: otp.Node, otp_main: Command) -> None:
    answer = json.loads(otp_main("call", "w", "Odd").stdout)
    assert answer == {"a": "<class 'object'>", "b": [1, None]}


def test_any_server_is_looked_at(node: otp.Node, otp_main: Command) -> None:
    assert otp_main("call", "w", "Add", "n=5").stdout == "5\n"
    assert json.loads(otp_main("call", "w", "otp.sys.GetState").stdout) == {"count": 5}
    assert json.loads(otp_main("call", "w", "otp.sys.Statistics").stdout)["path"] == "pool/w1"


def test_supervisors_answer_too(node: otp.Node, otp_main: Command) -> None:
    (child,) = json.loads(otp_main("call", "pool", "otp.WhichChildren").stdout)
    assert (child["id"], child["state"]) == ("w1", "running")


WITHOUT_ANSWER = [
    ("w", 2, "the following arguments are required: REQUEST"),
    ("w {", 2, "'{' is neither JSON nor a request such as: Add n=5; see `otp call --help`"),
    ("w Sub", 1, "Counter does not accept it (Invalid value 'Sub' - at `$.type`); it did not"),
    ("w Add n=x", 1, "Expected `int`, got `str` - at `$.n`"),
    ("w Add n=-1", 1, "otp call: call w: ValueError: it only counts up"),
    ("wx Add n=1", 1, "there is no 'wx'"),
    ("w@there Add n=1", 1, "node there is not connected; it did not happen"),
    ("program Add n=1", 1, "program is no worker, and takes no calls; see `otp ps`"),
    ("w Add n=1 --timeout soon", 2, "'soon' is not a duration"),
]


def test_what_gets_no_answer(node: otp.Node, otp_main: Command) -> None:
    for arguments, code, message in WITHOUT_ANSWER:
        is_one_line(otp_main("call", *arguments.split()), code, message)


# ---------------------------------------------------------------- otp shell


def test_code_in_a_shell(node: otp.Node, otp_main: Command) -> None:
    assert otp_main("shell", "-c", "len(node.processes())").stdout == "8\n"
    counts = otp_main("shell", "-c", "node.count_children('pool')", "--json").stdout
    assert json.loads(counts) == {"specs": 1, "active": 1, "supervisors": 0, "workers": 1}
    assert "root/pool/w1" in otp_main("shell", "-c", "ps()").stdout
    for more in ([], ["--json"]):
        is_one_line(otp_main("shell", "-c", "1/0", *more), 1, "ZeroDivisionError: division by zero")
    is_one_line(otp_main("shell", "-c", "node.kill('x')"), 1, "there is no such process")
    is_one_line(otp_main("shell", "-c", "f("), 1, "the code is not complete")
    is_one_line(otp_main("shell", "--json"), 2, "--json goes with -c EXPRESSION")


def test_a_prompt_that_reads_from_a_pipe(node: otp.Node) -> None:
    done = subprocess.run(
        programs.otp_command("shell"),
        env=programs.environ(IPYTHONDIR="/nonexistent"),
        input="kill('w')\n",
        capture_output=True,
        text=True,
        timeout=programs.SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0
    assert "Ctrl-D leaves; the node goes on." in done.stdout + done.stderr
    assert eventually(lambda: node.processes()[-1].restarts) == 1


def test_an_error_at_a_plain_prompt_is_told_without_what_is_not_installed(
    node: otp.Node, tmp_path: Path
) -> None:
    (tmp_path / "IPython.py").write_text("raise ImportError('not installed')")
    done = subprocess.run(
        programs.otp_command("shell"),
        env=programs.environ(),
        cwd=tmp_path,
        input="1/0\n",
        capture_output=True,
        text=True,
        timeout=programs.SECONDS_MAX,
        check=False,
    )
    assert "ZeroDivisionError" in done.stderr and "During handling" not in done.stderr
