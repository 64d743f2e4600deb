"""The control socket: how a host or a command asks the node itself, mailroom or no mailroom.

The same frames as everywhere: a CALL whose body is a `NodeRequest` or a `SupervisorRequest`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from otp.codec import decode_envelope, encode
from otp.frames import ERROR, INFO, MSGPACK, REPLY, Envelope, Failure
from otp.messages import NodeRequest, RecentReports, Report, Subscribe, SupervisorRequest
from otp.reactor import Reactor, Timer
from otp.recent import Recent
from otp.transport import FrameSocket, ProtocolError, peer_uid

CONNECTIONS_MAX = 128
"""Control connections at a time; more are closed at once."""
WAITING_BYTES_MAX = 8 * 1024 * 1024
"""A subscriber that reads so slowly is dropped: it may ask again."""

ACCEPT_PAUSE_SECONDS = 0.1
"""How long nobody is let in after the process ran out of descriptors."""
BEHIND_SECONDS_MAX = 5.0
"""How long at most an answer waits for the mailroom to hear first what it is about."""
BEHIND_LOOK_SECONDS = 0.001
"""Between two looks whether it has."""
ASKED_TURN = 2
"""In each round of the node: after its processes (0) and its mailroom (1)."""
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

decode_supervisor_request: Callable[[bytes], Any] = msgspec.msgpack.Decoder(
    SupervisorRequest
).decode
_decode_request: Callable[[bytes], Any] = msgspec.msgpack.Decoder(
    NodeRequest | SupervisorRequest
).decode


class Connection:
    """One client of the control socket."""

    def __init__(self, channel: FrameSocket, closed: Callable[[], None] | None = None) -> None:
        self.channel = channel
        self.closed = closed
        self.subscribed = False


class ControlServer:
    """Listens, checks who it is, decodes requests, and sends reports to those who asked.

    Who hears here of a start or an end may send something there at once, by way of the mailroom:
    while that one is `behind`, nothing is said.
    """

    def __init__(
        self, reactor: Reactor, handle: Callable[[Envelope, Any, Responder], None]
    ) -> None:
        self._reactor = reactor
        self._handle = handle
        self.behind: Callable[[], bool] = lambda: False
        self._behind_since: float | None = None
        self._look: Timer | None = None
        self._connections: dict[Connection, None] = {}
        self._listener: socket.socket | None = None
        self._path = ""
        self._recent = Recent()

    def listen(self, path: str) -> None:
        """Serve at this path; its folder is 0700, and the other side's uid is checked as well."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind(path)
        self._path = path
        self._listener.listen(CONNECTIONS_MAX)
        self._reactor.read(self._listener, self._accept)

    def add(self, sock: socket.socket, closed: Callable[[], None] | None = None) -> Connection:
        """Serve a connection that is there already; `closed` is called when it ends."""
        connection = Connection(FrameSocket(sock), closed)
        self._connections[connection] = None
        # Who asks may have been told of something by a worker, which told us before.
        self._reactor.read(connection.channel, lambda: self._read(connection), turn=ASKED_TURN)
        return connection

    def send(self, connection: Connection, envelope: Envelope) -> None:
        """Queue a frame for a connection that may be gone."""
        if connection not in self._connections:
            return
        if connection.channel.waiting > WAITING_BYTES_MAX:
            self._close(connection)
            return
        connection.channel.send(encode(envelope))
        self._reactor.at_end_of_round(self.flush)

    def publish(self, report: Report) -> None:
        """Send a report to all subscribers, and keep it for those who come later."""
        body = encode(report)
        self._recent.add(body)
        for connection in [c for c in self._connections if c.subscribed]:
            self.send(connection, Envelope(INFO, "", "node", 0, 0, 0, MSGPACK, "", body))

    def flush(self) -> None:
        """Write what can be written, once the mailroom has heard what came before it."""
        if self._look is None and self._waits():
            self._look = self._reactor.after(BEHIND_LOOK_SECONDS, self._look_again)
        if self._look is None:
            self._write()

    def _waits(self) -> bool:
        if not self.behind():
            self._behind_since = None
            return False
        now = self._reactor.now()
        self._behind_since = self._behind_since or now
        return now - self._behind_since < BEHIND_SECONDS_MAX

    def _look_again(self) -> None:
        self._look = None
        self.flush()

    def _write(self) -> None:
        for connection in list(self._connections):
            self._flush(connection)

    def close(self) -> None:
        """Flush what can be flushed and close everything."""
        self._write()
        for connection in list(self._connections):
            connection.closed = None
            self._close(connection)
        if self._listener is not None:
            self._reactor.forget(self._listener)
            self._listener.close()
        if self._path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    def _flush(self, connection: Connection) -> None:
        try:
            done = connection.channel.flush()
        except EOFError:
            self._close(connection)
            return
        writer = None if done else lambda: self._flush(connection)
        self._reactor.write(connection.channel, writer)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            if error.errno in _FULL:
                self._reactor.forget(self._listener)
                self._reactor.after(ACCEPT_PAUSE_SECONDS, self._listen_again)
            return
        if len(self._connections) >= CONNECTIONS_MAX or peer_uid(sock) not in (os.getuid(), 0):
            sock.close()
            return
        self.add(sock)

    def _listen_again(self) -> None:
        if self._listener is not None and self._listener.fileno() >= 0:
            self._reactor.read(self._listener, self._accept)

    def _read(self, connection: Connection) -> None:
        try:
            frames = connection.channel.receive()
        except (EOFError, ProtocolError):
            self._close(connection)
            return
        for frame in frames:
            self._request(connection, frame)

    def _request(self, connection: Connection, frame: bytes) -> None:
        ref = 0
        try:
            envelope = decode_envelope(frame)
            ref = envelope.ref
            request = _decode_request(envelope.body)
        except (ValueError, RecursionError) as error:
            failure = Failure("undecodable", f"not a control request: {error}")
            self.send(connection, _error(ref, failure))
            return
        responder = Responder(self, connection, envelope.ref)
        if isinstance(request, RecentReports):
            connection.subscribed |= request.follow
            responder.reply([msgspec.Raw(body) for body in self._recent.last(request.count)])
            return
        if isinstance(request, Subscribe):
            connection.subscribed = True
        self._handle(envelope, request, responder)

    def _close(self, connection: Connection) -> None:
        if self._connections.pop(connection, self) is not None:
            return
        self._reactor.forget(connection.channel)
        connection.channel.close()
        if connection.closed is not None:
            connection.closed()


class Responder:
    """Answers one request, now or later."""

    def __init__(self, server: ControlServer, connection: Connection, ref: int) -> None:
        self._server, self._connection, self._ref = server, connection, ref

    def when_closed(self, then: Callable[[], None]) -> None:
        """Call this when the connection ends, besides what is called already."""
        before = self._connection.closed or (lambda: None)

        def closed() -> None:
            before()
            then()

        self._connection.closed = closed

    def reply(self, value: Any) -> None:
        envelope = Envelope(REPLY, "", "node", self._ref, 0, 0, MSGPACK, "", encode(value))
        self._server.send(self._connection, envelope)

    def fail(self, failure: Failure) -> None:
        self._server.send(self._connection, _error(self._ref, failure))


def _error(ref: int, failure: Failure) -> Envelope:
    return Envelope(ERROR, "", "node", ref, 0, 0, MSGPACK, "", encode(failure))
