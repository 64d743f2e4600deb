"""How many processes are left two seconds after a kill -9 or an orderly stop: ours and others.

Each supervisor runs the same four programs, in the best settings that it has: one that just runs,
one with children (one of them in a session of its own), one that forks a daemon twice, and one
that ignores SIGTERM. What is left is found by a mark in the environment; what a supervisor still
owns does not count. supervisord and circus come with `pip install '.[bench]'`; one that is not
installed has no figures.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil

from benchmarks.report import Found, Row, at_most, run
from tests.orphans import MARK, marked

AFTER_S: Final = 2.0
UP_S_MAX: Final = 30.0  # a supervisor that has not started four shell scripts by then never will
STOP_S_MAX: Final = 15.0  # what an orderly stop may take before the two seconds begin
LOOK_S: Final = 0.05
PROGRAMS: Final = {
    "plain": "exec sleep 2001",
    "family": "setsid sleep 2002 &\nsleep 2003\ntrue",
    "twice": "(setsid sleep 2004 &) &\nexec sleep 2005",
    "deaf": "trap '' TERM\nsleep 2006\ntrue",
}
SLEEPERS: Final = {str(number) for number in range(2001, 2007)}


class Contestant(msgspec.Struct, frozen=True):
    """A supervisor: how it is configured in a folder, and the command that runs it."""

    name: str
    command: Callable[[Path], list[str]]
    needs: str = ""


# ---------------------------------------------------------------- the supervisors


def otp(folder: Path, options: str = "") -> list[str]:
    """Ours."""
    rows = [
        f"  - {{id: {name}, command: [sh, {folder}/{name}], shutdown: 1s}}" for name in PROGRAMS
    ]
    text = f"id: root\nmax_restarts: 100\n{options}children:\n" + "\n".join(rows)
    (folder / "tree.yaml").write_text(text)
    return [sys.executable, "-m", "otp", "run", str(folder / "tree.yaml")]


def otp_isolated(folder: Path) -> list[str]:
    """Ours, in a PID namespace."""
    return otp(folder, "node: {isolation: pidns}\n")


def supervisord(folder: Path) -> list[str]:
    """Programs end with their process groups."""
    parts = [f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n"
             f"pidfile={folder}/pid\nchildlogdir={folder}\n"]  # fmt: skip
    parts += [
        f"[program:{name}]\ncommand=sh {folder}/{name}\nautorestart=true\nstartsecs=0\n"
        "stopwaitsecs=1\nstopasgroup=true\nkillasgroup=true\n"
        for name in PROGRAMS
    ]
    (folder / "supervisord.conf").write_text("\n".join(parts))
    return [_script("supervisord"), "-c", str(folder / "supervisord.conf")]


def circus(folder: Path) -> list[str]:
    """Programs end with their children."""
    endpoint, pubsub = _free_ports(2)
    parts = [f"[circus]\nendpoint=tcp://127.0.0.1:{endpoint}\n"
             f"pubsub_endpoint=tcp://127.0.0.1:{pubsub}\n"]  # fmt: skip
    parts += [
        f"[watcher:{name}]\ncmd=sh {folder}/{name}\ncopy_env=true\nstop_children=true\n"
        "graceful_timeout=1\n"
        for name in PROGRAMS
    ]
    (folder / "circus.ini").write_text("\n".join(parts))
    return [_script("circusd"), str(folder / "circus.ini")]


CONTESTANTS: Final = (
    Contestant("otp", otp),
    Contestant("otp, isolation: pidns", otp_isolated),
    Contestant("supervisord", supervisord, needs="supervisord"),
    Contestant("circus", circus, needs="circusd"),
)


def _script(name: str) -> str:
    """A command of this environment, else one on the path; "" where there is none."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or ""


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


# ---------------------------------------------------------------- what is done to them


def program_killed(supervisor: psutil.Process, mark: str) -> set[int]:
    """kill -9 of a program with children: what is left of it."""
    return _kill_program("/family", mark, "2002", "2003")


def daemons_parent_killed(supervisor: psutil.Process, mark: str) -> set[int]:
    """kill -9 of a program that has forked a daemon twice: what is left of it."""
    return _kill_program("2005", mark, "2004")


def supervisor_killed(supervisor: psutil.Process, mark: str) -> set[int]:
    """kill -9 of the supervisor: whatever runs."""
    supervisor.kill()
    return _everybody(mark)


def killed_with_its_helper(supervisor: psutil.Process, mark: str) -> set[int]:
    """kill -9 of the supervisor, and of the zygote of ours, at the same moment: whatever runs."""
    helpers = [p for p in supervisor.children(recursive=True) if "otp.zygote" in _arguments(p)]
    both = [supervisor, *helpers[:1]]
    for process in both:
        process.suspend()
    for process in both:
        process.kill()
    return _everybody(mark)


