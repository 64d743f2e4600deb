"""The vocabulary of replication: what goes into its state machines, and what they want done.

`replication_copy.Follower` and `replication_writer.Writer` are pure: `step(input, now)` returns
effects, in the order in which the shell must perform them; no effect may be performed before the
ones in front of it are done. Time is seconds on any clock that does not run backwards.

The rules, by the numbers that comments use: R1 own copy first; R2 an epoch is taken by
compare-and-swap of the record before anything is asked; R3 no copy obeys an older epoch than it has
promised; R4 a new writer takes the best of three logs; R5 nothing counts in a new epoch before an
entry of that epoch does; R6 a log is cut only where it really differs, and never below its commit;
R7 a record becomes active when its members hold the log; R8 a copy that lost its memory has no say
until the writer has refilled it; R11 followers show only what is committed; R12 a fresh read asks
two followers first; R15 an entry is a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from ballot.wire import (
    START,
    AnyReplica,
    Batch,
    Entry,
    Head,
    Record,
    follows,
)

CHUNK_BYTES_MAX = 1 << 20
"""Events in one frame of a copy in progress: large enough to be quick, small enough to share a
connection with. One entry always goes, whatever its size."""

CHUNK_ENTRIES_MAX = 1024
"""Entries in one such frame, where they are small."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """When something is asked again, in seconds; none of it matters for safety."""

    resend: float = 0.2  # a frame or its answer was lost: several round trips, a blink to a person
    record: float = 0.5  # the record store answers in milliseconds, or is away
    third: float = 1.0  # a first start waits this long for a third follower (R7)
    idle: float = 0.02  # silence after which followers are told the last commit
    memory: float = 1.0  # a copy that joins says something more often than this
    gap: float = 0.02  # the same gap again within this time is the same loss


# --- inputs (besides the messages of `wire`) ---------------------------------------------------


class Tick(msgspec.Struct, frozen=True):
    """Time has passed; the first one starts the machine, then about every 20 to 50 ms."""


class RecordRead(msgspec.Struct, frozen=True):
    """The record as it is now; answers `ReadRecord` and, done or not, `Compare`."""

    record: Record | None


class Propose(msgspec.Struct, frozen=True):
    """Put this batch into the log."""

    batch: Batch


class ConfirmRead(msgspec.Struct, frozen=True):
    """A reader wants to be sure that no newer writer has recorded anything (R12)."""

    read: int


CopyInput = Tick | RecordRead | AnyReplica
WriterInput = Tick | RecordRead | Propose | ConfirmRead | AnyReplica

# --- effects -----------------------------------------------------------------------------------


class Save(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction on the own copy: cut the log from position `cut` on, append, set the rest.

    The store does it only while the copy's promise is still `expect` (R1, R3); else it raises.
    """

    expect: int
    cut: int | None = None
    entries: tuple[Entry, ...] = ()
    promised: int
    voter: bool
    commit: int


class Send(msgspec.Struct, frozen=True):
    """Send one message to these nodes; it may get lost."""

    to: tuple[str, ...]
    message: AnyReplica


class ReadRecord(msgspec.Struct, frozen=True):
    """Read the record, linearizably, and step `RecordRead`."""


class Compare(msgspec.Struct, frozen=True):
    """Put `record` in the place of the one at `expected_epoch`; step `RecordRead` in any case."""

    expected_epoch: int
    record: Record


class Committed(msgspec.Struct, frozen=True):
    """The log is recorded for good up to `upto`."""

    upto: int


class Serving(msgspec.Struct, frozen=True):
    """The writer may be given batches from now on: its log is complete and is its own to extend."""

    epoch: int


class ReadConfirmed(msgspec.Struct, frozen=True):
    """When `read` was asked, everything answered until then was at or below `upto`."""

    read: int
    upto: int


class LostQuorum(msgspec.Struct, frozen=True):
    """Too many copies lost their memory: the election stands still until they are found again."""

    without: tuple[str, ...]


class Stopped(msgspec.Struct, frozen=True):
    """This machine is done; whatever waits on it has an unknown fate. `reason` is for people."""

    reason: str


class Alarm(msgspec.Struct, frozen=True):
    """Two logs contradict each other where they cannot: corruption or a bug; we stopped."""

    text: str


Effect = (
    Save
    | Send
    | ReadRecord
    | Compare
    | Committed
    | Serving
    | ReadConfirmed
    | LostQuorum
    | Stopped
    | Alarm
)

# --- the copy ----------------------------------------------------------------------------------


