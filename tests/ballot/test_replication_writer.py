"""The rules of a writer, one by one; `tests/simulation` drives all of them together."""

from __future__ import annotations

import msgspec
import pytest

from ballot import replication, replication_writer
from ballot.replication import (
    Alarm,
    Committed,
    Compare,
    ConfirmRead,
    ReadConfirmed,
    ReadRecord,
    RecordRead,
    Save,
    Send,
    Serving,
    Stopped,
    Tick,
)
from ballot.wire import (
    START,
    Ack,
    Adopt,
    AnyReplica,
    Append,
    Gap,
    Heartbeat,
    HeartbeatOk,
    Join,
    NoCopy,
    Prepare,
    Promise,
    Refuse,
    entry_after,
)
from tests.ballot.replication_writers import (
    CREATED,
    INC,
    KEY,
    NEXT,
    OTHERS,
    Node,
    ack,
    barrier,
    log_of,
    of,
    promise,
    to,
    votes,
)

LONG = log_of(1, 1, 1)


# --- R5, R7: barrier and activation ------------------------------------------------------------


def test_old_entries_count_only_under_the_barrier() -> None:
    node = Node(log=LONG).sealed()
    (frame,) = of(Append, node.take(promise("f1"), promise("f2")))
    assert frame.entries == (entry_after(LONG[-1].head, 2, barrier(2)),)
    assert node.take(ack("f1", 3), ack("f2", 3), ack("f3", 3))[:1] != [Serving(2)]
    assert node.writer.phase == "adopt"
    assert node.take(ack("f1", 4))[-1:] != [Serving(2)]
    assert node.take(ack("f3", 4)) == [Serving(2), Committed(4)]


def created() -> Node:
    node = Node(voter=False)
    node.take(Tick(), RecordRead(CREATED))
    (frame,) = of(
        Append, node.take(RecordRead(msgspec.structs.replace(CREATED, epoch=2, owner="me")))
    )
    assert (frame.prev, len(frame.entries)) == (START, 1)
    return node


ACTIVATE = Compare(2, NEXT)


def test_a_first_start_waits_a_moment_for_a_third_then_activates_then_serves() -> None:
    node = created()
    assert node.take(ack("f1", 1), ack("f2", 1)) == []
    assert ACTIVATE not in node.take(Tick(), now=100.9)
    assert node.take(Tick(), now=101.1)[-1] == ACTIVATE
    assert node.writer.room == 0
    assert node.take(RecordRead(NEXT)) == [Serving(2), Committed(1)]


def test_with_a_third_it_activates_at_once() -> None:
    node = created()
    assert node.take(ack("f1", 1), ack("f2", 1), ack("f3", 1)) == [ACTIVATE]


def test_an_activation_whose_answer_was_lost_is_tried_again() -> None:
    node = created()
    node.take(*(ack(f, 1) for f in OTHERS))
    pending = msgspec.structs.replace(CREATED, epoch=2, owner="me")
    assert node.take(RecordRead(pending)) == []  # read before the swap
    assert ReadRecord() in node.take(Tick(), now=101.0)
    assert node.take(RecordRead(pending), now=101.1) == [ACTIVATE]
    assert node.take(RecordRead(NEXT), now=101.2)[0] == Serving(2)


def test_a_lost_activation_ends_the_writer() -> None:
    node = created()
    node.take(*(ack(f, 1) for f in OTHERS))
    (stopped,) = node.take(RecordRead(msgspec.structs.replace(CREATED, epoch=3, owner="other")))
    assert isinstance(stopped, Stopped)


def test_what_a_start_that_was_never_activated_left_is_dropped() -> None:
    node = Node(log=log_of(1, 1))
    node.take(Tick(), RecordRead(CREATED))
    node.take(RecordRead(msgspec.structs.replace(CREATED, epoch=2, owner="me")))
    assert node.memory.entries == [entry_after(START, 2, barrier(2))]


# --- R1: serving -------------------------------------------------------------------------------


def test_a_batch_goes_to_the_own_copy_then_to_all_in_one_frame() -> None:
    node = Node().serving()
    save, send = node.take(votes("a", "b"))
    entry = node.memory.entries[-1]
    assert save == Save(expect=2, entries=(entry,), promised=2, voter=True, commit=1)
    assert entry.count == 2
    frame = Append(KEY, 2, "w", node.memory.entries[0].head, (entry,), 1)
    assert send == Send(OTHERS, frame)


def test_own_copy_and_two_followers_commit_and_speak_for_all_before() -> None:
    node = Node().serving()
    for name in "abc":
        node.take(votes(name))
    assert node.take(ack("f1", 4)) == []
    assert node.take(ack("f1", 4), ack("f1", 4)) == []
    assert node.take(ack("f2", 3)) == [Committed(3)]
    assert node.take(ack("f3", 2), ack("f4", 4)) == [Committed(4)]
    assert node.take(ack("f2", 4)) == []


