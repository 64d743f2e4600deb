"""What workers, nodes and mailrooms say to each other about lanes."""

from __future__ import annotations

from otp.frame_base import Control, Failure

# ---------------------------------------------------------------- worker <-> node


class OpenLane(Control, frozen=True):
    """Worker to node: I want a connection of my own to that process."""

    ref: int
    to: str


class LaneOpened(Control, frozen=True):
    """Node to worker, with a socket end: the lane that it asked for, to this process."""

    ref: int
    pid: str
    remote: bool = False


class LaneRefused(Control, frozen=True):
    """Node to worker: there is no lane."""

    ref: int
    failure: Failure


class LaneAsked(Control, frozen=True):
    """Node to worker, with a socket end: this process has opened a lane to you."""

    process: str
    remote: bool = False


# ---------------------------------------------------------------- node <-> mailroom


class DialLane(Control, frozen=True):
    """Node to mailroom: make a connection from `frm` to the process `to` on another node."""

    number: int
    frm: str
    to: str


class LaneMade(Control, frozen=True):
    """Mailroom to node, with the socket: a lane that was dialled, to this process."""

    number: int
    pid: str


class LaneFailed(Control, frozen=True):
    """Mailroom to node: a lane that was dialled cannot be."""

    number: int
    failure: Failure


class LaneTo(Control, frozen=True):
    """Mailroom to node, with the socket: this connection is to be a lane to `to`."""

    to: str
    frm: str
    remote: bool
