"""A port: one connection of a mailroom, with a bounded queue and the calls that wait behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from otp.codec import decode_envelope
from otp.frames import SIGNALS, Envelope
from otp.transport import FrameSocket, ProtocolError

QUEUE_BYTES_MAX = 16 * 1024 * 1024
"""What may wait for one slow reader; beyond it calls are `Overloaded` and casts dropped."""
RESERVED_BYTES = 4 * 1024 * 1024
"""Room beyond that for replies, Down and Exit: signals are never dropped silently."""
CALLS_MAX = 100_000
"""Calls that may wait for one server's replies; beyond it a call is `Overloaded`."""
CALL_SECONDS_MAX = 24 * 3600.0
"""How long a call without a time limit of its own is remembered."""

CallKey = tuple[str, int]
Kind = Literal["worker", "client", "link"]


def call_deadline(envelope: Envelope, now: float) -> float:
    """Until when the caller of this waits, on our clock."""
    return now + (envelope.ttl / 1000 if envelope.ttl else CALL_SECONDS_MAX)


class Port:
    """One worker, client or link to another mailroom.

    `process` is its pid; `remote` came over a network, from `address`, with a certificate for the
    nodes `names`; `peer` is the node at the other end of a link (of an incoming connection, once it
    has said so), which was last `heard` then. `addresses` lead to it. `arrived` has not been
    routed yet. `blocked`: its reader has no room for what waits.
    """

    __slots__ = (
        "_flush",
        "address",
        "addresses",
        "arrived",
        "blocked",
        "calls",
        "channel",
        "dropped",
        "heard",
        "kind",
        "names",
        "open",
        "peer",
        "process",
        "remote",
    )

    def __init__(
        self,
        channel: FrameSocket,
        process: str,
        kind: Kind = "worker",
        *,
        remote: bool = False,
        peer: str = "",
        address: str = "",
        names: frozenset[str] | None = None,
    ) -> None:
        self.channel = channel
        self.process = process
        self.kind: Kind = kind
        self.remote = remote
        self.peer = peer
        self.address = address
        self.names = names
        self.heard = 0.0
        self.open = True
        self.blocked = False
        self.dropped = 0
        self.addresses: list[str] = []
        self.calls: dict[CallKey, float] = {}
        self.arrived: list[tuple[Envelope, bytes]] = []
        self._flush: Callable[[], None] | None = None

    def flush_callback(self, flush: Callable[[Port], None]) -> Callable[[], None]:
        """One callback per port, always the same: a reactor tells callbacks apart by identity."""
        if self._flush is None:
            self._flush = lambda: flush(self)
        return self._flush

    def receive(self) -> None:
        """Add what has arrived. Raises EOFError when the other side is gone, ProtocolError where
        it talks nonsense."""
        frames = self.channel.receive()
        try:
            for frame in frames:
                self.arrived.append((decode_envelope(frame), frame))
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"it sent a frame that is none: {error}") from error

    def take(self) -> list[tuple[Envelope, bytes]]:
        """What has arrived, once."""
        arrived, self.arrived = self.arrived, []
        return arrived

    def offer(self, envelope: Envelope, frame: bytes, *, now: bool = False) -> bool:
        """Queue a frame, or write it `now`; False when there is no room for one of its kind.

        There is room for any frame where nothing else waits, however long it is.
        """
        channel, waiting = self.channel, self.channel.waiting
        if waiting:
            room = QUEUE_BYTES_MAX
            if envelope.kind in SIGNALS:
                room += RESERVED_BYTES
            if waiting + len(frame) > room:
                self.dropped += 1
                return False
        elif now:
            try:
                channel.send_now(frame)
            except EOFError:
                channel.send(frame)  # the end is for whoever reads from it, or flushes
            return True
        channel.send(frame)
        return True

    def expect(self, envelope: Envelope, now: float) -> None:
        """Remember a call until it is answered, so that its caller hears of our end."""
        self.calls[envelope.frm, envelope.ref] = call_deadline(envelope, now)

    def answered(self, to: str, ref: int) -> None:
        """The call of `to` is settled, or passed on."""
        self.calls.pop((to, ref), None)

    def sweep(self, now: float) -> None:
        """Forget the calls whose callers have stopped waiting."""
        for key in [key for key, deadline in self.calls.items() if deadline < now]:
            del self.calls[key]

    def close(self) -> None:
        """No more frames either way; the calls stay until someone answers for them."""
        self.open = False
        self.channel.close()
