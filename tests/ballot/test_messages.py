"""The bytes of every message: what is in a log must be readable for ever."""

from __future__ import annotations

import hashlib
import typing
from typing import Any

import msgspec
import pytest

from ballot.messages import (
    Answer,
    Ballot,
    BallotCasted,
    BallotInvalidated,
    BallotValidated,
    Candidate,
    CastBallot,
    Choice,
    CloseElection,
    Command,
    Contest,
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
    Recorded,
    Refused,
    Retry,
    Rules,
    ValidateBallot,
    ValidateElection,
    dedupe_key,
    definition_hash,
    payload_hash,
)

ID, HASH = bytes(range(16)), bytes(16)
DEFINITION = Definition("T", Contest("q", "irv", (Candidate("a", "A"),), Rules(overvote="skip")))
BALLOT = Ballot("v1", Choice("r", (("a",), (), ("a", "b"))), "P")
COMMON: Any = {"command_id": ID, "key": "f/1", "actor": "me"}
STAMP: tuple[int, int, bytes, str, bytes] = (7, 1_700_000_000_000, ID, "me", HASH)

COMMANDS: dict[str, Command] = {
    "create_election": CreateElection(**COMMON, definition=DEFINITION),
    "open_election": OpenElection(**COMMON),
    "close_election": CloseElection(**COMMON, expected_version=9),
    "validate_election": ValidateElection(**COMMON),
    "invalidate_election": InvalidateElection(**COMMON),
    "cast_ballot": CastBallot(**COMMON, ballot=BALLOT),
    "validate_ballot": ValidateBallot(**COMMON, credential="v1"),
    "invalidate_ballot": InvalidateBallot(**COMMON, credential="v1"),
}
EVENTS: dict[str, Event] = {
    "election_created": ElectionCreated(*STAMP, "f/1", DEFINITION, bytes(32)),
    "election_opened": ElectionOpened(*STAMP, 2),
    "election_closed": ElectionClosed(*STAMP),
    "election_validated": ElectionValidated(*STAMP),
    "election_invalidated": ElectionInvalidated(*STAMP),
    "ballot_casted": BallotCasted(*STAMP, BALLOT),
    "ballot_validated": BallotValidated(*STAMP, "v1"),
    "ballot_invalidated": BallotInvalidated(*STAMP, "v1"),
}
ANSWERS: dict[str, Answer] = {
    "recorded": Recorded(5, 3, 7),
    "refused": Refused("not_open", "why"),
    "retry": Retry("why"),
}
GOLDEN = {
    "create_election": (
        "86a474797065af6372656174655f656c656374696f6eaa636f6d6d616e645f6964c4100001020304"
        "05060708090a0b0c0d0e0fa36b6579a3662f31a56163746f72a26d65b065787065637465645f7665"
        "7273696f6ec0aa646566696e6974696f6e84a57469746c65a154a7636f6e7465737487a26964a171"
        "a66d6574686f64a3697276aa63616e646964617465739185a26964a161a46e616d65a141a5706172"
        "7479c0a877726974655f696ec2b16e6f6e655f6f665f7468655f61626f7665c2a572756c657389a8"
        "6f766572766f7465a4736b6970b16d61785f736b69707065645f72616e6b73c0a96475706c696361"
        "7465a4736b6970a9656c696d696e617465a673696e676c65d925756e6465636c617265645f777269"
        "74655f696e735f656c696d696e617465645f6669727374c2a473746f70b66d616a6f726974792d6f"
        "662d636f6e74696e75696e67a3746965a36c6f74a677696e6e6572c0a5626c616e6ba87265706f72"
        "746564a5736561747301a96d61785f72616e6b73c0ab6d61785f63686f69636573c0a77365637265"
        "6379a56e616d6564a4726f6c6ca46f70656e"
    ),
    "open_election": (
        "85a474797065ad6f70656e5f656c656374696f6eaa636f6d6d616e645f6964c41000010203040506"
        "0708090a0b0c0d0e0fa36b6579a3662f31a56163746f72a26d65b065787065637465645f76657273"
        "696f6ec0"
    ),
    "close_election": (
        "85a474797065ae636c6f73655f656c656374696f6eaa636f6d6d616e645f6964c410000102030405"
        "060708090a0b0c0d0e0fa36b6579a3662f31a56163746f72a26d65b065787065637465645f766572"
        "73696f6e09"
    ),
    "validate_election": (
        "85a474797065b176616c69646174655f656c656374696f6eaa636f6d6d616e645f6964c410000102"
        "030405060708090a0b0c0d0e0fa36b6579a3662f31a56163746f72a26d65b065787065637465645f"
        "76657273696f6ec0"
    ),
    "invalidate_election": (
        "85a474797065b3696e76616c69646174655f656c656374696f6eaa636f6d6d616e645f6964c41000"
        "0102030405060708090a0b0c0d0e0fa36b6579a3662f31a56163746f72a26d65b065787065637465"
        "645f76657273696f6ec0"
    ),
    "cast_ballot": (
        "86a474797065ab636173745f62616c6c6f74aa636f6d6d616e645f6964c410000102030405060708"
        "090a0b0c0d0e0fa36b6579a3662f31a56163746f72a26d65b065787065637465645f76657273696f"
        "6ec0a662616c6c6f7493a2763192a1729391a1619092a161a162a150"
    ),
    "validate_ballot": (
        "86a474797065af76616c69646174655f62616c6c6f74aa636f6d6d616e645f6964c4100001020304"
        "05060708090a0b0c0d0e0fa36b6579a3662f31a56163746f72a26d65b065787065637465645f7665"
        "7273696f6ec0aa63726564656e7469616ca27631"
    ),
    "invalidate_ballot": (
        "86a474797065b1696e76616c69646174655f62616c6c6f74aa636f6d6d616e645f6964c410000102"
        "030405060708090a0b0c0d0e0fa36b6579a3662f31a56163746f72a26d65b065787065637465645f"
        "76657273696f6ec0aa63726564656e7469616ca27631"
    ),
    "election_created": (
        "99a2656307cf0000018bcfe56800c410000102030405060708090a0b0c0d0e0fa26d65c410000000"
        "00000000000000000000000000a3662f3184a57469746c65a154a7636f6e7465737487a26964a171"
        "a66d6574686f64a3697276aa63616e646964617465739185a26964a161a46e616d65a141a5706172"
        "7479c0a877726974655f696ec2b16e6f6e655f6f665f7468655f61626f7665c2a572756c657389a8"
        "6f766572766f7465a4736b6970b16d61785f736b69707065645f72616e6b73c0a96475706c696361"
        "7465a4736b6970a9656c696d696e617465a673696e676c65d925756e6465636c617265645f777269"
        "74655f696e735f656c696d696e617465645f6669727374c2a473746f70b66d616a6f726974792d6f"
        "662d636f6e74696e75696e67a3746965a36c6f74a677696e6e6572c0a5626c616e6ba87265706f72"
        "746564a5736561747301a96d61785f72616e6b73c0ab6d61785f63686f69636573c0a77365637265"
        "6379a56e616d6564a4726f6c6ca46f70656ec4200000000000000000000000000000000000000000"
        "000000000000000000000000"
    ),
    "election_opened": (
        "97a2656f07cf0000018bcfe56800c410000102030405060708090a0b0c0d0e0fa26d65c410000000"
        "0000000000000000000000000002"
    ),
    "election_closed": (
        "96a2657807cf0000018bcfe56800c410000102030405060708090a0b0c0d0e0fa26d65c410000000"
        "00000000000000000000000000"
    ),
    "election_validated": (
        "96a2657607cf0000018bcfe56800c410000102030405060708090a0b0c0d0e0fa26d65c410000000"
        "00000000000000000000000000"
    ),
    "election_invalidated": (
        "96a2656907cf0000018bcfe56800c410000102030405060708090a0b0c0d0e0fa26d65c410000000"
        "00000000000000000000000000"
    ),
    "ballot_casted": (
        "97a2626307cf0000018bcfe56800c410000102030405060708090a0b0c0d0e0fa26d65c410000000"
        "0000000000000000000000000093a2763192a1729391a1619092a161a162a150"
    ),
    "ballot_validated": (
        "97a2627607cf0000018bcfe56800c410000102030405060708090a0b0c0d0e0fa26d65c410000000"
        "00000000000000000000000000a27631"
    ),
    "ballot_invalidated": (
        "97a2626907cf0000018bcfe56800c410000102030405060708090a0b0c0d0e0fa26d65c410000000"
        "00000000000000000000000000a27631"
    ),
    "recorded": (
        "84a474797065a87265636f72646564a8706f736974696f6e05a46c65616603a776657273696f6e07"
    ),
    "refused": ("83a474797065a772656675736564a6726561736f6ea86e6f745f6f70656ea474657874a3776879"),
    "retry": "82a474797065a57265747279a474657874a3776879",
}