@pytest.mark.parametrize(
    "word",
    [ack("f2", 2, epoch=1), ack("f2", 2, inc=b"forgotten"), ack("stranger", 2)],
    ids=["an older epoch", "a memory that is lost", "no member"],
)
def test_an_acknowledgement_that_does_not_count(word: Ack) -> None:
    node = Node().serving()
    node.take(votes("a"), ack("f1", 2))
    assert node.take(word) == []
    assert node.writer.commit == 1


def test_an_acknowledgement_of_what_is_not_there_is_an_alarm() -> None:
    (alarm,) = Node().serving().take(ack("f1", 9))
    assert isinstance(alarm, Alarm)
    assert "f1 acknowledged 9, the log ends at 1" in alarm.text


def test_there_is_room_for_so_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication_writer, "UNCOMMITTED_MAX", 2)
    node = Node().serving()
    assert node.writer.room == 2
    node.take(votes("a"), votes("b"))
    assert node.writer.room == 0
    with pytest.raises(OverflowError, match="takes no batch: 2 are not committed"):
        node.take(votes("c"))
    assert node.take(ack("f1", 2), ack("f2", 2)) == [Committed(2)]
    assert node.writer.room == 1


def test_nothing_is_taken_before_it_serves() -> None:
    with pytest.raises(OverflowError, match="in phase seal takes no batch"):
        Node().sealed().take(votes("a"))


# --- R3: the end of a writer -------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    [Refuse(KEY, 2, "f1", 5), Heartbeat(KEY, 5, "x", 0, 0), Join(KEY, 5, "f1", INC, START)],
    ids=["refused", "a newer writer", "a copy that knows of one"],
)
def test_a_newer_epoch_ends_it(word: AnyReplica) -> None:
    node = Node().serving()
    (stopped,) = node.take(word)
    assert isinstance(stopped, Stopped)
    assert "5" in stopped.reason
    assert node.take(Tick(), ack("f1", 1), now=500.0) == []


def test_its_copy_promises_a_newer_writer_and_that_is_its_end() -> None:
    node = Node().serving()
    save, send, stopped = node.take(Prepare(KEY, 5, "x"))
    assert save == Save(expect=2, promised=5, voter=True, commit=1)
    assert send == Send(("x",), Promise(KEY, 5, "w", INC, node.memory.state().last, 1))
    assert isinstance(stopped, Stopped)


@pytest.mark.parametrize("word", [Prepare(KEY, 1, "x"), Append(KEY, 1, "x", START, (), 0)])
def test_an_older_writer_is_refused(word: AnyReplica) -> None:
    assert Node().serving().take(word)[-1] == Send(("x",), Refuse(KEY, 1, "w", 2))


# --- followers that are behind -----------------------------------------------------------------


def test_a_gap_is_filled_from_the_log_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "CHUNK_ENTRIES_MAX", 2)
    node = Node().serving()
    node.take(ack("f3", 1), *(votes(name) for name in "abcd"))
    entries = node.memory.entries
    (frame,) = to("f3", node.take(Gap(KEY, 2, "f3", 1)))
    assert frame == Append(KEY, 2, "w", entries[0].head, tuple(entries[1:3]), 1)
    assert node.take(Gap(KEY, 2, "f3", 1)) == []  # the same loss
    assert to("f3", node.take(votes("e"))) == []  # out of the stream until it has caught up
    entries = node.memory.entries
    (frame,) = to("f3", node.take(ack("f3", 3)))
    assert frame == Append(KEY, 2, "w", entries[2].head, tuple(entries[3:5]), 1)
    (frame,) = to("f3", node.take(ack("f3", 5)))
    assert frame == Append(KEY, 2, "w", entries[4].head, tuple(entries[5:6]), 1)
    assert len(to("f3", node.take(votes("f")))) == 1  # in it again


def test_an_old_gap_does_not_go_back_behind_an_acknowledgement() -> None:
    node = Node().serving()
    node.take(votes("a"), votes("b"), ack("f3", 2))
    (frame,) = of(Append, node.take(Gap(KEY, 2, "f3", 0)))
    assert frame.prev.position == 2
    assert node.take(ack("f3", 3), Gap(KEY, 2, "f3", 1)) == []


def test_a_follower_that_falls_silent_is_asked_for_its_end() -> None:
    node = Node().serving()
    node.take(votes("a"), ack("f1", 2), ack("f2", 2), ack("f3", 2))
    assert of(Append, node.take(Tick(), now=100.1)) == []
    question = Append(KEY, 2, "w", node.memory.state().last, (), 2)
    assert Send(("f4",), question) in node.take(Tick(), now=100.3)
    assert of(Append, node.take(Tick(), now=100.4)) == []


