"""Heartbeats of a mailroom: to its node, and to the mailrooms that it has links with.

A connection says nothing of a frozen process or a pulled cable at its other end. So each mailroom
says something on each of its links in every interval, and gives up one on which nothing comes. One
whose node does not answer gives all of them up: without it no death would be told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from otp.codec import encode
from otp.frames import (
    HEARTBEAT,
    MSGPACK,
    Control,
    Envelope,
)
from otp.link_frames import Beat
from otp.ports import Port
from otp.reactor import Reactor

HEARTBEAT_SECONDS = 0.5
"""How often a mailroom is heard on each link, and asks for its node."""
SILENCE_SECONDS_MAX = 3.0
"""A link on which nothing came for so long is down: long enough for a machine that is very busy."""


class Links(Protocol):
    """What a pulse needs of a router."""

    @property
    def me(self) -> str: ...
    def links(self) -> list[Port]: ...
    def lose(self, node: str, text: str) -> None: ...


class Pulse:
    """Beats, and listens for others."""

    def __init__(
        self,
        reactor: Reactor,
        links: Links,
        *,
        tell: Callable[[Control], None],
        dirty: Callable[[Port], None],
    ) -> None:
        self._reactor, self._links = reactor, links
        self._tell, self._dirty = tell, dirty
        self._node_heard = reactor.now()
        self._asked = False
        self.node_silent = False

    def begin(self) -> None:
        """Beat from now on."""
        self._node_heard = self._reactor.now()
        self._beat()

    def node_answered(self) -> None:
        """Our own node is there."""
        self._node_heard = self._reactor.now()
        self._asked = self.node_silent = False

    def _beat(self) -> None:
        now = self._reactor.now()
        if not self._asked:
            self._asked = True
            self._tell(Beat())
        self.node_silent = now - self._node_heard > SILENCE_SECONDS_MAX
        for port in self._links.links():
            if not port.open:
                continue  # lost with another one a moment ago
            if self.node_silent:
                self._links.lose(port.peer, "our own node does not answer")
            elif now - port.heard > SILENCE_SECONDS_MAX:
                text = f"nothing was heard from there for {SILENCE_SECONDS_MAX:g} s"
                self._links.lose(port.peer, text)
            elif not port.channel.waiting:  # else what waits there is heard, if anything is
                self._say(port)
        self._reactor.after(HEARTBEAT_SECONDS, self._beat)

    def _say(self, port: Port) -> None:
        frame = encode(Envelope(HEARTBEAT, "", self._links.me, 0, 0, 0, MSGPACK, "", b""))
        port.channel.send(frame)
        self._dirty(port)