def members(union: Any) -> set[type]:
    return set(typing.get_args(union))


@pytest.mark.parametrize(
    ("name", "message", "union"),
    [
        *((name, each, Command) for name, each in COMMANDS.items()),
        *((name, each, Event) for name, each in EVENTS.items()),
        *((name, each, Answer) for name, each in ANSWERS.items()),
    ],
)
def test_bytes_are_golden_and_read_back(name: str, message: Any, union: Any) -> None:
    golden = bytes.fromhex(GOLDEN[name])
    assert msgspec.msgpack.encode(message).hex() == golden.hex()
    assert msgspec.msgpack.decode(golden, type=union) == message


def test_every_member_of_the_unions_is_golden() -> None:
    assert {type(each) for each in COMMANDS.values()} == members(Command)
    assert {type(each) for each in EVENTS.values()} == members(Event)
    assert {type(each) for each in ANSWERS.values()} == members(Answer)


def test_events_are_named_as_the_projections_know_them() -> None:
    assert {name: each.kind for name, each in EVENTS.items()} == {name: name for name in EVENTS}


def test_an_event_written_by_a_newer_version_is_still_read() -> None:
    newer = msgspec.msgpack.encode(
        [*msgspec.msgpack.decode(bytes.fromhex(GOLDEN["ballot_casted"])), 1]
    )
    assert msgspec.msgpack.decode(newer, type=Event) == EVENTS["ballot_casted"]


