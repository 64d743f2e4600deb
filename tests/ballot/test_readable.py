from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot import wire
from ballot.election import Election
from ballot.messages import (
    CloseElection,
    Command,
    CreateElection,
    EpochStarted,
    InvalidateElection,
    LogEvent,
    OpenElection,
    ValidateElection,
)
from ballot.readable import Readable
from ballot.replication import CopyState
from ballot.wire import START, Entry, entry_after
from tests.ballot.samples import AT, accept, cast, command, definition


class Log:
    """A log in memory, one event in each entry."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.reads = 0
        self.election = Election()

    def state(self) -> CopyState:
        raise AssertionError("what is visible is for the machine to say")

    def read(self, position: int) -> Entry:
        assert 0 < position <= len(self.entries)
        self.reads += 1
        return self.entries[position - 1]

    def append(self, event: LogEvent) -> None:
        last = self.entries[-1].head if self.entries else START
        batch = wire.batch([msgspec.msgpack.encode(event)])
        self.entries.append(entry_after(last, 1, batch))

    def carry_out(self, *commands: Command) -> int:
        for event in accept(self.election, *commands):
            self.append(event)
        return len(self.entries)


def started() -> tuple[Log, Readable]:
    log = Log()
    log.append(EpochStarted(1, "MI-A-1", AT))
    log.carry_out(command(CreateElection, definition=definition()))
    return log, Readable(log)


def test_nothing_is_shown_until_the_closing_is_committed() -> None:
    log, readable = started()
    open_ = log.carry_out(command(OpenElection), cast("ann"))
    closed = log.carry_out(command(CloseElection))
    for visible in range(closed):
        part = readable.part(0, visible)
        assert (part.entries, part.end) == ((), True)
        assert part.refused is not None and part.refused.reason == "bad_state"
    assert open_ < closed
    part = readable.part(0, closed)
    assert (part.entries, part.end, part.refused) == (tuple(log.entries), True, None)


def test_what_is_not_committed_is_not_shown() -> None:
    log, readable = started()
    closed = log.carry_out(command(OpenElection), command(CloseElection))
    log.carry_out(command(ValidateElection))
    assert readable.part(0, closed).entries == tuple(log.entries[:closed])


def test_the_rest_comes_after_a_position_and_beyond_the_end_there_is_nothing() -> None:
    log, readable = started()
    closed = log.carry_out(command(OpenElection), command(CloseElection))
    assert readable.part(2, closed).entries == tuple(log.entries[2:])
    for after in (closed, closed + 1, 2**63):
        part = readable.part(after, closed)
        assert (part.entries, part.end) == ((), True)


def test_a_new_round_hides_the_log_again() -> None:
    log, readable = started()
    closed = log.carry_out(command(OpenElection), cast("ann"), command(CloseElection))
    assert readable.part(0, closed).refused is None
    voided = log.carry_out(command(InvalidateElection))
    assert readable.part(0, voided).refused is None
    again = log.carry_out(command(OpenElection))
    assert readable.part(0, again).refused is not None
    assert readable.part(0, log.carry_out(command(CloseElection))).refused is None


def test_a_long_log_comes_in_parts_and_is_looked_through_once() -> None:
    log, readable = started()
    log.carry_out(command(OpenElection), *(cast(f"v{i}") for i in range(2500)))
    closed = log.carry_out(command(CloseElection))
    seen: list[Entry] = []
    end = False
    while not end:
        part = readable.part(len(seen), closed)
        assert part.entries
        seen += part.entries
        end = part.end
    assert seen == log.entries
    assert log.reads == 2 * len(log.entries)


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_what_is_shown_depends_on_the_committed_part_alone(looks: list[int], last: int) -> None:
    """I7, for any order of looks while the log grows."""
    log, readable = started()
    log.carry_out(command(OpenElection), *(cast(f"v{i}") for i in range(5)))
    closed = log.carry_out(command(CloseElection))
    log.carry_out(command(ValidateElection))
    for visible in [*sorted(looks), max([last, *looks])]:
        shown = min(visible, len(log.entries))
        part = readable.part(0, shown)
        assert part.entries == (tuple(log.entries[:shown]) if shown >= closed else ())
