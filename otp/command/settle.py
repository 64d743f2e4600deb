"""Waiting until what was started has also stayed up for a moment: `--wait`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from otp.errors import OtpError
from otp.handle import Control
from otp.messages import NodeInfo, ProcessInfo, Subscribe

SETTLED_SECONDS = 1.0
"""Who has run so long at a stretch is up (supervisord's default of startsecs)."""
LOOK_SECONDS_MAX = 1.0
"""The longest pause between two looks, should no report tell of a change."""
SHOWN_MAX = 5
"""So many of those that are not up are named."""


def settle(control: Control, path: str, seconds: float) -> None:
    """Return when all processes below `path` have run for SETTLED_SECONDS; "" is the whole node.

    Those that were stopped, or have ended as they should, are not waited for. Raises OtpError
    after `seconds`, which names those that are not up; EOFError or Disconnected if the node ends.
    """
    control.ask(Subscribe())
    deadline = time.monotonic() + seconds
    while True:
        due = pending(control.ask(NodeInfo()), path, time.time())
        if not due:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            names = ", ".join(list(due)[:SHOWN_MAX])
            raise OtpError(f"not up after {seconds:g} s: {names}; `otp ps` says more")
        control.report(time.monotonic() + min(left, LOOK_SECONDS_MAX, *due.values()))


def pending(rows: Sequence[ProcessInfo], path: str, now: float) -> dict[str, float]:
    """Who below `path` is not up yet, and in how many seconds it may be."""
    found = {}
    for row in rows:
        below = not path or row.path == path or row.path.startswith(f"{path}/")
        if not below or row.type == "supervisor" or row.state == "undefined":
            continue
        left = SETTLED_SECONDS
        if row.state == "running":
            left -= now - row.started
        if left > 0:
            found[row.path] = left
    return found
