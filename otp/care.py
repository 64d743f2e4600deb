"""How a child is watched and started again, as data: `Ready`, `Liveness`, `Backoff`.

A mapping with the same keys does as well as each of these: `ready={"tcp": "127.0.0.1:6390"}`. As
with all specs nothing is checked while they are made; `care_checks` tells what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from otp.durations import normalise, seconds

C = TypeVar("C", bound=msgspec.Struct)

GIVE_UP_WAIT = "wait "
"""`give_up: "wait 30s"`."""


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What must come true before a child counts as started, at its start and at each restart.

    Exactly one way: `notify` (the process says READY=1 by sd_notify), `tcp` ("127.0.0.1:6390" takes
    a connection), `http` (a GET of this URL is answered by 2xx or 3xx), `exec` (this command exits
    with 0; it has the child's environment, folder and user) or `call` (the worker answers this
    request, a class "module:Request" or an instance), or `log` (a line that the child writes
    matches this regular expression, as `re.search` does). It is tried again, at first quickly, then
    each `interval`; after `timeout` the child is killed and its start has failed.

    `tcp` and `http` cannot know who answers: if another process holds the port already, the child
    counts as ready while it may be about to end since it could not have the port.
    """

    notify: bool = False
    log: str | None = None
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


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Pauses between the restarts of a child, beside the restart intensity, which goes on counting.

    The first restart is at once, the second after `initial`, each further one after `factor` times
    the pause before it, at most `max`; each is made shorter at random by up to `jitter` (a part of
    it, from 0 to 1). A child that was up for `stable_after` begins again at the first. Meanwhile it
    is `restarting`: its supervisor serves requests, and terminate_child ends the waiting. Those
    that the strategy stops with it are stopped at once and started after the pause.
    """

    initial: float | str = 0.5
    factor: float = 2.0
    max: float | str = 30.0
    jitter: float = 0.2
    stable_after: float | str = 60.0

    def __post_init__(self) -> None:
        normalise(self, durations=("initial", "max", "stable_after", "factor", "jitter"))


WAYS = ("notify", "tcp", "http", "exec", "call", "log")
"""The fields of Ready and Liveness of which exactly one is given."""


def ways(spec: Ready | Liveness) -> list[str]:
    """The ways that are given."""
    return [way for way in WAYS if getattr(spec, way, None) not in (None, False)]


def made(kind: type[C], value: Any) -> Any:
    """A mapping as the struct that it stands for; with a key too many it is left for `check`."""
    if isinstance(value, Mapping) and value.keys() <= set(kind.__struct_fields__):
        return kind(**value)
    return value


def wait_of(give_up: Any) -> float | None:
    """The seconds of `give_up: "wait 30s"`; 0 of `exit`, None of anything else."""
    if give_up == "exit":
        return 0.0
    if not isinstance(give_up, str) or not give_up.startswith(GIVE_UP_WAIT):
        return None
    try:
        return seconds(give_up.removeprefix(GIVE_UP_WAIT).strip()) or None
    except ValueError:
        return None
