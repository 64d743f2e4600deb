"""Limits, users, environment files and memory: what a real program finds when it looks."""

from __future__ import annotations

import json
import os
import pwd
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import otp
from otp import limits
from otp.testing import Start, eventually
from otp.wire_tree import Identity, Outfit
from tests.system import workers as w
from tests.system.help import assert_gone, lines

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
NOBODY = 65534
LOOKS = """
import ctypes, json, os, resource, signal, sys
death = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(death))
json.dump({
    "umask": os.umask(0), "nice": os.getpriority(os.PRIO_PROCESS, 0), "ids": os.getresuid(),
    "gids": os.getresgid(), "groups": os.getgroups(), "cwd": os.getcwd(), "death": death.value,
    **{name: resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
       for name in ("nofile", "as", "core", "cpu")},
    "env": dict(os.environ), "stdin": sys.stdin.read(), "session": os.getsid(0) == os.getpid(),
}, open("seen.new", "w"))
os.rename("seen.new", "seen")
signal.pause()
"""


def look(otp_start: Start, folder: Path, **options: Any) -> dict[str, Any]:
    """What a program of these options sees of itself."""
    command = [sys.executable, "-c", LOOKS]
    spec = otp.ChildSpec("a", command=command, cwd=str(folder), **options)
    otp_start(otp.Supervisor("root", children=[spec]))
    file = folder / "seen"
    eventually(file.exists)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_a_program_finds_what_its_spec_says(otp_start: Start, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=file\nB=file\n")
    (tmp_path / "input").write_text("what it reads")
    limits: dict[str, int | str] = {"nofile": 77, "core": 0, "cpu": 60, "as": "4G"}
    seen = look(
        otp_start,
        tmp_path,
        umask="027",
        nice=5,
        rlimits=limits,
        stdin=str(tmp_path / "input"),
        env_file=str(tmp_path / "env"),
        env={"B": "spec"},
    )
    assert (seen["umask"], seen["nice"], seen["cwd"]) == (0o027, 5, str(tmp_path))
    assert (seen["nofile"], seen["core"]) == ([77, 77], [0, 0])
    assert (seen["cpu"], seen["as"]) == ([60, 65], [2**32, 2**32])
    assert (seen["env"]["A"], seen["env"]["B"]) == ("file", "spec")
    assert (seen["stdin"], seen["session"], seen["death"]) == ("what it reads", True, 9)


@ROOT
def test_a_program_of_another_user(otp_start: Start) -> None:
    """By a shell, since this very Python may lie where nobody else gets to."""
    look = "grep -E '^(Uid|Gid|Groups)' /proc/self/status; nice; echo $USER $LOGNAME $HOME; pwd"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        code = f"({look}) >seen.new; mv seen.new seen; read x </dev/zero"
        command = ["/bin/sh", "-c", code]
        spec = otp.ChildSpec("a", command=command, cwd=folder, user=f"{NOBODY}:1", nice=-3)
        otp_start(otp.Supervisor("root", children=[spec]))
        seen = eventually(lambda: list(lines(Path(folder, "seen"))))
    words = [line.split() for line in seen]
    assert words[0] == ["Uid:", *[str(NOBODY)] * 4]
    assert words[1] == ["Gid:", *["1"] * 4]
    assert "1" in words[2] and "0" not in words[2]
    entry = pwd.getpwuid(NOBODY)
    assert words[3:] == [["-3"], [entry.pw_name, entry.pw_name, entry.pw_dir], [folder]]


@ROOT
def test_a_worker_of_another_user_serves_like_any_other(otp_start: Start) -> None:
    spec = otp.ChildSpec("c", w.Counter, user=str(NOBODY), umask="077", rlimits={"core": 0})
    node = otp_start(otp.Supervisor("root", children=[spec]))
    assert node.call("c", w.Add(1)) == 1
    pid = node.call("c", w.Pid())
    assert os.stat(f"/proc/{pid}/task").st_uid in (0, NOBODY)
    status = dict(line.split(":\t", 1) for line in lines(Path(f"/proc/{pid}/status")))
    assert status["Uid"].split() == [str(NOBODY)] * 4
    assert status["Umask"] == "0077"
    with node.expect(otp.ChildStarted, "root/c"):
        node.kill("c")
    assert node.call("c", w.Add(1)) == 1


@ROOT
@pytest.mark.parametrize("who", ["zygote", "node"])
def test_a_worker_of_another_user_is_no_orphan(otp_start: Start, who: str) -> None:
    children = [
        otp.ChildSpec("c", w.Counter, user=str(NOBODY)),
        otp.ChildSpec("p", command=["sleep", "1000"], user=str(NOBODY)),
    ]
    node = otp_start(otp.Supervisor("root", children=children))
    pids = [info.pid for info in node.processes() if info.path in ("root/c", "root/p")]
    if who == "node":
        os.kill(node.pid, 9)
    else:
        with node.expect(otp.ChildStarted, "root/p"):
            node.kill("zygote")
    assert_gone(pids)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"stdin": "/no/such"}, "cannot read stdin from /no/such: No such file or directory"),
        ({"stdin": "/"}, "cannot read stdin from /: it is a folder"),
        ({"rlimits": {"nofile": 2**62}}, "cannot set rlimits.nofile to 4611686018427387904: the"),
    ],
)
@pytest.mark.parametrize("worker", [False, True], ids=["program", "worker"])
def test_what_cannot_be_put_on_is_said(options: dict[str, Any], reason: str, worker: bool) -> None:
    spec = (
        otp.ChildSpec("x", w.Counter, **options)
        if worker
        else otp.ChildSpec("x", command=["sleep", "60"], **options)
    )
    with pytest.raises(otp.StartError) as info:
        otp.start(otp.Supervisor("root", children=[spec]))
    assert str(info.value).startswith(f"node local did not start: root/x: crash: {reason}")


def becomes_root() -> None:
    limits.wear(Outfit(user=Identity(0, 0)), os.getppid())


@ROOT
def test_only_root_becomes_another_user(otp_start: Start) -> None:
    spec = otp.ChildSpec("x", becomes_root, user=str(NOBODY))
    node = otp_start(otp.Supervisor("root", children=[spec], max_restarts=1000))
    with node.expect(otp.ChildExited, "root/x") as exited:
        pass
    assert exited.report.reason.text.startswith(
        "cannot become the user 0: Operation not permitted; the node must run as root"
    )


HOG = """
import os, signal, sys
if os.fork():
    print(os.getpid(), flush=True)
    signal.pause()
os.setsid()
if os.fork():  # a daemon: its parent ends, and it holds the memory
    os._exit(0)
held = os.urandom(1 << 20) * int(sys.argv[1])
with open(sys.argv[2], "a") as file:
    print(os.getpid(), file=file)
signal.pause()
"""


def test_a_memory_hog_is_killed_its_daemons_counted(otp_start: Start, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    command = [sys.executable, "-c", HOG, "96", str(file)]
    spec = otp.ChildSpec("hog", command=command, memory_max="64M")
    modest = otp.ChildSpec("modest", w.Counter, memory_max="64M")
    tree = otp.Supervisor("root", children=[spec, modest], max_restarts=1000)
    node = otp_start(tree)
    with node.expect(otp.ChildExited, "root/hog") as exited:
        pass
    reason = exited.report.reason
    assert reason.kind == "killed" and reason.text.startswith("memory_max 64M exceeded (1")
    assert exited.report.restart
    assert_gone([int(next(lines(file)))])
    eventually(lambda: len(list(lines(file))) == 2, what="the next one")
    assert node.call("modest", w.Add(1)) == 1
