"""Registries: keys -> processes. Pure: an entry lives exactly as long as its process.

The first entry of a registry decides whether its keys are unique; when the last one is gone, the
next one decides again. The node holds them; a unique key is an address, too (`otp.Via`).
"""

from __future__ import annotations

from otp.services import Entry, Value

KEYS_MAX = 100_000
"""Entries that one process may have: beyond it something has gone wrong with it."""


class Entries:
    """All registries of one node."""

    def __init__(self) -> None:
        self._unique: dict[str, bool] = {}
        self._entries: dict[tuple[str, str], dict[str, Value]] = {}
        self._of: dict[str, dict[tuple[str, str], None]] = {}
        self._sizes: dict[str, int] = {}

    def register(self, pid: str, registry: str, key: str, value: Value, *, unique: bool) -> str:
        """Enter a process, or its new value; returns who else holds a unique key, or "".

        Raises ValueError where the registry's keys are of the other kind, or there are too many.
        """
        if self._unique.get(registry, unique) != unique:
            kind = "unique" if self._unique[registry] else "duplicate"
            raise ValueError(f"registry {registry!r} has {kind} keys; it cannot have both kinds")
        where = (registry, key)
        here = self._entries.get(where, {})
        holder = next((other for other in here if other != pid), "") if unique else ""
        if holder or pid in here:
            if not holder:
                here[pid] = value
            return holder
        if len(self._of.get(pid, ())) >= KEYS_MAX:
            raise ValueError(f"{pid} has {KEYS_MAX} keys registered; it may not have more")
        self._unique[registry] = unique
        self._entries.setdefault(where, {})[pid] = value
        self._of.setdefault(pid, {})[where] = None
        self._sizes[registry] = self._sizes.get(registry, 0) + 1
        return ""

    def unregister(self, pid: str, registry: str, key: str) -> bool:
        """Take an entry back; False where there is none."""
        where = (registry, key)
        here = self._entries.get(where, {})
        if here.pop(pid, None) is None:
            return False
        if not here:
            del self._entries[where]
        del self._of[pid][where]
        if not self._of[pid]:
            del self._of[pid]
        self._sizes[registry] -= 1
        if not self._sizes[registry]:
            del self._sizes[registry], self._unique[registry]
        return True

    def ended(self, pid: str) -> None:
        """The process is gone, and all its entries."""
        for registry, key in list(self._of.get(pid, ())):
            self.unregister(pid, registry, key)

    def lookup(self, registry: str, key: str) -> list[Entry]:
        """Who is there, in the order of registration."""
        here = self._entries.get((registry, key), {})
        return [Entry(pid, value) for pid, value in here.items()]

    def keys(self, pid: str, registry: str) -> list[str]:
        """What a process is registered under."""
        return [key for where, key in self._of.get(pid, ()) if where == registry]
