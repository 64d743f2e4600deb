"""The accounting after an election: what clients were told against what the log holds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import msgspec

from ballot.client import PASSING, Elections
from ballot.messages import BallotCasted, LogEvent, Recorded
from ballot.queries import CopyStatus
from ballot.wire import events_of

LOG_SECONDS_MAX = 120.0
"""How long reading the log may take."""
EQUAL_SECONDS_MAX = 30.0
"""How long the copies may take to come to the same end once nothing new is recorded."""
PAUSE_SECONDS = 0.01

_decode = msgspec.msgpack.Decoder(LogEvent).decode


class Audit(msgspec.Struct, frozen=True):
    """`lost`: acknowledged, but not in the log at that place. `doubled`: more than once in it."""

    in_log: int
    lost: int
    doubled: int


async def audit(elections: Elections, key: str, node: str, told: dict[bytes, Recorded]) -> Audit:
    """Read the whole committed log from the follower on `node` and compare it with the answers."""
    places: dict[bytes, tuple[int, int]] = {}
    credentials: Counter[str] = Counter()
    doubled = after = 0
    deadline = time.monotonic() + LOG_SECONDS_MAX
    end = False
    while not end and time.monotonic() < deadline:
        try:
            part = await elections.log_part(key, node, after)
        except PASSING:
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        for entry in part.entries:
            after = entry.position
            for leaf, raw in enumerate(events_of(entry)):
                event = _decode(raw)
                if isinstance(event, BallotCasted):
                    doubled += event.command_id in places
                    places[event.command_id] = (entry.position, leaf)
                    credentials[event.ballot.credential] += 1
        # The follower hears of the last commit a moment after the writer.
        end = part.end and part.refused is None and len(places) >= len(told)
        if not part.entries:
            await asyncio.sleep(PAUSE_SECONDS)
    lost = sum(places.get(i) != (a.position, a.leaf) for i, a in told.items())
    doubled += sum(count - 1 for count in credentials.values())
    return Audit(len(places), lost, doubled)


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
        try:
            role = "writer" if node == members[0] else "follower"
            found.append(await elections.copy(key, role, node))  # type: ignore[arg-type]
        except PASSING:
            continue
    return found


def same(copies: list[CopyStatus]) -> bool:
    """Whether all end at the same place, with the same history behind it, and know it as safe."""
    return len({(copy.position, copy.head, copy.commit) for copy in copies}) == 1
