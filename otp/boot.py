"""What a node process finds when it begins: its boot record, and the signals that may stop it."""

from __future__ import annotations

import os
import signal

import msgspec

from otp.frames import Boot


def stop_signals() -> list[signal.Signals]:
    """A terminal that closes stops its node, too, except under nohup."""
    hangup = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hangup]


def read_boot(fd: int) -> Boot:
    """The boot record from the descriptor (a memory file) that it came in."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return msgspec.msgpack.decode(file.read(), type=Boot)
