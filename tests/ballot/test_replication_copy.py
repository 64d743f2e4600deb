"""The rules of a follower, one by one; `tests/simulation` drives all of them together."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot import replication
from ballot.replication import (
    Alarm,
    Committed,
    Save,
    Send,
)
from ballot.wire import (
    START,
    Ack,
    Adopt,
    AnyReplica,
    Append,
    Entry,
    Fetch,
    FetchChunk,
    Gap,
    Heartbeat,
    HeartbeatOk,
    NoCopy,
    Prepare,
    Promise,
    Refuse,
    batch,
    entry_after,
)
from tests.ballot.replication_copies import (
    INC,
    KEY,
    LOG,
    NEXT,
    NODE,
    OTHER_C,
    A,
    B,
    C,
    Copy,
    ack,
    append,
    log_of,
)

# --- R3, R4: promises --------------------------------------------------------------------------


def test_a_promise_is_kept_before_it_is_given() -> None:
    save, send = Copy().take(Prepare(KEY, 5, "w"))
    assert save == Save(expect=2, promised=5, voter=True, commit=2)
    assert send == Send(("w",), Promise(KEY, 5, NODE, INC, C, 2))


def test_the_same_promise_is_given_again() -> None:
    copy = Copy()
    assert copy.take(Prepare(KEY, 2, "w")) == [Send(("w",), Promise(KEY, 2, NODE, INC, C, 2))]


@pytest.mark.parametrize(
    "message",
    [
        Prepare(KEY, 1, "old"),
        Append(KEY, 1, "old", C, (entry_after(C, 1, batch([b"x"])),), 3),
        Heartbeat(KEY, 1, "old", 1, 3),
        Fetch(KEY, 1, "old", INC, START),
        Adopt(KEY, 1, "old", INC, START, tuple(LOG), 3, True),
    ],
    ids=lambda message: type(message).__name__,
)
def test_an_older_epoch_is_refused_and_changes_nothing(message: AnyReplica) -> None:
    copy = Copy()
    assert copy.take(message) == [Send(("old",), Refuse(KEY, 1, NODE, 2))]


@pytest.mark.parametrize("message", [append(C, epoch=6), Heartbeat(KEY, 6, "w", 1, 0)])
def test_whatever_it_accepts_raises_its_promise(message: AnyReplica) -> None:
    copy = Copy()
    copy.take(message)
    assert copy.memory.state().promised == 6
    assert copy.replies(append(C, epoch=5)) == [Refuse(KEY, 5, NODE, 6)]


def test_messages_of_another_election_are_not_for_it() -> None:
    assert Copy().take(Prepare("there/2", 9, "w")) == []


# --- R6: appending -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "log", "upto"),
    [
        pytest.param(append(C, NEXT), [*LOG, NEXT], 4, id="at the end"),
        pytest.param(append(B, LOG[2], NEXT), [*LOG, NEXT], 4, id="overlapping"),
        pytest.param(append(START, *LOG), LOG, 3, id="a repetition"),
        pytest.param(append(START, LOG[0]), LOG, 1, id="an old prefix cuts nothing"),
        pytest.param(append(A), LOG, 1, id="a question acknowledges what it asks for only"),
        pytest.param(append(B, OTHER_C), [*LOG[:2], OTHER_C], 3, id="a conflict cuts"),
        pytest.param(append(A, LOG[1], OTHER_C), [*LOG[:2], OTHER_C], 3, id="cuts at the conflict"),
    ],
)
def test_what_an_append_makes_of_the_log(frame: Append, log: list[Entry], upto: int) -> None:
    copy = Copy()
    assert copy.replies(frame) == [ack(upto)]
    assert copy.memory.entries == log


@pytest.mark.parametrize(
    ("frame", "after"),
    [
        pytest.param(append(NEXT.head), 3, id="beyond the end"),
        pytest.param(append(OTHER_C.head, NEXT), 2, id="another tail: from what is committed"),
    ],
)
def test_a_gap_says_where_to_go_on(frame: Append, after: int) -> None:
    copy = Copy()
    assert copy.take(frame) == [Send(("w",), Gap(KEY, 2, NODE, after))]
    assert copy.memory.entries == LOG


def test_a_gap_never_goes_back_behind_what_matched_already() -> None:
    copy = Copy(commit=0)
    copy.take(append(B))
    assert copy.replies(append(OTHER_C.head)) == [Gap(KEY, 2, NODE, 2)]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (append(B, *log_of(1, after=B, mark="x")), "one epoch, two contents"),
        (append(log_of(1, mark="x")[0].head), "one epoch, two contents"),
        (append(A, entry_after(A, 2, batch([b"x"]))), "committed 2@e1"),
        (append(C, msgspec.structs.replace(NEXT, root=bytes(32))), "does not follow"),
        (append(C, msgspec.structs.replace(NEXT, position=9)), "does not follow"),
    ],
)
def test_what_cannot_be_stops_everything(frame: Append, said: str) -> None:
    copy = Copy()
    (alarm,) = copy.take(frame)
    assert isinstance(alarm, Alarm)
    assert said in alarm.text
    assert copy.memory.entries == LOG
    assert copy.take(append(C, NEXT)) == []


def test_a_group_is_one_change_and_one_answer() -> None:
    copy = Copy()
    entries = log_of(*[2] * 100, after=C)
    frames = [append(p, e) for p, e in zip([C, *(e.head for e in entries)], entries, strict=False)]
    save, send = copy.take(*frames)
    assert save == Save(expect=2, entries=tuple(entries), promised=2, voter=True, commit=2)
    assert send == Send(("w",), ack(103))


def test_in_a_group_a_filled_gap_is_not_told() -> None:
    after = entry_after(NEXT.head, 2, batch([b"after"]))
    copy = Copy()
    assert copy.replies(append(NEXT.head, after), append(C, NEXT, after)) == [ack(5)]
    copy = Copy()
    assert copy.replies(append(C, NEXT), append(after.head)) == [ack(4), Gap(KEY, 2, NODE, 4)]


def test_entries_of_the_same_step_are_read_before_they_are_stored() -> None:
    copy = Copy()
    dead = log_of(2, 2, after=C, mark="dead")
    alive = entry_after(dead[0].head, 3, batch([b"alive"]))
    copy.take(append(C, *dead), append(dead[0].head, alive, epoch=3))
    assert copy.memory.entries == [*LOG, dead[0], alive]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_order_of_frames_leads_to_a_prefix_of_the_writers_log(
    spans: list[tuple[int, int]], together: bool
) -> None:
    writers = [*LOG[:2], *log_of(2, 2, 3, after=B)]
    heads = [START, *(entry.head for entry in writers)]
    copy = Copy()
    frames = [append(heads[at], *writers[at : at + n], epoch=3, commit=at) for at, n in spans]
    for group in [frames] if together else [[frame] for frame in frames]:
        for reply in copy.replies(*group):
            held = [entry.hash for entry in copy.memory.entries]
            if isinstance(reply, Ack):
                assert held[: reply.upto] == [entry.hash for entry in writers[: reply.upto]]
        shown = copy.memory.entries[: copy.follower.visible]
        assert shown == writers[: len(shown)]


# --- R11: what readers see ---------------------------------------------------------------------


def test_readers_see_what_is_committed_and_matches() -> None:
    copy = Copy(commit=1)
    assert copy.follower.visible == 1
    assert copy.replies(Heartbeat(KEY, 2, "w", 7, 3)) == [HeartbeatOk(KEY, 2, NODE, 7, 1)]
    assert copy.follower.visible == 1  # our tail need not be the writer's
    effects = copy.take(append(C, commit=2))
    assert effects[-1] == Committed(2)
    assert copy.take(Heartbeat(KEY, 2, "w", 8, 9))[-1] == Committed(3)
    assert copy.memory.state().commit == 3


def test_what_matched_one_writer_need_not_match_the_next() -> None:
    copy = Copy(commit=1)
    copy.take(append(C))
    copy.take(Heartbeat(KEY, 3, "w", 1, 3))
    assert copy.follower.visible == 1


# --- R4: being fetched from --------------------------------------------------------------------


def test_a_log_is_fetched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "CHUNK_ENTRIES_MAX", 2)
    copy = Copy()
    (one,) = copy.replies(Fetch(KEY, 2, "w", INC, START))
    assert one == FetchChunk(KEY, 2, NODE, INC, START, True, tuple(LOG[:2]), False)
    (two,) = copy.replies(Fetch(KEY, 2, "w", INC, B))
    assert two == FetchChunk(KEY, 2, NODE, INC, B, True, (LOG[2],), True)
    (none,) = copy.replies(Fetch(KEY, 2, "w", INC, C))
    assert none == FetchChunk(KEY, 2, NODE, INC, C, True, (), True)


def test_a_part_is_bounded_in_bytes_but_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(LOG[0].events)
    for limit, count in ((1, 1), (size, 1), (2 * size, 2), (99 * size, 3)):
        monkeypatch.setattr(replication, "CHUNK_BYTES_MAX", limit)
        (part,) = Copy().replies(Fetch(KEY, 2, "w", INC, START))
        assert isinstance(part, FetchChunk)
        assert len(part.entries) == count


def test_what_is_not_in_the_log_is_not_known() -> None:
    (reply,) = Copy().replies(Fetch(KEY, 2, "w", INC, OTHER_C.head))
    assert reply == FetchChunk(KEY, 2, NODE, INC, OTHER_C.head, False, (), False)


def test_a_promise_of_the_copy_before_is_void() -> None:
    (reply,) = Copy().replies(Fetch(KEY, 2, "w", b"before", START))
    assert reply == NoCopy(KEY, 2, NODE, INC)
