"""The mailroom of a node: routes frames between its workers, other nodes and clients.

A supervised worker like any other, with a loop of its own. It decodes headers only. Everything
that has arrived is drained, routed, and written once. Its sockets never block it: queues are
bounded in bytes; a call that finds one full gets `Overloaded`, a cast is dropped and reported.
What it knows came from its node, which tells it again after a crash.
"""

from __future__ import annotations

import gc
import select
import socket
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from otp.door import CLIENTS_MAX, Door, Names
from otp.frames import (
    HELLO,
    REPLY,
    Alias,
    Attach,
    Began,
    Detach,
    Dropped,
    Ended,
    Envelope,
    Finish,
    Locate,
    Located,
    Overflowed,
    Ping,
    Pong,
    Post,
    Route,
    Serve,
    ToMailroom,
)
from otp.lane_dials import LaneDials
from otp.lane_frames import DialLane
from otp.link_frames import Beat, KeepLinks, LinkDown, LinkUp, Rejected
from otp.messages import Reason
from otp.node_line import NodeLine
from otp.peers import AGAIN_MAX, Peer, hello
from otp.ports import Port
from otp.pulse import Pulse
from otp.reactor import Reactor
from otp.rejections import Rejections
from otp.routing import Router
from otp.transport import FrameSocket, ProtocolError

if TYPE_CHECKING:  # without certificates nobody pays for `ssl`
    from otp.tls import Tls

SWEEP_SECONDS = 1.0
"""How often calls that nobody answered in time are forgotten, and drops reported."""
NODE_BYTES_MAX = 16 * 1024 * 1024
"""What may wait for the node process; beyond it, nothing more is forwarded to it."""

_decode_control = msgspec.msgpack.Decoder(ToMailroom).decode


