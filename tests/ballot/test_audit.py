from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import otp
from ballot import audit as module
from ballot import wire
from ballot.audit import Ledger, audit, heads, same
from ballot.election import Election
from ballot.load import Acknowledged
from ballot.messages import (
    Ballot,
    BallotCasted,
    CloseElection,
    Command,
    CreateElection,
    EpochStarted,
    LogEvent,
    OpenElection,
    Recorded,
    Refused,
)
from ballot.queries import CopyStatus, LogPart, Role
from ballot.wire import START, Entry, entry_after
from tests.ballot.samples import AT, KEY, accept, cast, command, definition, ranked

VOTERS = ("ann", "bob", "cleo", "dee")


class Log:
    """A log, a batch for each call, and what its clients were told."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.election = Election()
        self.told: dict[bytes, Acknowledged] = {}

    def batch(self, *events: LogEvent) -> None:
        last = self.entries[-1].head if self.entries else START
        batch = wire.batch([msgspec.msgpack.encode(event) for event in events])
        self.entries.append(entry_after(last, 1, batch))

    def carry_out(self, *commands: Command) -> Recorded:
        events = accept(self.election, *commands)
        self.batch(*events)
        position = len(self.entries)
        for leaf, event in enumerate(events):
            if isinstance(event, BallotCasted):
                self.told[event.command_id] = Acknowledged(event.ballot, position, leaf)
        return Recorded(position, len(events) - 1, self.election.version)


def voted() -> tuple[Log, Recorded]:
    log = Log()
    log.batch(EpochStarted(1, "MI-A-1", AT))
    log.carry_out(command(CreateElection, definition=definition()), command(OpenElection))
    log.carry_out(cast("ann"), cast("bob", "b a"))
    log.carry_out(cast("cleo"), cast("dee", "b a"))
    return log, log.carry_out(command(CloseElection))


def judged(log: Log) -> module.Audit:
    ledger = Ledger()
    for entry in log.entries:
        ledger.add(entry)
    return ledger.audit(log.told)


def test_a_log_that_holds_what_was_told_is_found_right() -> None:
    log, closed = voted()
    found = judged(log)
    assert (found.in_log, found.lost, found.doubled, found.faults) == (4, 0, 0, ())
    assert found.choices == {ranked("a"): 2, ranked("b a"): 2}
    assert found.seed == log.entries[closed.position - 1].hash


def test_what_nobody_was_told_is_in_the_log_and_not_lost() -> None:
    log, _ = voted()
    log.told.popitem()
    found = judged(log)
    assert (found.in_log, len(log.told), found.lost) == (4, 3, 0)


def changed(log: Log, credential: str, **fields: Any) -> None:
    """Tell one client something else."""
    for id, told in log.told.items():
        if told.ballot.credential == credential:
            log.told[id] = msgspec.structs.replace(told, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"position": 4},
        {"leaf": 1},
        {"ballot": Ballot("ann", ranked("c"))},
        {"ballot": Ballot("ann", ranked("a"), "precinct 9")},
    ],
    ids=["another batch", "another leaf", "another choice", "another precinct"],
)
def test_a_ballot_that_is_not_where_and_as_it_was_told_is_lost(fields: dict[str, Any]) -> None:
    log, _ = voted()
    changed(log, "ann", **fields)
    assert judged(log).lost == 1


def test_an_acknowledged_ballot_that_is_nowhere_is_lost() -> None:
    log, _ = voted()
    log.told[b"x" * 16] = Acknowledged(Ballot("zoe", ranked("a")), 4, 0)
    assert judged(log).lost == 1


def again(log: Log, **fields: Any) -> None:
    """Put ann's ballot into the log once more, as no writer does."""
    raw = wire.events_of(log.entries[2])[0]
    event = msgspec.msgpack.decode(raw, type=BallotCasted)
    log.batch(msgspec.structs.replace(event, **fields))


@pytest.mark.parametrize(
    "fields",
    [{}, {"command_id": b"x" * 16}, {"ballot": Ballot("eve", ranked("c"))}],
    ids=["the same event", "the same credential", "the same command"],
)
def test_a_ballot_that_is_in_it_twice_is_doubled(fields: dict[str, Any]) -> None:
    log, _ = voted()
    again(log, **fields)
    found = judged(log)
    assert (found.in_log, found.lost, found.doubled) == (5, 0, 1)


