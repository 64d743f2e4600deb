"""The record store: the contract, its files, many processes at once, and kill -9."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given, settings

import otp
from ballot.coordination import (
    BadRecord,
    CoordinationError,
    Coordinator,
    RecordStore,
    file_system_of,
)
from ballot.records import CasRecord, ReadRecord, RecordsOf
from otp import codec, frames
from tests.contracts.record_store import (
    ACTIVE,
    FIRST,
    KEY,
    LIVES,
    NEW,
    OLD,
    Move,
    RecordStoreContract,
    history_of,
)

STATUSES = ("pending", "active")
WAIT_S = 30.0  # for a child process; a loaded machine is slow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


class TestSqlite(RecordStoreContract):
    @pytest.fixture
    def store(self, path: Path) -> Iterator[RecordStore]:
        with closing(RecordStore(path, allow_tmpfs=True)) as store:
            yield store


# ---------------------------------------------------------------- the rules, as a state machine


@settings(max_examples=300, deadline=None)
@given(LIVES)
def test_whatever_is_tried_an_epoch_has_one_owner_and_nothing_is_forgotten(
    moves: list[Move],
) -> None:
    history = history_of(moves)
    owners = {(r.epoch, r.owner, r.members) for r in history}
    assert len(owners) == len({r.epoch for r in history}) == history[-1].epoch
    last_active: tuple[str, ...] | None = None
    for before, record in pairwise(history):
        assert record.epoch in (before.epoch, before.epoch + 1)
        assert record.ring_version >= before.ring_version
        if record.status == "pending":
            assert record.prev == last_active
        elif record.epoch > before.epoch:  # at once: nobody has to be brought up to date
            assert before.status == "active" and set(before.members) == set(record.members)
        last_active = record.members if record.status == "active" else last_active


def test_the_lives_above_go_somewhere() -> None:
    moves = [(move, who, NEW, 0) for who in "pqr" for move in ("read", "claim", "activate")]
    assert [(r.epoch, r.owner, r.status) for r in history_of(moves)][1:] == [
        (epoch, who, status) for epoch, who in enumerate("pqr", 2) for status in STATUSES
    ]


# ---------------------------------------------------------------- the file


def test_a_store_keeps_its_records_over_a_restart(path: Path) -> None:
    with closing(RecordStore(path, allow_tmpfs=True)) as store:
        store.compare_and_swap(KEY, None, FIRST)
    with closing(RecordStore(path, allow_tmpfs=True)) as again:
        assert again.read(KEY) == FIRST
        assert again.list_for(OLD[4]) == [(KEY, FIRST)]


def test_a_commit_is_synced_to_the_disk(path: Path) -> None:
    """Kill -9 cannot show it (the kernel lives on), so look at what SQLite was told."""
    with closing(RecordStore(path, allow_tmpfs=True)) as store:
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_file_system_in_ram_is_refused() -> None:
    if file_system_of("/dev/shm") != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs here")
    path = "/dev/shm/ballot-test-must-not-appear.db"
    with pytest.raises(CoordinationError, match=r"would lie in RAM \(tmpfs\).* path on a disk"):
        RecordStore(path)
    assert not os.path.exists(path)


MOUNTS = r"""
/dev/sda / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
/dev/sdb /run/disk xfs rw 0 0
tmpfs /mnt/a\040blank tmpfs rw 0 0
/dev/sdc /over ext4 rw 0 0
ramfs /over ramfs rw 0 0
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/x.db", "ext4"), ("/run/x.db", "tmpfs"), ("/running/x.db", "ext4"),
        ("/run/disk/x.db", "xfs"), ("/mnt/a blank/x.db", "tmpfs"), ("/over/x.db", "ramfs"),
        ("/run/disk/../x.db", "tmpfs"),
    ],
)  # fmt: skip
def test_the_deepest_mount_names_the_file_system(path: str, kind: str) -> None:
    assert file_system_of(path, MOUNTS) == kind


def test_a_link_onto_ram_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/run")
    assert file_system_of(str(tmp_path / "link" / "x.db"), MOUNTS) == "tmpfs"


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CoordinationError, match=r"no/records\.db: it cannot be opened; the folder"):
        RecordStore(tmp_path / "no" / "records.db", allow_tmpfs=True)
    with pytest.raises(CoordinationError, match="cannot be opened"):
        RecordStore(tmp_path, allow_tmpfs=True)
    (tmp_path / "file").touch()
    with pytest.raises(CoordinationError, match="Not a directory; the folder must exist"):
        RecordStore(tmp_path / "file" / "records.db", allow_tmpfs=True)


def test_a_file_of_something_else_is_left_as_it_is(path: Path) -> None:
    path.write_text("dear diary\n" * 100)
    with pytest.raises(CoordinationError, match="not a record store"):
        RecordStore(path, allow_tmpfs=True)
    assert path.read_text() == "dear diary\n" * 100


