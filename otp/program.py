"""A child that is not Python: exec, and tell the node when that failed."""

from __future__ import annotations

import os
import socket

import msgspec

from otp.frames import Ended, Spawn
from otp.messages import Reason

EXIT_NOT_EXECUTED = 127
"""A shell's code for a command that could not be run."""


def execute(spawn: Spawn, control: socket.socket) -> int:
    """Become the program. The control socket closes on exec, which is how the node knows.

    Returns an exit code only where the program could not be executed; the reason was sent.
    """
    child = spawn.child
    environment = {**os.environ, **child.env}
    environment.pop("NOTIFY_SOCKET", None)
    if spawn.notify:
        environment["NOTIFY_SOCKET"] = spawn.notify
    try:
        if child.cwd:
            os.chdir(child.cwd)
        os.execvpe(child.command[0], list(child.command), environment)
    except OSError as error:
        what = error.filename or child.command[0]
        reason = Reason("crash", f"cannot run {what}: {error.strerror}")
        frame = msgspec.msgpack.encode(Ended(reason, began=False))
        control.setblocking(True)
        control.sendall(len(frame).to_bytes(4, "big") + frame)
        return EXIT_NOT_EXECUTED
