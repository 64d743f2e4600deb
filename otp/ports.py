"""A port: one connection of a mailroom, with a bounded queue and the calls that wait behind it."""

from __future__ import annotations

from collections.abc import Callable

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


class Port:
    """One worker, client or other mailroom. `process` is its pid; `remote` came over a network."""

    __slots__ = ("_flush", "calls", "channel", "dropped", "open", "peer", "process", "remote")

    def __init__(self, channel: FrameSocket, process: str, *, remote: bool = False) -> None:
        self.channel = channel
        self.process = process
        self.remote = remote
        self.peer = ""
        self.open = True
        self.dropped = 0
        self.calls: dict[CallKey, float] = {}
        self._flush: Callable[[], None] | None = None

    def flush_callback(self, flush: Callable[[Port], None]) -> Callable[[], None]:
        """One callback per port, always the same: a reactor tells callbacks apart by identity."""
        if self._flush is None:
            self._flush = lambda: flush(self)
        return self._flush

    def receive(self) -> list[tuple[Envelope, bytes]]:
        """What has arrived. Raises EOFError when the other side is gone or talks nonsense."""
        try:
            return [(decode_envelope(frame), frame) for frame in self.channel.receive()]
        except (ProtocolError, ValueError) as error:
            raise EOFError(f"{self.process}: {error}") from error

    def offer(self, envelope: Envelope, frame: bytes) -> bool:
        """Queue a frame; False when there is no room for one of its kind."""
        room = QUEUE_BYTES_MAX
        if envelope.kind in SIGNALS:
            room += RESERVED_BYTES
        if self.channel.waiting + len(frame) > room:
            self.dropped += 1
            return False
        self.channel.send(frame)
        return True

    def expect(self, envelope: Envelope, now: float) -> None:
        """Remember a call until it is answered, so that its caller hears of our end."""
        seconds = envelope.ttl / 1000 if envelope.ttl else CALL_SECONDS_MAX
        self.calls[envelope.frm, envelope.ref] = now + seconds

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
