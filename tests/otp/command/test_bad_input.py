from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from otp.testing import Start
from tests.otp import programs
from tests.otp.programs import SECONDS_MAX, Command, is_one_line, run_otp, write

BAD_TREES = {
    "syntax": ("id: root\nchildren: [", "bad.yaml:3:1: this is not YAML"),
    "unknown key": ("id: root\nchild: []\n", "bad.yaml:2:1: 'child' is not a key of a supervisor"),
    "no mapping": ("- a\n- b\n", "bad.yaml:1:1: the root must be a supervisor"),
    "missing class": (
        'id: root\nchildren:\n  - {id: a, start: "counter:Nope"}\n',
        "bad.yaml:3:20: module 'counter' has no 'Nope'",
    ),
    "missing module": (
        'id: root\nchildren:\n  - {id: a, start: "nowhere.at_all:Nope"}\n',
        "bad.yaml:3:20: there is no module 'nowhere'",
    ),
    "wrong argument": (
        'id: root\nchildren:\n  - {id: a, start: "counter:Counter", args: {sart: 1}}\n',
        "bad.yaml:3:52: Counter takes no argument 'sart'; did you mean 'start'?",
    ),
    "wrong type": ("id: root\nmax_restarts: many\n", "bad.yaml:2:15: 'many' is not a whole number"),
    "no text": ("id: \x00", "bad.yaml:1:"),
}


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("name", BAD_TREES)
def test_a_wrong_file(
    command: str, name: str, project: Path, home: Path, otp_main: Command
) -> None:
    text, message = BAD_TREES[name]
    write(project, bad_yaml=text)
    is_one_line(otp_main(command, "bad.yaml"), 2, message)
    assert not home.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("", 2, "otp: the following arguments are required: COMMAND; see `otp --help`"),
        ("rum x", 2, "invalid choice: 'rum'"),
        ("run", 2, "otp run: the following arguments are required: FILE; see `otp run --help`"),
        ("run no.yaml", 2, "no.yaml: cannot be read: No such file or directory"),
        ("run .", 2, ".: cannot be read: it is not a regular file"),
        ("run no:tree", 2, "no:tree: there is no module 'no'"),
        ("run counter:Counter", 2, "counter:Counter: is a class; it must be an otp.Supervisor"),
        ("run counter:nope", 2, "counter:nope: module 'counter' has no 'nope'"),
        ("run counter:tree --tree x", 2, "--tree chooses in a YAML file"),
        ("run supervisors.yaml --tree x", 2, "supervisors.yaml"),
        ("run supervisors.yaml --name a/b", 2, "argument --name: 'a/b' is not an id"),
        ("run supervisors.yaml --listen x", 2, "argument --listen: 'x' is not of the form host:p"),
        ("run supervisors.yaml --peer a", 2, "argument --peer: 'a' is not of the form NAME=HOST"),
        ("run supervisors.yaml --peer a=b", 2, "argument --peer: 'b' is not of the form host:port"),
        ("run supervisors.yaml --listen 127.0.0.1:0", 2, "give --authkey-file FILE"),
        ("run supervisors.yaml --authkey-file no", 1, "otp run: no did not start: No such file"),
        ("run supervisors.yaml --authkey-file open", 1, "others can read it; chmod 600"),
        ("run supervisors.yaml --authkey-file empty", 1, "otp run: empty did not start: it is emp"),
        ("run app.py", 2, "app.py is Python: name the Supervisor in it, as app:tree"),
        ("check shop/app.py:root", 2, "name the Supervisor in it, as shop.app:root"),
        ("call w Add --timeout 0", 2, "argument --timeout: '0' leaves no time for an answer"),
        ("tre", 2, "otp: argument COMMAND: invalid choice: 'tre'; did you mean 'tree'?"),
        ("run supervisors.yaml --colour", 2, "unrecognized arguments: --colour"),
        ("check no.yaml", 2, "no.yaml: cannot be read: No such file or directory"),
        ("tree", 1, "otp tree: no node is running; start one with `otp run FILE`"),
        ("ps --json", 1, "otp ps: no node is running; start one with `otp run FILE`"),
        ("ps --name a", 1, "otp ps: no node is running; start one with `otp run FILE`"),
        ("ps --run-dir no", 1, "otp ps: no node answers at no/control.sock (No such file"),
        ("ps --name a --run-dir no", 2, "argument --run-dir: not allowed with argument --name"),
        ("kill", 2, "otp kill: the following arguments are required: PATH"),
        ("kill counter", 1, "otp kill: no node is running; start one with `otp run FILE`"),
        ("kill counter --signal 999", 2, "argument --signal: '999' is not a signal"),
        ("kill counter --signal SIGNOPE", 2, "argument --signal: 'SIGNOPE' is not a signal"),
    ],
)
def test_wrong_arguments(
    arguments: str, code: int, message: str, project: Path, otp_main: Command
) -> None:
    for name, text, mode in (("open", "key", 0o644), ("empty", "\n", 0o600)):
        (project / name).write_text(text)
        (project / name).chmod(mode)
    is_one_line(otp_main(*arguments.split()), code, message)


def test_a_taken_port(project: Path, home: Path) -> None:
    key = project / "key"
    key.write_text("secret")
    key.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_otp(
            "run", "supervisors.yaml", "--listen", address, "--authkey-file", "key", cwd=project
        )
    is_one_line(done, 1, f"cannot listen on {address}: Address already in use", "choose another")


@pytest.mark.parametrize(
    ("child", "message"),
    [
        ("{id: x, command: [no-such-program]}", "root/x: crash: cannot run no-such-program: No su"),
        ('{id: x, start: "counter:Broken"}', "root/x: crash: SystemExit: no licence"),
    ],
)
def test_a_child_that_does_not_start(child: str, message: str, project: Path, home: Path) -> None:
    write(
        project,
        bad_yaml=f'id: root\nchildren:\n  - {{id: a, start: "counter:Counter"}}\n  - {child}\n',
    )
    done = run_otp("run", "bad.yaml", cwd=project)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"otp: node local: {message}")


def test_a_reader_that_leaves_is_no_failure_to_talk_about(home: Path, otp_start: Start) -> None:
    otp_start(programs.tree())
    read, write_end = os.pipe()
    os.close(read)
    process = subprocess.run(
        programs.otp_command("ps"),
        env=programs.environ(),
        stdout=write_end,
        stderr=subprocess.PIPE,
        timeout=SECONDS_MAX,
        check=False,
    )
    os.close(write_end)
    assert (process.returncode, process.stderr) == (1, b"")


def test_a_node_that_does_not_answer(home: Path, otp_start: Start) -> None:
    node = otp_start(programs.tree())
    os.kill(node.pid, signal.SIGSTOP)
    try:
        code = "import sys; from otp import cli; from otp.command import base; "
        code += "base.ANSWER_SECONDS_MAX = 0.1; sys.exit(cli.main())"
        is_one_line(programs.run_python("-c", code, "ps"), 1, "the node does not answer")
    finally:
        os.kill(node.pid, signal.SIGCONT)


def test_the_real_command_says_the_same(project: Path, home: Path) -> None:
    write(project, bad_yaml="id: root\nchild: []\n")
    done = run_otp("run", "bad.yaml", cwd=project)
    is_one_line(done, 2, "bad.yaml:2:1: 'child' is not a key of a supervisor")
    is_one_line(run_otp(), 2, "the following arguments are required: COMMAND")
