"""What processes hear of nodes, and what they may ask a node itself."""

from __future__ import annotations

from otp.links import node_of
from otp.messages import Message, Pid, Request

NODE = ":node"
"""The address of a node itself; with `@name` of another one. No child can be called so."""


class NodeUp(Message, frozen=True, tag="otp.NodeUp"):
    """There is a link to this node now: OTP's `nodeup`, for who has asked with `monitor_nodes`."""

    node: str


class NodeLost(Message, frozen=True, tag="otp.NodeLost"):
    """The link to this node is lost, and with it whatever was monitored there: OTP's `nodedown`."""

    node: str


class Nodes(Request[list[str]], frozen=True, tag="otp.Nodes"):
    """The nodes that there are links to at this moment, in order: OTP's `nodes()`."""


class Whereis(Request[Pid | None], frozen=True, tag="otp.Whereis"):
    """The pid behind an address of the node that is asked, or None: OTP's `whereis`."""

    address: str


def whereis(address: str) -> tuple[str, Whereis]:
    """Whom to ask for the pid behind an address, and what."""
    node = node_of(address)
    return (f"{NODE}@{node}" if node else NODE), Whereis(address)
