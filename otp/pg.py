"""Process groups over all linked nodes, as OTP's pg. Pure: inputs in, effects as data out.

Each node is right about its own members, and says so to the others: all of them when a link comes
up, each change while it is up. When a link goes, the members over there are gone from here. So
nodes that are linked agree once nothing is under way, and no member outlives its process.
"""

from __future__ import annotations

from collections import Counter

import msgspec

Membership = tuple[str, str]
"""(Group, pid)."""
MEMBERSHIPS_MAX = 100_000
"""Memberships of one node's processes: all of them must fit into one message to another node."""


class GroupUpdate(msgspec.Struct, frozen=True):
    """One node to another: what has changed, or (`whole`) all members that it has."""

    joined: list[tuple[str, str]] = []
    left: list[tuple[str, str]] = []
    whole: bool = False


class Tell(msgspec.Struct, frozen=True):
    """Send this to that node."""

    node: str
    update: GroupUpdate


class Notice(msgspec.Struct, frozen=True):
    """Tell this process of this node what has changed."""

    to: str
    ref: int
    group: str
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


Effect = Tell | Notice


class _Roster:
    """The members that one node has: by group, in the order of joining."""

    def __init__(self) -> None:
        self.groups: dict[str, list[str]] = {}
        self.size = 0

    def add(self, group: str, pid: str) -> None:
        self.groups.setdefault(group, []).append(pid)
        self.size += 1

    def remove(self, group: str, pid: str) -> bool:
        members = self.groups.get(group, [])
        if pid not in members:
            return False
        members.remove(pid)
        self.size -= 1
        if not members:
            del self.groups[group]
        return True

    def all(self) -> list[Membership]:
        return [(group, pid) for group, members in self.groups.items() for pid in members]


class Groups:
    """What one node knows of all groups. A process may be a member several times."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._ours = _Roster()
        self._rosters: dict[str, _Roster] = {node: self._ours}
        self._of: dict[str, list[str]] = {}
        self._linked: dict[str, None] = {}
        self._monitors: dict[tuple[str, int], str] = {}

    # ------------------------------------------------------------ our own members

    def join(self, group: str, pid: str) -> list[Effect]:
        """A process of ours joins. Raises ValueError where there are too many."""
        if self._ours.size >= MEMBERSHIPS_MAX:
            raise ValueError(f"{MEMBERSHIPS_MAX} memberships on one node; there can be no more")
        self._ours.add(group, pid)
        self._of.setdefault(pid, []).append(group)
        return self._changed_here([(group, pid)], [])

    def leave(self, group: str, pid: str) -> list[Effect] | None:
        """A process of ours leaves, once; None where it is no member."""
        if not self._ours.remove(group, pid):
            return None
        self._of[pid].remove(group)
        return self._changed_here([], [(group, pid)])

    def ended(self, pid: str) -> list[Effect]:
        """A process of ours has ended: it is a member of nothing, and hears nothing."""
        for monitor in [m for m in self._monitors if m[0] == pid]:
            del self._monitors[monitor]
        left = [(group, pid) for group in self._of.pop(pid, ())]
        for membership in left:
            self._ours.remove(*membership)
        return self._changed_here([], left) if left else []

    def _changed_here(self, joined: list[Membership], left: list[Membership]) -> list[Effect]:
        update = GroupUpdate(joined, left)
        tell: list[Effect] = [Tell(node, update) for node in self._linked]
        return tell + self._notices(joined, left)

    # ------------------------------------------------------------ other nodes

    def node_up(self, node: str) -> list[Effect]:
        """We can send to that node from now on, which has forgotten what we ever said."""
        self._linked[node] = None
        return [Tell(node, GroupUpdate(self._ours.all(), whole=True))] if self._ours.size else []

    def node_down(self, node: str) -> list[Effect]:
        """That node cannot be reached: its members are gone from here."""
        self._linked.pop(node, None)
        roster = self._rosters.pop(node, None) if node != self._node else None
        return self._notices([], roster.all()) if roster is not None else []

    def heard(self, node: str, update: GroupUpdate) -> list[Effect]:
        """What another node says of its members."""
        if node == self._node:
            return []
        roster = self._rosters.setdefault(node, _Roster())
        joined, left = update.joined, update.left
        if update.whole:  # what was there and still is has not changed
            before, now = Counter(roster.all()), Counter(update.joined)
            joined, left = list((now - before).elements()), list((before - now).elements())
        left = [membership for membership in left if roster.remove(*membership)]
        for membership in joined:
            roster.add(*membership)
        if not roster.size:
            del self._rosters[node]
        return self._notices(joined, left)

    # ------------------------------------------------------------ who looks

    def members(self, group: str, *, local: bool = False) -> list[str]:
        """Our own members first, then those of other nodes."""
        rosters = [self._ours] if local else list(self._rosters.values())
        return [pid for roster in rosters for pid in roster.groups.get(group, ())]

    def groups(self) -> list[str]:
        """All that have a member."""
        found = (group for roster in self._rosters.values() for group in roster.groups)
        return list(dict.fromkeys(found))

    def monitor(self, pid: str, ref: int, group: str) -> None:
        """A process of ours wants to hear of changes; of all groups where `group` is empty."""
        self._monitors[pid, ref] = group

    def demonitor(self, pid: str, ref: int) -> None:
        """It wants to hear no more."""
        self._monitors.pop((pid, ref), None)

    def _notices(self, joined: list[Membership], left: list[Membership]) -> list[Effect]:
        notices: list[Effect] = []
        if not self._monitors:
            return notices
        for group in dict.fromkeys(name for name, _ in joined + left):
            came = tuple(pid for name, pid in joined if name == group)
            went = tuple(pid for name, pid in left if name == group)
            notices += [
                Notice(to, ref, group, came, went)
                for (to, ref), wanted in self._monitors.items()
                if wanted in ("", group)
            ]
        return notices
