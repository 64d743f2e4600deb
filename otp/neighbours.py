"""The other nodes that a node has links to, and who is told of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from otp.messages import Message
from otp.node_messages import NodeLost, NodeUp

TROUBLES_MAX = 8
"""How many different troubles with a node are reported before its link is up again."""
NODES_MAX = 4_096
"""Nodes whose troubles are remembered; the oldest are forgotten first."""


class Owner(Protocol):
    """Who reports links."""

    def link_up(self, node: str) -> None: ...
    def link_down(self, node: str, text: str) -> None: ...


class Neighbours:
    """Pure but for what it calls: `tell(process, message)` reaches a worker in any case."""

    def __init__(self, owner: Owner, tell: Callable[[str, Message], None]) -> None:
        self._owner, self._tell = owner, tell
        self._watchers: dict[str, None] = {}
        self._troubles: dict[str, set[str]] = {}
        self.up: set[str] = set()

    @property
    def watched(self) -> bool:
        """Somebody wants to know."""
        return bool(self._watchers)

    def watch(self, process: str, on: bool) -> None:
        """From now on this worker is told (or not), each time once."""
        if on:
            self._watchers[process] = None
        else:
            self._watchers.pop(process, None)

    def link_up(self, node: str) -> None:
        """The link is there."""
        self._troubles.pop(node, None)
        if node not in self.up:
            self.up.add(node)
            self._say(NodeUp(node))
        self._owner.link_up(node)

    def link_down(self, node: str, text: str) -> None:
        """Each trouble is reported once: a link that cannot be made fails at every attempt."""
        troubles = self._troubles.setdefault(node, set())
        if len(self._troubles) > NODES_MAX:
            del self._troubles[next(iter(self._troubles))]
        new = text not in troubles and len(troubles) < TROUBLES_MAX
        if node in self.up or new:
            self._owner.link_down(node, text)
        troubles.add(text)
        if node in self.up:
            self.up.discard(node)
            self._say(NodeLost(node))

    def _say(self, message: Message) -> None:
        for process in self._watchers:
            self._tell(process, message)
