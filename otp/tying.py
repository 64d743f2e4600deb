"""What a process asks of its node about others: monitors, links, exit signals.

It goes straight to the node, which holds all links: no mailroom can lose it.
"""

from __future__ import annotations

from collections.abc import Iterator

from otp import codec
from otp.codec import encode
from otp.frames import (
    DEMONITOR,
    EXIT_SIGNAL,
    LEASH,
    LINK,
    MONITOR,
    MSGPACK,
    UNLINK,
    Control,
    Envelope,
    Post,
    WatchNodes,
)
from otp.messages import Address, Pid, Reason


class Tying:
    """The part of a `Process` that ties it to others."""

    pid: Pid
    _refs: Iterator[int]

    def report(self, message: Control) -> None:
        """Tell the node, at once."""
        raise NotImplementedError

    def monitor(self, to: Address) -> int:
        """One-way: a Down with this reference arrives when that process ends, or at once."""
        return self._tie(MONITOR, codec.wire_address(to))

    def demonitor(self, ref: int) -> None:
        """No Down for this reference any more (one may be under way)."""
        self._tie(DEMONITOR, self.pid, ref)

    def link(self, to: Address) -> None:
        """Two-way: when one of the two ends abnormally, so does the other (or it gets an Exit)."""
        self._tie(LINK, codec.wire_address(to))

    def unlink(self, to: Address) -> None:
        """Undo `link`."""
        self._tie(UNLINK, codec.wire_address(to))

    def leash(self, to: Address) -> None:
        """Be killed when that process ends, whatever we are doing then."""
        self._tie(MONITOR, codec.wire_address(to), body=LEASH)

    def exit(self, to: Address, reason: Reason) -> None:
        """An exit signal, as if a process linked to that one had ended for this reason."""
        self._tie(EXIT_SIGNAL, codec.wire_address(to), body=encode(reason))

    def _tie(self, kind: int, to: str, ref: int = 0, body: bytes = b"") -> int:
        ref = ref or next(self._refs)
        self.report(Post(encode(Envelope(kind, to, self.pid, ref, 0, 0, MSGPACK, "", body))))
        return ref

    def monitor_nodes(self, on: bool) -> None:
        """Whether an info message tells of each link to another node that is made or lost."""
        self.report(WatchNodes(on))
