"""What is said about an election: the definition, the commands, the events, the answers.

Everything here is a frozen struct and travels as tagged msgpack. Commands are imperatives and
carry an id that never changes over retries; events are past tense, stored for ever and therefore
short: arrays with a two-letter tag. Fields are only ever added at the end of an event.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar, Literal, TypeAlias

import msgspec

import otp

COMMAND_ID_BYTES = 16
"""Enough that independently drawn random ids never meet."""

PAYLOAD_HASH_BYTES = 16
"""Half a SHA-256: it tells a retry from another payload, it is no defence by itself."""

# --- the definition: frozen from `sealed` on ---------------------------------------------------

Overvote = Literal["skip", "exhaust", "not-counted"]
Eliminate = Literal["single", "batch"]
Stop = Literal["majority-of-continuing", "two-remain"]
TieRule = Literal["lot", "most-recent-difference-then-lot"]


class Candidate(msgspec.Struct, frozen=True):
    """One choice on the ballot paper; ballots name it by its id."""

    id: str
    name: str
    party: str | None = None
    write_in: bool = False
    none_of_the_above: bool = False


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How marks become votes; data, since the same ballots count otherwise under other rules.

    `max_skipped_ranks`: None = any number of empty ranks is passed over; n = more than n in a row
    exhaust the ballot. `overvote`: None where no method asks (approval without a limit).
    """

    overvote: Overvote | None = None
    max_skipped_ranks: int | None = None
    duplicate: Literal["skip"] = "skip"
    eliminate: Eliminate = "single"
    undeclared_write_ins_eliminated_first: bool = False
    stop: Stop = "majority-of-continuing"
    tie: TieRule = "lot"
    winner: Literal["most-votes", "most-approvals"] | None = None
    blank: Literal["reported"] = "reported"


class Contest(msgspec.Struct, frozen=True):
    """One question put to the voters; None for a limit = no limit."""

    id: str
    method: str
    candidates: tuple[Candidate, ...]
    rules: Rules
    seats: int = 1
    max_ranks: int | None = None
    max_choices: int | None = None


class Definition(msgspec.Struct, frozen=True):
    """All that is fixed when an election is sealed.

    `secrecy` "named": the log shows who chose what. `roll` "open": any credential may vote once.
    """

    title: str
    contest: Contest
    secrecy: Literal["named"] = "named"
    roll: Literal["open"] = "open"


def definition_hash(definition: Definition) -> bytes:
    """32 bytes that name this definition; stored in the log and shown with every result."""
    return hashlib.sha256(msgspec.msgpack.encode(definition)).digest()


# --- a ballot ----------------------------------------------------------------------------------

Letter = Literal["r", "a", "v", "x"]
Marks: TypeAlias = tuple[tuple[str, ...], ...]

UNKNOWN = "*"
"""Stands in an overvoted rank for candidates that the scanner could not name."""


class Choice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a ballot says; two ballots that say the same compare equal.

    | letter | meaning | marks |
    |---|---|---|
    | r | ranked | one tuple of candidate ids per rank; empty = skipped, several = overvote |
    | a | approval | one tuple: the approved ids |
    | v | choice | one tuple: the chosen ids |
    | x | counted, never tallied | one tuple with one word: blank, overvote or informal |
    """

    letter: Letter
    marks: Marks


class Ballot(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A choice, the credential it is cast with and, where known, the precinct."""

    credential: str
    choice: Choice
    precinct: str | None = None


# --- answers -----------------------------------------------------------------------------------

RefusalReason = Literal[
    "bad_command",  # a common field is malformed
    "no_such_election",
    "election_exists",
    "bad_definition",
    "not_authorized",
    "id_reused",  # the same (actor, command_id) with another payload
    "wrong_version",  # expected_version is not the election's
    "bad_state",  # the election is not in a state that allows this
    "not_open",  # a vote before opening or after closing
    "bad_ballot",  # malformed, wrong kind, too many marks
    "unknown_candidate",
    "already_voted",
    "unknown_ballot",
    "ballot_already_judged",
    "failed",  # the rules themselves failed on this command; reported, not crashed
]


