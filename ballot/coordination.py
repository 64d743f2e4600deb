"""The configuration record of each election: which epoch, whose, on which five nodes.

Whoever wants to write to an election takes its next epoch here first, by compare-and-swap; two
answers "it is yours" for one epoch would be two writers. So the store must be linearizable and
must never forget a change that it has acknowledged. It is off the data path: when it is away,
serving goes on, and take-overs, moves and new elections wait.

On one machine it is SQLite, in WAL mode with `synchronous=FULL`: a commit returns after its one
fsync of the log. In SQLite's default rollback mode FULL would *not* do: there the commit is the
removal of the journal, the folder of which is not synced, so that a power cut may bring the journal
back and undo an acknowledged change (EXTRA would do, at five syncs each). For the same reason the
file may not lie on a file system in RAM.

Two kinds of no. A record that is wrong whatever the store holds is a fault of the caller:
`BadRecord` (see `check_form`). One that came too late, or does not follow from what the store
holds, is an ordinary loss: `(False, current)` (see `follows`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import msgspec

import otp
from ballot.records import CasRecord, ReadRecord, RecordsOf
from ballot.wire import Record

COPIES: Final = 5
KEY_BYTES_MAX: Final = 512  # a key is a name, and is held in every index
LOCK_WAIT_S: Final = 2.0  # a commit takes milliseconds: a longer lock is a stopped process
SCHEMA: Final = 1  # raised when the tables change
IN_RAM: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})

_TABLES: Final = f"""
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE records (key TEXT PRIMARY KEY, epoch INTEGER NOT NULL, body BLOB NOT NULL)
    WITHOUT ROWID;
CREATE TABLE copies (node TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (node, key))
    WITHOUT ROWID;
