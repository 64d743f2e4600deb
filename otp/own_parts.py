"""What a node runs besides its tree: its mailroom, its logger, and what shows its metrics.

They live under a hidden supervisor beside the root, with a budget of its own. Without a mailroom a
node is no node. Without metrics it is as good as ever: they have a supervisor that may give up.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

import msgspec

from otp.exporting import Exporting
from otp.messages import WireChild, WireSupervisor
from otp.running import Running
from otp.wire_tree import WireCare

MAILROOM_RESTARTS_MAX, MAILROOM_RESTARTS_SECONDS = 20, 10.0
"""The budget of the node's own parts, apart from the user's tree."""
MAILROOM_SHUTDOWN_SECONDS = 1.0
"""A mailroom that ends has something to deliver: that a server is down, to those who called it."""
LOGGER_SHUTDOWN_SECONDS = 3.0
"""A logger ends last, and has the time to write what it has read."""
METRICS_RESTARTS_MAX, METRICS_RESTARTS_SECONDS = 5, 60.0
"""When a node goes on without metrics: somebody took their port while they were restarted, say."""


def own_parts(heartbeat: float, metrics: Exporting | None, *, logger: bool) -> WireSupervisor:
    """The supervisor of them; `metrics` is what the exporter is told, if there is one.

    There is a `logger` only where what children write is captured.
    """
    care = WireCare(heartbeat=heartbeat)
    mailroom = WireChild("mailroom", kind="mailroom", care=care, shutdown=MAILROOM_SHUTDOWN_SECONDS)
    children: list[WireChild | WireSupervisor] = [mailroom]
    if logger:
        first = WireChild("logger", kind="logger", care=care, shutdown=LOGGER_SHUTDOWN_SECONDS)
        children.insert(0, first)
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


def preload(parts: WireSupervisor, tree: WireSupervisor, more: tuple[str, ...]) -> tuple[str, ...]:
    """The modules that a zygote imports before its first fork, each once."""
    own = (f"otp.{part.id}" for part in parts.children)
    modules = dict.fromkeys(("otp.gen_server", *own, *more, *_modules(tree)))
    return tuple(name for name in modules if name)


def _modules(tree: WireSupervisor) -> list[str]:
    found: list[str] = []
    for child in tree.children:
        found += [child.module] if isinstance(child, WireChild) else _modules(child)
    return found


def is_own(spec: WireSupervisor, parts: WireSupervisor) -> bool:
    """Whether this supervisor is one of them: nobody but the node may talk to it."""
    return spec is parts or any(spec is child for child in parts.children)


def outlives(running: Running) -> bool:
    """Whether it serves the tree to its end: it starts, and starts again, while the tree stops."""
    return running.child.kind in ("mailroom", "logger", "metrics")


def unawaited(running: Iterable[Running], *, leaving: bool) -> list[Running]:
    """Who is still starting in a node that stops; of its own parts only where they end, too."""
    starting = [one for one in running if not one.began and not one.told]
    return [one for one in starting if leaving or not outlives(one)]


def leave_nothing(metrics: Exporting | None) -> None:
    """Remove what would be taken for news of a node that has ended."""
    if metrics is not None and metrics.textfile:
        with contextlib.suppress(OSError):  # it is not there, or not ours any more
            os.unlink(metrics.textfile)