class CopyState(msgspec.Struct, frozen=True):
    """What a copy remembers besides its entries; `incarnation` is new whenever it was made anew."""

    last: Head
    promised: int
    voter: bool
    incarnation: bytes
    commit: int


class LogReader(Protocol):
    """One copy, as the state machines read it."""

    def state(self) -> CopyState:
        """Return what the copy holds now."""

    def read(self, position: int) -> Entry:
        """Return the entry at a position from 1 to the last one."""


class Contradiction(Exception):
    """Two logs differ where they must not (R6); `step` turns it into `Alarm`."""


class Draft:
    """The copy as it will be when all `Save` effects of the present step are done.

    `begin` opens a step: what was saved before is in the store now, and read from there.
    """

    def __init__(self, log: LogReader) -> None:
        state = log.state()
        self._log = log
        self.saved = state
        self.last, self.commit = state.last, state.commit
        self.promised, self.voter = state.promised, state.voter
        self._cut: int | None = None  # for the next Save
        self._kept = state.last.position  # up to here the last Save left nothing to be done
        self._stored = state.last.position  # up to here the store holds the log already
        self._tail: list[Entry] = []  # what follows `_stored`

    def begin(self) -> None:
        """Open a step: the effects of the one before are done."""
        if self._tail:
            self._stored, self._tail = self._kept, self._tail[self._kept - self._stored :]

    def save(self) -> Save | None:
        """Return what is to be saved, None if nothing changed; and count it as saved."""
        saved = self.saved
        after = CopyState(self.last, self.promised, self.voter, saved.incarnation, self.commit)
        if after == saved and self._cut is None:
            return None
        save = Save(
            expect=saved.promised,
            cut=self._cut,
            entries=tuple(self._tail[self._kept - self._stored :]),
            promised=self.promised,
            voter=self.voter,
            commit=self.commit,
        )
        self.saved, self._cut, self._kept = after, None, self.last.position
        return save

    def head(self, position: int) -> Head | None:
        """Return the place of an entry, None beyond the end."""
        if position == self.last.position:
            return self.last
        if position > self.last.position:
            return None
        return self.entry(position).head if position else START

    def entry(self, position: int) -> Entry:
        """Return an entry from 1 to the last, saved or not."""
        if position > self._stored:
            return self._tail[position - self._stored - 1]
        return self._log.read(position)

    def holds(self, head: Head) -> bool:
        """Tell whether the log goes through `head`. Raises Contradiction (R6)."""
        have = self.head(head.position)
        if have is not None and have != head:
            self._check_may_differ(have, head)
        return have == head

    def merge(self, entries: Sequence[Entry]) -> None:
        """Make the log go through `entries`, whose predecessor it holds (R6).

        What is there already stays as it is, and what follows it: a late duplicate cuts nothing.
        """
        for entry in entries:
            if entry.position <= self.last.position:
                if self.holds(entry.head):
                    continue
                self.cut(entry.position)
            self.append(entry)

    def append(self, entry: Entry) -> None:
        """Put one entry at the end. Raises Contradiction when it does not belong there."""
        if not follows(entry, self.last):
            raise Contradiction(f"entry {_say(entry.head)} does not follow {_say(self.last)}")
        self._tail.append(entry)
        self.last = entry.head

    def cut(self, position: int) -> None:
        """Drop the entries from `position` on. Raises Contradiction where one is committed."""
        if position <= self.commit:
            raise Contradiction(f"position {position} is committed, up to {self.commit}")
        kept = self.head(position - 1)
        assert kept is not None  # callers cut inside the log
        del self._tail[max(0, position - self._stored - 1) :]
        self._stored = min(self._stored, position - 1)
        if position <= self._kept:
            self._cut, self._kept = position, position - 1
        self.last = kept

    def _check_may_differ(self, have: Head, told: Head) -> None:
        if have.epoch == told.epoch:
            raise Contradiction(
                f"{_say(have)} was told to be {_say(told)}: one epoch, two contents"
            )
        if told.position <= self.commit:
            raise Contradiction(f"committed {_say(have)} was told to be {_say(told)}")


def chunk(read: Callable[[int], Entry], after: int, last: int) -> tuple[Entry, ...]:
    """Return the entries after a position, as many as one frame may hold, at least one."""
    out: list[Entry] = []
    size = 0
    for position in range(after + 1, min(last, after + CHUNK_ENTRIES_MAX) + 1):
        entry = read(position)
        size += len(entry.events)
        if out and size > CHUNK_BYTES_MAX:
            break
        out.append(entry)
    return tuple(out)


def _say(head: Head) -> str:
    return f"{head.position}@e{head.epoch} ({head.hash.hex()[:8]})"
