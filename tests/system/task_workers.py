"""Functions that run as tasks, and servers that start them."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import otp
from tests.system.workers import wait_for_ever


def square(n: int) -> int:
    return n * n


def fails(text: str) -> None:
    raise ValueError(text)


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def waits(file: str = "") -> None:
    if file:
        Path(file).write_text(str(os.getpid()))
    wait_for_ever()


def waits_for(file: str) -> str:
    """Returns when there is a reader at the other end of this pipe, and has written."""
    with open(file) as pipe:
        return pipe.read()


def holds(fd_path: str) -> object:
    return open  # a function travels by name, so any program can load it


def odd() -> object:
    return threading.Lock()


def after(n: int, file: str) -> int:
    """The first one waits until the second one has run."""
    if n == 1:
        waits_for(file)
    else:
        with open(file, "w") as pipe:
            pipe.write("go")
    return n


class Work(otp.Request[Any], frozen=True):
    what: str
    n: int = 0
    file: str = ""


class Foreman(otp.GenServer):
    """Starts tasks from its handlers."""

    def __init__(self) -> None:
        self.left: list[otp.Task[None]] = []

    def handle_call(self, request: Work, sender: otp.From[Any]) -> Any:
        match request.what:
            case "square":
                return self.start_task(square, request.n).result()
            case "fails":
                return self.start_task(fails, "boom").result()
            case "stream":
                return list(self.async_stream(square, range(request.n), max_concurrency=3))
            case "leave":
                for link, name in ((True, "linked"), (False, "free")):
                    self.left.append(self.start_task(waits, request.file + name, link=link))
        return None
