"""A router without its sockets' loop: queues in place of channels, fakes in place of peers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from otp import pickling
from otp.codec import decode_envelope, decode_failure, encode
from otp.frames import ERROR, MSGPACK, Envelope, Failure, Serve
from otp.messages import Via
from otp.peers import Peer
from otp.ports import Kind, Port
from otp.routing import Router
from otp.transport import FrameSocket

KEY = "via:elections:7"
CLIENT = "<c.c1@a>"


class Queue:
    """A channel that keeps what it is given."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.waiting = 0

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.waiting += len(frame)

    def close(self) -> None:
        self.waiting = 0


def port(process: str, kind: Kind = "worker", *, peer: str = "") -> Port:
    return Port(cast(FrameSocket, Queue()), process, kind, remote=kind != "worker", peer=peer)


def taken(of: Port) -> list[Envelope]:
    """The envelopes that it was sent, once."""
    queue = cast(Queue, of.channel)
    frames, queue.frames = queue.frames, []
    return [decode_envelope(frame) for frame in frames]


def failures(of: Port) -> list[tuple[int, Failure]]:
    """The calls that failed there, by reference."""
    errors = taken(of)
    assert all(envelope.kind == ERROR for envelope in errors)
    return [(envelope.ref, decode_failure(envelope.body)) for envelope in errors]


class FakePeer:
    """Another node's link; `obstacle` is what keeps a frame from it while there is no port."""

    def __init__(self, name: str, address: str, lost: Callable[..., None]) -> None:
        self.name, self.address, self._lost = name, address, lost
        self.port: Port | None = None
        self.obstacle = "down"
        self.backlog: list[Envelope] = []
        self.forgiven = 0

    def up(self) -> Port:
        self.port = port(f"mailroom@{self.name}", "link", peer=self.name)
        return self.port

    def queue(self, envelope: Envelope, frame: bytes) -> str:
        if not self.obstacle:
            self.backlog.append(envelope)
        return self.obstacle

    def open(self) -> bool:
        return self.port is not None or not self.obstacle

    def fail(self, text: str) -> bool:
        if self.port is None and not self.backlog:
            return False
        waiting, self.backlog, self.port = self.backlog, [], None
        self._lost(self, text, waiting)
        return True

    def heard(self) -> None:
        self.forgiven += 1


class Elections:
    """A topology: one key is here, one on b, one raises, the rest are nowhere."""

    def locate(self, via: Via) -> str | None:
        if via.key == "bad":
            raise RuntimeError("a user's fault")
        places: dict[str, Any] = {"7": "manager", "8": "manager@b", "odd": 5}
        return cast("str | None", places.get(via.key))


class Room:
    """The shell around the router of node a, which knows b."""

    def __init__(self) -> None:
        self.time = 100.0
        self.node: list[tuple[Envelope, bool]] = []
        self.node_behind = False
        self.closed: list[tuple[str, str]] = []
        self.rejections: list[str] = []
        self.lanes: list[tuple[str, str]] = []
        self.lost_nodes: list[str] = []
        self.peers: dict[str, FakePeer] = {}
        topologies = {"elections": pickling.dumps((Elections, {}))}
        known = {"a": "here", "b": "127.0.0.1:1"}
        serve = Serve("a", "c", b"key", known, topologies, "")
        self.router = Router(serve, self)

    def now(self) -> float:
        return self.time

    def to_node(self, frame: bytes, *, remote: bool) -> bool:
        if not self.node_behind:
            self.node.append((decode_envelope(frame), remote))
        return not self.node_behind

    def dirty(self, port: Port) -> None:
        assert port.open

    def close(self, port: Port, text: str) -> None:
        self.closed.append((port.process, text))
        port.close()
        self.router.closed_port(port)

    def make_peer(self, name: str, address: str) -> Peer:
        def lost(peer: Any, text: str, waiting: list[Envelope]) -> None:
            self.router.peer_lost(peer, text, waiting)

        self.peers[name] = FakePeer(name, address, lost)
        return cast(Peer, self.peers[name])

    def lost(self, node: str, text: str) -> None:
        self.lost_nodes.append(node)

    def open_lane(self, port: Port, envelope: Envelope) -> None:
        self.lanes.append((port.process, envelope.to))

    def rejected(self, address: str, text: str) -> None:
        self.rejections.append(text)

    # -------------------------------------------------------- what the tests do

    def worker(self, process: str, *addresses: str) -> Port:
        made = port(process)
        self.router.attach(made, addresses)
        return made

    def client(self, process: str = CLIENT) -> Port:
        made = port(process, "client")
        self.router.attach(made, ())
        return made

    def link(self, name: str = "b") -> Port:
        made = self.client(f"<c.c9{name}@a>")
        self.router.is_peer(made, name, "")
        return made

    def send(self, source: Port | None, kind: int, to: str, **fields: Any) -> Envelope:
        frm = "" if source is None else source.process
        values: dict[str, Any] = {"frm": frm, "ref": 1, "ttl": 1000, "hops": 0, "codec": MSGPACK}
        values |= {"via": "", "body": b"\xc0"} | fields
        envelope = Envelope(kind, to, **values)
        self.router.route(envelope, encode(envelope), source)
        return envelope
