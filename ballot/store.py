"""One copy of an election's log, in RAM: LMDB on tmpfs, owned by one process at a time.

Every change is one transaction, so a process may be killed at any point; only the loss of the
machine's memory loses a copy. Nothing is ever synced to disk. Open it after any fork: neither LMDB
nor the lock may be shared with a child.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

import lmdb
import msgspec

from ballot.replication import CopyState, Save
from ballot.wire import START, Entry, Head, follows, intact

MAP_BYTES: Final = 64 << 20
"""First size of the memory map; it is address space, not memory, and doubles when it is full."""

MAP_BYTES_MAX: Final = 64 << 30
"""Where doubling ends: more than any machine gives to one election."""

ROOM_BYTES: Final = 16 << 20
"""Room asked for a new copy, where the caller does not say: some 20,000 ballots."""

LOCK_NAME: Final = "owner.lock"
_STATE: Final = b"state"
_KEY: Final = b"key"

_encode = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode


class _Meta(msgspec.Struct, frozen=True, array_like=True):
    promised: int
    voter: bool
    incarnation: bytes
    commit: int

    @classmethod
    def of(cls, state: CopyState) -> _Meta:
        return cls(state.promised, state.voter, state.incarnation, state.commit)


_decode_meta = msgspec.msgpack.Decoder(_Meta).decode


class StoreError(Exception):
    """A copy cannot be used: where it is, what is the matter, what to do."""

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        self.path, self.problem, self.remedy = path, problem, remedy
        super().__init__(path, problem, remedy)

    def __str__(self) -> str:
        return f"copy {self.path}: {self.problem}; {self.remedy}"


class StoreBusy(StoreError):
    """Another living process owns the copy."""


class StoreFull(StoreError):
    """There is no more room; nothing of the last change was kept, all before it still is."""


class StoreCorrupt(StoreError):
    """The copy is damaged and counts as lost: remove it, start without, and let it be refilled."""


class Fenced(StoreError):
    """The copy has promised another epoch than its user thinks: the user must stop."""


class Store:
    """A copy as `replication` reads it (`state`, `read`) and changes it (`apply`).

    `directory` is made when it is not there (`incarnation`: 16 random bytes for that case, `room`:
    the bytes that must be free then). Raises `StoreBusy`, `StoreCorrupt`, or `StoreError` where
    there is too little room.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        key: str,
        incarnation: bytes,
        room: int = ROOM_BYTES,
        map_bytes: int = MAP_BYTES,
    ) -> None:
        self.path = os.path.abspath(directory)
        if not os.path.exists(self._data):
            _check_room(self.path, room)
        self._lock = self._own()
        try:
            self._map_bytes = max(map_bytes, _file_bytes(self._data))
            self._env = self._open()
            try:
                self._state = self._load(key, incarnation)
                if self._short:
                    self.verify()
            except BaseException:
                self._env.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def _data(self) -> str:
        return os.path.join(self.path, "data.mdb")

    # --- reading -------------------------------------------------------------------------------

    def state(self) -> CopyState:
        """Return what the copy holds now."""
        return self._state

    def read(self, position: int) -> Entry:
        """Return one entry, checked against its hash. Raises `StoreCorrupt`."""
        entry = self._get(position)
        if not intact(entry):
            self._corrupt(f"entry {position} does not match its hash")
        return entry

    def scan(self, start: int = 1, stop: int | None = None) -> Iterator[Entry]:
        """Yield the entries from `start` up to `stop` (included; None: the end), hashes unchecked.

        Raises `StoreCorrupt` where one is missing or cannot be read.
        """
        end = self._state.last.position if stop is None else stop
        for position in range(start, end + 1):
            yield self._get(position)

    def verify(self) -> None:
        """Walk the whole log: chain, hashes and events. Raises `StoreCorrupt` at the first fault.

        Costs about a microsecond for each event.
        """
        last = START
        for entry in self.scan():
            if not (follows(entry, last) and intact(entry)):
                self._corrupt(f"entry {entry.position} does not match its hash")
            last = entry.head

    def _get(self, position: int) -> Entry:
        try:
            with self._env.begin(db=self._log) as txn:
                raw = txn.get(_place(position))
            entry = None if raw is None else _decode_entry(raw)
        except (lmdb.Error, msgspec.DecodeError) as error:
            self._corrupt(f"entry {position} cannot be read ({error})")
        if entry is None or entry.position != position:
            self._corrupt(f"entry {position} is missing")
        return entry

    # --- changing ------------------------------------------------------------------------------

    def apply(self, save: Save) -> None:
        """Make one change, whole or not at all. Raises `Fenced`, `StoreFull`."""
        before = self._state
        if save.expect != before.promised:
            raise Fenced(
                self.path,
                f"it has promised epoch {before.promised}, not {save.expect}",
                "end this process: the copy obeys another one",
            )
        last = before.last if save.cut is None else self._head(save.cut - 1)
        for entry in save.entries:
            assert entry.position == last.position + 1, (entry.position, last.position)
            last = entry.head
        state = CopyState(last, save.promised, save.voter, before.incarnation, save.commit)
        self._transact(lambda txn: self._write(txn, save, state))
        self._state = state

    def close(self) -> None:
        """Let go of the copy; it stays where it is. May be called again."""
        self._env.close()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _head(self, position: int) -> Head:
        return self._get(position).head if position else START

    def _write(self, txn: lmdb.Transaction, save: Save, state: CopyState) -> None:
        before = self._state
        if save.cut is not None:
            for position in range(save.cut, before.last.position + 1):
                txn.delete(_place(position), db=self._log)
        for entry in save.entries:
            txn.put(_place(entry.position), _encode(entry), db=self._log, append=True)
        if _Meta.of(state) != _Meta.of(before):
            txn.put(_STATE, _encode(_Meta.of(state)), db=self._meta)

    def _transact(self, change: Callable[[lmdb.Transaction], object]) -> None:
        while True:
            try:
                with self._env.begin(write=True) as txn:
                    change(txn)
                return
            except lmdb.MapFullError:
                self._grow()
            except _DAMAGED as error:
                self._corrupt(f"it cannot be changed ({error})")
            except lmdb.Error as error:
                raise self._full(error) from error

    def _grow(self) -> None:
        if self._map_bytes >= MAP_BYTES_MAX:
            raise StoreFull(
                self.path,
                f"it has reached {MAP_BYTES_MAX >> 30} GiB, the most that one election may take",
                "nothing of the last change was kept",
            )
        self._map_bytes *= 2
        self._env.set_mapsize(self._map_bytes)

    def _full(self, error: lmdb.Error) -> StoreError:
        # On a full tmpfs LMDB says "Input/output error" when it commits, not that a map is full.
        return StoreFull(
            self.path,
            f"a change could not be written ({error}); {_free(self.path)} bytes are free there",
            f"make room: {_REMEDY}; nothing of the change was kept, all before it is still there",
        )

    # --- opening -------------------------------------------------------------------------------

    def _own(self) -> int:
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(self.path, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StoreBusy(
                self.path,
                "another process owns it",
                f"end that process first (`fuser {os.path.join(self.path, LOCK_NAME)}`)",
            ) from None
        return lock

    def _open(self) -> lmdb.Environment:
        try:
            env = lmdb.open(
                self.path,
                map_size=self._map_bytes,
                max_dbs=2,
                lock=False,  # our own lock covers more: one process, whatever it does
                writemap=False,  # a full tmpfs would be SIGBUS
                sync=False,
                metasync=False,
                readahead=False,
            )
        except lmdb.Error as error:
            self._corrupt(f"it cannot be opened ({error})")
        # Touching a page beyond the end of the file is SIGBUS. LMDB may leave out pages at the end
        # that it never used, so a short file need not be a damaged one: fill it, then look.
        needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        self._short = bool(env.info()["last_txnid"]) and _file_bytes(self._data) < needed
        if self._short:
            os.truncate(self._data, needed)
        return env

    def _load(self, key: str, incarnation: bytes) -> CopyState:
        try:
            self._meta, self._log = self._env.open_db(b"meta"), self._env.open_db(b"log")
            with self._env.begin() as txn:
                owner, raw = txn.get(_KEY, db=self._meta), txn.get(_STATE, db=self._meta)
                with txn.cursor(db=self._log) as cursor:
                    end = int.from_bytes(cursor.key(), "big") if cursor.last() else 0
        except (lmdb.DiskError, lmdb.MapFullError) as error:
            raise self._full(error) from error
        except lmdb.Error as error:
            self._corrupt(f"it cannot be read ({error})")
        if raw is None:
            return self._create(key, incarnation)
        if owner != key.encode():
            whose = (owner or b"").decode(errors="replace")
            raise StoreError(
                self.path, f"it belongs to election {whose}, not to {key}", "name another place"
            )
        return self._known(raw, end)

    def _known(self, raw: bytes, end: int) -> CopyState:
        try:
            meta = _decode_meta(raw)
        except msgspec.DecodeError as error:
            self._corrupt(f"its state cannot be read ({error})")
        if meta.commit > end:
            self._corrupt(f"it ends at {end}, before what it knows as committed, {meta.commit}")
        last = self.read(end).head if end else START
        return CopyState(last, meta.promised, meta.voter, meta.incarnation, meta.commit)

    def _create(self, key: str, incarnation: bytes) -> CopyState:
        state = CopyState(START, 0, False, incarnation, 0)

        def write(txn: lmdb.Transaction) -> None:
            txn.put(_KEY, key.encode(), db=self._meta)
            txn.put(_STATE, _encode(_Meta.of(state)), db=self._meta)

        self._transact(write)
        return state

    def _corrupt(self, problem: str) -> NoReturn:
        raise StoreCorrupt(
            self.path, problem, "remove it: the writer refills a copy that starts without a log"
        )


_DAMAGED: Final = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.PanicError)

_REMEDY: Final = (
    "`docker run --shm-size=1g`, `mount -o remount,size=...`, or another --data-dir in RAM"
)


def _place(position: int) -> bytes:
    return position.to_bytes(8, "big")


def _file_bytes(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def _free(path: str) -> int:
    """Return the bytes free on the file system that holds, or will hold, `path`."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _check_room(path: str, room: int) -> None:
    free = _free(path)
    if free < room:
        raise StoreError(path, f"{free} bytes are free there, {room} are needed", _REMEDY)
