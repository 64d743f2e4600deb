"""Questions to the copies of an election, and what the copies tell each node's manager."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

import otp
from ballot.election import Projections
from ballot.messages import Refused, Retry
from ballot.tally import Result
from ballot.wire import Entry

Role = Literal["writer", "follower"]


class CopyStatus(msgspec.Struct, frozen=True):
    """One copy: how far it is. `head` is the hash of the last entry (hex), `acks` how often this
    process has acknowledged; `phase` is the writer's, or `voter`/`joining` of a follower."""

    role: Role
    node: str
    phase: str
    epoch: int
    position: int
    commit: int
    head: str
    acks: int


class GetCopy(otp.Request[CopyStatus], frozen=True):
    """Ask one copy (by its own address) how far it is."""

    key: str


class LogPart(msgspec.Struct, frozen=True):
    """Committed entries in order, as many as one frame may hold; `end`: there are no more now."""

    entries: tuple[Entry, ...]
    end: bool
    refused: Refused | None = None


class GetLog(otp.Request[LogPart], frozen=True):
    """The committed log after a position. Refused before the election is closed."""

    key: str
    after: Annotated[int, msgspec.Meta(ge=0)]


class Outcome(msgspec.Struct, frozen=True, tag="outcome"):
    """Where an election stands, and its result if that was asked for."""

    status: Projections
    result: Result | None = None


class GetOutcome(otp.Request[Outcome | Refused | Retry], frozen=True):
    """Ask the writer; it answers after two followers have confirmed that it still is the writer.

    `count`: with the result. Refused while votes are still taken: nothing leaves before close.
    """

    key: str
    count: bool = False


class StartCopy(otp.Message, frozen=True):
    """Manager to manager: look at the record of `key` and run the copy that belongs to you."""

    key: str


class CopyUp(otp.Message, frozen=True):
    """A copy to its node's manager: this process holds it now."""

    key: str
    role: Role


class Wake(otp.Message, frozen=True):
    """A timer of an actor or manager."""
