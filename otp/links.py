"""Links and monitors: who hears of a death. Pure: inputs in, signals as data out.

The node keeps one `Links`. A monitor or link whose other end is on another node is known on both:
here so that a lost connection is felt (`noconnection`), there so that a death is.
Rules: OTP's. A monitor is one-way and fires once; a link is two-way, and an abnormal end (or any
end, if the other traps exits) is felt once.
"""

from __future__ import annotations

import msgspec

from otp.messages import NOCONNECTION, NOPROC, Down, Exit, Reason


class Signal(msgspec.Struct, frozen=True):
    """What must be sent: a message for `to` (a pid, perhaps of another node)."""

    to: str
    message: Down | Exit


class Forward(msgspec.Struct, frozen=True):
    """A request about a process elsewhere, to be sent to its node as it is."""

    node: str


Effect = Signal | Forward


class Links:
    """The monitors and links that touch the processes of one node."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._watchers: dict[str, dict[tuple[str, int], str]] = {}
        self._watching: dict[tuple[str, int], str] = {}
        self._links: dict[str, set[str]] = {}

    # ------------------------------------------------------------ monitors

    def monitor(self, watcher: str, ref: int, target: str, pid: str | None) -> list[Effect]:
        """`watcher` wants to hear of the end of `target`, which is `pid` if it is here and alive."""
        node = node_of(target)
        here = node_of(watcher) == self._node
        if node not in ("", self._node):
            self._watching[watcher, ref] = node
            return [Forward(node)]
        if pid is None:
            return [Signal(watcher, Down(ref, target, NOPROC))]
        self._watchers.setdefault(pid, {})[watcher, ref] = target
        if here:
            self._watching[watcher, ref] = pid
        return []

    def demonitor(self, watcher: str, ref: int) -> list[Effect]:
        """The watcher has lost interest."""
        where = self._watching.pop((watcher, ref), None)
        if where is not None and where in self._watchers:
            self._watchers[where].pop((watcher, ref), None)
            return []
        if where is not None:
            return [Forward(where)]
        for watchers in self._watchers.values():
            watchers.pop((watcher, ref), None)
        return []

    def heard(self, watcher: str, ref: int) -> bool:
        """A Down came from another node; False if the watcher no longer waits for it."""
        return self._watching.pop((watcher, ref), None) is not None

    # ------------------------------------------------------------ links

    def link(self, one: str, other: str, pid: str | None) -> list[Effect]:
        """Two processes share their fate; `pid` is the other's if it is here and alive."""
        node = node_of(other)
        if node not in ("", self._node):
            self._links.setdefault(one, set()).add(other)
            return [Forward(node)]
        if pid is None:
            return [Signal(one, Exit(other, NOPROC))]
        self._links.setdefault(one, set()).add(pid)
        self._links.setdefault(pid, set()).add(one)
        return []

    def unlink(self, one: str, other: str, pid: str | None) -> list[Effect]:
        """The two no longer share their fate."""
        end = pid or other
        self._links.get(one, set()).discard(end)
        self._links.get(end, set()).discard(one)
        node = node_of(other)
        return [Forward(node)] if node not in ("", self._node) else []

    # ------------------------------------------------------------ deaths

    def exited(self, pid: str, reason: Reason) -> list[Effect]:
        """A process of this node has ended: all who asked for it are told, once."""
        out: list[Effect] = []
        for (watcher, ref), target in self._watchers.pop(pid, {}).items():
            self._watching.pop((watcher, ref), None)
            out.append(Signal(watcher, Down(ref, target, reason)))
        for other in sorted(self._links.pop(pid, ())):
            self._links.get(other, set()).discard(pid)
            out.append(Signal(other, Exit(pid, reason)))
        for key in [key for key in self._watching if key[0] == pid]:
            where = self._watching.pop(key)
            self._watchers.get(where, {}).pop(key, None)
        return out

    def node_lost(self, node: str) -> list[Effect]:
        """The connection to another node is lost: nothing there can be heard of any more."""
        out: list[Effect] = []
        for (watcher, ref), where in list(self._watching.items()):
            if where == node:
                del self._watching[watcher, ref]
                out.append(Signal(watcher, Down(ref, f"@{node}", NOCONNECTION)))
        for pid in list(self._links):
            for other in sorted(o for o in self._links[pid] if node_of(o) == node):
                self._links[pid].discard(other)
                if node_of(pid) == self._node:
                    out.append(Signal(pid, Exit(other, NOCONNECTION)))
        for watchers in self._watchers.values():
            for key in [key for key in watchers if node_of(key[0]) == node]:
                del watchers[key]
        return out


def node_of(address: str) -> str:
    """The node that an address or pid names; empty for an address without one."""
    return address.rpartition("@")[2].rstrip(">") if "@" in address else ""


