"""The mailroom of a node: routes frames between its workers, other nodes and clients.

A supervised worker like any other, with a loop of its own. It decodes headers only. Everything
that has arrived is drained, routed, and written once. Its sockets never block it: queues are
bounded in bytes; a call that finds one full gets `Overloaded`, a cast is dropped and reported.
What it knows came from its node, which tells it again after a crash.
"""

from __future__ import annotations

import gc
import os
import socket

import msgspec

from otp.codec import encode
from otp.frames import (
    HELLO,
    Attach,
    Began,
    Control,
    Detach,
    Dropped,
    Envelope,
    Finish,
    LinkDown,
    LinkUp,
    Post,
    Route,
    Serve,
    ToMailroom,
)
from otp.peers import Peer, Stranger, hello
from otp.ports import Port
from otp.reactor import Reactor
from otp.routing import Router
from otp.transport import FrameSocket, peer_uid

SWEEP_SECONDS = 1.0
"""How often calls that nobody answered in time are forgotten, and drops reported."""
STRANGERS_MAX = 64
"""Connections that have not yet said who they are; more are closed at once."""
ACCEPT_MAX = 64
"""Connections taken in one round."""

_decode_control = msgspec.msgpack.Decoder(ToMailroom).decode


class Mailroom:
    """The shell around `Router`: sockets in, sockets out."""

    def __init__(self, control: socket.socket) -> None:
        self._reactor = Reactor()
        self._control = FrameSocket(control, fds=True)
        self._router: Router
        self._authkey = b""
        self._strangers: set[Stranger] = set()
        self._clients = 0
        self._listeners: list[socket.socket] = []

    def run(self) -> None:
        """Serve until the node says so, or is gone."""
        self._reactor.read(self._control, self._read_control)
        self._tell(Began())
        self._reactor.after(SWEEP_SECONDS, self._sweep)
        self._reactor.run()

    # ------------------------------------------------------------ the node

    def _tell(self, message: Control) -> None:
        self._control.send(encode(message))
        self._reactor.at_end_of_round(self._flush_control)

    def _flush_control(self) -> None:
        try:
            done = self._control.flush()
        except EOFError:
            self._reactor.stop()
            return
        self._reactor.write(self._control, None if done else self._flush_control)

    def _read_control(self) -> None:
        try:
            # One read ends at each descriptor that comes with the bytes, so read until nothing is left.
            while frames := self._control.receive():
                for frame in frames:
                    self._obey(_decode_control(frame))
        except EOFError:
            self._reactor.stop()

    def _obey(self, message: ToMailroom) -> None:
        match message:
            case Serve():
                self._serve(message)
            case Attach(process, addresses):
                port = Port(self._take_channel(), process)
                self._router.attach(port, addresses)
                self._reactor.read(port.channel, lambda: self._read_port(port))
            case Route(addresses, remove):
                self._router.route_to_node(addresses, remove=remove)
            case Detach(process, reason):
                self._drain(process)
                self._router.detach(process, reason)
            case Post(frame):
                self._router.from_node(frame)
            case Finish():
                self._reactor.stop()

    def _take_channel(self) -> FrameSocket:
        return FrameSocket(socket.socket(fileno=self._control.fds.popleft()))

    def _serve(self, serve: Serve) -> None:
        self._router = Router(
            serve,
            clock=self._reactor.now,
            to_node=lambda frame: self._tell(Post(frame)),
            dirty=self._dirty,
            closed=self._close_port,
            make_peer=lambda name, address: self._make_peer(serve, name, address),
            unreachable=lambda node: self._tell(LinkDown(node, "not connected")),
        )
        self._authkey = serve.authkey
        for accept in (self._accept_local, self._accept_network)[: 1 + bool(serve.listen)]:
            listener = socket.socket(fileno=self._control.fds.popleft())
            listener.setblocking(False)
            self._listeners.append(listener)
            self._reactor.read(listener, lambda a=accept, at=listener: a(at))  # type: ignore[misc]

    # ------------------------------------------------------------ ports

    def _read_port(self, port: Port) -> None:
        try:
            frames = port.receive()
        except EOFError as error:
            self._close_port(port, str(error))
            return
        # Whoever sent these may know of a start or an end that our node told us before.
        self._read_control()
        for envelope, frame in frames:
            if envelope.kind == HELLO:
                self._router.is_peer(port, envelope.frm, envelope.body.decode())
            else:
                self._router.route(envelope, frame, port)

    def _drain(self, process: str) -> None:
        """What a process sent before it died counts, and goes before the news of its death."""
        port = self._router.port(process)
        while port is not None and port.open:
            before = port.channel
            try:
                frames = port.receive()
            except EOFError:
                self._close_port(port, "")
                return
            if not frames:
                return
            for envelope, frame in frames:
                self._router.route(envelope, frame, port)
            assert port.channel is before

    def _dirty(self, port: Port) -> None:
        self._reactor.at_end_of_round(port.flush_callback(self._flush_port))

    def _flush_port(self, port: Port) -> None:
        if not port.open:
            return
        try:
            done = port.channel.flush()
        except EOFError as error:
            self._close_port(port, str(error))
            return
        self._reactor.write(port.channel, None if done else port.flush_callback(self._flush_port))

    def _close_port(self, port: Port, text: str) -> None:
        if not port.open:
            return
        if (peer := self._router.outgoing(port)) is not None:
            peer.fail(text)
            return
        self._reactor.forget(port.channel)
        port.close()
        self._router.closed_port(port)

    def _sweep(self) -> None:
        for address, count in self._router.sweep():
            self._tell(Dropped(address, count))
        self._reactor.after(SWEEP_SECONDS, self._sweep)

    # ------------------------------------------------------------ who comes

    def _accept_local(self, listener: socket.socket) -> None:
        for sock in _accepted(listener):
            if peer_uid(sock) not in (os.getuid(), 0):
                sock.close()
            else:
                self._welcome(FrameSocket(sock), remote=False)

    def _accept_network(self, listener: socket.socket) -> None:
        for sock in _accepted(listener):
            if len(self._strangers) >= STRANGERS_MAX:
                sock.close()
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._strangers.add(
                Stranger(self._reactor, FrameSocket(sock), self._authkey, self._known)
            )

    def _known(self, stranger: Stranger, authenticated: bool) -> None:
        self._strangers.discard(stranger)
        if authenticated:
            self._welcome(stranger.channel, remote=True)

    def _welcome(self, channel: FrameSocket, *, remote: bool) -> None:
        """A client, or a mailroom that will say so: both hear who they are to us."""
        self._clients += 1
        port = Port(channel, self._router.client_pid(self._clients), remote=remote)
        self._router.attach(port, ())
        channel.send(hello(self._router.me, port.process))
        self._reactor.read(channel, lambda: self._read_port(port))
        self._dirty(port)

    def _make_peer(self, serve: Serve, name: str, address: str) -> Peer:
        return Peer(
            self._reactor,
            name,
            address,
            authkey=serve.authkey,
            me=serve.node,
            listen=serve.listen,
            up=self._peer_up,
            lost=self._peer_lost,
        )

    def _peer_up(self, peer: Peer) -> None:
        port = peer.port
        assert port is not None
        self._reactor.read(port.channel, lambda: self._read_port(port))
        self._dirty(port)
        self._tell(LinkUp(peer.name))

    def _peer_lost(self, peer: Peer, text: str, waiting: list[Envelope]) -> None:
        self._router.peer_lost(peer, waiting)
        self._tell(LinkDown(peer.name, text))


def _accepted(listener: socket.socket) -> list[socket.socket]:
    taken = []
    for _ in range(ACCEPT_MAX):
        try:
            taken.append(listener.accept()[0])
        except (BlockingIOError, ConnectionAbortedError):
            break
    return taken


def serve(control: socket.socket) -> int:
    """Be the mailroom of the node at the other end of `control`; the exit code when it ends."""
    gc.enable()
    Mailroom(control).run()
    return 0
