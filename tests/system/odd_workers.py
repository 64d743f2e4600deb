"""Workers in odd company: starts that fail, functions, and families that should not be left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import otp
from otp.notify import notify_ready
from tests.system.workers import Pid, wait_for_ever

# ---------------------------------------------------------------- starts that fail


class Raises(otp.GenServer):
    def __init__(self) -> None:
        raise RuntimeError("no such luck")


class Exits(otp.GenServer):
    def __init__(self) -> None:
        sys.exit("no licence")


class ExitsHard(otp.GenServer):
    def __init__(self) -> None:
        os._exit(7)


class IsKilled(otp.GenServer):
    def __init__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Stops(otp.GenServer):
    def __init__(self) -> None:
        raise otp.Stop("no room")


class Ignores(otp.GenServer):
    def __init__(self) -> None:
        raise otp.Ignore


class HangsInInit(otp.GenServer):
    def __init__(self, file: str) -> None:
        Path(file).touch()
        wait_for_ever()


# ---------------------------------------------------------------- functions


def returns() -> None:
    """A function that has nothing to do."""


def fails() -> None:
    raise LookupError("nothing there")


def waits() -> None:
    wait_for_ever()


def notifies(file: str) -> None:
    """Says by sd_notify that it is ready, once the file is there."""
    while not os.path.exists(file):
        os.sched_yield()
    notify_ready(os.environ["NOTIFY_SOCKET"])
    wait_for_ever()


def cleans_up(file: str) -> None:
    """Ends in order on SIGTERM, and says so."""

    def ends(*_: object) -> None:
        Path(file).write_text("clean", encoding="utf-8")
        sys.exit(0)

    signal.signal(signal.SIGTERM, ends)
    Path(file).write_text("ready", encoding="utf-8")
    wait_for_ever()


def ignores_sigterm(file: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(file).touch()
    wait_for_ever()


class Tidy(otp.GenServer):
    """Says in a file that it was asked to end."""

    def __init__(self, file: str, name: str) -> None:
        self.file, self.name = file, name

    def terminate(self, reason: otp.Reason) -> None:
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(f"{self.name} {reason}\n")


class LastWords(otp.GenServer):
    """Ends for another reason than the one it was told."""

    def __init__(self, error: str) -> None:
        self.error = error

    def terminate(self, reason: otp.Reason) -> None:
        raise otp.Stop(self.error) if self.error else OSError("disk full")


# ---------------------------------------------------------------- families

DAEMON = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    if os.fork():
        os._exit(0)
    os.setsid()
print(os.getpid(), flush=True)
time.sleep(3600)
"""


def stubborn(pid: int) -> None:
    """Be a process in a session of its own that SIGTERM does not end."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(pid, b"%d" % os.getpid())
    wait_for_ever()


def daemon(pid: int) -> None:
    """Leave such a process behind, and end."""
    if os.fork() == 0:
        stubborn(pid)


def forked(deed: Callable[[int], None]) -> int:
    """A child that keeps all our sockets open; the pid of whoever remains."""
    read, write = os.pipe()
    if os.fork() == 0:
        deed(write)
        os._exit(0)
    return int(os.read(read, 100))


class Kin(otp.Request[list[int]], frozen=True):
    """The pids of all that this server has started."""


class Parent(otp.GenServer):
    """Has a child that ignores SIGTERM in a session of its own, and a double-forked daemon."""

    def __init__(self) -> None:
        self.kin = [forked(stubborn), forked(daemon)]

    def handle_call(self, request: Kin | Pid, sender: otp.From[Any]) -> Any:
        return self.kin if isinstance(request, Kin) else os.getpid()


def parent_of_a_stubborn_one(pid: int) -> None:
    """Be a process in a session of its own whose child is in another."""
    os.setsid()
    if os.fork() == 0:
        stubborn(pid)
    wait_for_ever()


class Clan(Parent):
    """Has, besides, a program as a child and a grandchild, each in a session of its own."""

    def __init__(self) -> None:
        super().__init__()
        program = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        self.kin += [program.pid, forked(parent_of_a_stubborn_one)]
