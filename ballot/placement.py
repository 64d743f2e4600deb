"""The topology that mailrooms ask: the manager of the node on whose ring a key lies."""

from __future__ import annotations

import otp
from ballot.names import MANAGER
from ballot.topology import Cluster, place


class Elections:
    """Knows the ring and nothing more: who is the writer now, the record (and its manager) know."""

    def __init__(self, nodes: str, version: int = 1) -> None:
        self._cluster = Cluster(tuple(nodes.split(",")), version)

    def locate(self, via: otp.Via) -> str:
        """The manager to which a message for this key goes first."""
        return f"{MANAGER}@{place(self._cluster, via.key).writer}"
