"""A copy in memory: the store's seam without LMDB."""

from __future__ import annotations

from ballot.replication import CopyState, Save
from ballot.wire import START, Entry, follows
from tests.simulation.ghost import Violation


class Fenced(Exception):
    """The copy has promised another epoch than its user thinks."""


class MemoryCopy:
    """What one node remembers; it outlives processes, and is lost with the node's memory."""

    def __init__(self, incarnation: bytes, *, voter: bool = False) -> None:
        self.entries: list[Entry] = []
        self._state = CopyState(START, 0, voter, incarnation, 0)

    def state(self) -> CopyState:
        return self._state

    def read(self, position: int) -> Entry:
        assert position > 0
        return self.entries[position - 1]

    def apply(self, save: Save) -> None:
        before = self._state
        if save.expect != before.promised:
            raise Fenced(f"promised {before.promised}, not {save.expect}")
        if save.cut is not None:
            if not before.commit < save.cut <= len(self.entries):
                raise Violation(f"position {save.cut} is cut, {before.commit} is committed")
            del self.entries[save.cut - 1 :]
        for entry in save.entries:
            last = self.entries[-1].head if self.entries else START
            if not follows(entry, last):
                raise Violation(f"{entry.head} is put after {last}")
            self.entries.append(entry)
        last = self.entries[-1].head if self.entries else START
        if save.promised < before.promised or not before.commit <= save.commit <= last.position:
            raise Violation(f"{save} goes back behind {before}")
        self._state = CopyState(last, save.promised, save.voter, before.incarnation, save.commit)
