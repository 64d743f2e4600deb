"""Parts of a child's spec as a node holds it: how it is watched."""

from __future__ import annotations

import msgspec


class WireProbe(msgspec.Struct, frozen=True):
    """A `Ready` or `Liveness` spec; `request` is an encoded one, for a worker to answer."""

    how: str
    target: str = ""
    command: tuple[str, ...] = ()
    request: bytes = b""
    codec: int = 0
    timeout: float = 30.0
    interval: float = 0.2
    failures: int = 1


class WireCare(msgspec.Struct, frozen=True):
    """How a node watches one child; 0 seconds: not at all."""

    ready: WireProbe | None = None
    liveness: WireProbe | None = None
    heartbeat: float = 0.0
    start_timeout: float = 0.0