class Recorded(msgspec.Struct, frozen=True, tag="recorded"):
    """Done and committed: `leaf` in the batch at log `position`; every retry gets the same."""

    position: int
    leaf: int
    version: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Nothing happened, and why; a later try is judged afresh."""

    reason: RefusalReason
    text: str


class Retry(msgspec.Struct, frozen=True, tag="retry"):
    """The fate is unknown: send the same command again, with the same id."""

    text: str


Answer: TypeAlias = Recorded | Refused | Retry

# --- commands ----------------------------------------------------------------------------------


class ElectionCommand(otp.Request[Recorded | Refused | Retry], frozen=True, kw_only=True):
    """What all commands carry: the sender's own id, the election's key "facility/id", the actor.

    `expected_version`: refuse unless the election is at exactly this version.
    """

    command_id: bytes
    key: str
    actor: str
    expected_version: int | None = None


class CreateElection(ElectionCommand, frozen=True, kw_only=True, tag="create_election"):
    """Make an election with one contest; it starts out sealed."""

    definition: Definition


class OpenElection(ElectionCommand, frozen=True, kw_only=True, tag="open_election"):
    """Take votes from now on; of a voided election: in a new round."""


class CloseElection(ElectionCommand, frozen=True, kw_only=True, tag="close_election"):
    """Take no more votes."""


class ValidateElection(ElectionCommand, frozen=True, kw_only=True, tag="validate_election"):
    """Certify the closed election."""


class InvalidateElection(ElectionCommand, frozen=True, kw_only=True, tag="invalidate_election"):
    """Void the closed election; it may be opened again as a new round."""


class CastBallot(ElectionCommand, frozen=True, kw_only=True, tag="cast_ballot"):
    """Cast one ballot; one per credential and round."""

    ballot: Ballot


class ValidateBallot(ElectionCommand, frozen=True, kw_only=True, tag="validate_ballot"):
    """Judge a ballot of the closed round valid, once."""

    credential: str


class InvalidateBallot(ElectionCommand, frozen=True, kw_only=True, tag="invalidate_ballot"):
    """Judge a ballot of the closed round invalid, once: it is not counted."""

    credential: str


Command: TypeAlias = (
    CastBallot
    | CreateElection
    | OpenElection
    | CloseElection
    | ValidateElection
    | InvalidateElection
    | ValidateBallot
    | InvalidateBallot
)


def payload_hash(command: Command) -> bytes:
    """16 bytes that differ when anything in the command differs; equal for a true retry."""
    return hashlib.sha256(msgspec.msgpack.encode(command)).digest()[:PAYLOAD_HASH_BYTES]


# --- events ------------------------------------------------------------------------------------


class ElectionEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all events carry: the version they lead to, milliseconds since 1970, their cause."""

    kind: ClassVar[str] = ""

    version: int
    at: int
    command_id: bytes
    actor: str
    payload_hash: bytes


class ElectionCreated(ElectionEvent, frozen=True, tag="ec"):
    """There is an election now, sealed."""

    kind: ClassVar[str] = "election_created"

    key: str
    definition: Definition
    definition_hash: bytes


class ElectionOpened(ElectionEvent, frozen=True, tag="eo"):
    """Votes are taken from here on, in this round (1 for the first)."""

    kind: ClassVar[str] = "election_opened"

    round: int


class ElectionClosed(ElectionEvent, frozen=True, tag="ex"):
    """No more votes are taken."""

    kind: ClassVar[str] = "election_closed"


class ElectionValidated(ElectionEvent, frozen=True, tag="ev"):
    """The election is certified."""

    kind: ClassVar[str] = "election_validated"


class ElectionInvalidated(ElectionEvent, frozen=True, tag="ei"):
    """The election is void."""

    kind: ClassVar[str] = "election_invalidated"


class BallotCasted(ElectionEvent, frozen=True, tag="bc"):
    """A ballot is in the box."""

    kind: ClassVar[str] = "ballot_casted"

    ballot: Ballot


class BallotValidated(ElectionEvent, frozen=True, tag="bv"):
    """A ballot was judged valid."""

    kind: ClassVar[str] = "ballot_validated"

    credential: str


class BallotInvalidated(ElectionEvent, frozen=True, tag="bi"):
    """A ballot was judged invalid."""

    kind: ClassVar[str] = "ballot_invalidated"

    credential: str


Event: TypeAlias = (
    BallotCasted
    | ElectionCreated
    | ElectionOpened
    | ElectionClosed
    | ElectionValidated
    | ElectionInvalidated
    | BallotValidated
    | BallotInvalidated
)


class EpochStarted(msgspec.Struct, frozen=True, array_like=True, tag="es"):
    """The first entry of each epoch: who writes from here on. It is no event of the election."""

    kind: ClassVar[str] = "epoch_started"

    epoch: int
    writer: str
    at: int


LogEvent: TypeAlias = Event | EpochStarted
"""All that a log may hold."""


def dedupe_key(event: Event) -> tuple[str, bytes]:
    """The (actor, command id) that this event answers for ever: nobody gets another's answer."""
    return event.actor, event.command_id
