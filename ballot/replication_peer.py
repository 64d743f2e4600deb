"""What a writer knows of one of its followers."""

from __future__ import annotations


class Peer:
    """What the writer knows of one follower in this epoch."""

    __slots__ = (
        "acked",
        "commit",
        "gap",
        "gap_at",
        "heard_at",
        "incarnation",
        "joining",
        "ok",
        "sent",
        "told",
    )

    def __init__(self, now: float) -> None:
        self.acked = 0  # holds our log up to here
        self.sent = 0  # was sent our log up to here
        self.commit = 0  # knows as committed
        self.ok = 0  # the highest read that it has confirmed
        self.joining = False  # has no log that counts; asks for it by itself
        self.incarnation = b""  # the copy that `acked` speaks of
        self.heard_at = now  # when that copy last said anything
        self.gap, self.gap_at = -1, now
        self.told = now  # when it was last heard, or asked because it was silent

    def hears(
        self, incarnation: bytes, now: float, *, joins: bool = False, patience: float
    ) -> bool:
        """Note a word of this incarnation of the copy; False: it is not the one that counts.

        That is the first one heard in the epoch, until another asks to be filled. A late word may
        name the wrong one; so another is also taken when that one stays silent for `patience`.
        """
        if incarnation != self.incarnation:
            if self.incarnation and not joins and now - self.heard_at < patience:
                return False
            self.incarnation, self.acked = incarnation, 0
        self.heard_at = now
        return True
