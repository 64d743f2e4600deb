"""kill -9, four ways, and how long it takes until what was killed is back.

Each measure begins right before the signal and ends with proof that the new process does the work
of the old: writer, an acknowledged command that was begun after the kill; follower, an
acknowledgement by the new process; mailroom, a routed call; node, all that it held.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

import msgspec

import otp
from ballot.client import PASSING, Elections
from ballot.cluster import Cluster
from ballot.load import Load
from ballot.messages import OpenElection
from ballot.names import GROUP, copy_address, slug
from ballot.queries import CopyStatus, Role

BACK_SECONDS_MAX = 30.0
"""What is not back by then counts as not coming back."""
POLL_SECONDS = 0.001


class Killed(msgspec.Struct, frozen=True):
    """One death: what, which, its OS pid, and the milliseconds until it was back (None: never)."""

    what: str
    name: str
    pid: int
    back_ms: float | None


class Killer:
    """Kills parts of a cluster that holds an election with `members`, the writer's node first."""

    def __init__(
        self,
        cluster: Cluster,
        elections: Elections,
        load: Load,
        members: tuple[str, ...],
        probe: OpenElection,
    ) -> None:
        self._cluster, self._elections, self._load = cluster, elections, load
        self._members = members
        self._probe = probe
        self._key = probe.key

    async def kill(self, what: str) -> Killed:
        """Kill one part and wait until it is back."""
        ways: dict[str, Callable[[], Awaitable[Killed]]] = {
            "writer": self._writer,
            "follower": self._follower,
            "mailroom": self._mailroom,
            "node": self._node,
        }
        return await ways[what]()

    async def _writer(self) -> Killed:
        node = self._members[0]
        name = copy_address(self._key, "writer", node)
        pid = await self._pid(node, f"node/{GROUP}/{slug(self._key)}/writer")
        return await self._timed("writer", name, pid, self._serves)

    async def _follower(self) -> Killed:
        node = self._members[1]
        name = copy_address(self._key, "follower", node)
        pid = await self._pid(node, f"node/{GROUP}/{slug(self._key)}/follower")

        async def back(since: float) -> None:
            await self._until(self._elections, name, lambda copy: copy.acks > 0 and copy.phase == "voter")

        return await self._timed("follower", name, pid, back)

    async def _mailroom(self) -> Killed:
        node = self._members[0]
        pid = await self._pid(node, "otp/mailroom")

        async def back(since: float) -> None:
            async with Elections([self._cluster.socket_dir(node)]) as through_it:
                name = copy_address(self._key, "writer", node)
                await self._until(through_it, name, lambda copy: True)

        return await self._timed("mailroom", f"mailroom@{node}", pid, back)

    async def _node(self) -> Killed:
        node = self._members[0]
        pid = await self._pid("host", f"ballot/nodes/{node}")

        async def back(since: float) -> None:
            await self._serves(since)
            # It holds one election here; its own mailroom must lead to it as well.
            async with Elections([self._cluster.socket_dir(node)]) as through_it:
                name = copy_address(self._key, "writer", node)
                await self._until(through_it, name, lambda copy: copy.phase == "serve")

        return await self._timed("node", node, pid, back)

    async def _timed(
        self, what: str, name: str, pid: int, back: Callable[[float], Awaitable[None]]
    ) -> Killed:
        since = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        try:
            async with asyncio.timeout(BACK_SECONDS_MAX):
                await back(since)
        except TimeoutError:
            return Killed(what, name, pid, None)
        return Killed(what, name, pid, round((time.perf_counter() - since) * 1000, 1))

    async def _serves(self, since: float) -> None:
        """A command begun after the kill is acknowledged; where no ballot is left to be cast, it
        is one that was recorded before, sent again: its first answer comes back."""
        if not self._load.exhausted:
            await self._load.next_ack(since)
        else:
            await self._elections.command(self._probe)

    async def _until(
        self, elections: Elections, name: str, good: Callable[[CopyStatus], bool]
    ) -> None:
        role: Role = "writer" if "/writer@" in name else "follower"
        node = name.rpartition("@")[2]
        while True:
            try:
                if good(await elections.copy(self._key, role, node)):
                    return
            except PASSING:
                await asyncio.sleep(POLL_SECONDS)
                continue
            await asyncio.sleep(POLL_SECONDS)

    async def _pid(self, node: str, path: str) -> int:
        """The OS pid behind a path of a node's tree."""
        return await asyncio.to_thread(self._find, node, path)

    def _find(self, node: str, path: str) -> int:
        with self._cluster.node(node) as handle:
            for row in handle.processes():
                if row.path == path and row.pid:
                    return row.pid
        raise otp.NoProcess(what="kill", to=f"{path} on {node}")

