"""R2: every writer begins with an epoch of its own."""

from __future__ import annotations

import msgspec
import pytest

from ballot.replication import (
    Compare,
    ReadRecord,
    RecordRead,
    Stopped,
    Tick,
)
from ballot.wire import (
    Prepare,
    Record,
)
from tests.ballot.replication_writers import (
    ACTIVE,
    CREATED,
    KEY,
    MEMBERS,
    NEXT,
    Node,
    ack,
    of,
)


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        (ACTIVE, NEXT),
        (CREATED, msgspec.structs.replace(CREATED, epoch=2, owner="me")),
        (
            msgspec.structs.replace(CREATED, epoch=8, prev=MEMBERS),
            msgspec.structs.replace(CREATED, epoch=9, prev=MEMBERS, owner="me"),
        ),
    ],
)
def test_the_next_epoch_is_claimed(record: Record, wanted: Record) -> None:
    node = Node()
    assert node.take(Tick()) == [ReadRecord()]
    assert node.take(RecordRead(record)) == [Compare(record.epoch, wanted)]
    assert node.take(Prepare(KEY, 99, "x"), ack("f1", 1)) == []  # nothing is ours yet


@pytest.mark.parametrize(
    ("record", "said"),
    [(None, "no election here/1"), (msgspec.structs.replace(ACTIVE, writer="x"), "has x as its")],
)
def test_what_is_not_ours_is_not_claimed(record: Record | None, said: str) -> None:
    node = Node()
    (stopped,) = node.take(RecordRead(record))
    assert isinstance(stopped, Stopped)
    assert said in stopped.reason
    assert node.take(Tick(), now=500.0) == []


def test_a_lost_claim_is_made_anew_for_the_next_epoch() -> None:
    node = Node()
    node.take(RecordRead(ACTIVE))
    taken = msgspec.structs.replace(ACTIVE, epoch=2, owner="somebody")
    wanted = msgspec.structs.replace(NEXT, epoch=3)
    assert node.take(RecordRead(taken)) == [Compare(2, wanted)]
    assert node.take(RecordRead(ACTIVE)) == []  # a late answer
    assert of(Prepare, node.take(RecordRead(wanted)))[0].epoch == 3


def test_a_claim_whose_answer_was_lost_is_recognized() -> None:
    node = Node()
    node.take(Tick(), RecordRead(ACTIVE))
    assert node.take(Tick(), now=100.1) == []
    assert node.take(Tick(), now=101.0) == [ReadRecord()]
    assert node.take(RecordRead(ACTIVE), now=101.1) == [Compare(1, NEXT)]  # it never arrived
    assert node.take(Tick(), now=102.0) == [ReadRecord()]
    assert of(Prepare, node.take(RecordRead(NEXT), now=102.1))  # it had arrived


def test_a_record_that_was_activated_meanwhile_is_claimed_as_it_is_now() -> None:
    node = Node()
    node.take(RecordRead(CREATED))
    assert node.take(RecordRead(ACTIVE)) == [Compare(1, NEXT)]