def stopped(supervisor: psutil.Process, mark: str) -> set[int]:
    """SIGTERM to the supervisor, an orderly stop, and its end: whatever runs."""
    before = _everybody(mark)
    supervisor.send_signal(signal.SIGTERM)
    with contextlib.suppress(psutil.TimeoutExpired):
        supervisor.wait(STOP_S_MAX)
    return before


DEEDS: Final = (
    program_killed,
    daemons_parent_killed,
    stopped,
    supervisor_killed,
    killed_with_its_helper,
)
DEEDS_QUICK: Final = (stopped, supervisor_killed)


def _everybody(mark: str) -> set[int]:
    return {process.pid for process in marked(mark)}


def _kill_program(main: str, mark: str, *started: str) -> set[int]:
    """Kill the process whose last argument ends so; those with these last arguments are its own."""
    words = {process: _arguments(process)[-1] for process in marked(mark)}
    (program,) = [process for process, word in words.items() if word.endswith(main)]
    program.kill()
    return {process.pid for process, word in words.items() if word in started}


def _arguments(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline() or [""]
    return [""]


# ---------------------------------------------------------------- one cell of the table


def left_after(contestant: Contestant, deed: Callable[[psutil.Process, str], set[int]]) -> int:
    """Start the supervisor, do it, wait; how many are left that nobody owns."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="otp") as folder, _swept(mark):
        for name, text in PROGRAMS.items():
            Path(folder, name).write_text(f"{text}\n")
        with subprocess.Popen(
            contestant.command(Path(folder)),
            env={**os.environ, MARK: mark, "XDG_RUNTIME_DIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                _wait_until_up(contestant, process, mark)
                before = deed(psutil.Process(process.pid), mark)
                time.sleep(AFTER_S)
                return len(before & _everybody(mark) - {process.pid})
            finally:
                process.kill()


def _wait_until_up(contestant: Contestant, process: subprocess.Popen[bytes], mark: str) -> None:
    deadline = time.monotonic() + UP_S_MAX
    while not {_arguments(p)[-1] for p in marked(mark)} >= SLEEPERS:
        if time.monotonic() > deadline or process.poll() is not None:
            raise RuntimeError(f"orphans: {contestant.name} did not start its programs")
        time.sleep(LOOK_S)


@contextlib.contextmanager
def _swept(mark: str) -> Iterator[None]:
    """Nothing of a contestant meets the next one."""
    try:
        yield
    finally:
        while processes := marked(mark):
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.kill()


def table(figures: dict[str, dict[str, int] | None], deeds: Sequence[str]) -> str:
    """The figures as a person reads them: a row for each supervisor."""
    width = max(map(len, figures))
    rows = ["  ".join([" " * width, *deeds])]
    for name, left in figures.items():
        cells = [f"{left[deed] if left else '-':>{len(deed)}}" for deed in deeds]
        rows.append("  ".join([f"{name:{width}}", *cells]))
    return "\n".join(rows)


def rows(figures: dict[str, dict[str, int] | None]) -> list[Row]:
    """All that was left by each of them; node and zygote killed together need isolation."""
    question = "left running after all these kills and stops"
    found: list[Row] = []
    for name, left in figures.items():
        if left is None:
            continue
        if name.startswith("otp"):
            spared: set[str] = set() if "isolation" in name else {killed_with_its_helper.__name__}
            count = sum(number for deed, number in left.items() if deed not in spared)
            found.append(at_most(f"{question}: {name}", "", count, 0))
        else:
            found.append(Row(f"{question}: {name}", "", sum(left.values())))
    return found


def measure(short: bool) -> Found:
    """Do all to each of them; their table goes to standard error."""
    deeds = DEEDS_QUICK if short else DEEDS
    figures: dict[str, dict[str, int] | None] = {}
    for contestant in CONTESTANTS:
        if contestant.needs and not _script(contestant.needs):
            print(f"orphans: {contestant.needs} is not installed, see [bench]", file=sys.stderr)
            figures[contestant.name] = None
            continue
        figures[contestant.name] = {deed.__name__: left_after(contestant, deed) for deed in deeds}
    print(table(figures, [deed.__name__ for deed in deeds]), file=sys.stderr)
    return {"after_s": AFTER_S, "left": figures}, rows(figures)


def main() -> None:
    """Measure and print."""
    run("orphans", __doc__, measure)


if __name__ == "__main__":
    main()
