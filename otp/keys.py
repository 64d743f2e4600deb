"""Where keys live: the topologies of a mailroom, and what it has learnt since."""

from __future__ import annotations

import sys
from typing import Any, Protocol

from otp import pickling
from otp.codec import parse_via
from otp.links import node_of
from otp.messages import Via
from otp.starts import find

MOVED_MAX = 10_000
"""How many keys' whereabouts are remembered; the oldest is forgotten first."""


class Topology(Protocol):
    """Says where a key lives; the only seam between routing and placement."""

    def locate(self, via: Via) -> str | None:
        """The address that serves this key at this moment, or None. Must be quick and pure."""


class Keys:
    """Addresses of keys: what was learnt goes before what a topology says. Written `via:..`."""

    def __init__(self, topologies: dict[str, bytes]) -> None:
        self._moved: dict[str, str] = {}
        self._topologies: dict[str, Topology] = {
            group: _topology(payload) for group, payload in topologies.items()
        }

    def find(self, via: str) -> str | None:
        """The address that this key leads to, if any."""
        return self._moved.get(via) or self._locate(via)

    def remember(self, via: str, address: str) -> None:
        """A key was found there."""
        self._moved.pop(via, None)
        self._moved[via] = address
        if len(self._moved) > MOVED_MAX:
            del self._moved[next(iter(self._moved))]

    def forget(self, via: str) -> None:
        """It is not there any more: ask the topology again."""
        self._moved.pop(via, None)

    def forget_node(self, node: str) -> None:
        """A node is lost: no key is known to be there."""
        for via in [v for v, address in self._moved.items() if node_of(address) == node]:
            del self._moved[via]

    def _locate(self, written: str) -> str | None:
        via = parse_via(written)
        topology = self._topologies.get(via.group) if via else None
        if via is None or topology is None:
            return None
        try:
            address = topology.locate(via)
        except Exception as error:  # a user's class: its fault must not end the mailroom
            print(f"topology of {via.group!r} failed: {error!r}", file=sys.stderr)
            return None
        return address if isinstance(address, str) else None


def _topology(payload: bytes) -> Any:
    start, args = pickling.loads(payload)
    return (find(start) if isinstance(start, str) else start)(**args)
