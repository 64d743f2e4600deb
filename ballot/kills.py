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
from contextlib import suppress

import msgspec

import otp
from ballot.client import PASSING, Elections
from ballot.cluster import Cluster
from ballot.load import Load
from ballot.messages import OpenElection
from ballot.names import GROUP, HOST, copy_address, slug
from ballot.queries import CopyStatus, Role

BACK_SECONDS_MAX = 30.0
"""What is not back by then counts as not coming back; what is not there by then, as not there."""
POLL_SECONDS = 0.001
"""Between two looks at whether it is back: the error of `back_ms`."""

Good = Callable[[CopyStatus], bool]


class Killed(msgspec.Struct, frozen=True):
    """One death: what, which, its OS pid, and the milliseconds until it was back (None: never)."""

    what: str
    name: str
    pid: int
    back_ms: float | None


class Killer:
    """Kills parts of a cluster that holds an election with `members`, the writer's node first.

    `probe` is a command that was recorded before: sent again it changes nothing.
    """

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
        pid = await self._pid(node, self._path("writer"))
        name = copy_address(self._key, "writer", node)
        return await self._timed("writer", name, pid, self._serves)

    async def _follower(self) -> Killed:
        node = self._members[1]

        async def back(since: float) -> None:
            await self._until(self._elections, "follower", node, _acknowledges)

        pid = await self._pid(node, self._path("follower"))
        name = copy_address(self._key, "follower", node)
        return await self._timed("follower", name, pid, back)

    async def _mailroom(self) -> Killed:
        node = self._members[0]

        async def back(since: float) -> None:
            async with Elections([self._cluster.socket_dir(node)]) as through_it:
                await self._until(through_it, "writer", node, lambda copy: True)

        pid = await self._pid(node, "otp/mailroom")
        return await self._timed("mailroom", f"mailroom@{node}", pid, back)

    async def _node(self) -> Killed:
        node = self._members[0]

        async def back(since: float) -> None:
            await self._serves(since)
            # It holds one election here; its own mailroom must lead to it as well.
            async with Elections([self._cluster.socket_dir(node)]) as through_it:
                await self._until(through_it, "writer", node, _serving)

        pid = await self._pid(HOST, f"ballot/nodes/{node}")
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
        """A command begun after the kill is acknowledged; where no ballot may be cast now, it is
        one that was recorded before: its first answer comes back."""
        if self._load.held:
            await self._elections.command(self._probe)
        else:
            await self._load.next_ack(since)

    async def _until(self, elections: Elections, role: Role, node: str, good: Good) -> None:
        while True:
            with suppress(*PASSING):  # it is not back yet: that is what is measured
                if good(await elections.copy(self._key, role, node)):
                    return
                if self._load.held:
                    # Nothing is recorded now: a read makes the writer turn to its followers.
                    await self._elections.outcome(self._key)
            await asyncio.sleep(POLL_SECONDS)

    def _path(self, role: Role) -> str:
        return f"node/{GROUP}/{slug(self._key)}/{role}"

    async def _pid(self, node: str, path: str) -> int:
        """The OS pid behind a path of a node's tree; it may be coming back from the last kill."""
        deadline = time.monotonic() + BACK_SECONDS_MAX
        while (pid := await asyncio.to_thread(self._find, node, path)) is None:
            if time.monotonic() > deadline:
                raise otp.NoProcess(what="kill", to=f"{path} on {node}")
            await asyncio.sleep(POLL_SECONDS)
        return pid

    def _find(self, node: str, path: str) -> int | None:
        try:
            with self._cluster.node(node) as handle:
                pids = {row.path: row.pid for row in handle.processes()}
        except PASSING:
            return None
        return pids.get(path) or None


def _acknowledges(copy: CopyStatus) -> bool:
    return copy.acks > 0 and copy.phase == "voter"


def _serving(copy: CopyStatus) -> bool:
    return copy.phase == "serve"
