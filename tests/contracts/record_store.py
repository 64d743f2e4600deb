"""What every store of configuration records must do; an adapter's test applies it so:

class TestMine(RecordStoreContract):
    @pytest.fixture
    def store(self, tmp_path): return MyStore(tmp_path)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from ballot.coordination import BadRecord, Records, check_form, follows, holders
from ballot.wire import Record

OLD = ("MI-A-1", "MI-B-1", "NY-A-1", "TX-A-1", "CA-A-1")
NEW = ("NY-B-1", "NY-A-1", "MI-A-1", "TX-B-1", "CA-B-1")  # shares three nodes with OLD
FIRST = Record(
    epoch=1, writer=OLD[0], members=OLD, status="pending", prev=None, ring_version=3, owner="one"
)
KEY = "elections/7"


def but(record: Record, **changes: Any) -> Record:
    """The same record with some fields changed; another member list brings its writer along."""
    if "members" in changes:
        changes.setdefault("writer", changes["members"][0])
    return msgspec.structs.replace(record, **changes)


ACTIVE = but(FIRST, status="active")
MOVING = but(ACTIVE, epoch=2, members=NEW, status="pending", prev=OLD, owner="two")


def put(store: Records, *history: Record) -> None:
    """Create a record and take it through its history, each step of which must succeed."""
    expected = None
    for record in history:
        assert store.compare_and_swap(KEY, expected, record) == (True, record)
        expected = record.epoch


def refuses(store: Records, expected: int | None, record: Record) -> bool:
    """Whether the store refuses, says what it holds instead, and still holds just that."""
    before = store.read(KEY)
    return store.compare_and_swap(KEY, expected, record) == (False, before) and (
        store.read(KEY) == before
    )


class RecordStoreContract:
    """The shared case: linearizable records with the epoch rules, an index by node, and keys."""

    @pytest.fixture
    def store(self) -> Records:
        """An empty store; every adapter gives its own."""
        raise NotImplementedError

    def test_an_unknown_key_has_no_record(self, store: Records) -> None:
        assert store.read(KEY) is None
        assert store.keys() == []
        assert store.list_for(OLD[0]) == []

    def test_what_is_created_is_read(self, store: Records) -> None:
        put(store, FIRST)
        assert store.read(KEY) == FIRST
        assert store.keys() == [KEY]

    def test_only_one_creates(self, store: Records) -> None:
        put(store, FIRST)
        assert refuses(store, None, but(FIRST, owner="another"))

    def test_nothing_is_expected_of_a_key_without_record(self, store: Records) -> None:
        assert refuses(store, 1, MOVING)

    def test_a_whole_life(self, store: Records) -> None:
        home = but(MOVING, epoch=3, members=OLD, prev=NEW, owner="three")
        put(store, FIRST, ACTIVE, MOVING, but(MOVING, status="active", prev=None), home)
        assert store.read(KEY) == home

    def test_a_late_epoch_loses(self, store: Records) -> None:
        put(store, FIRST, ACTIVE, MOVING)
        assert refuses(store, 1, but(MOVING, owner="late"))
        assert refuses(store, 1, ACTIVE)
        assert refuses(store, 3, but(MOVING, epoch=4))

    def test_the_owner_activates_once(self, store: Records) -> None:
        put(store, FIRST)
        assert refuses(store, 1, but(ACTIVE, owner="another"))
        assert refuses(store, 1, but(ACTIVE, members=NEW))
        put_on = store.compare_and_swap(KEY, 1, ACTIVE)
        assert put_on == (True, ACTIVE)
        assert refuses(store, 1, ACTIVE)

    def test_an_activation_changes_nothing_else(self, store: Records) -> None:
        put(store, FIRST)
        assert refuses(store, 1, but(ACTIVE, ring_version=4))
        assert refuses(store, 1, but(ACTIVE, members=(OLD[0], *OLD[:0:-1])))

    def test_a_candidate_that_read_before_the_activation_loses(self, store: Records) -> None:
        """It would recover from the former members, who lack what was committed since."""
        active = but(MOVING, status="active", prev=None)
        put(store, FIRST, ACTIVE, MOVING, active)
        assert refuses(store, 2, but(MOVING, epoch=3, prev=OLD, owner="three"))
        right = but(MOVING, epoch=3, prev=NEW, owner="three")
        assert store.compare_and_swap(KEY, 2, right) == (True, right)

    def test_a_take_over_of_a_pending_epoch_keeps_its_former_members(self, store: Records) -> None:
        put(store, FIRST, ACTIVE, MOVING)
        assert refuses(store, 2, but(MOVING, epoch=3, prev=NEW, owner="three"))
        assert refuses(store, 2, but(MOVING, epoch=3, prev=None, owner="three"))
        right = but(MOVING, epoch=3, members=OLD, prev=OLD, owner="three")
        assert store.compare_and_swap(KEY, 2, right) == (True, right)

    def test_a_first_start_that_died_may_be_tried_again(self, store: Records) -> None:
        put(store, FIRST, but(FIRST, epoch=2, owner="two"))

    def test_active_at_once_only_over_an_active_record_of_the_same_members(
        self, store: Records
    ) -> None:
        put(store, FIRST)
        restarted = but(ACTIVE, epoch=2, owner="two")
        assert refuses(store, 1, restarted)
        store.compare_and_swap(KEY, 1, ACTIVE)
        assert refuses(store, 1, but(restarted, members=NEW))
        swapped = but(restarted, members=(OLD[1], OLD[0], *OLD[2:]))  # a follower takes over
        assert store.compare_and_swap(KEY, 1, swapped) == (True, swapped)

    def test_the_ring_version_never_goes_back(self, store: Records) -> None:
        put(store, FIRST, ACTIVE)
        assert refuses(store, 1, but(MOVING, ring_version=2))
        assert store.compare_and_swap(KEY, 1, but(MOVING, ring_version=4))[0]

    @pytest.mark.parametrize(
        ("expected", "changes", "problem"),
        [
            (None, {"epoch": 2}, "epoch 2 cannot follow epoch 0"),
            (None, {"epoch": 0}, "epochs begin at 1"),
            (None, {"status": "active"}, "a first record is pending"),
            (None, {"prev": OLD}, "a first or active record has no former members"),
            (1, {"epoch": 3}, "epoch 3 cannot follow epoch 1"),
            (3, {"epoch": 2}, "epoch 2 cannot follow epoch 3"),
            (1, {}, "epoch 1 can only be activated"),
            (0, {}, "epochs begin at 1"),
            (1, {"status": "active", "prev": OLD}, "active record has no former members"),
            (None, {"members": OLD[:4]}, "5 different nodes"),
            (None, {"members": (*OLD[:4], OLD[0])}, "5 different nodes"),
            (None, {"members": (*OLD, "CA-B-1")}, "5 different nodes"),
            (None, {"writer": OLD[1]}, "MI-B-1 is not the first member"),
            (None, {"owner": ""}, "no owner"),
            (None, {"ring_version": -1}, "ring version -1"),
        ],
    )
    def test_what_is_wrong_in_itself_is_the_callers_fault(
        self, store: Records, expected: int | None, changes: dict[str, Any], problem: str
    ) -> None:
        with pytest.raises(BadRecord, match=problem) as caught:
            store.compare_and_swap(KEY, expected, but(FIRST, **changes))
        assert caught.value.key == KEY
        assert store.read(KEY) is None

    @pytest.mark.parametrize("key", ["", "x" * 513, "ü" * 257])
    def test_a_key_has_1_to_512_bytes(self, store: Records, key: str) -> None:
        with pytest.raises(BadRecord, match="1 to 512 bytes"):
            store.compare_and_swap(key, None, FIRST)

    def test_the_keys_do_not_touch_each_other(self, store: Records) -> None:
        for key in ("b", "a", "c\N{SNOWMAN}'; --"):
            assert store.compare_and_swap(key, None, FIRST)[0]
        assert store.compare_and_swap("a", 1, ACTIVE)[0]
        assert store.keys() == ["a", "b", "c\N{SNOWMAN}'; --"]
        assert list(map(store.read, store.keys())) == [ACTIVE, FIRST, FIRST]

    def test_a_node_is_told_of_its_elections_until_the_take_over_is_done(
        self, store: Records
    ) -> None:
        put(store, FIRST, ACTIVE)
        store.compare_and_swap("b", None, but(FIRST, members=NEW))
        leaving, staying, coming = "MI-B-1", "MI-A-1", "NY-B-1"
        assert store.list_for(leaving) == [(KEY, ACTIVE)]
        assert [key for key, _ in store.list_for(coming)] == ["b"]
        assert store.compare_and_swap(KEY, 1, MOVING)[0]
        assert store.list_for(leaving) == [(KEY, MOVING)]  # its copy may still be needed
        assert [key for key, _ in store.list_for(coming)] == ["b", KEY]
        settled = but(MOVING, status="active", prev=None)
        assert store.compare_and_swap(KEY, 2, settled)[0]
        assert store.list_for(leaving) == []
        assert ("b", but(FIRST, members=NEW)) in store.list_for(staying)
        assert (KEY, settled) in store.list_for(staying)

    @pytest.mark.parametrize("seed", range(5))
    def test_it_does_what_a_dictionary_with_the_rules_does(self, store: Records, seed: int) -> None:
        rnd, model = random.Random(seed), dict[str, Record]()
        done = 0
        for _ in range(200):
            key, current = (k := rnd.choice("ab")), model.get(k)
            expected, record = propose(rnd, current)
            try:
                check_form(key, expected, record)
            except BadRecord:
                continue
            ok = follows(current, expected, record)
            model |= {key: record} if ok else {}
            done += ok
            assert store.compare_and_swap(key, expected, record) == (ok, model.get(key))
        assert done > 20
        keys = store.keys()
        assert dict(zip(keys, map(store.read, keys), strict=True)) == model
        for node in {*OLD, *NEW}:
            wanted = [(key, r) for key, r in sorted(model.items()) if node in holders(r)]
            assert store.list_for(node) == wanted


def propose(rnd: random.Random, current: Record | None) -> tuple[int | None, Record]:
    """Something that a node might try, right more often than not."""
    if current is None:
        return rnd.choice([None, None, 1]), FIRST
    late = rnd.random() < 0.1
    expected = current.epoch - late
    if rnd.random() < 0.4:
        return expected, but(current, epoch=expected, status="active", prev=None)
    authoritative = current.members if current.status == "active" else current.prev
    return expected, but(
        current,
        epoch=expected + 1,
        members=rnd.choice([OLD, NEW]),
        status="pending",
        prev=rnd.choice([authoritative] * 4 + [OLD, NEW]),
        ring_version=current.ring_version + rnd.choice([0, 0, 1, -1]),
        owner=f"owner-{rnd.randrange(10**9)}",
    )


Move = tuple[str, str, tuple[str, ...], int]  # what, who, members, step of the ring version
MOVES = st.tuples(
    st.sampled_from(["read", "claim", "claim", "restart", "activate"]),
    st.sampled_from(["p", "q", "r"]),
    st.sampled_from([OLD, NEW]),
    st.integers(-1, 1),
)
LIVES = st.lists(MOVES, min_size=1, max_size=60)


def wanted(move: str, owner: str, view: Record, members: tuple[str, ...], ring: int) -> Record:
    """What an honest process makes of the record as it last saw it, however long ago."""
    if move == "activate":
        return but(view, status="active", prev=None)
    if move == "restart":  # of the writer with its members: active at once over an active record
        prev = None if view.status == "active" else view.prev
        return but(view, epoch=view.epoch + 1, prev=prev, owner=owner)
    return but(
        view, epoch=view.epoch + 1, members=members, status="pending", prev=view.authoritative,
        ring_version=view.ring_version + ring, owner=owner,
    )  # fmt: skip


def history_of(moves: Sequence[Move]) -> list[Record]:
    """What becomes of a record when three processes with old views work on it."""
    history = [FIRST]
    views = dict.fromkeys("pqr", FIRST)
    for move, owner, members, ring in moves:
        view = views[owner]
        record = wanted(move, owner, view, members, ring)
        try:
            check_form(KEY, view.epoch, record)
        except BadRecord:
            continue
        if move != "read" and follows(history[-1], view.epoch, record):
            history.append(record)
        views[owner] = history[-1]  # the answer says what holds now, won or lost
    return history
