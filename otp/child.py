"""A forked child from its first moment: its own session, no inherited sockets, then its work."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from otp import faults, pickling
from otp.endings import Killed, ShutDown
from otp.errors import Stop
from otp.frames import Spawn
from otp.limits import Unfit, die_with_parent, wear
from otp.messages import NORMAL, SHUTDOWN, Pid, Reason, stop_reason
from otp.notify import VARIABLE
from otp.prepared import prepared
from otp.process import Process
from otp.program import execute
from otp.serving import crash_reason, run_child
from otp.starts import find
from otp.transport import CONTROL_FRAME_BYTES_MAX, FrameSocket

# `signal.signal` puts Enums around it, which costs each child 190 KB of copied pages.
_signal: Any = importlib.import_module("_signal")
_PR_SET_CHILD_SUBREAPER = 36
OWN: dict[str, str] = {
    "mailroom": "otp.mailroom:serve",
    "logger": "otp.logger:serve",
    "metrics": "otp.metrics:serve",
}
"""By name, since these know of nodes and clients and a child should not."""
EXIT_CRASH = 1
"""The exit code of a worker that crashed; the reason went ahead over its control socket."""

_prctl = ctypes.CDLL(None).prctl


def become(
    job: Callable[[], tuple[Spawn, list[int]]],
    *,
    parent: int,
    parents_fds: Iterable[int],
    open_files: int,
) -> NoReturn:
    """Turn this fresh fork into what its job says, once it has one; never returns."""
    code = EXIT_CRASH
    try:
        # By number: a method that runs for the first time after a fork copies pages.
        for fd in parents_fds:
            os.close(fd)
        _settle_in(parent)
        spawn, fds = job()
        if spawn.captured:
            _write_to(fds, spawn)
        if spawn.role not in OWN:
            _restore_open_files(open_files)
        code = _run(spawn, fds, parent)
    except SystemExit:
        code = EXIT_CRASH
    except BaseException as error:  # the very end of this process: nothing above could see it
        crash_reason(error)
    finally:
        _flush_standard_streams()
        os._exit(code)


def _settle_in(parent: int) -> None:
    os.setsid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if not die_with_parent(parent):
        os._exit(EXIT_CRASH)  # the zygote died before PDEATHSIG was set
    for number in (signal.SIGCHLD, signal.SIGTERM):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(signal.SIGINT, signal.default_int_handler)


def _write_to(fds: list[int], spawn: Spawn) -> None:
    """Standard output and standard error go into the pipes that came last."""
    outfit = spawn.child.outfit
    for number in (2, 1):
        fd = fds.pop()
        os.dup2(fd, number)
        os.close(fd)
        if outfit is not None and outfit.user is not None:
            with contextlib.suppress(PermissionError):  # told when it fails to become that user
                os.fchown(number, outfit.user.uid, -1)  # /dev/stdout is opened anew, by its user
    if sys.stdout is not None:  # a line is to be seen when it is written
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _restore_open_files(soft: int) -> None:
    """A child gets the soft limit that its node had: programs may rely on a small one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft > 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _run(spawn: Spawn, fds: list[int], parent: int) -> int:
    control = socket.socket(fileno=fds[0])
    if spawn.role in ("program", "probe"):
        return execute(spawn, control, parent)
    gc.enable()
    woken = faults.arm()
    if spawn.role == "metrics":
        return int(find(OWN["metrics"])(control, spawn.child.payload))
    if spawn.role in OWN:
        return int(find(OWN[spawn.role])(control))
    return work(spawn, control, socket.socket(fileno=fds[1]), parent=parent, woken=woken)


def work(
    spawn: Spawn,
    control: socket.socket,
    mail: socket.socket,
    *,
    parent: int,
    woken: int | None = None,
) -> int:
    """Run a worker to its end; the reason goes to the node before the process does."""
    process = Process(
        Pid(spawn.process),
        spawn.path,
        spawn.node,
        FrameSocket(control, fds=True, frame_bytes_max=CONTROL_FRAME_BYTES_MAX),
        FrameSocket(mail),
    )
    if woken is not None:
        process.wake_by(woken)
    reason = _outcome(process, spawn, parent)
    process.flush()
    process.ended(reason, began=process.has_begun)
    return 0 if reason == NORMAL else EXIT_CRASH


def _outcome(process: Process, spawn: Spawn, parent: int) -> Reason:
    try:
        _dress(spawn, parent)
        made = prepared(spawn.child.payload)
        extra = pickling.loads(spawn.extra) if spawn.extra else {}
        return run_child(process, made.start, {**made.args, **extra}, made.decoders)
    except ShutDown:
        return SHUTDOWN
    except Unfit as error:
        return Reason("crash", str(error))
    except Killed as killed:  # by a link, in a call that `__init__` or `terminate` made
        return killed.reason
    except Stop as stop:  # in `__init__`: it does not start, for this reason
        return stop_reason(stop.reason)
    except SystemExit as error:
        return _exit_reason(error, began=process.has_begun)
    except BaseException as error:
        return crash_reason(error)


def _dress(spawn: Spawn, parent: int) -> None:
    """The environment, the limits and the folder that the child's spec names."""
    if spawn.child.env:
        os.environ.update(spawn.child.env)
    if spawn.notify:
        os.environ[VARIABLE] = spawn.notify
    if spawn.child.outfit is not None:
        wear(spawn.child.outfit, parent)
    if spawn.child.cwd:
        os.chdir(spawn.child.cwd)


def _exit_reason(error: SystemExit, *, began: bool) -> Reason:
    if began and error.code in (None, 0):
        return NORMAL
    return Reason("crash", f"SystemExit: {error.code}")


def _flush_standard_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # nobody reads it any more
