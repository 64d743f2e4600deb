"""What has arrived for a worker and waits to be handled, bounded in bytes.

A suspended worker takes only system messages; all else stays, in its order.
"""

from __future__ import annotations

from collections import deque

from otp.frames import SYSTEM, Envelope

MAILBOX_BYTES_MAX = 64 * 1024 * 1024
"""What may pile up while a handler waits for a reply; beyond it calls are refused, casts lost."""
ENVELOPE_BYTES = 100
"""What a message costs besides its body, roughly."""


class Inbox:
    """A queue of envelopes; `taken` counts those that were ever handled."""

    def __init__(self) -> None:
        self.queue: deque[Envelope] = deque()
        self.system: deque[Envelope] = deque()
        self.suspended = False
        self.bytes = 0
        self.taken = 0

    @property
    def full(self) -> bool:
        """Only signals are still taken."""
        return self.bytes > MAILBOX_BYTES_MAX

    @property
    def waiting(self) -> bool:
        """There is something to be handled now."""
        return bool(self.system if self.suspended else self.queue)

    def overtakes(self, envelope: Envelope) -> bool:
        """It is handled before all that waits, and however much that is: `Resume` may be it."""
        return self.suspended and envelope.codec == SYSTEM

    def keep(self, envelope: Envelope) -> None:
        """Put it at the end."""
        (self.system if self.overtakes(envelope) else self.queue).append(envelope)
        self.bytes += len(envelope.body) + ENVELOPE_BYTES

    def take(self) -> Envelope:
        """The oldest one that may be handled now."""
        envelope = (self.system if self.suspended else self.queue).popleft()
        self.bytes -= len(envelope.body) + ENVELOPE_BYTES
        self.taken += 1
        return envelope

    def suspend(self) -> None:
        """From now on system messages only."""
        self.suspended = True
        self.system += (e for e in self.queue if e.codec == SYSTEM)
        kept = [e for e in self.queue if e.codec != SYSTEM]
        self.queue.clear()
        self.queue += kept

    def resume(self) -> None:
        """All in its turn again; what is left of the system messages goes first."""
        self.suspended = False
        self.queue.extendleft(reversed(self.system))
        self.system.clear()
