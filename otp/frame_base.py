"""What all frames are made of: the base of control messages, and failures."""

from __future__ import annotations

from typing import Literal

import msgspec

from otp.messages import NOPROC, Reason


class Failure(msgspec.Struct, frozen=True):
    """The body of an ERROR frame: which exception a caller gets, and its text."""

    kind: Literal[
        "noproc",
        "serverdown",
        "nodedown",
        "overloaded",
        "disconnected",
        "refused",
        "undecodable",
        "supervisor",
    ]
    text: str
    reason: Reason = NOPROC
    raised: bytes = b""


class Control(msgspec.Struct, frozen=True, tag=True):
    """The control messages between node, zygote, mailroom and workers."""
