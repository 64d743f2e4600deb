"""What a node and its mailroom say to each other about other nodes."""

from __future__ import annotations

from otp.frame_base import Control


class Rejected(Control, frozen=True):
    """Mailroom to node: so many strangers at this address were turned away, the last for `text`."""

    address: str
    count: int
    text: str


class Beat(Control, frozen=True):
    """Mailroom to node, and back at once: both are there."""


class KeepLinks(Control, frozen=True):
    """Node to mailroom: somebody watches the other nodes; have links with all that you know."""


class LinkUp(Control, frozen=True):
    """Mailroom to node: the link to a peer is up."""

    node: str


class LinkDown(Control, frozen=True):
    """Mailroom to node: the link to a peer is lost."""

    node: str
    text: str
