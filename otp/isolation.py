"""`isolation: pidns`: the zygote is the first process of a PID namespace of its own.

When the first process of a namespace dies, the kernel kills all others in it. So even where node
and zygote are killed at the same moment, and nobody is left who could clean up, nothing survives:

    node -> keeper (`python -m otp.isolation FD`) -> zygote, pid 1 of the namespace -> the rest

The keeper only makes the namespace and waits; it dies with its node, and the zygote with the keeper
(PR_SET_PDEATHSIG). It takes root, or else a user namespace, in which the user stays who they are.
Inside, /proc is the namespace's own: processes see each other and nobody else, under pids of their
own. What the node reports are the pids outside.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

VARIABLE: Final = "OTP_ZYGOTE_PROC"
"""Tells a zygote which descriptor leads to the /proc outside."""
TEXT_BYTES_MAX: Final = 1_000
"""How much is read of what a trial says."""

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x0002_0000, 0x1000_0000, 0x2000_0000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_SLAVE = 2, 4, 8, 0x4000, 0x8_0000
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def problem() -> str:
    """Why processes cannot be isolated here, or nothing. Forks: for programs without threads."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _try(lambda text: os.write(write, text.encode()[:TEXT_BYTES_MAX]))
    os.close(write)
    with os.fdopen(read, "rb") as file:
        text = file.read(TEXT_BYTES_MAX).decode(errors="replace")
    os.waitpid(pid, 0)
    if not text:
        return ""
    return (
        f"isolation: pidns is not permitted here ({text}); start the node as root, allow user "
        "namespaces (sysctl user.max_user_namespaces, the container's seccomp profile), or do "
        "without isolation"
    )


def command(fd: int) -> list[str]:
    """What a node executes in the place of a zygote."""
    return [sys.executable, "-P", "-m", "otp.isolation", str(fd)]


class OuterPids:
    """What the processes of this namespace are called outside: by the node, and by who looks."""

    def __init__(self) -> None:
        self._proc = int(os.environ.pop(VARIABLE, "-1"))
        if self.isolated:
            os.set_inheritable(self._proc, False)

    @property
    def isolated(self) -> bool:
        """We are in a namespace of our own."""
        return self._proc >= 0

    def of(self, pid: int) -> int:
        """The pid outside of a child that has not been reaped."""
        if not self.isolated:
            return pid
        pidfd = os.pidfd_open(pid)
        try:
            return self._read(pidfd)
        finally:
            os.close(pidfd)

    def _read(self, pidfd: int) -> int:
        # A /proc speaks of processes in the pids of the namespace that it was mounted in.
        fd = os.open(f"self/fdinfo/{pidfd}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        with os.fdopen(fd) as file:
            return next(int(line[4:]) for line in file if line.startswith("Pid:"))

    def hand_on(self) -> None:
        """For the program that this process is about to become."""
        if self.isolated:
            os.environ[VARIABLE] = str(self._proc)
            os.set_inheritable(self._proc, True)

    def fds(self) -> list[int]:
        """What a child must close: the world outside is none of its business."""
        return [self._proc] if self.isolated else []


# ---------------------------------------------------------------- making a namespace


def _enter() -> None:
    """From now on, children of this process are in a new PID namespace. Raises OSError."""
    uid, gid = os.getuid(), os.getgid()
    flags = _CLONE_NEWPID | _CLONE_NEWNS
    with contextlib.suppress(PermissionError):
        _checked("unshare", _libc.unshare(flags))
        return
    _checked("unshare", _libc.unshare(flags | _CLONE_NEWUSER))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _settle() -> None:
    """In the first process of the namespace: its own /proc, and no life after its keeper's."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # What is mounted outside later shows up here, but what is mounted here stays here.
    _checked("mount /", _libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None))
    safe = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _checked("mount /proc", _libc.mount(b"proc", b"/proc", b"proc", safe, None))


def _checked(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _try(tell: Callable[[str], object]) -> NoReturn:
    """Make a namespace that nobody will live in, and tell what went wrong, if anything did."""
    try:
        _enter()
        pid = os.fork()
        if pid == 0:
            _settle()
        else:
            os.waitpid(pid, 0)
    except OSError as error:
        tell(str(error.strerror))
    finally:
        os._exit(0)


# ---------------------------------------------------------------- the keeper


def main() -> None:
    """`python -m otp.isolation FD`: started by a node, never by hand."""
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit("otp.isolation is started by a node; see `isolation` of its options")
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    _enter()
    pid = os.fork()
    if pid == 0:
        _settle()
        os.set_inheritable(proc, True)
        os.environ[VARIABLE] = str(proc)
        zygote = [sys.executable, "-P", "-m", "otp.zygote", sys.argv[1]]
        os.execv(zygote[0], zygote)
    _keep(pid)


def _keep(pid: int) -> NoReturn:
    """Nothing is left to do but to be there as long as the zygote is."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the zygote's connection, above all
    _, status = os.waitpid(pid, 0)
    os._exit(abs(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    main()
