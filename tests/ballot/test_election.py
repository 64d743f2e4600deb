"""The rules of an election: tables, the faults of the original, and a state machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import msgspec
import pytest

from ballot.election import (
    ALLOWED_FROM,
    Election,
    PastRound,
    Projections,
    ballots_counted,
    decide,
    evolve,
    projections,
    restore,
    snapshot,
)
from ballot.messages import (
    Ballot,
    CastBallot,
    Choice,
    CloseElection,
    Command,
    CreateElection,
    ElectionCreated,
    ElectionOpened,
    Event,
    InvalidateBallot,
    InvalidateElection,
    OpenElection,
    Refused,
    ValidateBallot,
    ValidateElection,
    dedupe_key,
    definition_hash,
    payload_hash,
)
from tests.ballot.samples import (
    AT,
    KEY,
    accept,
    cast,
    chosen,
    closed,
    command,
    definition,
    opened,
    ranked,
    refuse,
    sealed,
)

# --- a life ------------------------------------------------------------------------------------


def test_a_whole_life() -> None:
    state = Election()
    create = command(CreateElection, definition=definition())
    events = accept(
        state,
        create,
        command(OpenElection),
        cast("v1", "a b"),
        cast("v2", "b"),
        cast("v3", "a b"),
        command(CloseElection),
        command(ValidateBallot, credential="v1"),
        command(InvalidateBallot, credential="v2"),
        command(ValidateElection),
    )
    assert [event.kind for event in events] == [
        "election_created",
        "election_opened",
        *["ballot_casted"] * 3,
        "election_closed",
        "ballot_validated",
        "ballot_invalidated",
        "election_validated",
    ]
    assert [event.version for event in events] == list(range(1, 10))
    assert {event.at for event in events} == {AT}
    assert projections(state) == Projections("certified", 9, 1, 3, 1, 1)
    assert ballots_counted(state) == {ranked("a b"): 2}


def test_creation_writes_out_what_is_frozen() -> None:
    what = definition()
    create = command(CreateElection, definition=what)
    (event,) = accept(Election(), create)
    assert isinstance(event, ElectionCreated)
    assert (event.key, event.definition) == (KEY, what)
    assert event.definition_hash == definition_hash(what)
    assert (event.definition.secrecy, event.definition.roll) == ("named", "open")
    assert event.payload_hash == payload_hash(create)
    assert dedupe_key(event) == (create.actor, create.command_id)


STATES: dict[str, list[type[Any]]] = {
    "sealed": [],
    "open": [OpenElection],
    "closed": [OpenElection, CloseElection],
    "certified": [OpenElection, CloseElection, ValidateElection],
    "voided": [OpenElection, CloseElection, InvalidateElection],
}


def in_state(status: str) -> Election:
    state = sealed()
    accept(state, *(command(kind) for kind in STATES[status]))
    assert state.status == status
    return state


@pytest.mark.parametrize("status", STATES)
@pytest.mark.parametrize("kind", ALLOWED_FROM)
def test_each_phase_command_in_each_state(kind: Any, status: str) -> None:
    state = in_state(status)
    if status in ALLOWED_FROM[kind]:
        assert len(accept(state, command(kind))) == 1
    else:
        refused = refuse(state, command(kind))
        assert refused.reason == "bad_state"
        assert f"the election is {status}, not {ALLOWED_FROM[kind][0]}" in refused.text


@pytest.mark.parametrize("status", [status for status in STATES if status != "open"])
def test_a_vote_before_opening_or_after_closing_is_refused(status: str) -> None:
    refused = refuse(in_state(status), cast("v1"))
    assert refused == Refused(
        "not_open", f"cast_ballot lake/1: the election is {status}, it takes no votes"
    )


@pytest.mark.parametrize("status", [status for status in STATES if status != "closed"])
def test_ballots_are_judged_only_after_closing(status: str) -> None:
    refused = refuse(in_state(status), command(ValidateBallot, credential="v1"))
    assert refused == Refused(
        "bad_state",
        f"validate_ballot lake/1: ballots are judged while the election is closed; it is {status}",
    )


@pytest.mark.parametrize(
    ("each", "reason", "says"),
    [
        (cast("v1"), "already_voted", "credential 'v1' has voted in round 1"),
        (cast("v2", "a z"), "unknown_candidate", "unknown candidate 'z' at rank 2"),
        (cast("v2", chosen("a", "a")), "bad_ballot", "a ballot of kind approval"),
        (cast(""), "bad_ballot", "the credential is empty"),
        (cast("x" * 300), "bad_ballot", "has 300 characters, over 256"),
        (cast("v2", command_id=b"short"), "bad_command", "command_id has 5 bytes, not 16"),
        (cast("v2", actor=""), "bad_command", "the actor is empty"),
        (cast("v2", key="lake"), "bad_command", "the key 'lake' is not of the form facility/id"),
        (cast("v2", key="a/b/c"), "bad_command", "not of the form"),
        (cast("v2", key="sea/9"), "no_such_election", "sea/9: this is the log of lake/1"),
        (cast("v2", expected_version=2), "wrong_version", "expected version 2, it is at 3"),
        (command(CreateElection, definition=definition()), "election_exists", "exists and is open"),
    ],
)
def test_refusals_say_what_is_wrong(each: Command, reason: str, says: str) -> None:
    state = opened()
    accept(state, cast("v1"))
    refused = refuse(state, each)
    assert refused.reason == reason
    assert says in refused.text


def test_only_create_makes_an_election() -> None:
    refused = refuse(Election(), cast("v1"))
    assert refused.reason == "no_such_election"
    bad = command(CreateElection, definition=definition("borda"))
    assert refuse(Election(), bad).reason == "bad_definition"


def test_the_expected_version_is_met() -> None:
    state = opened()
    accept(state, cast("v1", expected_version=2), cast("v2", expected_version=3))
    assert state.version == 4


def test_unknown_ballots_are_not_judged() -> None:
    refused = refuse(closed("v1"), command(ValidateBallot, credential="v9"))
    assert refused == Refused(
        "unknown_ballot", "validate_ballot lake/1: no ballot of 'v9' in round 1"
    )


def test_a_damaged_log_is_noticed() -> None:
    state = sealed()
    event = ElectionOpened(5, AT, bytes(16), "me", bytes(16), 1)
    with pytest.raises(ValueError, match="election_opened has version 5 where 2 is next"):
        evolve(state, event)


# --- the faults of the original ----------------------------------------------------------------


def test_regression_a_rejected_command_crashed_the_mailroom() -> None:
    """Every command in every state is answered: by an event or by a typed refusal."""
    answered = Counter[str]()
    for status in STATES:
        for kind in (*ALLOWED_FROM, ValidateBallot, InvalidateBallot, CastBallot, CreateElection):
            fields: dict[type, dict[str, Any]] = {
                ValidateBallot: {"credential": "nobody"},
                InvalidateBallot: {"credential": "nobody"},
                CastBallot: {"ballot": Ballot("v1", Choice("r", (("nobody",),)))},
                CreateElection: {"definition": definition("none")},
            }
            outcome = decide(in_state(status), command(kind, **fields.get(kind, {})), AT)
            answered[outcome.reason if isinstance(outcome, Refused) else "accepted"] += 1
    assert answered.total() == 40
    assert answered["accepted"] == 5


class Unscanned(dict[Any, Any]):
    """A dict that may be asked for a key and never be walked through."""

    def __iter__(self) -> Any:
        raise AssertionError("the duplicate check scanned everything")

    items = values = keys = __iter__


def test_regression_the_duplicate_check_scanned_the_whole_log() -> None:
    state = opened()
    accept(state, *(cast(f"v{i}") for i in range(20)))
    state.cast, state.choices = Unscanned(state.cast), Unscanned(state.choices)
    assert refuse(state, cast("v7")).reason == "already_voted"
    accept(state, cast("v20"), cast("v21", "b a"))
    assert len(state.cast) == 22


@pytest.mark.parametrize("first", [ValidateBallot, InvalidateBallot])
@pytest.mark.parametrize("second", [ValidateBallot, InvalidateBallot])
def test_regression_a_ballot_could_be_both_validated_and_invalidated(
    first: Any, second: Any
) -> None:
    state = closed("v1")
    accept(state, command(first, credential="v1"))
    refused = refuse(state, command(second, credential="v1"))
    verdict = "valid" if first is ValidateBallot else "invalid"
    assert refused.reason == "ballot_already_judged"
    assert f"the ballot of 'v1' was judged {verdict} already" in refused.text


def test_regression_reopening_mixed_old_and_new_ballots() -> None:
    state = closed("v1", "v2")
    accept(state, command(InvalidateBallot, credential="v2"), command(InvalidateElection))
    accept(state, command(OpenElection), cast("v1", "b"), command(CloseElection))
    assert ballots_counted(state) == {ranked("b"): 1}
    assert state.past_rounds == [PastRound(1, 2, 0, 1)]
    assert projections(state) == Projections("closed", state.version, 2, 1, 0, 0)
    assert refuse(state, command(ValidateBallot, credential="v2")).reason == "unknown_ballot"


# --- bytes -------------------------------------------------------------------------------------

FOLD = """
import hashlib, sys
from ballot.election import Election, evolve, snapshot
from ballot.messages import Event
import msgspec
state = Election()
for event in msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[Event]):
    evolve(state, event)
