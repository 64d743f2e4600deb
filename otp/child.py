"""A forked child from its first moment: its own session, no inherited sockets, then its work."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from otp import pickling
from otp.frames import Spawn
from otp.gen_server import crash_reason, run_child
from otp.messages import NORMAL, Pid, Reason
from otp.process import Process
from otp.program import execute
from otp.starts import find
from otp.transport import FrameSocket

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
MAILROOM = "otp.mailroom:serve"
"""By name, since a mailroom knows of nodes and clients and a child should not."""
EXIT_CRASH = 1
"""The exit code of a worker that crashed; the reason went ahead over its control socket."""

_libc = ctypes.CDLL(None, use_errno=True)


def become(spawn: Spawn, fds: list[int], *, parent: int) -> NoReturn:
    """Turn this fresh fork into what was asked for; never returns."""
    code = EXIT_CRASH
    try:
        _settle_in(parent)
        code = _run(spawn, fds)
    except BaseException as error:  # the very end of this process: nothing above could see it
        crash_reason(error)
    finally:
        _flush_standard_streams()
        os._exit(code)


def _settle_in(parent: int) -> None:
    os.setsid()
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_CRASH)  # the zygote died before PDEATHSIG was set
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(spawn: Spawn, fds: list[int]) -> int:
    control = socket.socket(fileno=fds[0])
    if spawn.role == "program":
        return execute(spawn, control)
    gc.enable()
    if spawn.role == "mailroom":
        return int(find(MAILROOM)(control))
    process = Process(
        Pid(spawn.process),
        spawn.path,
        spawn.node,
        FrameSocket(control, fds=True),
        FrameSocket(socket.socket(fileno=fds[1])),
    )
    return _work(process, spawn)


def _work(process: Process, spawn: Spawn) -> int:
    """Run a worker to its end; the reason goes to the node before the process does."""
    began = False
    try:
        start, args, types = pickling.loads(spawn.child.payload)
        if spawn.extra:
            args = {**args, **pickling.loads(spawn.extra)}
        start = find(start) if isinstance(start, str) else start
        reason = run_child(process, start, args, types)
        began = True
    except SystemExit as error:
        began, reason = True, _exit_reason(error)
    except BaseException as error:
        began, reason = process.has_begun, crash_reason(error)
    process.ended(reason, began=began)
    return 0 if reason == NORMAL else EXIT_CRASH


def _exit_reason(error: SystemExit) -> Reason:
    return NORMAL if error.code in (None, 0) else Reason("crash", f"SystemExit: {error.code}")


def _flush_standard_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # nobody reads it any more
