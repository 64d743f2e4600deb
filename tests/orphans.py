"""Which processes has this test session started, and which of them are still there?

A child inherits the environment, so a mark in it finds whatever descends from the session, also
what left its process group or lost its parent. Children that cleared their environment are found
by ancestry, as long as they are not double-forked.
"""

from __future__ import annotations

import os
import uuid

import psutil

MARK = "OTP_TEST_SESSION"
# How long processes that are about to end may take; a node stops its tree in less.
GONE_SECONDS_MAX = 10.0


def mark_session() -> str:
    """Mark this process's environment, and so all children from now on; the mark is the result.

    A session inside a session keeps the outer mark too: both find what the inner one leaves.
    """
    mark = uuid.uuid4().hex
    os.environ[MARK] = f"{os.environ.get(MARK, '')}/{mark}"
    return mark


def marked(mark: str) -> list[psutil.Process]:
    """The processes that carry this mark and run: what was started under it, wherever it is."""
    found = [process for process in psutil.process_iter() if _has(process, mark)]
    return [process for process in found if _is_running(process)]


def survivors(mark: str, seconds: float | None = None) -> list[psutil.Process]:
    """The marked processes and descendants of ours that still run after at most `seconds`."""
    timeout = GONE_SECONDS_MAX if seconds is None else seconds
    _, alive = psutil.wait_procs(_running(mark), timeout=timeout)
    return [process for process in alive if _is_running(process)]


def describe(process: psutil.Process) -> str:
    """Pid, parent, age and command line, or what can still be had of them."""
    try:
        with process.oneshot():
            words = " ".join(process.cmdline()) or process.name()
            return f"pid {process.pid}, parent {process.ppid()}, {process.status()}: {words}"
    except psutil.Error as error:
        return f"pid {process.pid}: {error}"


def _running(mark: str) -> list[psutil.Process]:
    me = psutil.Process()
    found = {*me.children(recursive=True), *filter(lambda p: _has(p, mark), psutil.process_iter())}
    return [process for process in found - {me} if _is_running(process)]


def _has(process: psutil.Process, mark: str) -> bool:
    try:
        return mark in process.environ().get(MARK, "")
    except psutil.Error:  # gone meanwhile, a zombie, or somebody else's
        return False


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
