"""Process groups over all nodes that are linked, as OTP's `pg`.

    import otp

    class Members(otp.Request[int], frozen=True):
        pass

    class Worker(otp.GenServer):
        def __init__(self) -> None:
            self.pg.join("workers")

        def handle_call(self, request: Members, sender: otp.From[int]) -> int:
            return len(self.pg.members("workers"))

    tree = otp.Supervisor("root", children=[
        otp.ChildSpec("one", Worker), otp.ChildSpec("two", Worker),
    ])

    if __name__ == "__main__":
        with otp.start(tree) as node:
            assert node.call("one", Members()) == 2
            assert node.pg.members("workers") == [node.whereis("one"), node.whereis("two")]

A group is there when it has a member. Membership ends with the process, and is out of sight while
the link to its node is down. Changes come to other nodes a moment later: who asks two nodes at once
may get two answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otp.messages import Pid
from otp.node_messages import NODE
from otp.services import (
    DemonitorGroup,
    JoinGroup,
    LeaveGroup,
    Members,
    MonitorGroup,
    WhichGroups,
)

Ask = Callable[[str, Any], Any]


class GroupView:
    """The groups as anybody sees them."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def members(self, group: str) -> list[Pid]:
        """All members, those of our own node first; a process that joined twice is there twice."""
        return [Pid(pid) for pid in self._ask(NODE, Members(group))]

    def local_members(self, group: str) -> list[Pid]:
        """The members on our own node."""
        return [Pid(pid) for pid in self._ask(NODE, Members(group, local=True))]

    def which_groups(self) -> list[str]:
        """All groups that have a member somewhere."""
        groups: list[str] = self._ask(NODE, WhichGroups())
        return groups


class Groups(GroupView):
    """The groups as a server sees them, which may be a member."""

    def __init__(self, ask: Ask, new_ref: Callable[[], int]) -> None:
        super().__init__(ask)
        self._new_ref = new_ref

    def join(self, group: str) -> None:
        """Be a member until we end or leave as often as we joined."""
        self._ask(NODE, JoinGroup(group))

    def leave(self, group: str) -> bool:
        """Be a member once less; False if we were none."""
        left: bool = self._ask(NODE, LeaveGroup(group))
        return left

    def monitor(self, group: str = "") -> tuple[int, list[Pid]]:
        """Get an `otp.GroupChanged` with the returned reference when members join or leave, and
        the members now. Without a group: of all groups, and no members."""
        ref = self._new_ref()
        members = self._ask(NODE, MonitorGroup(group, ref))
        return ref, [Pid(pid) for pid in members]

    def demonitor(self, ref: int) -> None:
        """Undo `monitor`."""
        self._ask(NODE, DemonitorGroup(ref))
