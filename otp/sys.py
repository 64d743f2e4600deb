"""What may be asked of a live server, whatever it serves: OTP's `sys`, as requests.

    node.get_state("counter")                      # {"count": 15}
    node.call("counter", otp.sys.Suspend())        # its messages wait; it still answers these
    node.call("counter", otp.sys.Statistics())
    node.call("counter", otp.sys.Resume())

The loop of a server answers them itself, between two handlers and in the order of arrival; while it
is suspended, nothing else is handled. They cross nodes like any request. A worker that is busy in
a handler answers when that is done: the call's timeout says how long one waits.
"""

from __future__ import annotations

from typing import Any

import msgspec

from otp.messages import Message, Request

TRACED_MAX = 1_000
"""Messages after which a trace ends by itself: a trace that was forgotten does no harm."""


class Snapshot(msgspec.Struct, frozen=True):
    """What a server has done since it started; `busy_seconds` of `up_seconds` went by in handlers,
    of which `cpu_seconds` on a processor. `memory` is what it has for itself, in bytes."""

    path: str
    since: float
    up_seconds: float
    busy_seconds: float
    cpu_seconds: float
    messages_in: int
    messages_out: int
    waiting: int
    waiting_bytes: int
    timers: int
    memory: int
    suspended: bool
    traced: bool


class GetState(Request[object], frozen=True, tag="otp.sys.GetState"):
    """What the server's `inspect_state` gives, in plain types; what has none, as its repr."""


class ReplaceState(Request[None], frozen=True, tag="otp.sys.ReplaceState"):
    """Give `state` to the server's `replace_state`: by default, attributes by name."""

    state: Any


class Suspend(Request[None], frozen=True, tag="otp.sys.Suspend"):
    """Handle no messages and no timers until `Resume`; asked again, nothing happens."""


class Resume(Request[None], frozen=True, tag="otp.sys.Resume"):
    """Go on, with what has waited first."""


class Statistics(Request[Snapshot], frozen=True, tag="otp.sys.Statistics"):
    """How much the server has done, and what waits for it."""


class Trace(Request[None], frozen=True, tag="otp.sys.Trace"):
    """Show the next messages, in and out: as lines on stderr, or as `Traced` sent `to` a server.

    It ends after `messages` of them (at most TRACED_MAX), or with `messages=0`.
    """

    messages: int = 100
    to: str = ""


class Traced(Message, frozen=True, tag="otp.sys.Traced"):
    """One message of a traced server: `way` is "in" or "out", `process` who it is from or to."""

    path: str
    way: str
    kind: str
    process: str
    text: str


SystemRequest = GetState | ReplaceState | Suspend | Resume | Statistics | Trace
SYSTEM_REQUESTS = frozenset({GetState, ReplaceState, Suspend, Resume, Statistics, Trace})
