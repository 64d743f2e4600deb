"""Starts that fail, ends in order, and ends that were not wished for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import otp
from otp.handle import Control
from otp.testing import Start, eventually
from tests.system import odd_workers as odd
from tests.system import workers as w
from tests.system.help import PATIENCE_SECONDS, assert_gone, family, freeze, lines, row

# Signals to a node, and what its exit code is then.
IN_ORDER, AT_ONCE = 0, 1


def tree(*children: otp.ChildSpec | otp.Supervisor) -> otp.Supervisor:
    return otp.Supervisor("root", max_restarts=100, children=children)


# ---------------------------------------------------------------- starts that fail


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (odd.Raises, "root/bad: crash: RuntimeError: no such luck (odd_workers.py:"),
        (odd.Exits, "root/bad: crash: SystemExit: no licence"),
        (odd.ExitsHard, "root/bad: crash: exit code 7"),
        (odd.IsKilled, "root/bad: killed"),
        (odd.Stops, "root/bad: crash: no room"),
    ],
)
def test_a_child_that_does_not_start_says_why(start: Callable[..., Any], reason: str) -> None:
    before = family(os.getpid())
    with pytest.raises(otp.StartError) as info:
        otp.start(tree(otp.ChildSpec("good", w.Counter), otp.ChildSpec("bad", start)))
    assert str(info.value).startswith(f"node local did not start: {reason}")
    assert_gone(family(os.getpid()) - before)


def test_a_module_that_ends_the_interpreter_when_imported(tmp_path: Path) -> None:
    (tmp_path / "leaver.py").write_text("import sys; sys.exit('bye')", encoding="utf-8")
    sys.path.insert(0, str(tmp_path))
    try:
        with otp.start(tree(otp.ChildSpec("c", w.Counter)), preload=["leaver"]) as node:
            assert node.call("c", w.Add(1)) == 1
    finally:
        sys.path.remove(str(tmp_path))


def test_a_module_that_starts_a_thread_is_imported_after_the_fork(tmp_path: Path) -> None:
    code = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    (tmp_path / "threaded.py").write_text(code, encoding="utf-8")
    sys.path.insert(0, str(tmp_path))
    try:
        spec = otp.ChildSpec("c", w.Counter)
        with otp.start(tree(spec), preload=["threaded", "json"]) as node:
            zygote = psutil.Process(row(node, "zygote").pid)
            assert zygote.num_threads() == 1
            assert node.call("c", w.Add(1)) == 1
    finally:
        sys.path.remove(str(tmp_path))


def test_a_topology_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    topologies = {"keys": otp.TopologySpec(w.BrokenKeys)}
    with pytest.raises(otp.StartError, match="a topology cannot be made: RuntimeError: no map"):
        otp.start(tree(otp.ChildSpec("c", w.Counter)), topologies=topologies)


def test_a_start_that_fails_later_is_refused_with_the_reason(otp_start: Start) -> None:
    node = otp_start(tree(otp.Supervisor("pool")))
    with pytest.raises(otp.SupervisorError, match="no such luck") as info:
        node.start_child("pool", otp.ChildSpec("bad", odd.Raises))
    assert info.value.reason == "start_failed"
    assert node.which_children("pool") == []
    assert node.start_child("pool", otp.ChildSpec("none", odd.Ignores)).state == "undefined"


# ---------------------------------------------------------------- stops


def test_children_stop_in_reverse_order(tmp_path: Path) -> None:
    file = tmp_path / "ends"
    children = [
        otp.ChildSpec(name, odd.Tidy, args={"file": str(file), "name": name}) for name in "abc"
    ]
    with otp.start(tree(*children)):
        assert not file.exists()
    assert list(lines(file)) == ["c shutdown", "b shutdown", "a shutdown"]


@pytest.mark.parametrize("frozen", [False, True], ids=["deaf", "frozen"])
def test_a_worker_that_does_not_stop_is_killed(otp_start: Start, frozen: bool) -> None:
    node = otp_start(tree(otp.ChildSpec("deaf", w.Counter, shutdown=0.2)))
    pid = node.call("deaf", w.Pid())
    if frozen:
        freeze(node, "deaf")
    else:
        with pytest.raises(otp.CallTimeout):
            node.call("deaf", w.Block(), timeout=0.02)
    with node.expect(otp.ChildExited, "root/deaf") as exited:
        node.terminate_child("/", "deaf")
    assert exited.report.reason.kind == "killed"
    assert_gone([pid])


def test_a_worker_stops_while_it_waits_for_a_reply(otp_start: Start) -> None:
    node = otp_start(
        tree(otp.ChildSpec("asks", w.Watcher, shutdown=20), otp.ChildSpec("deaf", w.Counter))
    )
    freeze(node, "deaf")
    with pytest.raises(otp.CallTimeout):
        node.call("asks", w.Ask("deaf", 1, seconds=60), timeout=0.05)
    with node.expect(otp.ChildExited, "root/asks") as exited:
        node.terminate_child("/", "asks")
    assert exited.report.reason == otp.Reason("shutdown")
    node.kill("deaf")


@pytest.mark.parametrize(
    ("error", "reason"),
    [("normal", "normal"), ("shutdown:late", "shutdown: late"), ("", "crash: OSError: disk full")],
)
def test_a_terminate_that_fails_is_why_a_worker_ended(
    otp_start: Start, error: str, reason: str
) -> None:
    node = otp_start(tree(otp.ChildSpec("last", odd.LastWords, args={"error": error})))
    with node.expect(otp.ChildExited, "root/last") as exited:
        node.terminate_child("/", "last")  # a stop is a stop, whatever it says
    assert str(exited.report.reason).startswith(reason)
    assert not exited.report.restart


@pytest.mark.parametrize("shutdown", [0.2, "brutal_kill"])
def test_a_supervisor_that_does_not_stop_in_time_is_killed_with_all_below(
    otp_start: Start, tmp_path: Path, shutdown: float | str
) -> None:
    def deaf(name: str) -> otp.ChildSpec:
        file = {"file": str(tmp_path / name)}
        return otp.ChildSpec(name, odd.ignores_sigterm, args=file, shutdown="infinity")

    inner = otp.Supervisor("inner", children=[deaf("b"), deaf("c")])
    node = otp_start(tree(otp.Supervisor("pool", [deaf("a"), inner], shutdown=shutdown)))
    eventually(lambda: all((tmp_path / name).exists() for name in "abc"))
    pids = [row(node, f"root/pool/{path}").pid for path in ("a", "inner/b", "inner/c")]
    node.terminate_child("/", "pool")
    assert not any(psutil.pid_exists(pid) for pid in pids)  # it is answered when all are gone
    assert node.which_children()[0].state == "undefined"
    with node.expect(otp.ChildStarted, "root/pool"):
        node.restart_child("/", "pool")
    assert row(node, "root/pool/inner/c").state == "running"
    node.terminate_child("/", "pool")


def test_brutal_kill(otp_start: Start) -> None:
    node = otp_start(tree(otp.ChildSpec("c", w.Counter, shutdown="brutal_kill")))
    with node.expect(otp.ChildExited, "root/c") as exited:
        node.terminate_child("/", "c")
    assert exited.report.reason.kind == "killed"


# ---------------------------------------------------------------- functions


def test_functions_end_as_they_end(otp_start: Start) -> None:
    node = otp_start(tree(otp.Supervisor("pool", max_restarts=100)))
    ends = {
        "returns": (odd.returns, otp.Reason("normal"), False),
        "fails": (odd.fails, "LookupError: nothing there", True),
    }
    for name, (function, reason, restart) in ends.items():
        with node.expect(otp.ChildExited, f"root/pool/{name}") as exited:
            node.start_child("pool", otp.ChildSpec(name, function, restart="transient"))
        report = exited.report
        assert report.reason == reason or str(reason) in report.reason.text
        assert report.restart == restart
        node.terminate_child("pool", name)


def test_a_function_is_asked_to_stop_by_a_signal(otp_start: Start, tmp_path: Path) -> None:
    file = tmp_path / "file"
    node = otp_start(
        tree(
            otp.ChildSpec("plain", odd.waits),
            otp.ChildSpec("clean", odd.cleans_up, args={"file": str(file)}),
            otp.ChildSpec(
                "deaf", odd.ignores_sigterm, args={"file": str(tmp_path / "deaf")}, shutdown=0.1
            ),
        )
    )
    eventually(lambda: list(lines(file)) == ["ready"] and (tmp_path / "deaf").exists())
    for name, kind in (("plain", "shutdown"), ("clean", "normal"), ("deaf", "killed")):
        with node.expect(otp.ChildExited, f"root/{name}") as exited:
            node.terminate_child("/", name)
        assert exited.report.reason.kind == kind, name
    assert list(lines(file)) == ["clean"]


# ---------------------------------------------------------------- the node


def test_a_signal_stops_the_node_in_order(otp_start: Start, tmp_path: Path) -> None:
    file = tmp_path / "ends"
    node = otp_start(tree(otp.ChildSpec("a", odd.Tidy, args={"file": str(file), "name": "a"})))
    everyone = family(node.pid)
    psutil.Process(node.pid).terminate()
    assert node.process.wait(PATIENCE_SECONDS) == IN_ORDER
    assert list(lines(file)) == ["a shutdown"]
    assert_gone(everyone)


def test_a_terminal_that_closes_stops_the_node_in_order(otp_start: Start, tmp_path: Path) -> None:
    file = tmp_path / "ends"
    node = otp_start(tree(otp.ChildSpec("a", odd.Tidy, args={"file": str(file), "name": "a"})))
    psutil.Process(node.pid).send_signal(signal.SIGHUP)
    assert node.process.wait(PATIENCE_SECONDS) == IN_ORDER
    assert list(lines(file)) == ["a shutdown"]


def test_a_second_signal_stops_it_now(otp_start: Start) -> None:
    node = otp_start(tree(otp.ChildSpec("deaf", w.Counter, shutdown="infinity")))
    everyone = family(node.pid)
    with pytest.raises(otp.CallTimeout):
        node.call("deaf", w.Block(), timeout=0.02)
    psutil.Process(node.pid).terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        node.process.wait(0.1)
    psutil.Process(node.pid).terminate()
    assert node.process.wait(PATIENCE_SECONDS) == AT_ONCE
    assert_gone(everyone)


def test_a_host_that_leaves_after_a_signal_is_no_second_one(
    otp_start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "ends"
    node = otp_start(
        tree(
            otp.ChildSpec("a", odd.Tidy, args={"file": str(file), "name": "a"}),
            otp.ChildSpec("slow", w.Counter, shutdown=0.3),
        )
    )
    with pytest.raises(otp.CallTimeout):
        node.call("slow", w.Block(), timeout=0.02)
    psutil.Process(node.pid).terminate()
    node.close()
    assert node.process.returncode == IN_ORDER
    assert list(lines(file)) == ["a shutdown"]


def test_a_start_that_hangs_does_not_keep_a_node_from_stopping(
    otp_start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "hangs"
    node = otp_start(tree(otp.Supervisor("pool")))
    hangs = otp.ChildSpec("hangs", odd.HangsInInit, args={"file": str(file)}, shutdown="infinity")
    everyone = family(node.pid)
    with pytest.raises(otp.CallTimeout):
        node.call("pool", otp.start_child(hangs), timeout=0.1)
    eventually(file.exists)
    assert row(node, "root/pool/hangs").state == "starting"
    everyone |= family(node.pid)
    psutil.Process(node.pid).terminate()
    assert node.process.wait(PATIENCE_SECONDS) == IN_ORDER
    assert_gone(everyone)


def test_a_root_that_gives_up_ends_the_node(otp_start: Start) -> None:
    node = otp_start(otp.Supervisor("root", children=[otp.ChildSpec("c", w.Counter)]))
    everyone = family(node.pid)
    with node.expect(otp.ChildStarted, "root/c"):
        node.kill("c")
    node.kill("c")
    assert node.process.wait(PATIENCE_SECONDS) == 1
    assert_gone(everyone)


def test_a_significant_child_ends_the_node_in_order(otp_start: Start) -> None:
    node = otp_start(
        otp.Supervisor(
            "root",
            auto_shutdown="any_significant",
            children=[
                otp.ChildSpec("main", w.Counter, restart="transient", significant=True),
                otp.ChildSpec("c", w.Counter),
            ],
        )
    )
    with pytest.raises(otp.ServerDown):
        node.call("main", w.Leave("normal"))
    assert node.process.wait(PATIENCE_SECONDS) == 0


def test_requests_that_wait_hear_of_a_lost_zygote(otp_start: Start, tmp_path: Path) -> None:
    node = otp_start(tree(otp.Supervisor("pool"), otp.ChildSpec("boss", w.Boss)))
    file = tmp_path / "hangs"
    hangs = otp.ChildSpec("hangs", odd.HangsInInit, args={"file": str(file)})
    errors: list[otp.OtpError] = []

    def ask() -> None:
        with contextlib.closing(Control.of(node.run_dir)) as control:
            try:
                control.ask(otp.start_child(hangs), to="pool")
            except otp.OtpError as error:
                errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(file.exists)
    before = family(node.pid) - {node.pid}
    with node.expect(otp.ChildStarted, "root/boss"):
        node.kill("zygote")
    asking.join(PATIENCE_SECONDS)
    assert [type(error) for error in errors] == [otp.Disconnected]
    assert_gone(before)
    assert node.which_children("pool") == []


@pytest.mark.parametrize("who", ["node", "host"])
def test_a_folder_keeps_what_is_not_the_node_s(tmp_path: Path, who: str) -> None:
    (tmp_path / "precious").touch()
    (tmp_path / "data").mkdir()
    with otp.start(tree(otp.ChildSpec("c", w.Counter)), run_dir=str(tmp_path)) as node:
        assert (tmp_path / "control.sock").is_socket()
        if who == "host":
            os.kill(node.pid, signal.SIGKILL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "precious"]


def test_modules_in_the_current_folder_are_not_python_s_own(tmp_path: Path) -> None:
    script, folder = tmp_path / "script.py", tmp_path / "folder"
    folder.mkdir()
    for name in ("heapq", "signal", "socket", "struct"):
        (folder / f"{name}.py").write_text("raise RuntimeError('not this one')", encoding="utf-8")
    script.write_text(
        "import otp\n"
        "from tests.system import workers as w\n"
        "tree = otp.Supervisor('root', children=[otp.ChildSpec('c', w.Counter)])\n"
        "with otp.start(tree) as node:\n"
        "    print(node.call('c', w.Add(1)))\n",
        encoding="utf-8",
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_nobody_reads_the_log(tmp_path: Path) -> None:
    script = """
import os, sys, otp
from tests.system import workers as w
read, write = os.pipe()
os.dup2(write, 2)
os.close(read), os.close(write)
tree = otp.Supervisor("root", max_restarts=9, children=[otp.ChildSpec("c", w.Counter)])
with otp.start(tree, log="text") as node:
    with node.expect(otp.ChildStarted, "root/c"):
        node.kill("c")
    print(node.call("c", w.Add(1)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=20, check=True
    )
    assert done.stdout == "1\n"
