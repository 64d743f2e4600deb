"""What a node runs besides the tree that it was given: its mailroom, and what shows its metrics.

They live under a hidden supervisor beside the root, with a budget of its own. Without a mailroom a
node is no node. Without metrics it is as good as ever: they have a supervisor that may give up.
"""

from __future__ import annotations

import contextlib
import os

import msgspec

from otp.frames import Exporting
from otp.messages import WireChild, WireSupervisor
from otp.wire_parts import WireCare

MAILROOM_RESTARTS_MAX, MAILROOM_RESTARTS_SECONDS = 20, 10.0
"""The budget of the node's own parts, apart from the user's tree."""
METRICS_RESTARTS_MAX, METRICS_RESTARTS_SECONDS = 5, 60.0
"""When a node goes on without metrics: somebody took their port while they were restarted, say."""


def own_parts(heartbeat: float, metrics: Exporting | None) -> WireSupervisor:
    """The supervisor of them; `metrics` is what the exporter is told, if there is one."""
    mailroom = WireChild("mailroom", kind="mailroom", care=WireCare(heartbeat=heartbeat))
    children: list[WireChild | WireSupervisor] = [mailroom]
    if metrics is not None:
        exporter = WireChild("exporter", kind="metrics", payload=msgspec.msgpack.encode(metrics))
        children.append(
            WireSupervisor(
                "metrics",
                (exporter,),
                max_restarts=METRICS_RESTARTS_MAX,
                max_seconds=METRICS_RESTARTS_SECONDS,
                restart="temporary",
            )
        )
    return WireSupervisor(
        "otp",
        tuple(children),
        max_restarts=MAILROOM_RESTARTS_MAX,
        max_seconds=MAILROOM_RESTARTS_SECONDS,
    )


def is_own(spec: WireSupervisor, parts: WireSupervisor) -> bool:
    """Whether this supervisor is one of them: nobody but the node may talk to it."""
    return spec is parts or any(spec is child for child in parts.children)


def leave_nothing(metrics: Exporting | None) -> None:
    """Remove what would be taken for news of a node that has ended."""
    if metrics is not None and metrics.textfile:
        with contextlib.suppress(OSError):  # it is not there, or not ours any more
            os.unlink(metrics.textfile)
