"""How a child is watched and started again, as data: `Ready`, `Liveness`, `Backoff`.

A mapping with the same keys does as well as each of these: `ready={"tcp": "127.0.0.1:6390"}`. As
with all specs nothing is checked while they are made; `care_checks` tells what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from otp.durations import normalise

C = TypeVar("C", bound=msgspec.Struct)


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What must come true before a child counts as started, at its start and at each restart.

    Exactly one way: `notify` (the process says READY=1 by sd_notify), `tcp` ("127.0.0.1:6390" takes
    a connection), `http` (a GET of this URL is answered by 2xx or 3xx), `exec` (this command exits
    with 0; it has the child's environment, folder and user) or `call` (the worker answers this
    request, a class "module:Request" or an instance). It is tried again, at first quickly, then
    each `interval`; after `timeout` the child is killed and its start has failed.

    `tcp` and `http` cannot know who answers: if another process holds the port already, the child
    counts as ready while it may be about to end since it could not have the port.
    """

    notify: bool = False
    tcp: str | None = None
    http: str | None = None
    exec: Sequence[str] | None = None
    call: Any = None
    timeout: float | str = 30.0
    interval: float | str = 0.2

    def __post_init__(self) -> None:
        normalise(self, durations=("timeout", "interval"), sequences=("exec",))


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """What must stay true of a child that has started; the ways are those of `Ready`.

    It is asked each `interval`, and each time given `timeout` to answer. After `failures` times in
    a row without success the child is killed, and restarted by its supervisor's strategy.
    """

    tcp: str | None = None
    http: str | None = None
    exec: Sequence[str] | None = None
    call: Any = None
    interval: float | str = 10.0
    timeout: float | str = 5.0
    failures: int = 3

    def __post_init__(self) -> None:
        normalise(self, durations=("timeout", "interval"), sequences=("exec",))


WAYS = ("notify", "tcp", "http", "exec", "call")
"""The fields of Ready and Liveness of which exactly one is given."""


def ways(spec: Ready | Liveness) -> list[str]:
    """The ways that are given."""
    return [way for way in WAYS if getattr(spec, way, None) not in (None, False)]


def made(kind: type[C], value: Any) -> Any:
    """A mapping as the struct that it stands for; with a key too many it is left for `check`."""
    if isinstance(value, Mapping) and value.keys() <= set(kind.__struct_fields__):
        return kind(**value)
    return value
