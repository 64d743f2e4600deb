"""What any process may ask a node about keys and groups: requests to `node_messages.NODE`.

The methods of servers and handles (`register`, `lookup`, `pg`) send them.
"""

from __future__ import annotations

import msgspec

from otp.messages import Message, Request
from otp.node_messages import Nodes, Whereis


class Value(msgspec.Struct, frozen=True, array_like=True):
    """What is registered with a key, encoded: the node does not look inside."""

    codec: int
    body: bytes


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One process under a key."""

    pid: str
    value: Value


class Register(Request[str], frozen=True, tag="otp.Register"):
    """Enter the asking process under a key; the reply is empty, or the pid that holds it."""

    registry: str
    key: str
    value: Value
    unique: bool = True


class Unregister(Request[None], frozen=True, tag="otp.Unregister"):
    """The asking process is no longer found under this key."""

    registry: str
    key: str


class Lookup(Request[list[Entry]], frozen=True, tag="otp.Lookup"):
    """Who is registered under this key, the first one first."""

    registry: str
    key: str


class KeysOf(Request[list[str]], frozen=True, tag="otp.KeysOf"):
    """Under which keys a process is registered there, in the order in which it was."""

    registry: str
    pid: str


class JoinGroup(Request[None], frozen=True, tag="otp.JoinGroup"):
    """The asking process is a member from now on, once more if it is one already."""

    group: str


class LeaveGroup(Request[bool], frozen=True, tag="otp.LeaveGroup"):
    """The asking process is a member once less; False if it is none."""

    group: str


class Members(Request[list[str]], frozen=True, tag="otp.Members"):
    """The members of a group, on all nodes that are linked or on this one only."""

    group: str
    local: bool = False


class WhichGroups(Request[list[str]], frozen=True, tag="otp.WhichGroups"):
    """All groups that have a member."""


class MonitorGroup(Request[list[str]], frozen=True, tag="otp.MonitorGroup"):
    """Tell the asking process of changes; the reply is who is a member now."""

    group: str
    ref: int


class DemonitorGroup(Request[None], frozen=True, tag="otp.DemonitorGroup"):
    """Undo `MonitorGroup`."""

    ref: int


class GroupChanged(Message, frozen=True, tag="otp.GroupChanged"):
    """Members have joined or left a monitored group; an info message."""

    ref: int
    group: str
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


ServiceRequest = (
    Nodes
    | Whereis
    | Register
    | Unregister
    | Lookup
    | KeysOf
    | JoinGroup
    | LeaveGroup
    | Members
    | WhichGroups
    | MonitorGroup
    | DemonitorGroup
)
OWN_REQUESTS = (Register, Unregister, JoinGroup, LeaveGroup, MonitorGroup, DemonitorGroup)
"""About the asking process itself: the node that asks for it must be its own."""
