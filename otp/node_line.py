"""The line of a mailroom or a logger to its node: what the node orders, and what it is told."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from otp.codec import encode
from otp.frames import Control
from otp.reactor import Reactor
from otp.transport import CONTROL_FRAME_BYTES_MAX, FrameSocket


class NodeLine:
    """Both ways, descriptors included; a node that is gone ends the loop."""

    def __init__(
        self,
        reactor: Reactor,
        control: socket.socket,
        decode: Callable[[bytes], Any],
        obey: Callable[[Any], None],
    ) -> None:
        self._reactor, self._decode, self._obey = reactor, decode, obey
        self._channel = FrameSocket(control, fds=True, frame_bytes_max=CONTROL_FRAME_BYTES_MAX)
        self.fds = self._channel.fds
        """The descriptors that came with the orders, in their order: each order takes its own."""
        reactor.read(self._channel, self.hear)

    @property
    def waiting(self) -> int:
        """The bytes that the node has not taken yet."""
        return self._channel.waiting

    def tell(self, message: Control, fds: tuple[int, ...] = ()) -> None:
        """Send it with whatever else this round has for the node."""
        self._channel.send(encode(message), fds)
        self._reactor.at_end_of_round(self.flush)

    def flush(self) -> None:
        """Send now what the node takes; the rest follows."""
        try:
            done = self._channel.flush()
        except EOFError:
            self._reactor.stop()
            return
        self._reactor.write(self._channel, None if done else self.flush)

    def hear(self) -> None:
        """Obey what the node has said."""
        try:
            # One read ends at each descriptor that comes with the bytes: read until none is left.
            self._channel.dry = False
            while not self._channel.dry:
                for frame in self._channel.receive():
                    self._obey(self._decode(frame))
        except EOFError:
            self._reactor.stop()