def test_a_cast_ballot_takes_little_room_in_the_log() -> None:
    event = msgspec.structs.replace(EVENTS["ballot_casted"], version=1_000_000)
    assert len(msgspec.msgpack.encode(event)) < 100


def test_what_is_open_and_named_is_written_out_in_the_event() -> None:
    written = msgspec.msgpack.decode(bytes.fromhex(GOLDEN["election_created"]))[7]
    assert (written["secrecy"], written["roll"]) == ("named", "open")


def test_payload_hash_tells_any_change_and_no_retry() -> None:
    first = COMMANDS["cast_ballot"]
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(first), type=Command)
    assert payload_hash(again) == payload_hash(first)
    assert len(payload_hash(first)) == 16
    assert payload_hash(first) == hashlib.sha256(msgspec.msgpack.encode(first)).digest()[:16]
    changes: list[Any] = [
        {"actor": "you"},
        {"key": "f/2"},
        {"expected_version": 1},
        {"ballot": Ballot("v2", BALLOT.choice)},
    ]
    hashes = {payload_hash(msgspec.structs.replace(first, **change)) for change in changes}
    assert len(hashes | {payload_hash(first)}) == 5


def test_dedupe_key_belongs_to_the_actor() -> None:
    event = EVENTS["ballot_casted"]
    other = msgspec.structs.replace(event, actor="you")
    assert dedupe_key(event) == ("me", ID)
    assert dedupe_key(other) != dedupe_key(event)


def test_definition_hash_covers_the_rules() -> None:
    stricter = msgspec.structs.replace(DEFINITION.contest, rules=Rules(overvote="exhaust"))
    other = msgspec.structs.replace(DEFINITION, contest=stricter)
    assert len(definition_hash(DEFINITION)) == 32
    assert definition_hash(other) != definition_hash(DEFINITION)


def test_a_rule_that_nobody_applies_is_not_read_as_if_it_were() -> None:
    with pytest.raises(msgspec.ValidationError, match="quota"):
        msgspec.convert({"overvote": "skip", "quota": "droop-int"}, Rules)