CREATE INDEX copies_by_key ON copies (key);
PRAGMA user_version = {SCHEMA};
COMMIT;
"""

# Primary result codes of SQLite: what it means here, and what to do.
_FAULTS: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_BUSY: (
        f"another process has held it locked for {LOCK_WAIT_S:g} s",
        "find that process (`fuser` on the path) and let it go on or end it",
    ),
    sqlite3.SQLITE_READONLY: ("it cannot be written", "give this user the right to write there"),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened",
        "the folder must exist, and this user must be allowed to write in it",
    ),
    sqlite3.SQLITE_FULL: ("the disk is full", "make room; the change was not made"),
    sqlite3.SQLITE_IOERR: (
        "the disk failed",
        "look at the kernel's log; the change may have been made: read the record again",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "its content is damaged",
        "restore it from a copy; never start anew beside living elections",
    ),
    sqlite3.SQLITE_NOTADB: ("it is not a record store", "name another path, or restore the file"),
}


class CoordinationError(Exception):
    """The record store cannot be used; `path`, what is the matter, and what to do.

    Nothing was changed, unless `remedy` says that it may have been. Serving goes on without it.
    """

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        self.path, self.problem, self.remedy = path, problem, remedy
        super().__init__(path, problem, remedy)

    def __str__(self) -> str:
        return f"record store {self.path}: {self.problem}; {self.remedy}"


class BadRecord(ValueError):
    """A compare-and-swap that no store would take: the caller broke a rule. Nothing was changed."""

    def __init__(self, key: str, problem: str) -> None:
        self.key, self.problem = key, problem
        super().__init__(key, problem)

    def __str__(self) -> str:
        return f"record of {self.key!r}: {self.problem}"


class Records(Protocol):
    """The seam: a linearizable, durable store of one configuration record per election.

    Every method raises `CoordinationError` when the store is away.
    """

    def read(self, key: str) -> Record | None:
        """Return the record of `key`, None where there is none."""

    def compare_and_swap(
        self, key: str, expected_epoch: int | None, record: Record
    ) -> tuple[bool, Record | None]:
        """Replace the record at `expected_epoch` (None: create); return (done, what now holds).

        Raises `BadRecord` for a record that is wrong in itself.
        """

    def list_for(self, node: str) -> list[tuple[str, Record]]:
        """Return key and record of every election of which `node` holds a copy, by key."""

    def keys(self) -> list[str]:
        """Return the keys of all elections, in order."""


def holders(record: Record) -> frozenset[str]:
    """Return the nodes that hold a copy: the members, and the former until the take-over is done.

    While a record is pending the former members' copies are the authoritative ones (R7).
    """
    return frozenset(record.members) | frozenset(record.authoritative or ())


def check_form(key: str, expected_epoch: int | None, record: Record) -> None:
    """Raise `BadRecord` where a compare-and-swap would be wrong whatever the store holds.

    R2: a new epoch is the expected one plus 1. R7: the same epoch again is its activation, and an
    active record names no former members. R13: a first record is epoch 1, pending, without any.
    """
    expected, first = expected_epoch or 0, expected_epoch is None
    active, again = record.status == "active", record.epoch == expected
    different = len(set(record.members)) == len(record.members) == COPIES
    rules = {
        f"a key has 1 to {KEY_BYTES_MAX} bytes": 0 < len(key.encode()) <= KEY_BYTES_MAX,
        "epochs begin at 1": record.epoch >= 1 and (first or expected >= 1),
        f"epoch {record.epoch} cannot follow epoch {expected}": again
        or record.epoch == expected + 1,
        f"epoch {expected} can only be activated, not be pending again": active or not again,
        "a first record is pending": not (first and active),
        "a first or active record has no former members": record.prev is None
        or not (first or active),
        f"members must be {COPIES} different nodes, not {', '.join(record.members)}": different,
        f"{record.writer} is not the first member": record.members[:1] == (record.writer,),
        "it has no owner": bool(record.owner),
        f"ring version {record.ring_version} is negative": record.ring_version >= 0,
    }
    for rule, kept in rules.items():
        if not kept:
            raise BadRecord(key, rule)


def follows(current: Record | None, expected_epoch: int | None, record: Record) -> bool:
    """Tell whether a well-formed `record` may take the place of `current`.

    R2: a new epoch names as former members exactly those that are authoritative now, and may be
    active at once only over an active record of the same members. To compare epochs alone would
    not do: between a candidate's read and its swap the owner may have activated that epoch, and the
    candidate would recover from copies that lack what was committed since. R7: activation changes
    nothing but the status. R9: the ring version never goes back.
    """
    if current is None or expected_epoch is None:
        return current is None and expected_epoch is None
    if current.epoch != expected_epoch or record.ring_version < current.ring_version:
        return False
    if record.epoch == current.epoch:
        activated = msgspec.structs.replace(current, status="active", prev=None)
        return current.status == "pending" and record == activated
    if record.status == "active":
        return current.status == "active" and set(record.members) == set(current.members)
    return record.prev == current.authoritative


def file_system_of(path: str, mounts: str | None = None) -> str:
    """Return the type of the file system that holds `path` ("ext4", "tmpfs"; "" = not known).

    `mounts` is text of the form of /proc/self/mounts, which is read where it is not given.
    """
    text = Path("/proc/self/mounts").read_text() if mounts is None else mounts
    inside = Path(os.path.realpath(path))
    depth, kind = 0, ""
    for line in text.splitlines():
        _, mounted, name = line.split(" ")[:3]
        point = Path(mounted.encode().decode("unicode_escape"))  # a blank is written \040
        # Of two mounts on one place the later hides the earlier.
        if inside.is_relative_to(point) and len(point.parts) >= depth:
            depth, kind = len(point.parts), name
    return kind


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class RecordStore:
    """The record store of one machine: an SQLite file, safe for several processes.

    Open it in the process that uses it, after any fork. The folder must exist. Raises
    `CoordinationError` when the file cannot be used, is damaged, or would lie in RAM, where it
    could not keep its word (`allow_tmpfs=True` takes that risk: for tests).
    """

    def __init__(self, path: str | os.PathLike[str], *, allow_tmpfs: bool = False) -> None:
        self.path = os.path.abspath(path)
        if not allow_tmpfs:
            self._refuse_ram()
        with self._translated():
            if not os.path.exists(self.path):
                self._make()
            self._db = self._connect(self.path)
            try:
                self._check()
            except BaseException:
                self._db.close()
                raise
        self._inode = os.stat(self.path).st_ino

    def read(self, key: str) -> Record | None:
        """See `Records.read`."""
        with self._translated():
            self._refuse_replaced()
            return self._read(key)

    def compare_and_swap(
        self, key: str, expected_epoch: int | None, record: Record
    ) -> tuple[bool, Record | None]:
        """See `Records.compare_and_swap`; done means that it is on the disk."""
        check_form(key, expected_epoch, record)
        with self._translated(), self._transaction():
            self._refuse_replaced()
            current = self._read(key)
            if not follows(current, expected_epoch, record):
                return False, current
            self._write(key, record)
        return True, record

    def list_for(self, node: str) -> list[tuple[str, Record]]:
        """See `Records.list_for`."""
        query = "SELECT key, body FROM copies JOIN records USING (key) WHERE node = ? ORDER BY key"
        with self._translated():
            self._refuse_replaced()
            rows = self._db.execute(query, (node,))
            return [(key, self._decode(key, body)) for key, body in rows]

    def keys(self) -> list[str]:
        """See `Records.keys`."""
        with self._translated():
            self._refuse_replaced()
            return [key for (key,) in self._db.execute("SELECT key FROM records ORDER BY key")]

    def close(self) -> None:
        """Close the file; the store must not be used any more."""
        self._db.close()

    def _make(self) -> None:
        """Make an empty store under another name, then give it its own: nobody sees half of one.

        (Nor do two makers meet: SQLite lets no one wait for a change of the journal mode.)
        """
        unnamed = f"{self.path}.{os.getpid()}.new"
        Path(unnamed).unlink(missing_ok=True)
        try:
            with closing(self._connect(unnamed)) as db:
                db.executescript(_TABLES)
            with suppress(FileExistsError):  # another process was faster
                os.link(unnamed, self.path)
        finally:
            Path(unnamed).unlink(missing_ok=True)
        _sync_folder(os.path.dirname(self.path))

    def _connect(self, path: str) -> sqlite3.Connection:
        db = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous=FULL")
        except BaseException:
            db.close()
            raise
        return db

    def _check(self) -> None:
        """Refuse a file that is damaged, not ours, or not in the mode that keeps promises."""
        schema, mode, level, health = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("user_version", "journal_mode", "synchronous", "quick_check(1)")
        )
        if schema != SCHEMA:
            self._fail(f"its tables have version {schema}, not {SCHEMA}", "name another path")
        if (mode, level) != ("wal", 2):
            self._fail(f"it is not durable (mode {mode}, level {level})", "name another path")
        if health != "ok":
            self._fail(*_FAULTS[sqlite3.SQLITE_CORRUPT])

    def _read(self, key: str) -> Record | None:
        row = self._db.execute("SELECT body FROM records WHERE key = ?", (key,)).fetchone()
        return None if row is None else self._decode(key, row[0])

    def _decode(self, key: str, body: bytes) -> Record:
        try:
            return msgspec.json.decode(body, type=Record)
        except msgspec.MsgspecError as error:
            _, remedy = _FAULTS[sqlite3.SQLITE_CORRUPT]
            self._fail(f"the record of {key!r} is damaged ({error})", remedy)

    def _write(self, key: str, record: Record) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?)",
            (key, record.epoch, msgspec.json.encode(record)),
        )
        self._db.execute("DELETE FROM copies WHERE key = ?", (key,))
        self._db.executemany(
            "INSERT INTO copies VALUES (?, ?)", [(node, key) for node in sorted(holders(record))]
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, alone: the lock for writing is taken at the start."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # after a full disk SQLite has rolled back by itself
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn an error of SQLite into a `CoordinationError` that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            general = (f"it failed ({error})", "look at the file and at the disk")
            problem, remedy = _FAULTS.get(code, general)
            raise CoordinationError(self.path, problem, remedy) from error
        except OSError as error:
            _, remedy = _FAULTS[sqlite3.SQLITE_CANTOPEN]
            raise CoordinationError(self.path, f"{error.strerror}", remedy) from error

    def _refuse_ram(self) -> None:
        kind = file_system_of(self.path)
        if kind in IN_RAM:
            self._fail(
                f"it would lie in RAM ({kind}), where a reboot makes it forget who has which epoch",
                "name a path on a disk",
            )

    def _refuse_replaced(self) -> None:
        """A file that is no longer at its path would take changes that nobody ever sees."""
        try:
            same = os.stat(self.path).st_ino == self._inode
        except OSError:
            same = False
        if not same:
            self._fail("it was removed or replaced while in use", "put it back and start again")

    def _fail(self, problem: str, remedy: str) -> NoReturn:
        raise CoordinationError(self.path, problem, remedy)


class Coordinator(otp.GenServer):
    """The process that answers for the record store of this machine.

    `CoordinationError` and `BadRecord` are raised at the caller; the process lives on.
    """

    refuses = (CoordinationError, BadRecord)

    def __init__(self, path: str, *, allow_tmpfs: bool = False) -> None:
        self.store = RecordStore(path, allow_tmpfs=allow_tmpfs)

    def handle_call(
        self, request: ReadRecord | CasRecord | RecordsOf, sender: otp.From[Any]
    ) -> Any:
        match request:
            case ReadRecord(key):
                return self.store.read(key)
            case CasRecord(key, expected_epoch, record):
                return self.store.compare_and_swap(key, expected_epoch, record)
            case RecordsOf(node):
                return self.store.list_for(node)

    def terminate(self, reason: otp.Reason) -> None:
        self.store.close()
