"""Programs that start nodes, and what happens to them: forks, threads, Ctrl-C, sudden death."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import otp
from otp.testing import Start, eventually
from tests.otp import programs


class Get(otp.Request[int], frozen=True):
    pass


class One(otp.GenServer):
    def handle_call(self, request: Get, sender: otp.From[int]) -> int:
        return 1


TREE = otp.Supervisor("root", max_restarts=3, children=[otp.ChildSpec("one", One)])
SECONDS_MAX = 30


def gone(pid: int) -> bool:
    """It has ended; whoever inherited it may not have noticed yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def forked(work: Any) -> int:
    """Run this in a fork of ours; its exit code, 0 where it raised nothing."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            gc.collect()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_has_a_handle_of_its_own_and_cannot_stop_the_node(otp_start: Start) -> None:
    node = otp_start(TREE)
    assert node.call("one", Get()) == 1
    assert node.processes()

    def child() -> None:
        assert node.call("one", Get()) == 1
        assert node.processes()[-1].path == "root/one"
        node.close()
        node.stop()

    assert forked(child) == 0
    assert node.call("one", Get()) == 1
    assert node.count_children().active == 1


def test_a_forked_child_that_forgets_the_node_neither_warns_nor_stops_it(otp_start: Start) -> None:
    handles = [otp_start(TREE)]
    node_pid = handles[0].pid

    def child() -> None:
        handles.clear()

    assert forked(child) == 0
    assert psutil.pid_exists(node_pid)
    assert handles[0].call("one", Get()) == 1


FORKING = """
import os, sys, otp
from tests.otp.programs import tree

node = otp.start(tree(), log="logging")
if os.fork() == 0:
    os.write(1, b"child %d\\n" % os.getpid())
    sys.stdin.read()
    os._exit(0)
os.write(1, b"node %d\\n" % node.pid)
os.wait()
"""


@pytest.fixture
def program(home: Path) -> Iterator[Any]:
    """Runs code in a program of its own, with pipes, until the test has ended."""
    running: list[subprocess.Popen[str]] = []

    def run(code: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code],
            env=programs.environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        with process:
            process.kill()


def test_a_host_that_is_killed_ends_its_node_though_a_fork_of_it_lives(program: Any) -> None:
    process = program(FORKING)
    pids = {}
    for _ in range(2):
        word, number = process.stdout.readline().split()
        pids[word] = int(number)
    process.kill()
    eventually(lambda: gone(pids["node"]))
    assert psutil.pid_exists(pids["child"])
    process.stdin.close()
    eventually(lambda: gone(pids["child"]))


SHARING = """
import multiprocessing, pickle, otp
from tests.otp.programs import tree

def ask(node, answers):
    answers.send((type(node).__name__, len(node.processes())))
    node.close()

if __name__ == "__main__":
    with otp.start(tree()) as node:
        for method in ("fork", "spawn"):
            context = multiprocessing.get_context(method)
            answers, theirs = context.Pipe(duplex=False)
            process = context.Process(target=ask, args=(node, theirs))
            process.start()
            print(*answers.recv())
            process.join()
            assert process.exitcode == 0 and len(node.processes()) == 7
        assert type(pickle.loads(pickle.dumps(node))) is otp.Node
"""


def test_a_handle_goes_to_other_processes_as_a_way_to_the_node(home: Path, tmp_path: Path) -> None:
    (tmp_path / "sharing.py").write_text(SHARING, encoding="utf-8")
    done = programs.run_python("sharing.py", cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("StartedNode 7\nNode 7\n", 0), done.stderr


def test_threads_share_a_handle(otp_start: Start) -> None:
    node = otp_start(TREE)
    answers: list[tuple[int, int]] = []

    def ask() -> None:
        for _ in range(20):
            answers.append((node.call("one", Get()), len(node.processes())))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(1, 6)] * 80


STARTING = """
import os, sys, otp


class Slow(otp.GenServer):
    def __init__(self):
        print("starting", os.getppid(), os.getpid(), flush=True)
        import threading
        threading.Event().wait()

child = otp.ChildSpec("slow", Slow, shutdown="brutal_kill")
try:
    otp.start(otp.Supervisor("root", children=[child]))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_while_it_starts_leaves_nothing(program: Any, home: Path) -> None:
    process = program(STARTING)
    word, *numbers = process.stdout.readline().split()
    assert word == "starting"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    assert process.wait(SECONDS_MAX) == 0
    assert not any(psutil.pid_exists(int(number)) for number in numbers)
    assert not list(home.iterdir())


def test_a_host_killed_while_it_starts_leaves_nothing(program: Any, home: Path) -> None:
    process = program(STARTING)
    numbers = [int(word) for word in process.stdout.readline().split()[1:]]
    process.kill()
    eventually(lambda: all(map(gone, numbers)))
    eventually(lambda: not list(home.iterdir()))


EARLY = """
import os, otp, subprocess
from tests.otp.programs import tree

class Told(subprocess.Popen):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        print(self.pid, flush=True)
        {then}

subprocess.Popen = Told
otp.start(tree())
"""


@pytest.mark.parametrize(
    "then", ["os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 2)"], ids=["killed", "ctrl-c"]
)
def test_a_host_that_ends_before_its_node_has_read_a_word_leaves_nothing(
    then: str, program: Any, home: Path
) -> None:
    process = program(EARLY.format(then=then), stderr=subprocess.PIPE)
    pid = int(process.stdout.readline())
    process.wait(SECONDS_MAX)
    eventually(lambda: gone(pid))
    eventually(lambda: not list(home.iterdir()))


def test_a_program_that_ends_without_closing_leaves_nothing(program: Any, home: Path) -> None:
    code = "import otp; from tests.otp.programs import tree; node = otp.start(tree())"
    process = program(f"{code}\nprint(node.pid, flush=True)", stderr=subprocess.PIPE)
    pid = int(process.stdout.readline())
    assert process.wait(SECONDS_MAX) == 0
    eventually(lambda: gone(pid))
    eventually(lambda: not list(home.iterdir()))
