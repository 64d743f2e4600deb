"""A log in memory with a writer's commands on it; the tests say what is recorded when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ballot import replication as r
from ballot import wire
from ballot.commands import Commands
from ballot.messages import (
    CloseElection,
    Command,
    CreateElection,
    EpochStarted,
    LogEvent,
    OpenElection,
    Recorded,
)
from ballot.queries import GetOutcome
from ballot.replication import CopyState, Propose
from ballot.wire import START, Entry, entry_after
from tests.ballot.samples import AT, KEY, definition

CREATE = CreateElection(command_id=bytes(15) + b"c", key=KEY, actor="x", definition=definition())
OPEN = OpenElection(command_id=bytes(15) + b"o", key=KEY, actor="x")
CLOSE = CloseElection(command_id=bytes(15) + b"x", key=KEY, actor="x")


class Caller:
    """Whoever sent a command or a read; keeps what came back."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def reply(self, value: Any) -> None:
        self.answers.append(value)

    @property
    def answer(self) -> Any:
        assert len(self.answers) == 1, self.answers
        return self.answers[0]


class Desk:
    """Commands on a log in memory; batches get into it and are committed when the test says so."""

    def __init__(self, entries: tuple[Entry, ...] = ()) -> None:
        self.entries = list(entries)
        self.committed = 0
        self.room = 256
        self.reads: list[int] = []
        self.commands = Commands(KEY, self)

    def state(self) -> CopyState:
        last = self.entries[-1].head if self.entries else START
        return CopyState(last, 1, True, b"", self.committed)

    def read(self, position: int) -> Entry:
        assert position > 0
        return self.entries[position - 1]

    def scan(self) -> Iterator[Entry]:
        return iter(self.entries)

    def append(self, *events: LogEvent) -> None:
        batch = wire.batch([msgspec.msgpack.encode(event) for event in events])
        self.extend(batch)

    def extend(self, batch: wire.Batch) -> None:
        last = self.entries[-1].head if self.entries else START
        self.entries.append(entry_after(last, 1, batch))

    def serve(self) -> None:
        self.append(EpochStarted(1, "MI-A-1", AT))
        self.commands.serve(AT)
        self.commit()

    def take(self, what: Command) -> Caller:
        caller = Caller()
        self.commands.take(what, caller, AT)
        return caller

    def ask(self, *, count: bool = False) -> Caller:
        caller = Caller()
        self.commands.ask(GetOutcome(KEY, count), caller)
        return caller

    def propose(self) -> None:
        for each in self.commands.inputs(self):
            if isinstance(each, Propose):
                self.extend(each.batch)
            else:
                assert isinstance(each, r.ConfirmRead)
                self.reads.append(each.read)

    def confirm(self) -> None:
        reads, self.reads = self.reads, []
        for read in reads:
            self.commands.confirmed(read)

    def commit(self, upto: int | None = None) -> None:
        self.committed = len(self.entries) if upto is None else upto
        self.commands.committed(self.committed)

    def done(self, what: Command) -> Any:
        """Carry a command out to the end."""
        caller = self.take(what)
        self.propose()
        self.commit()
        return caller.answer


def opened() -> Desk:
    desk = Desk()
    desk.serve()
    assert desk.done(CREATE) == Recorded(2, 0, 1)
    assert desk.done(OPEN) == Recorded(3, 0, 2)
    return desk


def events(desk: Desk) -> list[LogEvent]:
    """All events of a log, in order."""
    decode = msgspec.msgpack.Decoder(LogEvent).decode
    return [decode(raw) for entry in desk.entries for raw in wire.events_of(entry)]
