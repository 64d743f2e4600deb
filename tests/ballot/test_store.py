from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ballot import store
from ballot.replication import CopyState, Save
from ballot.store import Fenced, Store, StoreBusy, StoreCorrupt, StoreError, StoreFull
from ballot.wire import START, Entry, batch, entry_after

KEY = "here/1"
INC = b"i" * 16
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "copy", key=KEY, incarnation=INC)
    yield opened
    opened.close()


def reopen(path: str) -> Store:
    return Store(path, key=KEY, incarnation=b"new" * 5 + b"!")


def grow(copy: Store, *contents: list[bytes], epoch: int = 1) -> list[Entry]:
    """Append one entry for each list of events, each in a transaction of its own."""
    added = []
    for events in contents:
        state = copy.state()
        added.append(entry_after(state.last, epoch, batch(events)))
        copy.apply(
            Save(
                expect=state.promised,
                entries=(added[-1],),
                promised=epoch,
                voter=True,
                commit=state.last.position,
            )
        )
    return added


def test_a_new_copy_has_no_say(copy: Store) -> None:
    assert copy.state() == CopyState(START, 0, False, INC, 0)
    copy.verify()
    with pytest.raises(StoreCorrupt, match="entry 1 is missing"):
        copy.read(1)


def test_what_was_saved_is_there_for_the_next_process(copy: Store) -> None:
    first, second = grow(copy, [b"a", b"b"], [b"c"])
    state = copy.state()
    copy.close()
    again = reopen(copy.path)
    try:
        assert again.state() == state == CopyState(second.head, 1, True, INC, 1)
        assert [again.read(1), again.read(2)] == [first, second] == list(again.scan())
        assert list(again.scan(2, 2)) == [second]
        again.verify()
    finally:
        again.close()


def test_a_tail_is_cut_and_replaced_in_one_change(copy: Store) -> None:
    first, _, _ = grow(copy, [b"a"], [b"dead"], [b"dead too"])
    other = entry_after(first.head, 2, batch([b"b"]))
    copy.apply(Save(expect=1, cut=2, entries=(other,), promised=2, voter=True, commit=2))
    assert list(copy.scan()) == [first, other]
    assert copy.state() == CopyState(other.head, 2, True, INC, 2)
    copy.verify()
    copy.apply(Save(expect=2, cut=1, promised=2, voter=False, commit=0))
    assert (copy.state().last, list(copy.scan())) == (START, [])


def test_another_promise_than_expected_changes_nothing(copy: Store) -> None:
    grow(copy, [b"a"], epoch=3)
    before = copy.state()
    entry = entry_after(before.last, 2, batch([b"late"]))
    with pytest.raises(Fenced, match="it has promised epoch 3, not 2"):
        copy.apply(Save(expect=2, entries=(entry,), promised=2, voter=True, commit=0))
    assert copy.state() == before


def test_one_process_at_a_time(copy: Store) -> None:
    with pytest.raises(StoreBusy, match="another process owns it; end that process first"):
        reopen(copy.path)
    grow(copy, [b"still mine"])


def test_a_copy_of_another_election_is_not_taken(copy: Store) -> None:
    copy.close()
    with pytest.raises(StoreError, match="belongs to election here/1, not to there/2"):
        Store(copy.path, key="there/2", incarnation=INC)
    reopen(copy.path).close()  # and is let go of


def test_the_map_grows_with_the_log(tmp_path: Path) -> None:
    small = Store(tmp_path / "small", key=KEY, incarnation=INC, map_bytes=1 << 18)
    try:
        grow(small, *([os.urandom(2000)] * 20 for _ in range(40)))
        assert os.path.getsize(tmp_path / "small" / "data.mdb") > 1 << 20
        small.verify()
        state = small.state()
    finally:
        small.close()
    again = reopen(small.path)
    assert again.state() == state
    again.close()


def test_the_map_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAP_BYTES_MAX", 1 << 19)
    small = Store(tmp_path / "small", key=KEY, incarnation=INC, map_bytes=1 << 18)
    try:
        with pytest.raises(StoreFull, match="the most that one election may take"):
            grow(small, *([os.urandom(2000)] * 20 for _ in range(40)))
        assert small.state().last.position > 5
        small.verify()
    finally:
        small.close()


def test_too_little_room_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "copy", key=KEY, incarnation=INC, room=1 << 60)
    said = str(caught.value)
    assert str(tmp_path / "copy") in said
    assert f"{1 << 60} are needed" in said
    assert "--shm-size" in said
    assert not (tmp_path / "copy").exists()


# --- death and damage --------------------------------------------------------------------------

