"""Names, keys and groups for programs with an asyncio loop; see `naming` and `groups`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from otp.messages import Pid
from otp.naming import found
from otp.node_messages import NODE, Nodes, whereis
from otp.services import KeysOf, Lookup, Members, WhichGroups

Ask = Callable[[str, Any], Awaitable[Any]]


class AsyncGroups:
    """`node.pg` of an AsyncNode."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def members(self, group: str) -> list[Pid]:
        """All members, those of our own node first."""
        return [Pid(pid) for pid in await self._ask(NODE, Members(group))]

    async def local_members(self, group: str) -> list[Pid]:
        """The members on our own node."""
        return [Pid(pid) for pid in await self._ask(NODE, Members(group, local=True))]

    async def which_groups(self) -> list[str]:
        """All groups that have a member somewhere."""
        groups: list[str] = await self._ask(NODE, WhichGroups())
        return groups


class AsyncNames:
    """Finds processes for an AsyncNode."""

    def __init__(self, ask: Ask, send: Ask) -> None:
        self._ask, self._send = ask, send

    async def whereis(self, name: str) -> Pid | None:
        """The pid behind a path or a name ("counter", "counter@b"), or None. Raises NodeDown."""
        pid: Pid | None = await self._ask(*whereis(name))
        return pid

    async def nodes(self) -> list[str]:
        """The other nodes that there are links to at this moment."""
        names: list[str] = await self._ask(NODE, Nodes())
        return names

    async def lookup(self, registry: str, key: str) -> list[tuple[Pid, Any]]:
        """(pid, value) of all that are registered under this key, the first one first."""
        return found(await self._ask(NODE, Lookup(registry, key)))

    async def registered_keys(self, registry: str, pid: str) -> list[str]:
        """The keys under which that process is registered there."""
        keys: list[str] = await self._ask(NODE, KeysOf(registry, pid))
        return keys

    async def dispatch(self, registry: str, key: str, message: Any) -> int:
        """Send this to all that are registered under this key; how many they are."""
        entries = await self._ask(NODE, Lookup(registry, key))
        for entry in entries:
            await self._send(entry.pid, message)
        return len(entries)
