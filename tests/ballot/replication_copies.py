"""A follower with its copy, and the log that its tests begin with."""

from __future__ import annotations

from ballot import replication
from ballot.replication import (
    Effect,
    Save,
    Send,
)
from ballot.replication_copy import Follower
from ballot.wire import (
    START,
    Ack,
    AnyReplica,
    Append,
    Entry,
    Head,
    Record,
    batch,
    entry_after,
)
from tests.simulation.memory import MemoryCopy

KEY, NODE, INC = "here/1", "f1", b"i" * 16
RECORD = Record(2, "w", ("w", "f1", "f2", "f3", "f4"), "active", None, 1, "w#1")


def log_of(*epochs: int, after: Head = START, mark: str = "") -> list[Entry]:
    """Entries of these epochs; another mark makes other events."""
    entries = []
    for epoch in epochs:
        entries.append(entry_after(after, epoch, batch([f"{mark}{epoch}".encode()])))
        after = entries[-1].head
    return entries


LOG = log_of(1, 1, 1)
A, B, C = (entry.head for entry in LOG)


class Copy:
    """A follower with the copy that it owns; effects are performed as the shell does."""

    def __init__(self, *, voter: bool = True, commit: int = 2) -> None:
        self.memory = MemoryCopy(INC)
        if voter:
            entries = tuple(LOG)
            self.memory.apply(
                Save(expect=0, entries=entries, promised=2, voter=True, commit=commit)
            )
        self.follower = Follower(key=KEY, node=NODE, log=self.memory)

    def take(self, *events: replication.CopyInput, now: float = 100.0) -> list[Effect]:
        effects = self.follower.step_many(events, now)
        for effect in effects:
            if isinstance(effect, Save):
                self.memory.apply(effect)
        return effects

    def replies(self, *events: replication.CopyInput, now: float = 100.0) -> list[AnyReplica]:
        effects = self.take(*events, now=now)
        return [effect.message for effect in effects if isinstance(effect, Send)]


def append(prev: Head, *entries: Entry, epoch: int = 2, commit: int = 0) -> Append:
    return Append(KEY, epoch, "w", prev, entries, commit)


def ack(upto: int, *, epoch: int = 2, commit: int = 2) -> Ack:
    return Ack(KEY, epoch, NODE, upto, INC, commit)


NEXT = entry_after(C, 2, batch([b"next"]))
OTHER_C = entry_after(B, 2, batch([b"another third"]))
