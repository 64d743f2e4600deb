"""Monitors, links and exit signals to a key that a topology places: its mailroom is asked first.

Keys of our own registries are known to the node. For others the mailroom asks the topology, once; a
question that a mailroom takes along when it dies is asked again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from otp.frames import DEMONITOR, Envelope, Locate

QUESTIONS_MAX = 100_000
"""Questions under way; one more is answered at once: nobody is there."""


class ViaTies:
    """Stands before `Ties.from_worker`. `whereis` knows our own keys, `ask` asks the mailroom."""

    def __init__(
        self,
        tie: Callable[[str, Envelope], None],
        whereis: Callable[[str], str | None],
        ask: Callable[[Locate], Any],
    ) -> None:
        self._tie, self._whereis, self._ask = tie, whereis, ask
        self._asked: dict[int, tuple[str, Envelope]] = {}
        self._number = 0

    def from_worker(self, process: str, envelope: Envelope) -> None:
        """A worker wants to be tied, or not any more."""
        if envelope.kind == DEMONITOR:
            self._forget(process, envelope.ref)
        placed = envelope.to.startswith("via:") and self._whereis(envelope.to) is None
        if not placed or len(self._asked) >= QUESTIONS_MAX:
            self._tie(process, envelope)
            return
        self._number += 1
        self._asked[self._number] = (process, envelope)
        self._ask(Locate(self._number, envelope.to))

    def located(self, number: int, address: str) -> None:
        """The topology's answer; empty where it knows of nobody."""
        process, envelope = self._asked.pop(number, ("", None))
        if envelope is not None:
            to = envelope.to if address.startswith("via:") else address or envelope.to
            self._tie(process, msgspec.structs.replace(envelope, to=to))

    def ended(self, process: str) -> None:
        """Who asked is gone."""
        self._asked = {n: asked for n, asked in self._asked.items() if asked[0] != process}

    def renew(self) -> None:
        """There is a new mailroom."""
        for number, (_, envelope) in self._asked.items():
            self._ask(Locate(number, envelope.to))

    def _forget(self, process: str, ref: int) -> None:
        for number, (asker, envelope) in list(self._asked.items()):
            if asker == process and envelope.ref == ref:
                del self._asked[number]
