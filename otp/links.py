"""Links and monitors: who hears of a death. Pure: inputs in, effects as data out.

Each node keeps one `Links`. A monitor or link is a *tie*, named by the pid that asked for it and
that process's reference. One whose ends are on two nodes is known to both: there so that a death
is felt, here so that a lost connection is. Whichever comes first ends the tie on its side, and a
tie that is not there any more says nothing: so no end is felt twice, and none is missed.
Rules: OTP's. A monitor is one-way and fires once; a link is two-way.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from otp.messages import NOCONNECTION, NOPROC, Down, Exit, Reason

Key = tuple[str, int]
Kind = Literal["monitor", "link"]


class Signal(msgspec.Struct, frozen=True):
    """This message is for the process `to` of this node."""

    to: str
    message: Down | Exit


class Relay(msgspec.Struct, frozen=True):
    """For the `Links` of another node: call its method `kind` with these.

    `kind` "over" carries the message that ends the tie (None: its asker wants no more of it);
    the others name their target in `to`.
    """

    node: str
    kind: Literal["monitor", "link", "over"]
    frm: str
    ref: int
    to: str = ""
    message: Down | Exit | None = None


Effect = Signal | Relay


class _Tie:
    """`key` says who asked; `pid` is who it is tied to, if that is a process of this node.

    `node` is where the other end is: this node, if both are here.
    """

    __slots__ = ("frm", "key", "kind", "node", "pid", "target")

    def __init__(self, kind: Kind, key: Key, target: str, *, pid: str, node: str) -> None:
        self.kind, self.key, self.target, self.pid, self.node = kind, key, target, pid, node
        self.frm = key[0]

    def end(self, ended: str, reason: Reason) -> Down | Exit:
        """What the other end hears when `ended` has."""
        if self.kind == "monitor":
            return Down(self.key[1], self.target, reason)
        return Exit(ended, reason)

    def joins(self, one: str, other: str) -> bool:
        """It is a link between these two (in either direction)."""
        ends = (self.frm, self.pid or self.target)
        return self.kind == "link" and ends in ((one, other), (other, one))


class Links:
    """The monitors and links that touch the processes of one node."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._ties: dict[Key, _Tie] = {}
        # Which ties touch a process of ours, and which another node; in the order they were made.
        self._of: dict[str, dict[Key, None]] = {}
        self._with: dict[str, dict[Key, None]] = {}

    # ------------------------------------------------------------ asking

    def monitor(self, frm: str, ref: int, target: str, pid: str | None) -> list[Effect]:
        """`frm` wants to hear of the end of `target`, which is `pid` if it is here and alive."""
        return self._tie("monitor", (frm, ref), target, pid)

    def link(self, frm: str, ref: int, target: str, pid: str | None) -> list[Effect]:
        """Two processes share their fate; `pid` is the other's if it is here and alive."""
        other = pid or target
        if frm == other or any(self._ties[k].joins(frm, other) for k in self._of.get(frm, ())):
            return []
        return self._tie("link", (frm, ref), target, pid)

    def demonitor(self, frm: str, ref: int) -> list[Effect]:
        """The watcher has lost interest."""
        return self._give_up([(frm, ref)])

    def unlink(self, one: str, target: str, pid: str | None) -> list[Effect]:
        """The two no longer share their fate."""
        keys = self._of.get(one, {})
        return self._give_up([k for k in keys if self._ties[k].joins(one, pid or target)])

    def _tie(self, kind: Kind, key: Key, target: str, pid: str | None) -> list[Effect]:
        elsewhere = node_of(target) not in ("", self._node)
        if key in self._ties:
            return []
        tie = _Tie(
            kind,
            key,
            target,
            pid="" if elsewhere else pid or "",
            node=node_of(target if elsewhere else key[0]),
        )
        if not elsewhere and pid is None:
            return self._tell(tie, tie.frm, tie.end(target, NOPROC))
        self._ties[key] = tie
        for process in {tie.frm, tie.pid} - {""}:
            if node_of(process) == self._node:
                self._of.setdefault(process, {})[key] = None
        if tie.node != self._node:
            self._with.setdefault(tie.node, {})[key] = None
        return [Relay(tie.node, kind, *key, to=target)] if elsewhere else []

    def _give_up(self, keys: list[Key]) -> list[Effect]:
        gone = [tie for key in keys if (tie := self._drop(key)) is not None]
        return [Relay(tie.node, "over", *tie.key) for tie in gone if tie.node != self._node]

    # ------------------------------------------------------------ ends

    def exited(self, pid: str, reason: Reason) -> list[Effect]:
        """A process of this node has ended: all who asked for it are told, once."""
        out: list[Effect] = []
        for key in list(self._of.get(pid, ())):
            tie = self._drop(key)
            if tie is None:  # a second link between the same two, dropped with the first
                continue
            if tie.frm != pid:
                out += self._tell(tie, tie.frm, tie.end(pid, reason))
            elif tie.kind == "link":
                out += self._tell(tie, tie.pid, tie.end(pid, reason))
            elif not tie.pid:
                out.append(Relay(tie.node, "over", *key))
        return out

    def over(self, frm: str, ref: int, message: Down | Exit | None) -> list[Effect]:
        """The node of the other end says that this tie is over, and why."""
        tie = self._drop((frm, ref))
        if tie is None or message is None:
            return []
        here = tie.frm if node_of(tie.frm) == self._node else tie.pid
        ended = message.process
        return self._tell(tie, here, tie.end(ended, message.reason))

    def node_lost(self, node: str) -> list[Effect]:
        """The connection to another node is lost: nothing there can be heard of any more."""
        out: list[Effect] = []
        for key in list(self._with.get(node, ())):
            tie = self._drop(key)
            if tie is None:
                continue
            if not tie.pid:
                out += self._tell(tie, tie.frm, tie.end(tie.target, NOCONNECTION))
            elif tie.kind == "link":
                out += self._tell(tie, tie.pid, tie.end(tie.frm, NOCONNECTION))
        return out

    def nodes(self) -> list[str]:
        """The other nodes that there are ties with."""
        return list(self._with)

    def _tell(self, tie: _Tie, to: str, message: Down | Exit) -> list[Effect]:
        if to and node_of(to) == self._node:
            if isinstance(message, Exit):
                self._drop_links(to, message.process)
            return [Signal(to, message)]
        return [Relay(tie.node, "over", *tie.key, message=message)]

    def _drop_links(self, one: str, other: str) -> None:
        """Each may have linked to the other from its own node: that is one link to OTP."""
        for key in [k for k in self._of.get(one, ()) if self._ties[k].joins(one, other)]:
            self._drop(key)

    def _drop(self, key: Key) -> _Tie | None:
        tie = self._ties.pop(key, None)
        if tie is None:
            return None
        for index, name in ((self._of, tie.frm), (self._of, tie.pid), (self._with, tie.node)):
            keys = index.get(name, {})
            keys.pop(key, None)
            if not keys:
                index.pop(name, None)
        return tie


def node_of(address: str) -> str:
    """The node that an address or pid names; empty for an address without one."""
    return address.rpartition("@")[2].rstrip(">") if "@" in address else ""
