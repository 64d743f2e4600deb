"""A mailroom's part in lanes: connections to other nodes, made or taken in, and handed over."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from otp.codec import decode_envelope, decode_failure, encode
from otp.frames import (
    ERROR,
    HELLO,
    LANE,
    MSGPACK,
    Control,
    Envelope,
    Failure,
)
from otp.lane_frames import LaneFailed, LaneMade, LaneTo
from otp.links import node_of
from otp.peers import Identity, Outgoing
from otp.pump import Pump
from otp.reactor import Reactor
from otp.transport import FrameSocket, ProtocolError

if TYPE_CHECKING:  # without certificates nobody pays for `ssl`
    from otp.tls import Tls

LANE_SECONDS_MAX = 5.0
"""How long the other node may take to say that a lane is there."""
PUMPS_MAX = 1_024
"""Lanes that a mailroom itself moves the bytes of."""

Tell = Callable[[Control, tuple[int, ...]], None]


class Dial:
    """One new connection to a process on another node; `done(pid, failure)` is called once."""

    def __init__(self, reactor: Reactor, done: Callable[[Dial, str, Failure | None], None]) -> None:
        self._reactor, self._done = reactor, done
        self._deadline = reactor.after(LANE_SECONDS_MAX, self._too_late)
        self._outgoing: Outgoing | None = None
        self.channel: FrameSocket | None = None
        self._to = self._frm = ""
        self._over = False

    def begin(self, me: Identity, tls: Tls | None, address: str, to: str, frm: str) -> None:
        self._to, self._frm = to, frm
        try:
            self._outgoing = Outgoing(
                self._reactor,
                node_of(to),
                address,
                authkey=me.authkey,
                tls=tls,
                done=self._connected,
            )
        except (OSError, ValueError, OverflowError):
            self._end("", self._down())
        else:
            self._outgoing.begin()

    def _down(self) -> Failure:
        return Failure("nodedown", node_of(self._to))

    def _too_late(self) -> None:
        self._end("", self._down())

    def _connected(self, problem: str) -> None:
        assert self._outgoing is not None
        if problem:
            self._end("", self._down())
            return
        self.channel = channel = self._outgoing.channel
        channel.send(encode(Envelope(LANE, self._to, self._frm, 0, 0, 0, MSGPACK, "", b"")))
        self._reactor.read(channel, self._read)
        self._attempt(channel.flush)

    def _read(self) -> None:
        self._attempt(self._receive)

    def _receive(self) -> None:
        assert self.channel is not None
        for frame in self.channel.receive(1):
            answer = decode_envelope(frame)
            if answer.kind == HELLO and not self.channel.buffered:
                self._end(answer.frm, None)
            elif answer.kind == ERROR:
                self._end("", decode_failure(answer.body))
            else:
                self._end("", self._down())

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except (EOFError, ProtocolError, ValueError, RecursionError):
            self._end("", self._down())

    def _end(self, pid: str, failure: Failure | None) -> None:
        if self._over:
            return
        self._over = True
        self._deadline.cancel()
        if self.channel is not None:
            self._reactor.forget(self.channel)
        if failure is not None and self._outgoing is not None:
            self._outgoing.give_up()
            if self.channel is not None:
                self.channel.close()
        self._done(self, pid, failure)


class LaneDials:
    """All lanes of a mailroom that are being made, and those that it pumps."""

    def __init__(self, reactor: Reactor, me: Identity, tls: Tls | None, tell: Tell) -> None:
        self._reactor, self._me, self._tls, self._tell = reactor, me, tls, tell
        self._pumps: set[Pump] = set()

    def dial(self, number: int, frm: str, to: str, address: str) -> None:
        """Our node wants a lane to another one's process, for one of its own."""

        def done(dial: Dial, pid: str, failure: Failure | None) -> None:
            if failure is None and dial.channel is not None:
                self._hand_over(dial.channel, LaneMade(number, pid), tls=self._tls is not None)
            else:
                self._tell(LaneFailed(number, failure or Failure("nodedown", node_of(to))), ())

        self._begin(done, frm, to, address)

    def take_in(self, channel: FrameSocket, to: str, frm: str, *, remote: bool) -> None:
        """A connection that has come in is to be a lane to a process of ours."""
        tls = remote and self._tls is not None
        self._hand_over(channel, LaneTo(to, frm, remote), tls=tls)

    def join(self, channel: FrameSocket, to: str, frm: str, address: str) -> None:
        """A client of ours wants a lane to another node's process: we pump for it."""

        def done(dial: Dial, pid: str, failure: Failure | None) -> None:
            if failure is None and dial.channel is not None:
                self._say(channel, Envelope(HELLO, frm, pid, 0, 0, 0, MSGPACK, "", b""))
                self._pump(channel.sock, dial.channel.sock)
            else:
                body = encode(failure or Failure("nodedown", node_of(to)))
                self._say(channel, Envelope(ERROR, frm, self._me.node, 0, 0, 0, MSGPACK, "", body))
                channel.close()

        self._begin(done, frm, to, address)

    def _begin(
        self, done: Callable[[Dial, str, Failure | None], None], frm: str, to: str, address: str
    ) -> None:
        Dial(self._reactor, done).begin(self._me, self._tls, address, to, frm)

    def _say(self, channel: FrameSocket, envelope: Envelope) -> None:
        channel.send(encode(envelope))
        with contextlib.suppress(EOFError):  # it has gone; the pump will see that
            channel.flush()

    def _hand_over(self, channel: FrameSocket, message: Control, *, tls: bool) -> None:
        if not tls:
            self._tell(message, (channel.fileno(),))
            channel.close()
            return
        ours, theirs = socket.socketpair()
        with theirs:
            self._tell(message, (theirs.fileno(),))
        self._pump(channel.sock, ours)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        pump = Pump(self._reactor, one, other, self._pumps.discard)
        self._pumps.add(pump)
        if len(self._pumps) > PUMPS_MAX:
            pump.end()
        else:
            pump.begin()
