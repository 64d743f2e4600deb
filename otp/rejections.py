"""Who was turned away at the door: said at once, then at most once a minute for each address.

Pure; times come in.
"""

from __future__ import annotations

from collections.abc import Iterator

QUIET_SECONDS = 60.0
"""A stranger that tries again and again is one report in this time."""
ADDRESSES_MAX = 64
"""Addresses that are told apart; what comes from more is reported as from `others`."""
OTHERS = "others"
TEXT_CHARS_MAX = 200
"""How much of what was wrong is told."""

Report = tuple[str, int, str]
"""Address, how many since the last report, what was wrong with the last of them."""


class Rejections:
    """Counts strangers, by address."""

    def __init__(self) -> None:
        self._unsaid: dict[str, tuple[int, str]] = {}
        self._said_at: dict[str, float] = {}

    def add(self, address: str, text: str, now: float) -> Report | None:
        """One more; what is to be reported at once, if anything."""
        if address not in self._said_at and len(self._said_at) >= ADDRESSES_MAX:
            address = OTHERS
        text = text[:TEXT_CHARS_MAX]
        if address not in self._said_at:
            self._said_at[address] = now
            return address, 1, text
        count, _ = self._unsaid.get(address, (0, ""))
        self._unsaid[address] = (count + 1, text)
        return None

    def due(self, now: float) -> Iterator[Report]:
        """What has waited long enough; addresses that have kept quiet are forgotten."""
        for address in [a for a, at in self._said_at.items() if now - at >= QUIET_SECONDS]:
            count, text = self._unsaid.pop(address, (0, ""))
            if count:
                self._said_at[address] = now
                yield address, count, text
            else:
                del self._said_at[address]