def test_a_slow_follower_is_left_out_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication_writer, "STREAM_MAX", 2)
    node = Node().serving()
    node.take(ack("f3", 1), ack("f4", 1))
    sent = [to("f4", node.take(votes(name), ack("f3", n))) for n, name in enumerate("abcd", 2)]
    assert [len(frames) for frames in sent] == [1, 1, 0, 0]
    (frame,) = of(Append, node.take(ack("f4", 3)))
    assert len(frame.entries) == 2


def test_a_copy_that_joins_is_filled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "CHUNK_ENTRIES_MAX", 2)
    node = Node().serving()
    node.take(votes("a"), votes("b"), NoCopy(KEY, 2, "f3", b"new"))
    assert to("f3", node.take(votes("c"))) == []
    assert node.take(Join(KEY, 1, "f3", b"new", START)) == []  # from before our time
    entries = node.memory.entries
    (one,) = to("f3", node.take(Join(KEY, 2, "f3", b"new", START)))
    assert one == Adopt(KEY, 2, "w", b"new", START, tuple(entries[:2]), 1, False)
    (two,) = to("f3", node.take(Join(KEY, 2, "f3", b"new", entries[1].head)))
    assert two == Adopt(KEY, 2, "w", b"new", entries[1].head, tuple(entries[2:]), 1, True)
    assert node.take(ack("f3", 4, inc=b"new")) == []
    assert len(to("f3", node.take(votes("d")))) == 1  # in the stream again


def test_a_copy_that_joins_is_filled_from_what_it_has() -> None:
    node = Node().serving()
    node.take(votes("a"), votes("b"))
    entries = node.memory.entries
    (part_,) = to("f3", node.take(Join(KEY, 2, "f3", b"new", entries[0].head)))
    assert part_ == Adopt(KEY, 2, "w", b"new", entries[0].head, tuple(entries[1:]), 1, True)
    (whole,) = to("f3", node.take(Join(KEY, 2, "f3", b"new", log_of(1)[0].head)))
    assert whole == Adopt(KEY, 2, "w", b"new", START, tuple(entries), 1, True)


def test_a_copy_that_is_lost_is_not_counted() -> None:
    node = Node().serving()
    node.take(votes("a"), ack("f3", 1))
    node.take(Join(KEY, 2, "f3", b"new", START))
    assert node.take(ack("f3", 2), ack("f1", 2)) == []  # the late word of what is lost
    assert node.take(ack("f3", 2, inc=b"new")) == [Committed(2)]


def test_a_late_word_does_not_shut_out_the_copy_that_lives() -> None:
    node = Node().serving()
    node.take(votes("a"), ack("f1", 2), ack("f3", 1, inc=b"new"))
    node.take(Join(KEY, 2, "f3", b"old", START))
    assert node.take(ack("f3", 2, inc=b"new"), now=100.5) == []
    assert node.take(ack("f3", 2, inc=b"new"), now=101.5) == [Committed(2)]


# --- R12: reads, and telling the commit --------------------------------------------------------


def test_a_read_is_confirmed_by_two_followers() -> None:
    node = Node().serving()
    node.take(votes("z"))
    assert node.take(ConfirmRead(1)) == [Send(OTHERS, Heartbeat(KEY, 2, "w", 1, 1))]
    node.take(votes("a"), ConfirmRead(2))
    assert node.take(HeartbeatOk(KEY, 2, "f1", 2, 1), HeartbeatOk(KEY, 2, "f1", 2, 1)) == []
    assert node.take(HeartbeatOk(KEY, 2, "f2", 1, 1)) == [ReadConfirmed(1, 1)]
    assert node.take(HeartbeatOk(KEY, 1, "f3", 2, 1)) == []
    assert node.take(HeartbeatOk(KEY, 2, "f3", 2, 1)) == [ReadConfirmed(2, 1)]


def test_a_lost_confirmation_is_asked_for_again() -> None:
    node = Node().serving()
    node.take(Tick())
    node.take(ConfirmRead(1))
    assert Heartbeat(KEY, 2, "w", 1, 1) in to("f1", node.take(Tick(), now=100.1))


def test_reads_before_it_serves_are_refused() -> None:
    with pytest.raises(OverflowError, match="confirms no read"):
        Node().sealed().take(ConfirmRead(1))


def test_an_idle_writer_tells_the_last_commit_until_all_know_it() -> None:
    node = Node().serving()
    node.take(votes("a"), *(ack(f, 2, commit=1) for f in OTHERS))
    save, send = node.take(Tick())
    assert save == Save(expect=2, promised=2, voter=True, commit=2)
    assert send == Send(OTHERS, Heartbeat(KEY, 2, "w", 0, 2))
    node.take(*(HeartbeatOk(KEY, 2, f, 0, 2) for f in OTHERS[:3]))
    assert node.take(Tick(), now=100.1) == [Send(("f4",), Heartbeat(KEY, 2, "w", 0, 2))]
    node.take(HeartbeatOk(KEY, 2, "f4", 0, 2))
    assert node.take(Tick(), now=100.2) == []
