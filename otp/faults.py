"""Faults that a test puts into a worker: it hangs, or it raises, wherever it is at that moment.

Only where the node was started by the pytest plugin: its environment says so (`VARIABLE`), else
no worker listens for these signals. Each is handled between two steps of the worker's own Python
code, as an endless loop or an exception there would be.
"""

from __future__ import annotations

import os
import signal
from typing import Any, NoReturn

from otp.errors import InjectedCrash

VARIABLE = "OTP_FAULTS"
"""In the environment of a node: its workers can be made to hang and to crash."""
_WANTED = bool(os.environ.get(VARIABLE))  # asked once, in the zygote
HANG = signal.SIGRTMIN + 10
CRASH = signal.SIGRTMIN + 11
HUNG_NAME = "otp-hung"
"""What a hung worker is called in /proc/PID/comm (and by `ps`), so that it can be told."""


def arm() -> int | None:
    """In a worker of such a node: listen for the two signals. What it executes does not.

    The result is a descriptor that is readable when one has come: a signal that comes just before
    the worker waits for messages would else be handled when the next message arrives.
    """
    if not _WANTED:
        return None
    del os.environ[VARIABLE]
    signal.signal(HANG, _hang)
    signal.signal(CRASH, _crash)
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    return woken


def _hang(*_: Any) -> NoReturn:
    """The main thread does nothing any more, ever; its other threads go on."""
    with open("/proc/self/comm", "w") as file:
        file.write(HUNG_NAME)
    while True:
        signal.pause()


def _crash(*_: Any) -> NoReturn:
    raise InjectedCrash("a test wanted it to crash")


def is_hung(pid: int) -> bool:
    """Whether this process hangs by `HANG`. Raises FileNotFoundError if it is gone."""
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip() == HUNG_NAME
