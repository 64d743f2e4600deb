"""The door of a mailroom: who knocks at its two sockets, and who is let in."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from otp.approach import Approach
from otp.peers import keep_alive
from otp.reactor import Reactor
from otp.transport import FrameSocket, peer_uid

if TYPE_CHECKING:  # without certificates nobody pays for `ssl`
    from otp.tls import Tls

STRANGERS_MAX = 64
"""Connections that have not yet said who they are; for one more, the one that came first goes."""
ACCEPT_MAX = 64
"""Connections taken in one round."""
CLIENTS_MAX = 4_096
"""Clients and links of other nodes at a time; more are closed at once."""
ACCEPT_PAUSE_SECONDS = 0.1
"""How long nobody is let in after the process ran out of descriptors."""
CROWDED = "more connections than there is room for"
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Names = frozenset[str] | None
_Welcome = Callable[[socket.socket, str], None]


class House(Protocol):
    """Who lives behind the door."""

    def crowded(self, strangers: int) -> bool: ...
    def welcome(self, channel: FrameSocket, address: str, names: Names) -> None: ...
    def rejected(self, address: str, text: str) -> None: ...


class Door:
    """Accepts connections, and hands over those that may come in.

    A stranger that is silent, slow, loud or wrong is closed within the deadline of its approach
    and costs nobody a place: where there are too many, the one that has waited longest goes.
    """

    def __init__(self, reactor: Reactor, house: House, *, authkey: bytes, tls: Tls | None) -> None:
        self._reactor, self._house = reactor, house
        self._authkey, self._tls = authkey, tls
        self._strangers: dict[Approach, str] = {}

    def open(self, local: socket.socket, network: socket.socket | None) -> None:
        """Listen on these."""
        self._listen(local, self._from_here)
        if network is not None:
            self._listen(network, self._from_network)

    def _listen(self, listener: socket.socket, welcome: _Welcome) -> None:
        listener.setblocking(False)
        self._reactor.read(listener, lambda: self._accept(listener, welcome))

    def _accept(self, listener: socket.socket, welcome: _Welcome) -> None:
        for _ in range(ACCEPT_MAX):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _FULL:
                    self._reactor.forget(listener)
                    again = partial(self._listen, listener, welcome)
                    self._reactor.after(ACCEPT_PAUSE_SECONDS, again)
                    return
                continue  # this one was gone again before it was taken
            where = str(address[0]) if isinstance(address, tuple) else ""
            if self._house.crowded(len(self._strangers)):
                sock.close()
                self._house.rejected(where, CROWDED)
            else:
                welcome(sock, where)

    def _from_here(self, sock: socket.socket, where: str) -> None:
        if peer_uid(sock) not in (os.getuid(), 0):
            sock.close()
        else:
            self._house.welcome(FrameSocket(sock), "", None)

    def _from_network(self, sock: socket.socket, where: str) -> None:
        if len(self._strangers) >= STRANGERS_MAX:
            next(iter(self._strangers)).finish(CROWDED)
        keep_alive(sock)
        approach = Approach(
            self._reactor,
            sock,
            authkey=self._authkey,
            tls=self._tls,
            accepting=True,
            done=self._approached,
        )
        self._strangers[approach] = where
        approach.begin()

    def _approached(self, approach: Approach, problem: str) -> None:
        where = self._strangers.pop(approach)
        if problem:
            self._house.rejected(where, problem)
        else:
            self._house.welcome(approach.channel, where, approach.names)