def test_a_database_of_something_else_is_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE diary (line TEXT)")
    before = path.read_bytes()
    with pytest.raises(CoordinationError, match="tables have version 0, not 1"):
        RecordStore(path, allow_tmpfs=True)
    assert path.read_bytes() == before


def test_a_damaged_file_is_found_at_the_start(path: Path) -> None:
    with closing(RecordStore(path, allow_tmpfs=True)) as store:
        for i in range(200):
            store.compare_and_swap(f"elections/{i}", None, FIRST)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(8192))
    with pytest.raises(CoordinationError, match=r"content is damaged; restore it") as caught:
        RecordStore(path, allow_tmpfs=True)
    assert caught.value.path == str(path)


def test_a_damaged_record_is_not_taken_for_none(path: Path) -> None:
    with closing(RecordStore(path, allow_tmpfs=True)) as store:
        store.compare_and_swap(KEY, None, FIRST)
        store._db.execute("UPDATE records SET body = ?", (b'{"epoch":1}',))
        with pytest.raises(CoordinationError, match=r"the record of 'elections/7' is damaged"):
            store.read(KEY)
        with pytest.raises(CoordinationError, match="is damaged"):
            store.compare_and_swap(KEY, 1, ACTIVE)
        with pytest.raises(CoordinationError, match="is damaged"):
            store.list_for(OLD[0])


def test_a_lock_that_stays_is_a_clear_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ballot.coordination.LOCK_WAIT_S", 0.05)
    store, db = RecordStore(path, allow_tmpfs=True), sqlite3.connect(path)
    with closing(store), closing(db):
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(CoordinationError, match="another process has held it locked"):
            store.compare_and_swap(KEY, None, FIRST)
        assert store.read(KEY) is None  # reading goes on
        db.rollback()
        assert store.compare_and_swap(KEY, None, FIRST) == (True, FIRST)


def test_a_full_disk_loses_nothing_and_may_be_mended(path: Path) -> None:
    with closing(RecordStore(path, allow_tmpfs=True)) as store:
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count={pages + 3}")
        done: list[str] = []
        with pytest.raises(CoordinationError, match=r"disk is full; make room; .* was not made"):
            for i in range(1000):
                store.compare_and_swap(f"elections/{i:04}", None, FIRST)
                done.append(f"elections/{i:04}")
        assert store.keys() == done
        store._db.execute("PRAGMA max_page_count=100000")
        assert store.compare_and_swap("later", None, FIRST)[0]
    with closing(RecordStore(path, allow_tmpfs=True)) as again:
        assert again.keys() == [*done, "later"]


