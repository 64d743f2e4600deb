from __future__ import annotations

import msgspec
import pytest

from ballot.wire import (
    START,
    Ack,
    Adopt,
    AnyReplica,
    Append,
    Batch,
    Entry,
    Fetch,
    FetchChunk,
    Gap,
    Head,
    Heartbeat,
    HeartbeatOk,
    Join,
    NoCopy,
    Prepare,
    Promise,
    Record,
    Refuse,
    batch,
    entry_after,
    events_of,
    follows,
    intact,
)

FIRST = entry_after(START, 1, batch([b"one", b"two"]))
SECOND = entry_after(FIRST.head, 3, batch([b"three"]))
INC = b"i" * 16
MESSAGES: list[AnyReplica] = [
    Prepare("k", 2, "w"),
    Promise("k", 2, "f", INC, FIRST.head, 1),
    Refuse("k", 2, "f", 3),
    NoCopy("k", 2, "f", INC),
    Fetch("k", 2, "w", INC, START),
    FetchChunk("k", 2, "f", INC, START, True, (FIRST, SECOND), True),
    Append("k", 2, "w", FIRST.head, (SECOND,), 1),
    Ack("k", 2, "f", 2, INC, 1),
    Gap("k", 2, "f", 1),
    Join("k", 2, "f", INC, START),
    Adopt("k", 2, "w", INC, START, (FIRST,), 1, False),
    Heartbeat("k", 2, "w", 7, 1),
    HeartbeatOk("k", 2, "f", 7, 1),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_come_back_from_the_wire(message: AnyReplica) -> None:
    raw = msgspec.msgpack.encode(message)
    assert msgspec.msgpack.Decoder(AnyReplica).decode(raw) == message
    assert msgspec.msgpack.decode(raw)[1:4] == ["k", 2, message.node]


def test_every_message_is_among_them_under_a_tag_of_its_own() -> None:
    tags = {type(message).__struct_config__.tag for message in MESSAGES}
    assert len(tags) == len(MESSAGES) == len(AnyReplica.__args__)


def test_an_append_is_short() -> None:
    """The frame of a batch is sent four times: it costs little more than its events."""
    events = [bytes(180)] * 128
    entry = entry_after(FIRST.head, 3, batch(events))
    raw = msgspec.msgpack.encode(Append("here/1", 3, "MI-A-1", FIRST.head, (entry,), 1))
    assert len(raw) - 180 * 128 < 2 * 128 + 250


def test_a_record_and_an_entry_come_back_too() -> None:
    record = Record(2, "w", ("w", "a", "b", "c", "d"), "pending", None, 1, "w#1")
    assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(FIRST), type=Entry) == FIRST


@pytest.mark.parametrize(
    ("status", "prev", "authoritative"),
    [
        ("active", None, tuple("wabcd")),
        ("pending", None, None),
        ("pending", ("w", "x"), ("w", "x")),
    ],
)
def test_the_authoritative_members(status: str, prev: object, authoritative: object) -> None:
    raw = Record(2, "w", tuple("wabcd"), "pending", None, 1, "w#1")
    record = msgspec.structs.replace(raw, status=status, prev=prev)
    assert record.authoritative == authoritative


def test_entries_follow_each_other() -> None:
    assert (FIRST.position, SECOND.position) == (1, 2)
    assert follows(FIRST, START)
    assert follows(SECOND, FIRST.head)
    assert events_of(FIRST) == [b"one", b"two"]
    assert not follows(SECOND, START)
    assert not follows(FIRST, FIRST.head)
    assert not follows(SECOND, Head(1, 4, FIRST.hash))  # an epoch never goes back


@pytest.mark.parametrize(
    "change",
    [
        {"position": 3},
        {"epoch": 4},
        {"prev_hash": bytes(32)},
        {"root": bytes(32)},
        {"hash": bytes(32)},
        {"count": 2},
        {"events": batch([b"four"]).events},
        {"events": b"\xc1"},
    ],
    ids=str,
)
def test_every_change_to_an_entry_shows(change: dict[str, object]) -> None:
    changed = msgspec.structs.replace(SECOND, **change)
    assert intact(SECOND)
    assert not (follows(changed, FIRST.head) and intact(changed))


def test_a_batch_knows_its_size() -> None:
    assert batch([]) == Batch(b"\x90", 0, batch([]).root)
    assert batch([b"x"] * 300).count == 300
