"""One OS process as its node sees it, from spawn to reaping, and why it has ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Literal, Protocol

from otp.frames import Answered, Pong
from otp.messages import KILLED, NORMAL, SHUTDOWN, Reason, WireChild
from otp.reactor import Timer
from otp.transport import FrameSocket


class Owner(Protocol):
    """Who hears of a process's life: the shell of its supervisor."""

    def began(self, running: Running) -> None: ...
    def ignored(self, running: Running) -> None: ...
    def ended(self, running: Running, reason: Reason) -> None: ...


class Watch(Protocol):
    """What looks after a process whose spec asks for that (see `watch`)."""

    notify_path: str
    line_matched: Callable[[], None]

    @property
    def waiting(self) -> bool: ...
    def forked(self) -> None: ...
    def initialised(self) -> None: ...
    def began(self) -> None: ...
    def heard(self, message: Pong | Answered) -> None: ...
    def stop(self) -> None: ...


class Running:
    """One OS process from spawn to reaping."""

    def __init__(
        self, serial: int, process: str, path: str, child: WireChild, owner: Owner
    ) -> None:
        self.serial, self.process, self.path, self.child = serial, process, path, child
        self.owner = owner
        self.shown = path
        self.os_pid = 0
        self.ready = self.began = self.settled = self.told = False
        self.said: Reason | None = None
        self.status: int | None = None
        self.verdict: Reason | None = None
        self.started_at = time.time()
        self.control: FrameSocket | None = None
        self.timer: Timer | None = None
        self.watch: Watch | None = None
        self.reader: Callable[[bytes], bool] | None = None

    @property
    def has_mail(self) -> bool:
        return self.child.kind in ("server", "function")


def role_of(
    child: WireChild,
) -> Literal["worker", "program", "mailroom", "logger", "metrics", "probe"]:
    if child.kind == "server" or child.kind == "function":
        return "worker"
    return child.kind


def end_reason(running: Running, status: int) -> Reason:
    """What a supervisor hears: the worker's own word, or what the wait status says."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL and running.verdict is not None:
            return running.verdict
        if running.said is not None and not running.began:
            return running.said
        if number == signal.SIGKILL:
            return KILLED
        if running.told and number == running.child.stop_signal:
            return SHUTDOWN
        return Reason("crash", f"ended by {_signal_name(number)}")
    if running.said is not None:
        return running.said
    if running.told:
        return SHUTDOWN
    code = os.waitstatus_to_exitcode(status)
    return NORMAL if code == 0 else Reason("crash", f"exit code {code}")


def exit_code(running: Running, reason: Reason) -> int:
    """What a container should hear of it: a program's own code, 128 + signal, 1 for a crash."""
    status = running.status
    if status is None:
        return 1
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    if running.child.kind == "program":
        return os.waitstatus_to_exitcode(status)
    return 0 if reason.kind in ("normal", "shutdown") else 1


def _signal_name(number: int) -> str:
    """ "SIGSEGV"; real-time signals between the first and the last have numbers only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
