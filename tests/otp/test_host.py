from __future__ import annotations

import gc
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

import otp
from otp import host
from otp.frames import Boot
from otp.spec import NodeOptions
from otp.testing import Start, eventually
from tests.otp import programs
from tests.otp.programs import tree


class Broken(otp.GenServer):
    def __init__(self) -> None:
        raise SystemExit("no licence")


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def below(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


# ---------------------------------------------------------------- start and stop


def test_a_node_lives_as_long_as_its_block(home: Path) -> None:
    with otp.start(tree()) as node:
        assert [row.path for row in node.processes()][-3:] == ["root", "root/counter", "root/pool"]
        pids = [row.pid for row in node.processes() if row.pid]
        assert len(pids) == 4
        assert repr(node) == f"<otp node at {node.run_dir}, pid {node.pid}>"
        assert stat.S_IMODE(os.stat(node.run_dir).st_mode) == 0o700
    assert all(map(gone, pids))
    assert not os.path.exists(node.run_dir)


def test_stopping_twice_is_stopping_once(home: Path, otp_start: Start) -> None:
    node = otp_start(tree())
    node.stop()
    assert gone(node.pid)
    node.close()


def test_options_go_before_those_of_the_tree(home: Path, otp_start: Start) -> None:
    written = msgspec.structs.replace(tree(), node=NodeOptions(name="written"))
    assert otp_start(written).processes()[0].path == "written"
    assert otp_start(written, name="given").processes()[0].path == "given"


def test_a_node_that_is_not_closed_is_a_warning_and_stops(home: Path) -> None:
    node = host.start(tree())
    process, run_dir = node.process, node.run_dir
    with pytest.warns(ResourceWarning, match=f"node {process.pid} was not closed; use `with`"):
        del node
        gc.collect()
    process.wait(programs.SECONDS_MAX)
    assert not os.path.exists(run_dir)


def test_a_killed_node_leaves_neither_processes_nor_its_folder(home: Path) -> None:
    node = host.start(tree())
    children = below(node.pid)
    assert len(children) >= 3  # the zygote may have one more ready
    os.kill(node.pid, signal.SIGKILL)
    node.process.wait()
    eventually(lambda: all(map(gone, children)))
    node.close()
    assert not os.path.exists(node.run_dir)


def test_a_node_that_does_not_stop_is_killed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "STOP_SECONDS_MAX", 0.1)
    node = host.start(tree())
    children = below(node.pid)
    os.kill(node.pid, signal.SIGSTOP)
    with pytest.raises(otp.OtpError, match=rf"node {node.pid} did not stop in 0.1 s; killed"):
        node.close()
    eventually(lambda: all(map(gone, [node.pid, *children])))


HOST = """
import sys, otp
from tests.otp.programs import tree

node = otp.start(tree())
print(node.pid, *(row.pid for row in node.processes() if row.pid), flush=True)
sys.stdin.read()
"""


def test_a_killed_host_takes_its_node_with_it(home: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOST],
        env=programs.environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 5
        process.kill()
    eventually(lambda: all(map(gone, pids)))


# ---------------------------------------------------------------- what does not start


def test_a_child_that_does_not_start_is_named(home: Path) -> None:
    broken = otp.Supervisor("root", children=[*tree().children, otp.ChildSpec("x", Broken)])
    with pytest.raises(otp.StartError, match=r"node local did not start: root/x: .*no licence"):
        otp.start(broken)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a/b"}, r"root\.node\.name: 'a/b' is not an id"),
        ({"listen": "x"}, r"root\.node\.listen: 'x' is not of the form host:port"),
        ({"peers": {"b": "x"}}, r"root\.node\.peers\.b: 'x' is not of the form host:port"),
    ],
)
def test_wrong_options_are_found_before_anything_starts(
    options: dict[str, Any], message: str, home: Path
) -> None:
    with pytest.raises(otp.SpecError, match=message):
        otp.start(tree(), **options)
    assert not home.exists()


def test_arguments_that_cannot_travel(home: Path) -> None:
    def work(lock: Any) -> None:
        raise AssertionError("never called")

    child = otp.ChildSpec("x", work, args={"lock": threading.Lock()})
    with pytest.raises(otp.StartError, match=r"x did not start: it cannot be sent .*lock"):
        otp.start(otp.Supervisor("root", children=[child]))


def test_an_option_that_there_is_not(home: Path) -> None:
    with pytest.raises(TypeError, match="colour"):
        otp.start(tree(), colour="red")


