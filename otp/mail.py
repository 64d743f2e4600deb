"""A worker's way to its mailroom, across the mailroom's deaths.

While there is no mailroom, what is sent waits, in a bounded queue, for the next one.
"""

from __future__ import annotations

import select
import time
from collections import deque

from otp.errors import Overloaded
from otp.transport import FrameSocket

UNSENT_BYTES_MAX = 64 * 1024 * 1024
"""What a worker may have waiting while its mailroom is away; beyond it, sending is `Overloaded`."""
AT_ONCE_BYTES_MAX = 1024 * 1024
"""A handler that has more than this unwritten waits for its mailroom before it sends more."""
SEND_SECONDS_MAX = 30.0
"""How long a worker waits for a mailroom that takes nothing, where no call says how long."""
PAUSE_MS_MAX = 60_000
"""The longest sleep in poll; a longer wait is several of them."""


class Mail:
    """The socket to the mailroom, while there is one. EOFError says that there is none any more."""

    def __init__(self, poll: select.poll, channel: FrameSocket) -> None:
        self._poll = poll
        self._channel: FrameSocket | None = None
        self.fd = -1
        self._blocked = False
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self.renew(channel)

    @property
    def up(self) -> bool:
        """There is a mailroom, for all we know."""
        return self._channel is not None

    @property
    def dry(self) -> bool:
        """Nothing more was there to read."""
        return self._channel is None or self._channel.dry

    def fileno(self) -> int:
        """The descriptor to wait for (as `fd`); -1 if there is none."""
        return self.fd

    def send(self, frame: bytes, to: str, until: float | None = None) -> None:
        """Queue a frame; where much waits already, that is written first, while there is time.

        Raises Overloaded where the mailroom does not take it by `until` (monotonic), EOFError.
        """
        channel = self._channel
        if channel is not None:
            if channel.waiting > AT_ONCE_BYTES_MAX and not flush(channel, until):
                raise Overloaded(what="send", to=to, limit="the mailroom took nothing in time")
            channel.send(frame)
            if channel.waiting > AT_ONCE_BYTES_MAX:
                channel.flush()
            return
        if self._unsent_bytes + len(frame) > UNSENT_BYTES_MAX:
            raise Overloaded(what="send", to=to, limit=f"{UNSENT_BYTES_MAX} bytes unsent")
        self._unsent.append(frame)
        self._unsent_bytes += len(frame)

    def receive(self) -> list[bytes]:
        """The frames that have arrived. Raises EOFError."""
        return [] if self._channel is None else self._channel.receive()

    def write(self) -> None:
        """Write what can be written; poll tells when there is room for the rest. EOFError."""
        if self._channel is None:
            return
        blocked = not self._channel.flush()
        if blocked != self._blocked:
            self._blocked = blocked
            events = select.POLLIN | select.POLLOUT if blocked else select.POLLIN
            self._poll.modify(self._channel.fileno(), events)

    def flush(self) -> None:
        """Write everything that waits, unless the mailroom takes nothing. Raises EOFError."""
        if self._channel is not None:
            flush(self._channel)

    def lost(self) -> None:
        """The mailroom is dead; what was not written is gone with it."""
        assert self._channel is not None
        self._poll.unregister(self._channel.fileno())
        self._channel.close()
        self._channel, self.fd = None, -1
        self._blocked = False

    def renew(self, channel: FrameSocket) -> None:
        """The way to the next mailroom: what has waited goes out."""
        self._channel, self.fd = channel, channel.fileno()
        self._poll.register(self.fd, select.POLLIN)
        while self._unsent:
            channel.send(self._unsent.popleft())
        self._unsent_bytes = 0


def flush(channel: FrameSocket, until: float | None = None) -> bool:
    """Write everything that waits; False if there is no room until then. Raises EOFError."""
    if channel.flush():
        return True
    until = time.monotonic() + SEND_SECONDS_MAX if until is None else until
    writable = select.poll()
    writable.register(channel.fileno(), select.POLLOUT)
    while (seconds := until - time.monotonic()) > 0:
        writable.poll(int(min(PAUSE_MS_MAX, seconds * 1000 + 1)))
        if channel.flush():
            return True
    return False
