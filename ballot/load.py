"""A load of ballots: many clients at a time, each ballot one command, every answer kept.

What was acknowledged is what the clients were told; it is counted here, apart from the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from ballot.client import new_id
from ballot.messages import Ballot, CastBallot, Command, Recorded, Refused


class Commanding(Protocol):
    """Whoever brings commands to an election and their answers back."""

    async def command(self, command: Command) -> Recorded | Refused:
        """Carry out a command, exactly once."""


class Acknowledged(msgspec.Struct, frozen=True, gc=False):
    """A ballot as its client cast it, and where it was told to be recorded."""

    ballot: Ballot
    position: int
    leaf: int


class Load:
    """Casts ballots from `clients` tasks; `allow` lets it go on up to a number of ballots."""

    def __init__(
        self, elections: Commanding, key: str, ballots: Iterator[Ballot], total: int, clients: int
    ) -> None:
        self.total = total
        self.submitted = 0
        self.told: dict[bytes, Acknowledged] = {}
        self.refused: list[Refused] = []
        self.on_progress: Callable[[], None] = lambda: None
        self._elections, self._key, self._ballots = elections, key, ballots
        self._clients = clients
        self._limit = total
        self._allowed = asyncio.Event()
        self._waiting_acks: list[tuple[float, asyncio.Future[None]]] = []
        self._milestones: list[tuple[int, asyncio.Event]] = []

    @property
    def acknowledged(self) -> int:
        """How many ballots clients were told are recorded."""
        return len(self.told)

    @property
    def held(self) -> bool:
        """Whether no further ballot is submitted now: there is none, or `allow` forbids it."""
        return self.submitted >= self._limit

    async def run(self) -> None:
        """Cast all ballots; returns when each has its answer.

        Raises a group of what the commands raised, Unsettled where an answer did not come.
        """
        async with asyncio.TaskGroup() as clients:
            for _ in range(min(self._clients, self.total)):
                clients.create_task(self._client())

    async def _client(self) -> None:
        while self.submitted < self.total:
            if self.held:
                self._allowed.clear()
                await self._allowed.wait()
                continue
            self.submitted += 1
            ballot = next(self._ballots)
            command = CastBallot(
                command_id=new_id(), key=self._key, actor=ballot.credential, ballot=ballot
            )
            begun = time.perf_counter()
            answer = await self._elections.command(command)
            self._answered(command, answer, begun)

    def _answered(self, command: CastBallot, answer: Recorded | Refused, begun: float) -> None:
        if isinstance(answer, Refused):
            self.refused.append(answer)
        else:
            place = Acknowledged(command.ballot, answer.position, answer.leaf)
            self.told[command.command_id] = place
            self._acknowledge(begun)
        while self._milestones and self._reached(self._milestones[0][0]):
            self._milestones.pop(0)[1].set()
        self.on_progress()

    def _acknowledge(self, begun: float) -> None:
        done = [wait for wait in self._waiting_acks if wait[0] <= begun]
        for wait in done:
            self._waiting_acks.remove(wait)
            if not wait[1].done():
                wait[1].set_result(None)

    def _reached(self, answered: int) -> bool:
        # A refused ballot is answered for good: what waits for a number must not wait for it.
        return self.acknowledged + len(self.refused) >= answered

    def allow(self, limit: int) -> None:
        """Go on until this many ballots are submitted."""
        self._limit = min(limit, self.total)
        self._allowed.set()

    def milestone(self, answered: int) -> asyncio.Event:
        """An event that is set when so many are answered; ask for them in ascending order."""
        event = asyncio.Event()
        if self._reached(answered):
            event.set()
        else:
            self._milestones.append((answered, event))
        return event

    async def next_ack(self, since: float) -> None:
        """Wait until a ballot is acknowledged that was submitted after `since` (perf_counter)."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting_acks.append((since, future))
        await future
