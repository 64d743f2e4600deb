"""Children that are not Python: starts, readiness, ends."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import psutil
import pytest

import otp
from otp.testing import Start, eventually
from tests.system import odd_workers as odd
from tests.system import workers as w
from tests.system.help import assert_gone, family, freeze, lines, row, strangers

SH = "/bin/sh"
READY = """
import os, signal, socket, sys
address = os.environ["NOTIFY_SOCKET"]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
    sock.sendto(b"STATUS=almost", address)
    sock.sendto(b"STATUS=done\\nREADY=1", address)
signal.pause()
"""


CONDITIONS = """
import os, resource, sys
with open("/proc/self/status") as status:
    words = dict(line.split(":", 1) for line in status)
environ = os.environ
# Python itself ignores the first two from its start on; whoever executed it should not have. The
# last two belong to the C library, which lets nobody change them: they are as they were for us.
own = 1 << 12 | 1 << 24 | 1 << 31 | 1 << 32
with open(sys.argv[1] + ".new", "w") as file:
    print(environ["COLOUR"], os.getcwd(), environ.get("NOTIFY_SOCKET", "none"), file=file)
    print(int(words["SigBlk"], 16), file=file)
    print(int(words["SigIgn"], 16) & ~own, file=file)
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], file=file)
    print(sys.stdin.read() or "empty input", file=file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
"""


def one(id: str, *command: str, **options: object) -> otp.Supervisor:
    spec = otp.ChildSpec(id, command=command, **options)  # type: ignore[arg-type]
    return otp.Supervisor("root", max_restarts=100, children=[spec])


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (otp.ChildSpec("x", command=["no-such-program"]), "cannot run no-such-program: No such fi"),
        (otp.ChildSpec("x", command=["/etc"]), "cannot run /etc: Permission denied"),
        (
            otp.ChildSpec("x", command=[SH], cwd="/no/such/folder"),
            "cannot change to the folder /no/such/folder: No such file",
        ),
        (
            otp.ChildSpec("x", command=["sleep", "60"], ready={"notify": True, "timeout": 0.1}),
            "not ready after 0.1 s: no READY=1 came by sd_notify",
        ),
        (
            otp.ChildSpec("x", command=[SH, "-c", "exit 3"], ready="notify"),
            "exit code 3",
        ),
    ],
    ids=["not found", "not executable", "no folder", "not ready", "ends before it is ready"],
)
def test_a_program_that_does_not_start_says_why(spec: otp.ChildSpec, reason: str) -> None:
    before = family(os.getpid())
    with pytest.raises(otp.StartError) as info:
        otp.start(otp.Supervisor("root", children=[spec]))
    assert reason in str(info.value)
    assert str(info.value).startswith("node local did not start: root/x: ")
    assert_gone(family(os.getpid()) - before)


def test_a_program_is_started_when_it_says_so(otp_start: Start) -> None:
    node = otp_start(one("server", sys.executable, "-c", READY, ready="notify"))
    before = row(node, "root/server")
    assert (before.type, before.state) == ("program", "running")
    with node.expect(otp.ChildStarted, "root/server"):
        node.kill("server")
    assert row(node, "root/server").pid != before.pid
    left = [name for name in os.listdir(node.run_dir) if name.startswith("notify")]
    assert len(left) == 1


def test_its_end_is_told_as_it_was(otp_start: Start) -> None:
    node = otp_start(otp.Supervisor("root"))
    for code, reason in (
        ("exit 0", otp.Reason("normal")),
        ("exit 9", otp.Reason("crash", "exit code 9")),
        ("kill -SEGV $$", otp.Reason("crash", "ended by SIGSEGV")),
        ("kill -40 $$", otp.Reason("crash", "ended by signal 40")),
        ("kill -KILL $$", otp.Reason("killed")),
    ):
        with node.expect(otp.ChildExited, "root/again") as exited:
            spec = otp.ChildSpec("again", command=[SH, "-c", code], restart="temporary")
            node.start_child("/", spec)
        assert exited.report.reason == reason


def test_it_is_stopped_by_its_own_signal(otp_start: Start, tmp_path: Path) -> None:
    file = tmp_path / "file"
    code = f"trap 'echo int >{file}; exit 0' INT; echo up >{file}; while :; do sleep 0.05; done"
    node = otp_start(one("sh", SH, "-c", code, stop_signal="SIGINT"))
    eventually(lambda: list(lines(file)) == ["up"])
    with node.expect(otp.ChildExited, "root/sh") as exited:
        node.terminate_child("/", "sh")
    assert exited.report.reason.kind in ("normal", "shutdown")
    assert list(lines(file)) == ["int"]


def test_environment_folder_and_signals_are_as_a_program_expects(
    otp_start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    otp_start(
        one(
            "python",
            sys.executable,
            "-c",
            CONDITIONS,
            str(file),
            cwd=str(tmp_path),
            env={"COLOUR": "red"},
        )
    )
    eventually(file.exists)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert list(lines(file)) == [f"red {tmp_path} none", "0", "0", str(limit), "empty input"]


def test_a_worker_gets_its_environment_and_folder_too(otp_start: Start, tmp_path: Path) -> None:
    spec = otp.ChildSpec("c", w.Counter, env={"COLOUR": "red"}, cwd=str(tmp_path))
    node = otp_start(otp.Supervisor("root", children=[spec]))
    pid = node.call("c", w.Pid())
    assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)


def test_a_daemon_is_not_let_go(otp_start: Start) -> None:
    node = otp_start(one("daemon", sys.executable, "-c", odd.DAEMON, restart="temporary"))
    eventually(lambda: not strangers(node), ignoring=(psutil.NoSuchProcess,))


def test_a_frozen_program_is_killed_at_the_end(otp_start: Start, tmp_path: Path) -> None:
    file = tmp_path / "file"
    code = f"trap '' TERM; echo up >{file}; read x </dev/zero"
    node = otp_start(one("sh", SH, "-c", code, shutdown=0.1))
    eventually(lambda: list(lines(file)) == ["up"])
    pid = row(node, "root/sh").pid
    freeze(node, "sh")
    with node.expect(otp.ChildExited, "root/sh") as exited:
        node.terminate_child("/", "sh")
    assert exited.report.reason.kind == "killed"
    assert_gone([pid])


def test_there_is_no_such_signal(otp_start: Start) -> None:
    node = otp_start(one("sh", SH, "-c", "read x </dev/zero"))
    for path in ("sh", "zygote"):
        with pytest.raises(otp.Undecodable, match="there is no signal 9999"):
            node.kill(path, signal=9999)
    with pytest.raises(otp.NoProcess):
        node.kill("nobody")
    assert row(node, "root/sh").state == "running"


def test_one_that_stands_still_goes_on_to_end_however_long_it_may_take(otp_start: Start) -> None:
    sleeper = otp.ChildSpec("sleeper", command=["sleep", "300"], shutdown="infinity")
    server = otp.ChildSpec("server", w.Counter, shutdown="infinity")
    node = otp_start(otp.Supervisor("root", [sleeper, server]))
    for path in ("sleeper", "server"):
        freeze(node, path)
        node.terminate_child("/", path)
        assert row(node, f"root/{path}").last_exit == "shutdown"