def test_a_ballot_under_another_hash_is_a_fault() -> None:
    log, _ = voted()
    events = wire.events_of(log.entries[2])
    forged = wire.batch([events[1], events[0]])
    log.entries[2] = msgspec.structs.replace(log.entries[2], events=forged.events)
    found = judged(log)
    assert found.faults == ("entry 3 of the log does not match its hash",)
    assert found.lost == 2


def test_a_missing_entry_is_a_fault_and_its_ballots_are_lost() -> None:
    log, _ = voted()
    del log.entries[2]
    found = judged(log)
    assert (found.in_log, found.lost) == (2, 2)
    assert found.faults == ("entry 4 of the log does not match its hash",)


# --- reading it from a follower ----------------------------------------------------------------


class Follower:
    """Stands in for `Elections`: shows a log part by part, with trouble in between."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, str, int]] = []

    async def log_part(self, key: str, node: str, after: int) -> LogPart:
        self.asked.append((key, node, after))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return LogPart(tuple(step[after:]), True) if isinstance(step, list) else step

    async def copy(self, key: str, role: Role, node: str) -> CopyStatus:
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        position, commit, head = step
        return CopyStatus(role, node, "voter", 1, position, commit, head, 1)


def run(follower: Any, log: Log, closed: Recorded) -> module.Audit:
    return asyncio.run(audit(follower, KEY, "CA-A-1", log.told, closed))


def test_the_log_is_read_to_its_closing_through_all_that_passes() -> None:
    log, closed = voted()
    log.batch(EpochStarted(2, "MI-A-1", AT))
    hidden = LogPart((), True, Refused("bad_state", "not closed"))
    gone = otp.NoProcess(what="call GetLog", to="CA-A-1")
    follower = Follower(gone, hidden, log.entries[:2], LogPart((), True), log.entries)
    found = run(follower, log, closed)
    assert (found.in_log, found.lost, found.doubled, found.faults) == (4, 0, 0, ())
    assert found.seed == log.entries[closed.position - 1].hash
    assert [after for _, _, after in follower.asked] == [0, 0, 0, 2, 2]


def test_a_lost_ballot_is_found_at_once_and_not_waited_for() -> None:
    log, closed = voted()
    log.told[b"x" * 16] = Acknowledged(Ballot("zoe", ranked("a")), 4, 1)
    assert run(Follower(log.entries), log, closed).lost == 1


def test_a_log_that_does_not_come_to_its_end_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_SECONDS_MAX", 0.05)
    log, closed = voted()
    found = run(Follower(log.entries[:3]), log, closed)
    assert found.faults == ("CA-A-1 showed its log up to 3 only",)
    assert found.lost == 2


# --- the five heads ----------------------------------------------------------------------------

FIVE = ("A", "B", "C", "D", "E")
SAME = (7, 7, "ab")


def ends(*ends: tuple[int, int, str]) -> list[CopyStatus]:
    return [CopyStatus("follower", "N", "voter", 1, *end, 3) for end in ends]


@pytest.mark.parametrize(
    ("copies", "equal"),
    [
        (ends(SAME, SAME), True),
        (ends(SAME, (6, 6, "aa")), False),
        (ends(SAME, (7, 7, "ff")), False),
        (ends(SAME, (7, 6, "ab")), False),
        ([], False),
    ],
)
def test_copies_are_the_same_where_end_history_and_commit_are(
    copies: list[CopyStatus], equal: bool
) -> None:
    assert same(copies) is equal


def test_heads_are_looked_at_until_they_are_equal() -> None:
    gone = otp.NoProcess(what="call GetCopy", to="C")
    follower: Any = Follower(SAME, (6, 6, "aa"), gone, *[SAME] * 9)
    found = asyncio.run(heads(follower, KEY, FIVE))
    assert [(copy.role, copy.node) for copy in found] == [
        ("writer", "A"),
        *(("follower", node) for node in FIVE[1:]),
    ]
    assert same(found)


def test_heads_that_stay_different_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EQUAL_SECONDS_MAX", 0.05)
    follower: Any = Follower(*[SAME, (6, 6, "aa"), SAME, SAME, SAME] * 2000)
    found = asyncio.run(heads(follower, KEY, FIVE))
    assert len(found) == 5
    assert not same(found)