print(hashlib.sha256(snapshot(state)).hexdigest())
"""


def long_log() -> tuple[Election, list[Event]]:
    state = Election()
    events = accept(state, command(CreateElection, definition=definition()))
    for i in range(2):
        events += accept(state, command(OpenElection))
        events += accept(state, *(cast(f"v{n}", "abc"[n % 3 : n % 3 + 1 + i]) for n in range(30)))
        events += accept(state, command(CloseElection), command(ValidateBallot, credential="v3"))
        events += accept(state, command(InvalidateBallot, credential="v5"))
        events += accept(state, command(InvalidateElection)) if i == 0 else []
    return state, events


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_a_snapshot_is_the_same_under_any_hash_seed(seed: str) -> None:
    state, events = long_log()
    replayed = subprocess.run(
        [sys.executable, "-c", FOLD],
        input=msgspec.msgpack.encode(events),
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=30,
    )
    assert replayed.stdout.decode().strip() == hashlib.sha256(snapshot(state)).hexdigest()


def test_a_restored_state_is_the_state() -> None:
    state, _ = long_log()
    back = restore(snapshot(state))
    assert back == state
    assert snapshot(back) == snapshot(state)
    accept(back, command(InvalidateBallot, credential="v7"))
    assert projections(back).invalidated_ballots == projections(state).invalidated_ballots + 1