KILLED = """
import os, sys
from ballot.replication import Save
from ballot.store import Store
from ballot.wire import batch, entry_after

copy = Store(sys.argv[1], key="here/1", incarnation=b"i" * 16)
while True:
    last = copy.state().last
    entries = []
    for _ in range(5):
        entries.append(entry_after(last, 1, batch([os.urandom(300)] * 20)))
        last = entries[-1].head
    copy.apply(Save(expect=copy.state().promised, entries=tuple(entries), promised=1,
                    voter=True, commit=last.position - 5))
    sys.stdout.write(f"{last.position}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("told", [1, 3, 8])
def test_a_killed_process_leaves_whole_changes_only(tmp_path: Path, told: int) -> None:
    path = tmp_path / "copy"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        saved = [int(child.stdout.readline()) for _ in range(told)]
    finally:
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate(timeout=10)
    saved += [int(line) for line in rest.splitlines() if line]
    again = reopen(str(path))
    try:
        again.verify()
        state = again.state()
        assert state.last.position >= saved[-1]  # all that it told of
        assert state.last.position % 5 == 0  # five entries were one change
        assert state.commit == state.last.position - 5
    finally:
        again.close()


FULL = """
import os, resource, sys
from ballot.replication import Save
from ballot.store import Store, StoreFull
from ballot.wire import batch, entry_after

copy = Store(sys.argv[1], key="here/1", incarnation=b"i" * 16)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
try:
    while True:
        state = copy.state()
        entry = entry_after(state.last, 1, batch([os.urandom(1000)] * 20))
        copy.apply(Save(expect=state.promised, entries=(entry,), promised=1, voter=True, commit=0))
except StoreFull as full:
    copy.verify()
    print(copy.state().last.position, full)
"""


def test_no_room_for_a_change_is_said_and_the_rest_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "copy")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    held, said = done.stdout.split(" ", 1)
    assert "a change could not be written" in said
    assert "nothing of the change was kept" in said
    again = reopen(str(tmp_path / "copy"))
    try:
        assert again.state().last.position == int(held) > 10
        again.verify()
        grow(again, [b"there is room again"])
    finally:
        again.close()


def filled(path: Path, entries: int = 30) -> Path:
    """A closed copy with some entries; its data file."""
    copy = Store(path, key=KEY, incarnation=INC)
    grow(copy, *([b"event %04d of batch %04d" % (n, batch_no) * 8 for n in range(20)]
                 for batch_no in range(entries)))  # fmt: skip
    copy.close()
    return path / "data.mdb"


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    data = filled(tmp_path / "copy")
    raw = bytearray(data.read_bytes())
    place = raw.index(b"event 0007 of batch 0003")
    raw[place] ^= 1
    data.write_bytes(raw)
    copy = reopen(str(tmp_path / "copy"))
    try:
        with pytest.raises(StoreCorrupt, match="entry 4 does not match its hash"):
            copy.read(4)  # so it is never sent to anybody
        with pytest.raises(StoreCorrupt, match="entry 4 does not match its hash; remove it"):
            copy.verify()
        assert copy.read(3).position == 3
    finally:
        copy.close()


def test_a_flipped_bit_at_the_end_is_found_at_once(tmp_path: Path) -> None:
    data = filled(tmp_path / "copy")
    raw = bytearray(data.read_bytes())
    raw[raw.index(b"event 0007 of batch 0029")] ^= 1
    data.write_bytes(raw)
    with pytest.raises(StoreCorrupt, match="entry 30"):
        reopen(str(tmp_path / "copy"))


@pytest.mark.parametrize("part", [0.9, 0.5, 0.1, 0.03])
def test_a_truncated_file_is_found(tmp_path: Path, part: float) -> None:
    data = filled(tmp_path / "copy")
    os.truncate(data, int(data.stat().st_size * part))
    with pytest.raises(StoreCorrupt, match="remove it"):
        reopen(str(tmp_path / "copy"))


def test_a_file_that_is_none_is_found(tmp_path: Path) -> None:
    data = filled(tmp_path / "copy")
    data.write_bytes(b"this is not a copy" * 1000)
    with pytest.raises(StoreCorrupt, match="cannot be opened"):
        reopen(str(tmp_path / "copy"))


def test_an_emptied_file_is_a_copy_without_a_say(tmp_path: Path) -> None:
    data = filled(tmp_path / "copy")
    os.truncate(data, 0)
    copy = reopen(str(tmp_path / "copy"))
    try:
        assert not copy.state().voter
        assert copy.state().incarnation != INC
    finally:
        copy.close()


def test_entries_in_the_wrong_place_are_found(copy: Store) -> None:
    first, second = grow(copy, [b"a"], [b"b"])
    raw = msgspec.msgpack.encode(msgspec.structs.replace(second, prev_hash=bytes(32)))
    with copy._env.begin(write=True) as txn:
        txn.put((2).to_bytes(8, "big"), raw, db=copy._log)
    with pytest.raises(StoreCorrupt, match="entry 2"):
        copy.verify()
    with copy._env.begin(write=True) as txn:
        txn.put((2).to_bytes(8, "big"), msgspec.msgpack.encode(first), db=copy._log)
    with pytest.raises(StoreCorrupt, match="entry 2 is missing"):
        list(copy.scan())
