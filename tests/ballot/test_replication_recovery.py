"""R4: a new writer seals three copies and takes the best log."""

from __future__ import annotations

import msgspec
import pytest

from ballot.replication import (
    Alarm,
    LostQuorum,
    RecordRead,
    Save,
    Send,
    Tick,
)
from ballot.wire import (
    START,
    AnyReplica,
    Append,
    Entry,
    Fetch,
    FetchChunk,
    Head,
    NoCopy,
    Prepare,
)
from tests.ballot.replication_writers import (
    ACTIVE,
    KEY,
    NEXT,
    OTHERS,
    THEIRS,
    Node,
    log_of,
    of,
    promise,
)


def test_it_binds_its_own_copy_before_it_asks_the_others() -> None:
    node = Node()
    node.take(Tick(), RecordRead(ACTIVE))
    save, send = node.take(RecordRead(NEXT))
    assert save == Save(expect=0, promised=2, voter=True, commit=0)
    assert send == Send(OTHERS, Prepare(KEY, 2, "w"))


def test_the_silent_are_asked_again() -> None:
    node = Node().sealed()
    node.take(promise("f1"))
    assert node.take(Tick(), now=100.1) == []
    assert node.take(Tick(), now=100.3) == [Send(("f2", "f3", "f4"), Prepare(KEY, 2, "w"))]


def test_three_promises_are_needed() -> None:
    node = Node().sealed()
    assert node.take(promise("f1"), promise("f1"), promise("f2", epoch=1), promise("x")) == []
    assert of(Append, node.take(promise("f2")))


def test_without_its_own_log_it_needs_three_others() -> None:
    node = Node(voter=False).sealed()
    assert node.take(promise("f1"), promise("f2")) == []
    assert of(Fetch, node.take(promise("f3")))
    assert not node.memory.state().voter
    assert of(Append, node.take(part(START)))
    assert node.memory.state().voter


SHORT, LONG, NEW = log_of(1), log_of(1, 1, 1), log_of(1, 3)


@pytest.mark.parametrize(
    ("own", "theirs", "source"),
    [
        (LONG, [SHORT, []], None),
        (SHORT, [LONG, SHORT], "f1"),
        (LONG, [SHORT, NEW], "f2"),  # the newest epoch, not the longest
        (LONG, [LONG, LONG], None),  # what it has it need not fetch
        ([], [NEW, NEW], "f1"),
    ],
)
def test_the_best_log_is_taken(
    own: list[Entry], theirs: list[list[Entry]], source: str | None
) -> None:
    node = Node(log=own).sealed()
    effects = node.take(*(promise(f"f{n}", *log) for n, log in enumerate(theirs, 1)))
    asked = [e.to[0] for e in effects if isinstance(e, Send) and isinstance(e.message, Fetch)]
    assert asked == ([source] if source else [])
    assert bool(of(Append, effects)) is (source is None)


def part(prev: Head, *entries: Entry, end: bool = True, known: bool = True) -> FetchChunk:
    return FetchChunk(KEY, 2, "f1", THEIRS, prev, known, entries, end)


def test_only_what_is_missing_is_fetched_and_in_parts() -> None:
    best = log_of(1, 1, 1, 1)
    node = Node(log=best[:1]).sealed()
    (fetch,) = of(Fetch, node.take(promise("f1", *best), promise("f2")))
    assert (fetch.after, fetch.incarnation) == (best[0].head, THEIRS)
    (fetch,) = of(Fetch, node.take(part(best[0].head, *best[1:3], end=False)))
    assert fetch.after == best[2].head
    assert node.take(part(best[0].head, *best[1:3], end=False)) == []  # a repetition
    effects = node.take(part(best[2].head, best[3]))
    assert of(Append, effects)[0].prev == best[3].head
    assert node.memory.entries[:4] == best


def test_a_dead_tail_is_cut_where_it_differs_and_no_earlier() -> None:
    own = [*log_of(1, 1), *log_of(1, 1, after=log_of(1, 1)[1].head, mark="dead")]
    best = [*own[:2], *log_of(2, 2, after=own[1].head)]
    node = Node(log=own, commit=1).sealed()
    (fetch,) = of(Fetch, node.take(promise("f1", *best), promise("f2")))
    assert fetch.after == own[3].head
    (fetch,) = of(Fetch, node.take(part(fetch.after, known=False, end=False)))
    assert fetch.after == own[0].head  # what is committed is surely there
    save = of(Save, node.take(part(own[0].head, *best[1:])))[0]
    assert save.cut == 3
    assert node.memory.entries[:4] == best


def test_a_committed_entry_that_nobody_knows_is_an_alarm() -> None:
    node = Node(log=log_of(1, 1), commit=2).sealed()
    other = log_of(1, 2, 2)
    node.take(promise("f1", *other), promise("f2"))
    (alarm,) = node.take(part(log_of(1, 1)[1].head, known=False, end=False))
    assert isinstance(alarm, Alarm)


@pytest.mark.parametrize(
    "word",
    [
        NoCopy(KEY, 2, "f1", b"new"),
        msgspec.structs.replace(part(START), incarnation=b"new"),
    ],
    ids=["it says so", "another incarnation answers"],
)
def test_a_promise_of_a_memory_that_is_lost_is_void(word: AnyReplica) -> None:
    node = Node().sealed()
    assert of(Fetch, node.take(promise("f1", *LONG), promise("f2")))
    effects = node.take(word)
    assert of(Prepare, effects)
    assert not of(Append, effects)
    assert of(Append, node.take(promise("f3")))  # three others, and the best of these


def test_a_source_that_falls_silent_is_replaced() -> None:
    node = Node().sealed()
    node.take(promise("f1", *LONG), promise("f2", *SHORT))
    now, asked = 100.0, 1
    while not of(Prepare, effects := node.take(Tick(), now=(now := now + 0.3))):
        asked += len(of(Fetch, effects))
    assert asked == 5
    (fetch,) = of(Fetch, node.take(promise("f3", *SHORT), now=now))
    assert fetch.after == START


def test_too_many_lost_memories_are_reported_and_nothing_is_served() -> None:
    node = Node(voter=False).sealed()
    assert node.take(NoCopy(KEY, 2, "f1", b"new"), promise("f3"), promise("f4")) == []
    assert node.take(NoCopy(KEY, 2, "f2", b"new")) == [LostQuorum(("f1", "f2", "w"))]
    assert node.take(NoCopy(KEY, 2, "f2", b"new")) == []  # said once
    assert node.writer.room == 0
    assert of(Prepare, node.take(Tick(), now=101.0))  # perhaps one is found again
