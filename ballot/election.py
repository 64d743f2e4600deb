"""The rules of an election, as two pure functions: `decide` and `evolve`.

    events = decide(state, command, at)      # or a typed refusal; never raises, changes nothing
    state = evolve(state, event)             # never refuses: what is in the log has happened

    absent -> sealed -> open -> closed -> certified
                          ^        `----> voided
                          `-----------------'   a new round: the old round's ballots are set aside

A state is a function of its events alone, so every copy that replays a log arrives at the same
`snapshot`, byte for byte. Casting a ballot costs the same at the first and the millionth.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, assert_never

import msgspec

from ballot.messages import (
    COMMAND_ID_BYTES,
    Ballot,
    BallotCasted,
    BallotInvalidated,
    BallotValidated,
    CastBallot,
    Choice,
    CloseElection,
    Command,
    CreateElection,
    Definition,
    ElectionClosed,
    ElectionCreated,
    ElectionInvalidated,
    ElectionOpened,
    ElectionValidated,
    Event,
    InvalidateBallot,
    InvalidateElection,
    OpenElection,
    RefusalReason,
    Refused,
    ValidateBallot,
    ValidateElection,
    definition_hash,
    payload_hash,
)
from ballot.papers import NAME_CHARS_MAX, choice_fault, definition_fault, name_fault

Status = Literal["absent", "sealed", "open", "closed", "certified", "voided"]

Phase: TypeAlias = OpenElection | CloseElection | ValidateElection | InvalidateElection
Judgement: TypeAlias = ValidateBallot | InvalidateBallot

ALLOWED_FROM: dict[type[Phase], tuple[Status, ...]] = {
    OpenElection: ("sealed", "voided"),
    CloseElection: ("open",),
    ValidateElection: ("closed",),
    InvalidateElection: ("closed",),
}


class PastRound(msgspec.Struct, frozen=True, array_like=True):
    """What is left in the state of a voided round; its ballots are in the log, set aside."""

    round: int
    casted_ballots: int
    validated_ballots: int
    invalidated_ballots: int


class Projections(msgspec.Struct, frozen=True):
    """The figures that anybody may ask for; ballots are those of the current round."""

    status: Status
    version: int
    round: int
    casted_ballots: int
    validated_ballots: int
    invalidated_ballots: int


class Election(msgspec.Struct):
    """One election as its events made it; `evolve` changes it in place.

    `choices` numbers the different choices of this round in order of first appearance, `counts`
    says how many ballots of each are to be counted, `cast` maps a credential to its choice's
    number, `judged` a credential to whether its ballot was found valid.
    """

    key: str = ""
    status: Status = "absent"
    version: int = 0
    round: int = 0
    definition: Definition | None = None
    choices: dict[Choice, int] = {}
    counts: list[int] = []
    cast: dict[str, int] = {}
    judged: dict[str, bool] = {}
    invalidated_ballots: int = 0
    past_rounds: list[PastRound] = []


# --- decide ------------------------------------------------------------------------------------


def decide(state: Election, command: Command, at: int) -> list[Event] | Refused:
    """The events that `command` causes at `at` (ms since 1970), or why it causes none."""
    refused = _common_fault(state, command)
    if refused is not None:
        return refused
    match command:
        case CastBallot():
            outcome = _cast(state, command, at)
        case CreateElection():
            outcome = _create(state, command, at)
        case OpenElection() | CloseElection() | ValidateElection() | InvalidateElection():
            outcome = _change_phase(state, command, at)
        case ValidateBallot() | InvalidateBallot():
            outcome = _judge(state, command, at)
        case _:
            assert_never(command)
    return outcome if isinstance(outcome, Refused) else [outcome]


def _refuse(command: Command, reason: RefusalReason, what: str) -> Refused:
    verb = type(command).__struct_config__.tag
    return Refused(reason, f"{verb} {command.key[:NAME_CHARS_MAX]}: {what}")


def _common_fault(state: Election, command: Command) -> Refused | None:
    if len(command.command_id) != COMMAND_ID_BYTES:
        what = f"command_id has {len(command.command_id)} bytes, not {COMMAND_ID_BYTES}"
        return _refuse(command, "bad_command", what)
    fault = name_fault("actor", command.actor) or _key_fault(command.key)
    if fault is not None:
        return _refuse(command, "bad_command", fault)
    if state.definition is not None and command.key != state.key:
        return _refuse(command, "no_such_election", f"this is the log of {state.key}")
    if state.definition is None and not isinstance(command, CreateElection):
        return _refuse(command, "no_such_election", "there is no such election; create it first")
    expected = command.expected_version
    if expected is not None and expected != state.version:
        return _refuse(
            command, "wrong_version", f"expected version {expected}, it is at {state.version}"
        )
    return None


def _key_fault(key: str) -> str | None:
    facility, _, name = key.partition("/")
    if not facility or not name or "/" in name:
        return f"the key {key[:NAME_CHARS_MAX]!r} is not of the form facility/id"
    return name_fault("key", key)


def _stamp(state: Election, command: Command, at: int) -> tuple[int, int, bytes, str, bytes]:
    """The fields that all events share, in their order."""
    return state.version + 1, at, command.command_id, command.actor, payload_hash(command)


def _create(state: Election, command: CreateElection, at: int) -> Event | Refused:
    if state.definition is not None:
        return _refuse(command, "election_exists", f"it exists and is {state.status}")
    definition = command.definition
    fault = definition_fault(definition)
    if fault is not None:
        return _refuse(command, "bad_definition", fault)
    stamp = _stamp(state, command, at)
    return ElectionCreated(*stamp, command.key, definition, definition_hash(definition))


def _change_phase(state: Election, command: Phase, at: int) -> Event | Refused:
    allowed = ALLOWED_FROM[type(command)]
    if state.status not in allowed:
        need = " or ".join(allowed)
        return _refuse(command, "bad_state", f"the election is {state.status}, not {need}")
    stamp = _stamp(state, command, at)
    match command:
        case OpenElection():
            return ElectionOpened(*stamp, state.round + 1)
        case CloseElection():
            return ElectionClosed(*stamp)
        case ValidateElection():
            return ElectionValidated(*stamp)
        case InvalidateElection():
            return ElectionInvalidated(*stamp)
        case _:
            assert_never(command)


def _cast(state: Election, command: CastBallot, at: int) -> Event | Refused:
    if state.status != "open":
        return _refuse(command, "not_open", f"the election is {state.status}, it takes no votes")
    fault = _ballot_fault(state, command.ballot)
    if fault is not None:
        return _refuse(command, *fault)
    if command.ballot.credential in state.cast:
        what = f"credential {command.ballot.credential!r} has voted in round {state.round}"
        return _refuse(command, "already_voted", what)
    return BallotCasted(*_stamp(state, command, at), command.ballot)


def _ballot_fault(state: Election, ballot: Ballot) -> tuple[RefusalReason, str] | None:
    fault = name_fault("credential", ballot.credential)
    if fault is None and ballot.precinct is not None:
        fault = name_fault("precinct", ballot.precinct)
    if fault is not None:
        return "bad_ballot", fault
    if ballot.choice in state.choices or state.definition is None:
        return None  # the same choice was found good before
    return choice_fault(state.definition.contest, ballot.choice)


def _judge(state: Election, command: Judgement, at: int) -> Event | Refused:
    credential = command.credential
    if state.status != "closed":
        what = f"ballots are judged while the election is closed; it is {state.status}"
        return _refuse(command, "bad_state", what)
    if credential not in state.cast:
        what = f"no ballot of {credential[:NAME_CHARS_MAX]!r} in round {state.round}"
        return _refuse(command, "unknown_ballot", what)
    if credential in state.judged:
        verdict = "valid" if state.judged[credential] else "invalid"
        what = f"the ballot of {credential!r} was judged {verdict} already"
        return _refuse(command, "ballot_already_judged", what)
    stamp = _stamp(state, command, at)
    if isinstance(command, ValidateBallot):
        return BallotValidated(*stamp, credential)
    return BallotInvalidated(*stamp, credential)


# --- evolve ------------------------------------------------------------------------------------


def evolve(state: Election, event: Event) -> Election:
    """The state after `event`: the same object, changed.

    Raises ValueError when the event is not the next one: then the log is damaged.
    """
    if event.version != state.version + 1:
        raise ValueError(
            f"election {state.key}: {event.kind} has version {event.version}"
            f" where {state.version + 1} is next; the log is damaged"
        )
    match event:
        case BallotCasted():
            _put_in_box(state, event.ballot)
        case ElectionCreated():
            state.key, state.definition, state.status = event.key, event.definition, "sealed"
        case ElectionOpened():
            _start_round(state, event.round)
        case ElectionClosed():
            state.status = "closed"
        case ElectionValidated():
            state.status = "certified"
        case ElectionInvalidated():
            state.status = "voided"
        case BallotValidated():
            state.judged[event.credential] = True
        case BallotInvalidated():
            _take_out(state, event.credential)
        case _:
            assert_never(event)
    state.version = event.version
    return state


def _put_in_box(state: Election, ballot: Ballot) -> None:
    number = state.choices.setdefault(ballot.choice, len(state.counts))
    if number == len(state.counts):
        state.counts.append(0)
    state.counts[number] += 1
    state.cast[ballot.credential] = number


def _take_out(state: Election, credential: str) -> None:
    state.judged[credential] = False
    state.invalidated_ballots += 1
    state.counts[state.cast[credential]] -= 1


def _start_round(state: Election, number: int) -> None:
    if state.round:
        state.past_rounds.append(
            PastRound(state.round, len(state.cast), _validated(state), state.invalidated_ballots)
        )
    state.status, state.round = "open", number
    state.choices, state.counts = {}, []
    state.cast, state.judged, state.invalidated_ballots = {}, {}, 0


# --- what is read off a state ------------------------------------------------------------------


def _validated(state: Election) -> int:
    return len(state.judged) - state.invalidated_ballots


def projections(state: Election) -> Projections:
    """Status, version, round and how many ballots were casted, validated, invalidated in it."""
    return Projections(
        status=state.status,
        version=state.version,
        round=state.round,
        casted_ballots=len(state.cast),
        validated_ballots=_validated(state),
        invalidated_ballots=state.invalidated_ballots,
    )


def ballots_counted(state: Election) -> dict[Choice, int]:
    """How many ballots of the current round say what, sorted; without those judged invalid."""
    pairs = ((choice, state.counts[number]) for choice, number in state.choices.items())
    return dict(sorted((p for p in pairs if p[1]), key=lambda p: (p[0].letter, p[0].marks)))


def snapshot(state: Election) -> bytes:
    """The whole state as bytes: the same for the same log, on any machine, under any hash seed."""
    return msgspec.msgpack.encode(state)


def restore(data: bytes) -> Election:
    """The state that `snapshot` was taken of; a cache of the fold, good only with its log."""
    return msgspec.msgpack.decode(data, type=Election)