class Mailroom:
    """The shell around `Router`: sockets in, sockets out."""

    def __init__(self, control: socket.socket) -> None:
        self._reactor = Reactor()
        self._line = NodeLine(self._reactor, control, _decode_control, self._obey)
        self._tell = self._line.tell
        self._router: Router
        self._serving: Serve
        self._tls: Tls | None = None
        self._pulse: Pulse
        self._lanes: LaneDials
        self._rejections = Rejections()
        self._news = select.poll()
        self._news.register(control.fileno(), select.POLLIN)
        self._arrived: dict[Port, None] = {}
        self.now = self._reactor.now
        self._clients_made = 0
        self._clients: set[Port] = set()

    def run(self) -> None:
        """Serve until the node says so, or is gone."""
        self._reactor.run()
        self._line.flush()

    # ------------------------------------------------------------ the node

    def _obey(self, message: ToMailroom) -> None:
        match message:
            case Serve():
                self._serve(message)
            case Attach(process, addresses):
                port = Port(self._take_channel(), process)
                self._router.attach(port, addresses)
                self._reactor.read(port.channel, partial(self._read_port, port))
            case Alias(process, address, remove):
                self._router.alias(process, address, remove=remove)
            case Locate(number, via):
                self._tell(Located(number, self._router.locate(via) or ""))
            case Route(addresses, remove):
                self._router.route_to_node(addresses, remove=remove)
            case Detach(process, reason):
                self._drain(process)
                self._router.detach(process, reason)
            case Post(frame):
                self._router.from_node(frame)
            case Beat():
                self._pulse.node_answered()
            case Ping(serial):
                self._tell(Pong(serial))
            case KeepLinks():
                self._router.keep_links()
            case DialLane(number, frm, to):
                self._lanes.dial(number, frm, to, self._router.address_of(to))
            case Finish():
                self._reactor.stop()

    def _take_channel(self) -> FrameSocket:
        return FrameSocket(socket.socket(fileno=self._line.fds.popleft()))

    def _serve(self, serve: Serve) -> None:
        self._serving = serve
        if serve.tls is not None:
            from otp.tls import Tls

            self._tls = Tls(serve.tls)
        try:
            self._router = Router(serve, self)
        except Exception as error:  # a user's topology: the node must hear why it does not start
            text = f"a topology cannot be made: {type(error).__name__}: {error}"
            self._tell(Ended(Reason("crash", text), began=False))
            self._line.flush()
            raise SystemExit(1) from error
        self._lanes = LaneDials(self._reactor, serve, self._tls, self._tell)
        fds = self._line.fds
        local = socket.socket(fileno=fds.popleft())
        network = socket.socket(fileno=fds.popleft()) if serve.listen else None
        Door(self._reactor, self, authkey=serve.authkey, tls=self._tls).open(local, network)
        self._pulse = Pulse(self._reactor, self._router, tell=self._tell, dirty=self.dirty)
        if serve.listen or serve.peers:
            self._pulse.begin()
        self._reactor.after(SWEEP_SECONDS, self._sweep)
        self._tell(Began())

    # ------------------------------------------------------------ what the router needs

    def to_node(self, frame: bytes, *, remote: bool) -> bool:
        if self._line.waiting > NODE_BYTES_MAX:
            return False
        self._tell(Post(frame, remote))
        return True

    def dirty(self, port: Port) -> None:
        self._reactor.at_end_of_round(port.flush_callback(self._flush_port))

    def close(self, port: Port, text: str) -> None:
        """End a connection; where a live worker's must be ended, its node must end the worker."""
        if text and port.open and port.kind == "worker":
            self._tell(Overflowed(port.process, text))
        self._close_port(port, text)

    def open_lane(self, port: Port, envelope: Envelope) -> None:
        """A connection is to be a lane: it is a client's no more."""
        self._reactor.forget(port.channel)
        self._clients.discard(port)
        port.open = False
        self._router.closed_port(port)
        if port.arrived or port.channel.buffered or port.channel.waiting:
            port.channel.close()  # it did not wait for our word
        elif self._router.is_here(envelope.to):
            frm = envelope.frm if port.remote else port.process
            self._lanes.take_in(port.channel, envelope.to, frm, remote=port.remote)
        elif port.remote:
            port.channel.close()
        else:
            address = self._router.address_of(envelope.to)
            self._lanes.join(port.channel, envelope.to, port.process, address)

    def make_peer(self, name: str, address: str) -> Peer:
        return Peer(
            self._reactor,
            name,
            address,
            me=self._serving,
            tls=self._tls,
            up=self._peer_up,
            lost=self._peer_lost,
            again_max=None if name in self._serving.peers else AGAIN_MAX,
        )

    def lost(self, node: str, text: str) -> None:
        self._tell(LinkDown(node, text))

    # ------------------------------------------------------------ ports

    def _read_port(self, port: Port) -> None:
        try:
            port.receive()
        except EOFError as error:
            self._close_port(port, str(error))
            return
        except ProtocolError as error:
            self.rejected(port.address, str(error))
            self.close(port, str(error))
            return
        if port.remote:
            port.heard = self._reactor.now()
        if self._reactor.alone and len(port.arrived) == 1:
            self._route_alone(port)
            return
        self._arrived[port] = None
        self._reactor.at_end_of_round(self._route_all)

    def _route_alone(self, port: Port) -> None:
        """One frame, with nothing beside it: what comes of it has nothing to wait for.

        No news can change where a reply goes: to a pid, which is never another's.
        """
        if port.arrived[0][0].kind != REPLY and self._news.poll(0):
            self._line.hear()
        self._router.prompt = True
        self._route_arrived(port)
        self._router.prompt = False

    def _route_all(self) -> None:
        """What has arrived in this round. Whoever sent it may know of a start or an end that our
        node told us before: so what the node has said is heard first."""
        if self._news.poll(0):
            self._line.hear()
        arrived, self._arrived = self._arrived, {}
        for port in arrived:
            self._route_arrived(port)

    def _route_arrived(self, port: Port) -> None:
        for envelope, frame in port.take():
            if port.kind == "link" and not port.open:
                return  # the link was given up: all have heard that nothing comes from there
            if envelope.kind == HELLO:
                listen = envelope.body.decode(errors="replace")
                self._router.is_peer(port, envelope.frm, listen)
            else:
                self._router.route(envelope, frame, port)

    def _drain(self, process: str) -> None:
        """What a process sent before it died counts, and goes before the news of its death."""
        port = self._router.port(process)
        if port is None:
            return
        self._route_arrived(port)
        while port.open:
            try:
                port.receive()
            except (EOFError, ProtocolError) as error:
                self._close_port(port, str(error))
            self._route_arrived(port)
            if port.channel.dry:
                return

    def _flush_port(self, port: Port) -> None:
        if not port.open:
            return
        try:
            done = port.channel.flush()
        except EOFError as error:
            self._close_port(port, str(error))
            return
        if done and not port.blocked:
            return
        port.blocked = not done
        self._reactor.write(port.channel, None if done else port.flush_callback(self._flush_port))

    def _close_port(self, port: Port, text: str) -> None:
        if not port.open:
            return
        if (peer := self._router.outgoing(port)) is not None:
            peer.fail(text)
            return
        self._reactor.forget(port.channel)
        self._clients.discard(port)
        port.close()
        self._router.closed_port(port)

    def _sweep(self) -> None:
        for address, count in self._router.sweep():
            self._tell(Dropped(address, count))
        for report in self._rejections.due(self._reactor.now()):
            self._tell(Rejected(*report))
        self._reactor.after(SWEEP_SECONDS, self._sweep)

    # ------------------------------------------------------------ who comes

    def crowded(self, strangers: int) -> bool:
        return len(self._clients) + strangers >= CLIENTS_MAX

    def welcome(self, channel: FrameSocket, address: str, names: Names) -> None:
        """A client, or a mailroom that will say so: both hear who they are to us."""
        if address and self._pulse.node_silent:
            channel.close()  # whoever connected would wait for a node that does not answer
            return
        self._clients_made += 1
        pid = self._router.client_pid(self._clients_made)
        port = Port(channel, pid, "client", remote=bool(address), address=address, names=names)
        self._clients.add(port)
        self._router.attach(port, ())
        channel.send(hello(self._router.me, pid))
        self._reactor.read(channel, partial(self._read_port, port))
        self.dirty(port)
        if channel.buffered:
            self._read_port(port)

    def rejected(self, address: str, text: str) -> None:
        """Somebody was turned away; a local one is nobody's business but its own."""
        report = self._rejections.add(address, text, self._reactor.now()) if address else None
        if report is not None:
            self._tell(Rejected(*report))

    def _peer_up(self, peer: Peer) -> None:
        port = peer.port
        assert port is not None
        port.heard = self._reactor.now()
        self._reactor.read(port.channel, partial(self._read_port, port))
        self.dirty(port)
        self._tell(LinkUp(peer.name))

    def _peer_lost(self, peer: Peer, text: str, waiting: list[Envelope]) -> None:
        self._router.peer_lost(peer, text, waiting)


def serve(control: socket.socket) -> int:
    """Be the mailroom of the node at the other end of `control`; the exit code when it ends."""
    gc.enable()
    Mailroom(control).run()
    return 0
