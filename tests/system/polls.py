"""An election on a cluster of real processes, and the ways in which tests hurt it."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
from typing import Any

from ballot.audit import Audit, audit, heads, same
from ballot.client import PASSING, Elections, new_id
from ballot.cluster import Cluster
from ballot.load import Acknowledged
from ballot.messages import (
    Ballot,
    CastBallot,
    CloseElection,
    Command,
    CreateElection,
    OpenElection,
    Recorded,
    Refused,
)
from ballot.names import GROUP, slug
from ballot.queries import Role
from ballot.topology import Cluster as Ring
from ballot.topology import place
from tests.ballot.samples import definition, ranked

OFFICER = "officer"
COMMAND_SECONDS_MAX = 20.0
"""Far more than anything here takes to come back; a test that waits so long has failed."""

_keys = itertools.count(1)


class Poll:
    """One election of the tests: it keeps what its voters were told."""

    def __init__(self, cluster: Cluster, elections: Elections, key: str | None = None) -> None:
        self.cluster, self.elections = cluster, elections
        self.key = key or f"test/{next(_keys)}"
        self.members = place(Ring(tuple(cluster.nodes), 1), self.key).members
        self.told: dict[bytes, Acknowledged] = {}
        self._credentials = itertools.count(1)

    def head(self, actor: str = OFFICER) -> dict[str, Any]:
        """The fields that all commands share, with a new id."""
        return {"command_id": new_id(), "key": self.key, "actor": actor}

    async def ask(self, command: Command) -> Recorded | Refused:
        """Carry out a command, whatever becomes of it."""
        return await self.elections.command(command, timeout=COMMAND_SECONDS_MAX)

    async def must(self, command: Command) -> Recorded:
        """Carry out a command that must be recorded."""
        answer = await self.ask(command)
        assert isinstance(answer, Recorded), answer
        return answer

    async def opened(self) -> Poll:
        """Create and open it."""
        await self.must(CreateElection(**self.head(), definition=definition()))
        await self.must(OpenElection(**self.head()))
        return self

    def ballot(self, credential: str, ranking: str = "a") -> CastBallot:
        """A vote that nobody has cast yet."""
        ballot = Ballot(credential, ranked(ranking))
        return CastBallot(**self.head(credential), ballot=ballot)

    async def vote(self, count: int = 1) -> None:
        """Cast ballots, all at the same time."""

        async def one() -> None:
            vote = self.ballot(f"v{next(self._credentials)}")
            answer = await self.must(vote)
            place = Acknowledged(vote.ballot, answer.position, answer.leaf)
            self.told[vote.command_id] = place

        async with asyncio.TaskGroup() as voters:
            for _ in range(count):
                voters.create_task(one())

    async def check(self) -> None:
        """Close it; all that was told must be in all five copies, once, and be counted."""
        closed = await self.must(CloseElection(**self.head()))
        found = [await self.audit(node, closed) for node in self.members[1:]]
        for each in found:
            assert (each.in_log, each.lost, each.doubled, each.faults) == (len(self.told), 0, 0, ())
        assert len({each.seed for each in found}) == 1
        await self.five()
        outcome = await self.elections.outcome(self.key, count=True)
        assert not isinstance(outcome, Refused) and outcome.result is not None
        assert outcome.result.ballots == len(self.told)

    async def audit(self, node: str, closed: Recorded) -> Audit:
        """What the log of one follower says."""
        return await audit(self.elections, self.key, node, self.told, closed)

    async def five(self) -> None:
        """All five copies are there and end at the same place."""
        copies = await heads(self.elections, self.key, self.members)
        assert len(copies) == 5 and same(copies), copies

    # ------------------------------------------------------------ hurting it

    def role(self, node: str) -> Role:
        """What this node is to this election."""
        return "writer" if node == self.members[0] else "follower"

    def path(self, node: str) -> str:
        """The address of this node's copy, on that node."""
        return f"{GROUP}/{slug(self.key)}/{self.role(node)}"

    def kill(self, node: str, path: str, sign: int = signal.SIGKILL) -> None:
        """Send a signal, -9 if nothing else is said, to a process of a node's tree."""
        with self.cluster.node(node) as handle:
            handle.kill(path, signal=sign)

    def forget(self, *nodes: str) -> None:
        """These copies lose their RAM: the process is frozen, its folder removed, then it dies."""
        for node in nodes:
            self.kill(node, self.path(node), signal.SIGSTOP)
            shutil.rmtree(self.cluster.data_dir / node / slug(self.key))
        for node in nodes:
            self.kill(node, self.path(node))

    def processes(self) -> dict[tuple[str, str], int]:
        """The OS processes of all nodes."""
        found = {}
        for node in self.cluster.nodes:
            with self.cluster.node(node) as handle:
                found.update({(node, row.path): row.pid for row in handle.processes() if row.pid})
        return found

    async def through(self, node: str) -> None:
        """Wait until the mailroom of this node leads to the writer."""
        async with (
            asyncio.timeout(COMMAND_SECONDS_MAX),
            Elections([self.cluster.socket_dir(node)]) as one_way,
        ):
            while not await self._leads(one_way):
                await asyncio.to_thread(os.sched_yield)

    async def _leads(self, one_way: Elections) -> bool:
        try:
            await one_way.copy(self.key, "writer", self.members[0])
        except PASSING:
            return False
        return True
