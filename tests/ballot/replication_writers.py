"""A writer with its copy, and the words of its followers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from ballot import replication
from ballot.replication import (
    Committed,
    Effect,
    Propose,
    RecordRead,
    Save,
    Send,
    Serving,
    Tick,
)
from ballot.replication_writer import Writer
from ballot.wire import (
    START,
    Ack,
    AnyReplica,
    Append,
    Batch,
    Entry,
    Head,
    Promise,
    Record,
    batch,
    entry_after,
)
from tests.simulation.memory import MemoryCopy

KEY, INC, THEIRS = "here/1", b"i" * 16, b"t" * 16
OTHERS = ("f1", "f2", "f3", "f4")
MEMBERS = ("w", *OTHERS)
ACTIVE = Record(1, "w", MEMBERS, "active", None, 1, "before")
CREATED = Record(1, "w", MEMBERS, "pending", None, 1, "creator")
NEXT = msgspec.structs.replace(ACTIVE, epoch=2, owner="me")
Kind = TypeVar("Kind")


def barrier(epoch: int) -> Batch:
    return batch([b"epoch %d" % epoch])


def log_of(*epochs: int, after: Head = START, mark: str = "") -> list[Entry]:
    entries = []
    for epoch in epochs:
        entries.append(entry_after(after, epoch, batch([f"{mark}{epoch}".encode()])))
        after = entries[-1].head
    return entries


class Node:
    """A writer with the copy that it owns; effects are performed as the shell does."""

    def __init__(self, *, log: Sequence[Entry] = (), voter: bool = True, commit: int = 0) -> None:
        self.memory = MemoryCopy(INC)
        self.memory.apply(
            Save(expect=0, entries=tuple(log), promised=bool(log), voter=voter, commit=commit)
        )
        self.writer = Writer(key=KEY, node="w", owner="me", log=self.memory, barrier=barrier)

    def take(self, *events: replication.WriterInput, now: float = 100.0) -> list[Effect]:
        effects = self.writer.step_many(events, now)
        for effect in effects:
            if isinstance(effect, Save):
                self.memory.apply(effect)
            if isinstance(effect, Send) and isinstance(effect.message, Append):
                for entry in effect.message.entries:
                    assert entry in self.memory.entries  # R1: own copy first
        return effects

    def sealed(self) -> Node:
        """After its claim: it asks for promises."""
        self.take(Tick())
        self.take(RecordRead(ACTIVE))
        self.take(RecordRead(NEXT))
        return self

    def serving(self) -> Node:
        self.sealed()
        self.take(promise("f1"), promise("f2"))
        effects = self.take(ack("f1", 1), ack("f2", 1))
        assert effects == [Serving(2), Committed(1)]
        return self


def promise(node: str, *log: Entry, epoch: int = 2) -> Promise:
    return Promise(KEY, epoch, node, THEIRS, log[-1].head if log else START, 0)


def ack(node: str, upto: int, *, epoch: int = 2, inc: bytes = THEIRS, commit: int = 0) -> Ack:
    return Ack(KEY, epoch, node, upto, inc, commit)


def of(kind: type[Kind], effects: list[Effect]) -> list[Kind]:
    """The effects, or the messages sent, of one kind."""
    found: list[object] = [e.message if isinstance(e, Send) else e for e in effects]
    return [item for item in found if isinstance(item, kind)]


def to(node: str, effects: list[Effect]) -> list[AnyReplica]:
    return [e.message for e in effects if isinstance(e, Send) and node in e.to]


def votes(*names: str) -> Propose:
    return Propose(batch([name.encode() for name in names]))
