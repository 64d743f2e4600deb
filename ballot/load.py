"""A load of ballots: many clients at a time, each ballot one command, every answer kept.

What was acknowledged is what the clients were told; it is counted here, apart from the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from ballot.client import Elections, new_id
from ballot.messages import Ballot, CastBallot, Recorded, Refused


class Load:
    """Casts ballots from `clients` tasks; `allow` lets it go on up to a number of ballots."""

    def __init__(
        self, elections: Elections, key: str, ballots: Iterator[Ballot], total: int, clients: int
    ) -> None:
        self.total = total
        self.submitted = 0
        self.answers: dict[bytes, Recorded] = {}
        self.refused: list[Refused] = []
        self.on_progress: Callable[[], None] = lambda: None
        self._elections, self._key, self._ballots = elections, key, ballots
        self._clients = clients
        self._limit = total
        self._allowed = asyncio.Event()
        self._waiting_acks: list[tuple[float, asyncio.Future[float]]] = []
        self._milestones: list[tuple[int, asyncio.Event]] = []

    @property
    def acknowledged(self) -> int:
        """How many ballots clients were told are recorded."""
        return len(self.answers)

    async def run(self) -> None:
        """Cast all ballots; returns when each has its answer. Raises Unsettled as the client does."""
        async with asyncio.TaskGroup() as clients:
            for _ in range(min(self._clients, self.total)):
                clients.create_task(self._client())

    async def _client(self) -> None:
        while self.submitted < self.total:
            if self.submitted >= self._limit:
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
            self._answered(command.command_id, answer, begun)

    def _answered(self, command_id: bytes, answer: Recorded | Refused, begun: float) -> None:
        if isinstance(answer, Refused):
            self.refused.append(answer)
        else:
            self.answers[command_id] = answer
        now = time.perf_counter()
        for wait in [wait for wait in self._waiting_acks if wait[0] <= begun]:
            self._waiting_acks.remove(wait)
            if not wait[1].done():
                wait[1].set_result(now)
        while self._milestones and self.acknowledged >= self._milestones[0][0]:
            self._milestones.pop(0)[1].set()
        self.on_progress()

    def allow(self, limit: int) -> None:
        """Go on until this many ballots are submitted."""
        self._limit = min(limit, self.total)
        self._allowed.set()

    def milestone(self, acknowledged: int) -> asyncio.Event:
        """An event that is set when so many are acknowledged; ask for them in ascending order."""
        event = asyncio.Event()
        self._milestones.append((acknowledged, event))
        return event

    def next_ack(self, since: float) -> asyncio.Future[float]:
        """When the first command that was begun after `since` (perf_counter) is acknowledged."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting_acks.append((since, future))
        return future

    @property
    def exhausted(self) -> bool:
        """Whether no further ballot will be submitted."""
        return self.submitted >= self.total
