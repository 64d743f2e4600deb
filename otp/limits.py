"""What a child wears besides its environment: limits, user, umask, niceness, standard input.

Put on in the fresh child, before its own code. What needs the rights of root comes first, then
the user; the folder and the standard input are looked for with that user's rights.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import stat

from otp.wire_tree import Identity, Outfit

RLIMITS = {
    "as": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "memlock": resource.RLIMIT_MEMLOCK,
    "msgqueue": resource.RLIMIT_MSGQUEUE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "rtprio": resource.RLIMIT_RTPRIO,
    "rttime": resource.RLIMIT_RTTIME,
    "sigpending": resource.RLIMIT_SIGPENDING,
    "stack": resource.RLIMIT_STACK,
}
"""The keys of `rlimits:`, in the words of getrlimit(2): sizes in bytes, `cpu` in seconds."""
CPU_GRACE_SECONDS = 5
"""Between SIGXCPU, which says why, and SIGKILL, which does not."""

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl
_SIGKILL = int(signal.SIGKILL)


class Unfit(Exception):
    """The child cannot be dressed as its spec says; the text says in what, and why."""


def die_with_parent(parent: int) -> bool:
    """From now on the end of the zygote is ours, too; False if it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    return os.getppid() == parent


def wear(outfit: Outfit, parent: int) -> None:
    """Put it on. Raises Unfit."""
    for name, value in outfit.rlimits.items():
        _limit(name, value)
    if outfit.nice is not None:
        _nice(outfit.nice)
    if outfit.umask is not None:
        os.umask(outfit.umask)
    if outfit.user is not None:
        _become_user(outfit.user)
        if not die_with_parent(parent):  # a change of user takes the promise back
            raise Unfit("the zygote has ended")
    if outfit.stdin:
        _read_from(outfit.stdin)


def _limit(name: str, value: int) -> None:
    kind = RLIMITS[name]
    soft = resource.RLIM_INFINITY if value < 0 else value
    hard = soft + CPU_GRACE_SECONDS if name == "cpu" and value >= 0 else soft
    try:
        resource.setrlimit(kind, (soft, hard))
    except (OSError, ValueError, OverflowError):
        most = resource.getrlimit(kind)[1]
        shown = "infinity" if value < 0 else value
        why = f"the hard limit here is {most}, which only root may raise"
        raise Unfit(f"cannot set rlimits.{name} to {shown}: {why}") from None


def _nice(value: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, value)
    except OSError as error:
        why = f"{error.strerror}; only root may go below what the node has"
        raise Unfit(f"cannot set nice to {value}: {why}") from None


def _become_user(user: Identity) -> None:
    if (user.uid, user.gid) == (os.geteuid(), os.getegid()) != (0, 0):
        return  # it is who we are; nobody but root could set the groups
    name = user.name or str(user.uid)
    try:
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        why = f"{error.strerror}; the node must run as root for that"
        raise Unfit(f"cannot become the user {name}: {why}") from None


def _read_from(path: str) -> None:
    """Make it the standard input. Opening never waits: a pipe without writers is empty."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise Unfit(f"cannot read stdin from {path}: {error.strerror}") from None
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise Unfit(f"cannot read stdin from {path}: it is a folder")
    os.set_blocking(descriptor, True)
    os.dup2(descriptor, 0)
    os.close(descriptor)
