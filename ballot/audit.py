"""The accounting after an election: what clients were told against what a follower's log holds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping

import msgspec

from ballot.client import PASSING, Elections
from ballot.load import Acknowledged
from ballot.messages import Ballot, BallotCasted, Choice, LogEvent, Recorded
from ballot.queries import CopyStatus, Role
from ballot.wire import START, Entry, Head, events_of, follows, intact

LOG_SECONDS_MAX = 120.0
"""How long reading the log may take."""
EQUAL_SECONDS_MAX = 30.0
"""How long the copies may take to come to the same end once nothing new is recorded."""
PAUSE_SECONDS = 0.01
"""Between two looks at a copy that is not so far yet."""

_decode = msgspec.msgpack.Decoder(LogEvent).decode


class Audit(msgspec.Struct, frozen=True):
    """`lost`: acknowledged, but not in the log where its client was told, as it was cast.
    `doubled`: ids or credentials that are in it more than once. `faults`: what else is wrong with
    the log, in words. `choices`: what its ballots say; `seed`: of the lot, the closing's hash."""

    in_log: int
    lost: int
    doubled: int
    faults: tuple[str, ...]
    choices: dict[Choice, int]
    seed: bytes


class Ledger:
    """Goes through a log, entry by entry, and notes what it finds there."""

    def __init__(self) -> None:
        self.last: Head = START
        self._found: dict[bytes, tuple[Ballot, int, int]] = {}
        self._ids = self._votes = 0
        self._choices: Counter[Choice] = Counter()
        self._credentials: set[str] = set()
        self._faults: list[str] = []

    def add(self, entry: Entry) -> None:
        """Take the next entry."""
        if not (follows(entry, self.last) and intact(entry)):
            self._faults.append(f"entry {entry.position} of the log does not match its hash")
        self.last = entry.head
        for leaf, raw in enumerate(events_of(entry)):
            event = _decode(raw)
            if isinstance(event, BallotCasted):
                self._votes += 1
                self._found.setdefault(event.command_id, (event.ballot, entry.position, leaf))
                self._credentials.add(event.ballot.credential)
                self._choices[event.ballot.choice] += 1

    def fault(self, text: str) -> None:
        """Note something else that is wrong."""
        self._faults.append(text)

    def audit(self, told: Mapping[bytes, Acknowledged]) -> Audit:
        """Compare what was found with what the clients were told."""
        lost = sum(self._found.get(id) != (a.ballot, a.position, a.leaf) for id, a in told.items())
        doubled = self._votes - min(len(self._found), len(self._credentials))
        return Audit(
            self._votes, lost, doubled, tuple(self._faults), dict(self._choices), self.last.hash
        )


async def audit(
    elections: Elections,
    key: str,
    node: str,
    told: Mapping[bytes, Acknowledged],
    closed: Recorded,
) -> Audit:
    """Read the committed log up to the closing from the follower on `node`; compare."""
    ledger = Ledger()
    deadline = time.monotonic() + LOG_SECONDS_MAX
    while ledger.last.position < closed.position:
        if time.monotonic() > deadline:
            ledger.fault(f"{node} showed its log up to {ledger.last.position} only")
            break
        entries = await _part(elections, key, node, ledger.last.position)
        for entry in entries[: closed.position - ledger.last.position]:
            ledger.add(entry)
        if not entries:
            # The follower hears of the last commit a moment after the writer.
            await asyncio.sleep(PAUSE_SECONDS)
    return ledger.audit(told)


async def _part(elections: Elections, key: str, node: str, after: int) -> tuple[Entry, ...]:
    try:
        return (await elections.log_part(key, node, after)).entries
    except PASSING:
        return ()


async def heads(elections: Elections, key: str, members: tuple[str, ...]) -> list[CopyStatus]:
    """The five copies, as soon as they end at the same place, or as they are when time is up."""
    deadline = time.monotonic() + EQUAL_SECONDS_MAX
    while True:
        copies = await _copies(elections, key, members)
        if len(copies) == len(members) and same(copies):
            return copies
        if time.monotonic() > deadline:
            return copies
        await asyncio.sleep(PAUSE_SECONDS)


async def _copies(elections: Elections, key: str, members: tuple[str, ...]) -> list[CopyStatus]:
    found = []
    for node in members:
        role: Role = "writer" if node == members[0] else "follower"
        try:
            found.append(await elections.copy(key, role, node))
        except PASSING:
            continue
    return found


def same(copies: list[CopyStatus]) -> bool:
    """Whether all end at the same place, with the same history behind it, and know it as safe."""
    return len({(copy.position, copy.head, copy.commit) for copy in copies}) == 1
