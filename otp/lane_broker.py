"""The node's part in lanes: it gives both processes an end of one connection.

Two of its own get a socket pair. For one on another node, the mailrooms make the connection, and
hand it over: this node asks its own to dial, or is handed one that has come in.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Callable
from typing import Protocol

from otp.codec import encode
from otp.frames import (
    ERROR,
    HELLO,
    MSGPACK,
    Control,
    Envelope,
    Failure,
)
from otp.lane_frames import DialLane, LaneAsked, LaneOpened, LaneRefused
from otp.links import node_of
from otp.running import Running

DIALS_MAX = 1_024
"""Lanes to other nodes that may be in the making at a time."""
UNREAD_BYTES_MAX = 16 * 1024
"""A worker that leaves so much of what its node says unread is given no more lanes."""


class Owner(Protocol):
    """What a broker needs of the node."""

    def worker(self, address: str) -> Running | None: ...
    def tell_mailroom(self, message: Control) -> bool: ...


Tell = Callable[[Running, Control, tuple[int, ...]], None]


class Broker:
    """Brokers lanes."""

    def __init__(self, node: str, owner: Owner, tell: Tell) -> None:
        self._node, self._owner, self._tell = node, owner, tell
        self._dials: dict[int, tuple[Running, int]] = {}
        self._numbers = itertools.count(1)

    def asked(self, running: Running, ref: int, to: str) -> None:
        """A worker of ours wants a lane."""
        if node_of(to) not in ("", self._node):
            self._dial(running, ref, to)
            return
        target = self._owner.worker(to)
        if target is None or target.child.kind != "server":
            self._refuse(running, ref, Failure("noproc", to))
        elif _behind(target):
            self._refuse(running, ref, Failure("overloaded", "it does not take what it is given"))
        else:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                self._tell(target, LaneAsked(running.process), (theirs.fileno(),))
                self._tell(running, LaneOpened(ref, target.process), (ours.fileno(),))

    def _dial(self, running: Running, ref: int, to: str) -> None:
        if len(self._dials) >= DIALS_MAX:
            self._refuse(running, ref, Failure("overloaded", f"{DIALS_MAX} lanes are being made"))
            return
        number = next(self._numbers)
        if self._owner.tell_mailroom(DialLane(number, running.process, to)):
            self._dials[number] = running, ref
        else:
            self._refuse(running, ref, Failure("disconnected", "the mailroom is away"))

    def made(self, number: int, pid: str, sock: socket.socket) -> None:
        """The mailroom has a connection to the process on the other node."""
        running, ref = self._dials.pop(number, (None, 0))
        with sock:
            if running is not None:
                self._tell(running, LaneOpened(ref, pid, remote=True), (sock.fileno(),))

    def failed(self, number: int, failure: Failure) -> None:
        """There is none."""
        running, ref = self._dials.pop(number, (None, 0))
        if running is not None:
            self._refuse(running, ref, failure)

    def handed(self, to: str, frm: str, sock: socket.socket, *, remote: bool) -> None:
        """A connection has come in that wants to be a lane: the other end is told whose."""
        target = self._owner.worker(to)
        with sock:
            if target is None or target.child.kind != "server":
                _say(sock, ERROR, frm, self._node, encode(Failure("noproc", to)))
            elif _behind(target):
                failure = Failure("overloaded", "it does not take what it is given")
                _say(sock, ERROR, frm, self._node, encode(failure))
            else:
                _say(sock, HELLO, frm, target.process, b"")
                self._tell(target, LaneAsked(frm, remote=remote), (sock.fileno(),))

    def gone(self, running: Running) -> None:
        """A worker has ended: nobody waits for its lanes."""
        for number in [n for n, (asker, _) in self._dials.items() if asker is running]:
            del self._dials[number]

    def lost(self) -> None:
        """The mailroom is dead, and with it the connections that it was making."""
        dials, self._dials = self._dials, {}
        for running, ref in dials.values():
            self._refuse(running, ref, Failure("disconnected", "the mailroom died"))

    def _refuse(self, running: Running, ref: int, failure: Failure) -> None:
        self._tell(running, LaneRefused(ref, failure), ())


def _behind(running: Running) -> bool:
    return running.control is None or running.control.waiting > UNREAD_BYTES_MAX


def _say(sock: socket.socket, kind: int, to: str, frm: str, body: bytes) -> None:
    """The first frame in a lane; there is room, since nothing was sent before."""
    frame = encode(Envelope(kind, to, frm, 0, 0, 0, MSGPACK, "", body))
    sock.setblocking(False)
    with contextlib.suppress(OSError):  # it is gone again; whoever gets the lane sees that
        sock.send(len(frame).to_bytes(4, "big") + frame)
