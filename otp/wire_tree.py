"""A tree as a node holds it: children, what they wear, how they are watched and restarted."""

from __future__ import annotations

from typing import Literal

import msgspec


class Identity(msgspec.Struct, frozen=True):
    """A user by ids; `name` and `home` are empty for a number that is in no user database."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    name: str = ""
    home: str = ""


class Outfit(msgspec.Struct, frozen=True):
    """What a child puts on before its own code runs; rlimits below 0 mean no limit."""

    user: Identity | None = None
    umask: int | None = None
    nice: int | None = None
    rlimits: dict[str, int] = {}
    stdin: str = ""


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


class WireBackoff(msgspec.Struct, frozen=True):
    """A `Backoff` spec in seconds."""

    initial: float
    factor: float
    max: float
    jitter: float
    stable_after: float


class WireChild(msgspec.Struct, frozen=True, tag="child"):
    """A worker's, function's or program's spec; `payload` is opaque to the node."""

    id: str
    kind: Literal["server", "function", "program", "mailroom", "logger", "metrics", "probe"] = (
        "server"
    )
    payload: bytes = b""
    module: str = ""
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str = ""
    restart: str = "permanent"
    shutdown: float | str = 5.0
    significant: bool = False
    name: str = ""
    stop_signal: int = 15
    outfit: Outfit | None = None
    memory_max: int = 0
    care: WireCare | None = None
    backoff: WireBackoff | None = None
    essential: bool = False
    replicas: int = 0
    takes_replica: bool = False
    extra: bytes = b""


class WireSupervisor(msgspec.Struct, frozen=True, tag="supervisor"):
    """A supervisor's spec as the node holds it.

    `give_up`: 0 ends it when it had too many restarts, else so many seconds are waited then.
    `parallel`: its children start and stop at the same time.
    """

    id: str
    children: tuple[WireChild | WireSupervisor, ...] = ()
    strategy: str = "one_for_one"
    max_restarts: int = 1
    max_seconds: float = 5.0
    auto_shutdown: str = "never"
    restart: str = "permanent"
    shutdown: float | str = "infinity"
    significant: bool = False
    name: str = ""
    backoff: WireBackoff | None = None
    give_up: float = 0.0
    essential: bool = False
    parallel: bool = False
