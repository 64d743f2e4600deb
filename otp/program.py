"""A child that is not Python: exec, and tell the node when that failed."""

from __future__ import annotations

import os
import signal
import socket

import msgspec

from otp.frames import Ended, Spawn
from otp.limits import Unfit, wear
from otp.messages import Reason
from otp.notify import VARIABLE

EXIT_NOT_EXECUTED = 127
"""A shell's code for a command that could not be run."""


def execute(spawn: Spawn, control: socket.socket, parent: int) -> int:
    """Become the program. The control socket closes on exec, which is how the node knows.

    Returns an exit code only where the program could not be executed; the reason was sent.
    """
    child = spawn.child
    environment = {**os.environ, **child.env}
    environment.pop(VARIABLE, None)
    if spawn.captured:  # else Python keeps what it prints, since it sees no terminal
        environment.setdefault("PYTHONUNBUFFERED", "1")
    if spawn.notify:
        environment[VARIABLE] = spawn.notify
    if spawn.role == "probe":
        _be_silent()
    # What is ignored stays so in a program that does not expect it: Python ignores some signals,
    # and a shell others for what it runs in the background.
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        if child.outfit is not None:
            wear(child.outfit, parent)
        if child.cwd:
            os.chdir(child.cwd)
    except Unfit as error:
        return _failed(control, str(error))
    except OSError as error:
        return _failed(control, f"cannot change to the folder {child.cwd}: {error.strerror}")
    try:
        os.execvpe(child.command[0], list(child.command), environment)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        return _failed(control, f"cannot run {child.command[0]}: {what}")


def _be_silent() -> None:
    """A probe runs again and again: only its exit code is of interest."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _failed(control: socket.socket, text: str) -> int:
    frame = msgspec.msgpack.encode(Ended(Reason("crash", text), began=False))
    control.setblocking(True)
    control.sendall(len(frame).to_bytes(4, "big") + frame)
    return EXIT_NOT_EXECUTED