def test_what_is_no_tree(home: Path) -> None:
    wrong: Any = "supervisors.yaml"
    with pytest.raises(otp.SpecError, match=r"the root is 'supervisors.yaml'; it must be a Superv"):
        otp.start(wrong)


@pytest.mark.parametrize(
    ("mode", "text", "problem"),
    [
        (None, "", "No such file or directory"),
        (0o644, "secret", "others can read it; chmod 600"),
        (0o600, " \n", "it is empty"),
    ],
)
def test_a_wrong_authkey_file(
    mode: int | None, text: str, problem: str, tmp_path: Path, home: Path
) -> None:
    file = tmp_path / "key"
    if mode is not None:
        file.write_text(text)
        file.chmod(mode)
    with pytest.raises(otp.StartError, match=problem):
        otp.start(tree(), authkey_file=str(file))
    assert not home.exists()


def test_the_authkey_is_what_the_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("secret\n")
    file.chmod(0o600)
    assert host.read_authkey(NodeOptions(authkey_file=str(file))) == b"secret"
    alone = host.read_authkey(NodeOptions())
    assert len(alone) == host.AUTHKEY_BYTES
    with pytest.raises(otp.StartError, match="listen: needs authkey_file: or tls:"):
        host.read_authkey(NodeOptions(listen="127.0.0.1:0"))


# ---------------------------------------------------------------- folders and files


def test_a_folder_whose_path_is_too_long_for_sockets(tmp_path: Path) -> None:
    with pytest.raises(otp.StartError, match="too long for sockets"):
        host.make_run_dir(NodeOptions(run_dir=str(tmp_path / ("x" * 100))))


def test_a_home_that_others_can_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / f"otp-{os.getuid()}").mkdir(mode=0o755)
    with pytest.raises(otp.StartError, match="mode 0700"):
        host.runs_home()


def test_a_folder_can_be_named_and_used_again_but_not_by_two(home: Path) -> None:
    folder = home.parent / "mine"
    with otp.start(tree(), run_dir=str(folder)) as node:
        assert node.run_dir == str(folder)
        with pytest.raises(otp.StartError, match="a node runs there"):
            otp.start(tree(), run_dir=str(folder))
    with otp.start(tree(), run_dir=str(folder)) as node:
        os.kill(node.pid, signal.SIGKILL)
    with otp.start(tree(), run_dir=str(folder)) as node:
        assert node.count_children().active == 2


def test_the_boot_record_holds_all_and_shows_nothing() -> None:
    boot = host.make_boot(tree(), name="a", run_dir="/tmp/otp-test-boot", preload=("json",))
    try:
        fd = host.boot_file(boot)
        assert os.get_inheritable(fd)
        with os.fdopen(fd, "rb") as file:
            file.seek(0)
            assert msgspec.msgpack.decode(file.read(), type=Boot) == boot
    finally:
        os.rmdir(boot.run_dir)
    assert (boot.name, boot.preload, boot.root.id) == ("a", ("json",), "root")
    assert boot.sys_path == tuple(sys.path)


def test_a_node_finds_this_very_package(monkeypatch: pytest.MonkeyPatch) -> None:
    made = host.environment({"PYTHONPATH": f"/a{os.pathsep}/b", "X": "1"})
    assert made["X"] == "1"
    assert made["PYTHONPATH"].split(os.pathsep) == [str(programs.ROOT), "/a", "/b"]


# ---------------------------------------------------------------- a tree that gave up


def test_whose_tree_gave_up_is_told_why(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    why = r"root gave up: root/a: killed; a: more than 0 restarts in 5 s"
    children = [otp.ChildSpec("a", programs.Idle)]
    with otp.start(otp.Supervisor("root", children, max_restarts=0)) as node:
        node.kill("a")
        node.process.wait()
        with pytest.raises(otp.NotRunning, match=why):
            node.call("a", None)
        with pytest.raises(otp.NotRunning, match=why):
            node.kill("a")
        assert not caplog.records
    assert [why in record.getMessage() for record in caplog.records] == [True]


def test_of_a_node_that_was_killed_that_is_known(
    home: Path, otp_start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    node = otp_start(tree())
    node.process.kill()
    node.process.wait()
    with pytest.raises(otp.NotRunning, match="has ended: killed by signal 9"):
        node.cast("counter", None)
    node.close()
    assert "killed by signal 9" in caplog.text
