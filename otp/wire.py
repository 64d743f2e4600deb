"""From specs, as a person writes them, to the tree that a node holds.

Done in the host (or the command), never in the node: classes are looked at and pickled here, so
that the node runs no user code.
"""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable
from typing import Any

from otp import codec, envfile, pickling, sizes, users, wire_care
from otp.by_value import by_value
from otp.care import wait_of
from otp.checks import check
from otp.errors import StartError
from otp.gen_server import GenServer
from otp.logs_wire import Logs
from otp.messages import StartChild, WireChild, WireSupervisor
from otp.spec import ChildSpec, LogOptions, Supervisor, TopologySpec
from otp.starts import find, takes
from otp.wire_tree import Identity, Outfit


def tree(spec: Supervisor) -> WireSupervisor:
    """A checked tree as the node gets it."""
    return WireSupervisor(
        id=spec.id,
        children=tuple(child(c) for c in spec.children),
        strategy=spec.strategy,
        max_restarts=spec.max_restarts,
        max_seconds=float(spec.max_seconds),
        auto_shutdown=spec.auto_shutdown,
        restart=spec.restart,
        shutdown=spec.shutdown,
        significant=spec.significant,
        name=spec.name or "",
        backoff=wire_care.backoff(spec.backoff),
        give_up=wait_of(spec.give_up) or 0.0,
        essential=spec.essential,
    )


def child(spec: ChildSpec | Supervisor) -> WireChild | WireSupervisor:
    """One child as the node gets it."""
    if isinstance(spec, Supervisor):
        return tree(spec)
    if spec.command is not None:
        return _wire_child(spec, kind="program", command=tuple(spec.command))
    assert spec.start is not None, "a checked spec has a start or a command"
    start = find(spec.start) if isinstance(spec.start, str) else spec.start
    server = isinstance(start, type) and issubclass(start, GenServer)
    return _wire_child(
        spec,
        kind="server" if server else "function",
        payload=_payload_of(spec),
        takes_replica=_takes_replica(spec, start),
        module=_module(spec.start),
    )


def start_child(spec: ChildSpec | Supervisor) -> StartChild:
    """The request to a supervisor to add this child: `self.call("pool", otp.start_child(spec))`.

    Raises SpecError for a spec that cannot be right.
    """
    check(Supervisor("_", children=[spec]))
    return StartChild(child(spec))


def _wire_child(spec: ChildSpec, **kind: Any) -> WireChild:
    user = _user(spec)
    return WireChild(
        id=spec.id,
        env={**_env_of(user), **_env_file(spec), **spec.env},
        cwd=spec.cwd or "",
        restart=spec.restart,
        shutdown=spec.shutdown,
        significant=spec.significant,
        name=spec.name or "",
        stop_signal=signal.Signals[spec.stop_signal].value,
        outfit=_outfit(spec, user),
        memory_max=int(spec.memory_max or 0),
        care=wire_care.care(spec),
        backoff=wire_care.backoff(spec.backoff),
        essential=spec.essential,
        replicas=spec.replicas or 0,
        **kind,
    )


def _outfit(spec: ChildSpec, user: Identity | None) -> Outfit | None:
    """None for a child that wants nothing of it: then nothing of it costs anything."""
    outfit = Outfit(
        user,
        None if spec.umask is None else int(spec.umask, 8),
        spec.nice,
        {name: _rlimit(value) for name, value in spec.rlimits.items()},
        os.path.abspath(spec.stdin) if spec.stdin else "",
    )
    return None if outfit == Outfit() else outfit


def _rlimit(value: int | str) -> int:
    if isinstance(value, int):
        return value
    return -1 if value == sizes.INFINITY else sizes.in_bytes(value)


def _user(spec: ChildSpec) -> Identity | None:
    try:
        return users.find(spec.user) if spec.user else None
    except LookupError as error:
        raise StartError(who=spec.id, reason=str(error)) from None


def _env_of(user: Identity | None) -> dict[str, str]:
    """What a login would set, and programs look for."""
    if user is None or not user.name:
        return {}
    return {"USER": user.name, "LOGNAME": user.name, "HOME": user.home}


def _env_file(spec: ChildSpec) -> dict[str, str]:
    try:
        return envfile.read(spec.env_file) if spec.env_file else {}
    except envfile.EnvFileError as error:
        raise StartError(who=spec.id, reason=str(error)) from None


def _takes_replica(spec: ChildSpec, start: Callable[..., Any]) -> bool:
    return bool(spec.replicas) and "replica" not in spec.args and takes(start, "replica")


def _payload_of(spec: ChildSpec) -> bytes:
    assert spec.start is not None
    try:
        return payload(spec.start, spec.args)
    except Exception as error:  # pickling runs code of whatever lies in `args`
        raise StartError(who=spec.id, reason=f"it cannot be sent to a process: {error}") from error


def payload(start: type | Callable[..., Any] | str, args: dict[str, Any]) -> bytes:
    """What a worker unpickles: (start, args, what its handlers accept or None).

    Annotations of a class that travels by value are resolved here, where its names mean something.
    """
    types = None
    if inspect.isclass(start) and issubclass(start, GenServer) and by_value(start):
        types = codec.handler_types(start)
    return pickling.dumps((start, args, types))


def logs(options: LogOptions | None) -> Logs | None:
    """What a node does with what its children write; None: nothing, they inherit its streams."""
    if options is None:
        return None
    folder = os.path.abspath(options.dir) if options.dir else ""
    return Logs(options.output, folder, int(options.max_bytes), options.files)


def topology(spec: TopologySpec) -> bytes:
    """What a mailroom unpickles to make a topology."""
    return pickling.dumps((spec.start, spec.args))


def _module(start: type | Callable[..., Any] | str) -> str:
    """What a zygote should import before forking: its module, or else what it travels by."""
    if isinstance(start, str):
        return start.partition(":")[0]
    module = getattr(start, "__module__", "")
    return pickling.CLOUD if module == "__main__" else module
