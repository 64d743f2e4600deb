"""Names and keys -> pids. Pure: an entry lives exactly as long as its process.

The node holds it, feeds it from the lives of its processes, and tells its mailroom.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Registry:
    """Addresses of one node: several lead to one process, each leads to at most one."""

    def __init__(self) -> None:
        self._pids: dict[str, str] = {}
        self._addresses: dict[str, dict[str, None]] = {}

    def register(self, pid: str, addresses: Iterable[str]) -> tuple[str, ...]:
        """Enter a process; returns the addresses that it got: those which nobody held."""
        got = dict.fromkeys(a for a in addresses if a not in self._pids)
        self._addresses.setdefault(pid, {}).update(got)
        self._pids.update(dict.fromkeys(got, pid))
        return tuple(got)

    def add(self, pid: str, address: str) -> bool:
        """One more address for a process; False where somebody has it."""
        return bool(self.register(pid, (address,)))

    def drop(self, pid: str, address: str) -> bool:
        """One address less; False where it was not this process's."""
        if self._pids.get(address) != pid:
            return False
        del self._pids[address], self._addresses[pid][address]
        return True

    def unregister(self, pid: str) -> tuple[str, ...]:
        """The process is gone; returns the addresses that are free now."""
        freed = tuple(self._addresses.pop(pid, ()))
        for address in freed:
            del self._pids[address]
        return freed

    def whereis(self, address: str) -> str | None:
        """The pid behind an address (a pid of this node leads to itself), or None."""
        if address in self._addresses:
            return address
        return self._pids.get(address)

    def addresses(self, pid: str) -> tuple[str, ...]:
        """What leads to this process."""
        return tuple(self._addresses.get(pid, ()))

    def __iter__(self) -> Iterator[str]:
        """The pids of all processes that are here."""
        return iter(self._addresses)
