"""Ports, peers and a shell around a Router that only write down what is done to them."""

from __future__ import annotations

import itertools
from typing import Any

from otp import messages as m
from otp import pickling
from otp.codec import decode_envelope, decode_failure, encode
from otp.frames import (
    ERROR,
    MSGPACK,
    Envelope,
    Failure,
    Serve,
)
from otp.ports import Kind, Port
from otp.routing import Router


class NoChannel:
    """A connection that can only be closed."""

    def close(self) -> None: ...


class FakePort(Port):
    """A port that keeps what it is offered, until it is `full`."""

    def __init__(self, process: str, kind: Kind = "worker", **more: Any) -> None:
        super().__init__(NoChannel(), process, kind, **more)  # type: ignore[arg-type]
        self.got: list[Envelope] = []
        self.full = False

    def offer(self, envelope: Envelope, frame: bytes) -> bool:
        if self.full:
            self.dropped += 1
            return False
        self.got.append(decode_envelope(frame))
        return True


class FakePeer:
    """A link that is down, up, or being made."""

    def __init__(self, name: str, address: str, router: list[Router]) -> None:
        self.name, self.address, self._router = name, address, router
        self.port: FakePort | None = None
        self.queued: list[Envelope] = []
        self.obstacle = ""
        self.heard_of = 0

    def up(self) -> FakePort:
        pid = f"mailroom@{self.name}"
        self.port = FakePort(pid, "link", remote=True, peer=self.name)
        return self.port

    def queue(self, envelope: Envelope, frame: bytes) -> str:
        if not self.obstacle:
            self.queued.append(envelope)
        return self.obstacle

    def open(self) -> bool:
        return not self.obstacle

    def heard(self) -> None:
        self.heard_of += 1

    def fail(self, text: str) -> bool:
        if self.port is None and not self.queued:
            return False
        if self.port is not None:
            self.port.close()
        waiting, self.queued, self.port = self.queued, [], None
        self._router[0].peer_lost(self, text, waiting)  # type: ignore[arg-type]
        return True


class FakeShell:
    """What a mailroom does for its router, written down instead."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.posted: list[tuple[Envelope, bool]] = []
        self.node_is_behind = False
        self.closed: list[tuple[str, str]] = []
        self.lost_nodes: list[tuple[str, str]] = []
        self.peers: dict[str, FakePeer] = {}
        self.router: list[Router] = []

    def now(self) -> float:
        return self.clock

    def to_node(self, frame: bytes, *, remote: bool) -> bool:
        if self.node_is_behind:
            return False
        self.posted.append((decode_envelope(frame), remote))
        return True

    def dirty(self, port: Port) -> None: ...

    def close(self, port: Port, text: str) -> None:
        if not port.open:
            return
        if (peer := self.router[0].outgoing(port)) is not None:
            peer.fail(text)
            return
        self.closed.append((port.process, text))
        port.close()
        self.router[0].closed_port(port)

    def make_peer(self, name: str, address: str) -> Any:
        self.peers[name] = FakePeer(name, address, self.router)
        return self.peers[name]

    def lost(self, node: str, text: str) -> None:
        self.lost_nodes.append((node, text))


class Where:
    """A topology that is a dict."""

    def __init__(self, where: dict[str, Any]) -> None:
        self.where = where

    def locate(self, via: m.Via) -> Any:
        return self.where[via.key]


WHERE = {"1": "manager", "far": "manager@b", "lost": "gone", "odd": 5, "round": "via:k:round"}
CLIENTS = itertools.count(1)
ME, YOU = "<1.1@a>", "<1.2@a>"
FAR = "<2.1@b>"


def worker(router: Router, process: str, *addresses: str) -> FakePort:
    port = FakePort(process)
    router.attach(port, addresses)
    return port


def linked(router: Router, name: str, listen: str = "") -> FakePort:
    """An incoming link from this node."""
    port = FakePort(router.client_pid(next(CLIENTS)), "client", remote=True)
    router.attach(port, ())
    router.is_peer(port, name, listen)
    return port


def send(
    router: Router, source: Port | None, kind: int, to: str, frm: str = ME, **more: Any
) -> Envelope:
    fields: dict[str, Any] = {"ref": 1, "ttl": 5_000, "hops": 0, "codec": MSGPACK}
    fields |= {"via": "", "body": b""}
    envelope = Envelope(kind, to, frm, **(fields | more))
    router.route(envelope, encode(envelope), source)
    return envelope


def failure(port: FakePort) -> Failure:
    """The only thing that this port got, which is an error."""
    (error,) = port.got
    assert error.kind == ERROR
    port.got.clear()
    return decode_failure(error.body)


def make_router(shell: FakeShell) -> Router:
    topologies = {"k": pickling.dumps((Where, {"where": WHERE}))}
    serve = Serve("a", "1", b"key", {"a": "x:0", "b": "x:1", "c": "x:2"}, topologies, "x:0")
    shell.router.append(Router(serve, shell))
    return shell.router[0]
