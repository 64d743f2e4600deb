"""R8: a copy without a log has no say until the writer has filled it."""

from __future__ import annotations

import msgspec
import pytest

from ballot.replication import (
    Committed,
    ReadRecord,
    RecordRead,
    Save,
    Send,
    Stopped,
    Tick,
)
from ballot.replication_copy import Follower
from ballot.wire import (
    START,
    Ack,
    Adopt,
    AnyReplica,
    Entry,
    Head,
    Heartbeat,
    HeartbeatOk,
    Join,
    NoCopy,
    Prepare,
    Promise,
    Record,
)
from tests.ballot.replication_copies import (
    INC,
    KEY,
    LOG,
    NEXT,
    NODE,
    RECORD,
    A,
    B,
    C,
    Copy,
    ack,
    append,
    log_of,
)


def adopt(prev: Head, *entries: Entry, end: bool = False, epoch: int = 2) -> Adopt:
    return Adopt(KEY, epoch, "w", INC, prev, entries, 2, end)


def joining() -> Copy:
    copy = Copy(voter=False)
    copy.take(Tick())
    copy.take(RecordRead(RECORD))
    return copy


def test_it_reads_the_record_then_asks_the_writer() -> None:
    copy = Copy(voter=False)
    assert copy.take(Tick()) == [ReadRecord()]
    assert copy.take(Tick(), now=100.1) == []
    assert copy.take(Tick(), now=101.0) == [ReadRecord()]  # no answer: again
    save, send = copy.take(RecordRead(RECORD), now=101.1)
    assert save == Save(expect=0, promised=2, voter=False, commit=0)
    assert send == Send(("w",), Join(KEY, 2, NODE, INC, START))
    assert copy.take(Tick(), now=101.2) == []
    assert copy.take(Tick(), now=102.0) == [ReadRecord()]  # no writer: perhaps there is another


@pytest.mark.parametrize(
    "message",
    [Prepare(KEY, 2, "w"), append(C, NEXT), append(START, *LOG), Heartbeat(KEY, 2, "w", 1, 1)],
)
def test_it_has_no_say_until_it_is_filled(message: AnyReplica) -> None:
    copy = joining()
    replies = copy.replies(message)
    assert replies[0] == NoCopy(KEY, 2, NODE, INC)
    assert not any(isinstance(reply, Promise | Ack | HeartbeatOk) for reply in replies)
    assert (copy.memory.entries, copy.follower.visible) == ([], 0)


def test_a_writer_that_is_heard_is_asked_without_waiting() -> None:
    copy = joining()
    assert copy.replies(append(C), now=100.001) == [NoCopy(KEY, 2, NODE, INC)]
    again = copy.replies(append(C), now=100.1)
    assert again == [NoCopy(KEY, 2, NODE, INC), Join(KEY, 2, NODE, INC, START)]
    assert copy.take(append(C, epoch=3), now=100.101)[-1] == ReadRecord()  # a newer one: who?


def test_it_is_filled_in_parts_and_counts_with_the_last() -> None:
    copy = joining()
    assert copy.replies(adopt(START, *LOG[:2])) == [Join(KEY, 2, NODE, INC, B)]
    assert (copy.memory.state().voter, copy.follower.visible) == (False, 0)
    effects = copy.take(adopt(B, LOG[2], end=True))
    assert effects[0] == Save(expect=2, entries=(LOG[2],), promised=2, voter=True, commit=2)
    assert effects[1:] == [Send(("w",), ack(3)), Committed(2)]
    assert copy.replies(append(C, NEXT)) == [ack(4)]


def test_parts_go_on_after_its_process_was_killed() -> None:
    copy = joining()
    copy.take(adopt(START, *LOG[:2]))
    copy.follower = Follower(key=KEY, node=NODE, log=copy.memory)
    copy.take(Tick())
    assert copy.replies(RecordRead(RECORD)) == [Join(KEY, 2, NODE, INC, B)]


def test_parts_of_another_writers_log_replace_what_differs() -> None:
    copy = joining()
    copy.take(adopt(START, *log_of(1, 1, 1, 1, mark="dead")))
    alive = log_of(2, 2)
    assert copy.replies(adopt(START, *alive, end=True)) == [ack(2)]
    assert copy.memory.entries == alive


def test_parts_follow_each_other_whatever_an_earlier_attempt_left() -> None:
    copy = joining()
    copy.take(adopt(START, *LOG))
    alive = [LOG[0], *log_of(2, 2, 2, after=A)]
    assert copy.replies(adopt(START, alive[0])) == [Join(KEY, 2, NODE, INC, A)]
    assert copy.replies(adopt(A, *alive[1:3])) == [Join(KEY, 2, NODE, INC, alive[2].head)]
    assert copy.replies(adopt(alive[2].head, alive[3], end=True)) == [ack(4)]
    assert copy.memory.entries == alive


@pytest.mark.parametrize(
    "part",
    [
        msgspec.structs.replace(adopt(START, *LOG, end=True), incarnation=b"before"),
        adopt(B, LOG[2], end=True),
    ],
    ids=["meant for the copy before", "does not fit"],
)
def test_parts_that_are_not_for_it_change_nothing(part: Adopt) -> None:
    copy = joining()
    assert copy.take(part) == []


def test_a_copy_that_counts_is_not_filled_again() -> None:
    copy = Copy()
    assert copy.take(adopt(START, *log_of(2), end=True)) == []
    assert copy.take(Tick(), RecordRead(None)) == []


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "there is no record"),
        (msgspec.structs.replace(RECORD, members=tuple("wabcd")), "epoch 2 names others"),
        (msgspec.structs.replace(RECORD, writer=NODE, members=(NODE, *"abcd")), "names others"),
    ],
)
def test_where_it_is_no_follower_it_stops(record: Record | None, said: str) -> None:
    copy = Copy(voter=False)
    copy.take(Tick())
    (stopped,) = copy.take(RecordRead(record))
    assert isinstance(stopped, Stopped)
    assert said in stopped.reason
    assert copy.take(Tick(), now=500.0) == []


def test_an_older_record_than_it_knows_is_late() -> None:
    copy = joining()
    copy.take(adopt(START, *LOG[:1], epoch=4))
    assert copy.take(RecordRead(RECORD)) == []
