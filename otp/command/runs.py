"""The nodes of this user that run on this machine, by their run directories.

Each run directory under `host.runs_home()` is named NAME.PID.RANDOM and holds the node's sockets.
What a killed node left behind is recognised (nobody listens, nobody has its pid) and removed.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable

import msgspec

from otp.client import socket_in
from otp.errors import OtpError
from otp.host import runs_home
from otp.words import did_you_mean

PROBE_SECONDS_MAX = 2.0
"""How long one node may take to accept a connection; the kernel does that for it."""


class Run(msgspec.Struct, frozen=True, order=True):
    """A node that accepts control connections, and where."""

    name: str
    run_dir: str


def running() -> list[Run]:
    """The nodes that run, by name. What dead ones left behind is removed on the way."""
    found = []
    with os.scandir(runs_home()) as entries:
        for entry in entries:
            parts = entry.name.rsplit(".", 2)
            if len(parts) != 3 or not entry.is_dir(follow_symlinks=False):
                continue
            if listens(entry.path):
                found.append(Run(parts[0], entry.path))
            elif not _is_alive(parts[1]):
                shutil.rmtree(entry.path, ignore_errors=True)
    return sorted(found)


def choose(name: str | None) -> Run:
    """The only node that runs, or the only one of that name. Raises OtpError that lists them."""
    runs = running()
    if not runs:
        raise OtpError("no node is running; start one with `otp run FILE`")
    named = [run for run in runs if name in (None, run.name)]
    if not named:
        guess = did_you_mean(name or "", (run.name for run in runs))
        raise OtpError(f"no node {name!r} is running{guess}; these are: {_names(runs)}")
    if len(named) == 1:
        return named[0]
    if name is None and len({run.name for run in runs}) == len(runs):
        raise OtpError(f"{len(runs)} nodes are running, choose one with --name: {_names(runs)}")
    places = ", ".join(run.run_dir for run in named)
    which = f"{len(named)} nodes{f' named {name!r}' if name else ''} are running"
    raise OtpError(f"{which}, choose one with --run-dir: {places}")


def refuse_twice(name: str) -> None:
    """Raises OtpError if a node of this name runs: commands could not tell the two apart."""
    for run in running():
        if run.name == name:
            raise OtpError(
                f"a node named {name!r} runs already ({run.run_dir}): stop it, or give this one "
                "another --name"
            )


def listens(run_dir: str) -> bool:
    """Whether a node accepts control connections there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PROBE_SECONDS_MAX)
        try:
            sock.connect(socket_in(run_dir, "control.sock"))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # somebody is there, too busy to answer: not ours to judge or remove
    return True


def _is_alive(pid: str) -> bool:
    return pid.isdigit() and os.path.exists(f"/proc/{pid}")


def _names(runs: Iterable[Run]) -> str:
    return ", ".join(dict.fromkeys(run.name for run in runs))