def test_a_disk_that_fails_says_that_the_change_may_have_been_made(path: Path) -> None:
    with closing(RecordStore(path, allow_tmpfs=True)) as store:
        store.compare_and_swap(KEY, None, FIRST)
        wal = Path(f"{path}-wal").stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (wal, limits[1]))  # writes beyond it fail
        try:
            with pytest.raises(CoordinationError, match=r"the disk failed; .* may have been made"):
                store.compare_and_swap(KEY, 1, ACTIVE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert store.read(KEY) == FIRST
        assert store.compare_and_swap(KEY, 1, ACTIVE) == (True, ACTIVE)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_taken_away_is_noticed_before_it_swallows_changes(
    path: Path, replaced: bool
) -> None:
    with closing(RecordStore(path, allow_tmpfs=True)) as store:
        store.compare_and_swap(KEY, None, FIRST)
        path.rename(path.with_name("elsewhere.db"))
        if replaced:
            path.write_bytes(b"")
        with pytest.raises(CoordinationError, match="removed or replaced while in use"):
            store.compare_and_swap(KEY, 1, ACTIVE)
        with pytest.raises(CoordinationError, match="removed or replaced"):
            store.read(KEY)


# ---------------------------------------------------------------- several processes, and kill -9

COMPETE = """
import sys
from ballot.coordination import RecordStore
from tests.contracts.record_store import FIRST, KEY, but
for line in sys.stdin:
    epoch = int(line)
    store = store if epoch else RecordStore(sys.argv[1], allow_tmpfs=True)
    mine = but(FIRST, epoch=epoch + 1, owner=sys.argv[2])
    ok, current = store.compare_and_swap(KEY, epoch or None, mine)
    print(ok, current.epoch, current.owner, flush=True)
"""


Spawn = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start a Python program with arguments; none outlives the test."""
    with ExitStack() as processes:

        def start(program: str, *args: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", program, *args],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            processes.enter_context(process)
            processes.callback(process.kill)
            return process

        yield start


def test_of_several_processes_exactly_one_wins_each_epoch(path: Path, spawn: Spawn) -> None:
    """They begin at once on a path without a file, so they also compete in making it."""
    owners = ["p", "q", "r", "s"]
    processes = [spawn(COMPETE, str(path), owner) for owner in owners]
    winners: list[str] = []
    for epoch in range(60):
        for process in processes:
            _stream(process.stdin).write(f"{epoch}\n")
            _stream(process.stdin).flush()
        said = [_stream(process.stdout).readline().split() for process in processes]
        won = [owner for owner, (ok, *_) in zip(owners, said, strict=True) if ok == "True"]
        assert len(won) == 1, f"epoch {epoch + 1} was given to {won}"
        assert {(now, owner) for _, now, owner in said} == {(str(epoch + 1), won[0])}
        winners += won
    for process in processes:
        process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
    with closing(RecordStore(path, allow_tmpfs=True)) as store:
        record = store.read(KEY)
        assert record is not None and (record.epoch, record.owner) == (60, winners[-1])


WRITE_ON = """
import sys
from ballot.coordination import RecordStore
from tests.contracts.record_store import FIRST, but
store = RecordStore(sys.argv[1], allow_tmpfs=True)
keys = [f"elections/{i}" for i in range(5)]
while True:
    for key in keys:
        current = store.read(key)
        expected = current.epoch if current else None
        record = but(current, epoch=expected + 1, owner=sys.argv[2]) if current else FIRST
        ok, _ = store.compare_and_swap(key, expected, record)
        assert ok
        print(key, record.epoch, flush=True)
"""


def test_kill_9_in_the_middle_loses_nothing_acknowledged(path: Path, spawn: Spawn) -> None:
    told: dict[str, int] = {}
    for life in range(6):
        process = spawn(WRITE_ON, str(path), f"life {life}")
        for _ in range(40 + life * 7):  # so that it dies at other moments each time
            key, epoch = _stream(process.stdout).readline().split()
            assert int(epoch) > told.get(key, 0), "an epoch was given again after a crash"
            told[key] = int(epoch)
        process.send_signal(signal.SIGKILL)
        # By the same stream, which has read ahead: `communicate` would miss what lies in it.
        for line in _stream(process.stdout).read().splitlines():
            told[line.split()[0]] = int(line.split()[1])
        process.wait(WAIT_S)
        with closing(RecordStore(path, allow_tmpfs=True)) as store:
            held = {key: record.epoch for key, record in store.list_for(OLD[0])}
        assert all(epoch <= held[key] <= epoch + 1 for key, epoch in told.items())


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


# ---------------------------------------------------------------- the process


def test_the_coordinator_answers_what_the_store_says(path: Path) -> None:
    coordinator = Coordinator(str(path), allow_tmpfs=True)
    nobody: Any = object()  # the coordinator replies by returning

    def ask(request: ReadRecord | CasRecord | RecordsOf) -> object:
        return coordinator.handle_call(request, nobody)

    assert ask(ReadRecord(KEY)) is None
    assert ask(CasRecord(KEY, None, FIRST)) == (True, FIRST)
    assert ask(CasRecord(KEY, None, FIRST)) == (False, FIRST)
    assert ask(ReadRecord(KEY)) == FIRST
    assert ask(RecordsOf(OLD[1])) == [(KEY, FIRST)]
    assert ask(RecordsOf("TX-B-4")) == []
    with pytest.raises(BadRecord):
        ask(CasRecord(KEY, 1, FIRST))
    assert {BadRecord, CoordinationError} == set(Coordinator.refuses)
    coordinator.terminate(otp.Reason("shutdown"))
    with pytest.raises(CoordinationError, match="closed database"):
        ask(ReadRecord(KEY))


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (ReadRecord(KEY), FIRST),
        (ReadRecord(KEY), None),
        (CasRecord(KEY, 1, ACTIVE), (True, ACTIVE)),
        (CasRecord(KEY, None, FIRST), (False, None)),
        (RecordsOf("MI-A-1"), [(KEY, FIRST), ("b", ACTIVE)]),
    ],
)
def test_questions_and_answers_cross_nodes(request_: Any, reply: object) -> None:
    """As msgpack in their declared types; a pickle would be refused between nodes."""
    decode = codec.decoders(codec.handler_types(Coordinator))[frames.CALL]
    form, body = codec.dump(request_)
    assert form == frames.MSGPACK
    assert decode(form, body) == request_
    form, body = codec.dump_reply(type(request_), reply)
    assert form == frames.MSGPACK
    assert codec.load_reply(request_, form, body) == reply


def test_the_errors_can_be_built_again_from_their_arguments() -> None:
    """So they cross a process boundary: class by name, arguments as plain data."""
    for error in (CoordinationError("/p", "it burns", "run"), BadRecord("k", "wrong")):
        again = type(error)(*error.args)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
