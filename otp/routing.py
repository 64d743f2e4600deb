"""Where a frame goes: the tables and decisions of a mailroom, without its sockets' loop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from otp import pickling
from otp.codec import decode_envelope, encode, parse_via
from otp.frames import (
    CALL,
    CAST,
    DEMONITOR,
    DOWN,
    ERROR,
    HOPS_MAX,
    LINK,
    MONITOR,
    MOVED,
    MSGPACK,
    PICKLE,
    REPLY,
    UNLINK,
    Envelope,
    Failure,
    Serve,
)
from otp.links import node_of
from otp.messages import Reason, Via
from otp.peers import Peer
from otp.ports import CALLS_MAX, QUEUE_BYTES_MAX, Port
from otp.starts import find

MOVED_MAX = 10_000
"""How many keys' whereabouts are remembered; the oldest is forgotten first."""
_FOR_THE_NODE = frozenset({MONITOR, DEMONITOR, LINK, UNLINK, DOWN})
"""Links and monitors are the node's business: it sees these first, and posts what follows."""


class Topology(Protocol):
    """Says where a key lives; the only seam between routing and placement."""

    def locate(self, via: Via) -> str | None:
        """The address that serves this key at this moment, or None. Must be quick and pure."""


class Router:
    """The mailroom's tables: local addresses, supervisors, other nodes, keys."""

    def __init__(
        self,
        serve: Serve,
        *,
        clock: Callable[[], float],
        to_node: Callable[[bytes], None],
        dirty: Callable[[Port], None],
        closed: Callable[[Port, str], None],
        make_peer: Callable[[str, str], Peer],
        unreachable: Callable[[str], None],
    ) -> None:
        self.me = serve.node
        self._creation = serve.creation
        self._clock, self._to_node, self._dirty, self._close = clock, to_node, dirty, closed
        self._unreachable = unreachable
        self._make_peer = make_peer
        self._ports: dict[str, Port] = {}
        self._local: dict[str, Port] = {}
        self._at_node: set[str] = set()
        self._moved: dict[str, str] = {}
        self._peers = {n: make_peer(n, a) for n, a in serve.peers.items() if n != serve.node}
        self._topologies: dict[str, Topology] = {
            group: _topology(payload) for group, payload in serve.topologies.items()
        }

    # ------------------------------------------------------------ tables

    def client_pid(self, number: int) -> str:
        return f"<{self._creation}.c{number}@{self.me}>"

    def port(self, process: str) -> Port | None:
        return self._ports.get(process)

    def attach(self, port: Port, addresses: Iterable[str]) -> None:
        """These addresses lead to this port from now on."""
        self._ports[port.process] = port
        self._local[port.process] = port
        for address in addresses:
            self._local[address] = port
            self._local[f"{address}@{self.me}"] = port

    def route_to_node(self, addresses: Iterable[str], *, remove: bool) -> None:
        """These addresses (supervisors) are served by the node process itself."""
        change = self._at_node.discard if remove else self._at_node.add
        for address in addresses:
            change(address)
            change(f"{address}@{self.me}")

    def detach(self, process: str, reason: Reason) -> None:
        """The process is gone: its addresses lead nowhere, its callers are told."""
        port = self._ports.pop(process, None)
        if port is None:
            return
        for address in [a for a, p in self._local.items() if p is port]:
            del self._local[address]
        self._fail_calls(port, Failure("serverdown", str(reason), reason))
        self._close(port, "")

    def closed_port(self, port: Port) -> None:
        """A connection ended. A worker's calls wait for its node's word; a client's end here."""
        if ".c" in port.process or port.peer:
            self._ports.pop(port.process, None)
            self._local.pop(port.process, None)

    def is_peer(self, port: Port, name: str, listen: str) -> None:
        """This incoming connection is another mailroom's, not a client's.

        A node that was not among our peers says where it listens, so that it can be answered.
        """
        port.peer = name
        if name not in self._peers and name != self.me and listen:
            self._peers[name] = self._make_peer(name, listen)
        self._local.pop(port.process, None)

    def outgoing(self, port: Port) -> Peer | None:
        """The peer whose link this port is."""
        peer = self._peers.get(port.peer)
        return peer if peer is not None and peer.port is port else None

    def peer_lost(self, peer: Peer, waiting: Iterable[Envelope]) -> None:
        """The link is down: whoever waits for an answer from there is told."""
        failure = Failure("nodedown", peer.name)
        if peer.port is not None:
            self._fail_calls(peer.port, failure)
        for envelope in waiting:
            self._fail(envelope, failure)
        for via in [v for v, address in self._moved.items() if address.endswith(f"@{peer.name}")]:
            del self._moved[via]

    def sweep(self) -> Iterator[tuple[str, int]]:
        """Forget calls that nobody waits for; yields (process, dropped messages) since last."""
        now = self._clock()
        outgoing = [p.port for p in self._peers.values() if p.port is not None]
        for port in [*self._ports.values(), *outgoing]:
            port.sweep(now)
            if port.dropped:
                yield port.process, port.dropped
                port.dropped = 0

    # ------------------------------------------------------------ routing

    def from_node(self, frame: bytes) -> None:
        """A frame of the node's own."""
        self.route(decode_envelope(frame), frame, None)

    def route(self, envelope: Envelope, frame: bytes, source: Port | None) -> None:
        """One frame goes where it belongs, or its sender hears why not."""
        if source is not None:
            if envelope.kind in _FOR_THE_NODE:
                self._to_node(frame)
                return
            if envelope.codec == PICKLE and source.remote:
                self._refuse_pickle(envelope)
                return
            if envelope.kind in (REPLY, ERROR):
                source.answered(envelope.to, envelope.ref)
            elif envelope.frm != source.process and not source.remote:
                self._passed_on(envelope, source)
        port = self._local.get(envelope.to)
        if port is not None:
            self._deliver(envelope, frame, port)
        else:
            self._route_further(envelope, frame)

    def _route_further(self, envelope: Envelope, frame: bytes) -> None:
        if envelope.kind == MOVED:
            self._learn(envelope)
        elif envelope.to in self._at_node:
            self._to_node(frame)
        elif envelope.to.startswith("via:"):
            self._route_via(envelope, envelope.to)
        elif (node := node_of(envelope.to)) and node != self.me:
            self._send_to_peer(envelope, frame, node)
        else:
            self._nobody(envelope)

    def _deliver(self, envelope: Envelope, frame: bytes, port: Port) -> None:
        if not port.open:
            self._nobody(envelope)
            return
        if envelope.kind == CALL:
            if len(port.calls) >= CALLS_MAX:
                self._fail(envelope, Failure("overloaded", f"{CALLS_MAX} calls wait there"))
                return
            port.expect(envelope, self._clock())
        if port.offer(envelope, frame):
            self._dirty(port)
        elif envelope.kind == CALL:
            port.answered(envelope.frm, envelope.ref)
            self._fail(envelope, Failure("overloaded", f"{QUEUE_BYTES_MAX} bytes wait there"))
        elif envelope.kind in (REPLY, ERROR):
            self._close(port, "its queue for replies is full")

    def _send_to_peer(self, envelope: Envelope, frame: bytes, node: str) -> None:
        peer = self._peers.get(node)
        if peer is not None and peer.port is not None:
            self._deliver(envelope, frame, peer.port)
            return
        obstacle = peer.queue(envelope, frame) if peer is not None else "down"
        if obstacle == "full":
            self._fail(envelope, Failure("overloaded", f"the link to {node} is being made"))
        elif obstacle == "down":
            self._fail(envelope, Failure("nodedown", node))
            if envelope.kind in (MONITOR, LINK):
                self._unreachable(node)

    def _nobody(self, envelope: Envelope) -> None:
        """There is no such process here; what was sent to a key may be elsewhere by now."""
        if envelope.via and envelope.hops < HOPS_MAX and envelope.kind in (CALL, CAST):
            self._moved.pop(envelope.via, None)
            self._route_via(envelope, envelope.via)
        else:
            self._fail(envelope, Failure("noproc", envelope.to))

    # ------------------------------------------------------------ keys

    def _route_via(self, envelope: Envelope, via: str) -> None:
        address = self._moved.get(via) or self._locate(via)
        if address is None:
            self._fail(envelope, Failure("noproc", via))
            return
        envelope.to, envelope.via = address, via
        envelope.hops += 1
        self.route(envelope, encode(envelope), None)

    def _locate(self, written: str) -> str | None:
        via = parse_via(written)
        topology = self._topologies.get(via.group) if via else None
        if via is None or topology is None:
            return None
        try:
            return topology.locate(via)
        except Exception as error:  # a user's class: its fault must not end the mailroom
            print(f"topology of {via.group!r} failed: {error!r}", file=sys.stderr)
            return None

    def _passed_on(self, envelope: Envelope, source: Port) -> None:
        """A manager passed a call on: it owes no answer now, and the sender learns the way."""
        source.answered(envelope.frm, envelope.ref)
        node = node_of(envelope.frm)
        if not envelope.via:
            return
        if node == self.me:
            self._remember(envelope.via, envelope.to)
        elif node in self._peers:
            moved = Envelope(MOVED, f"mailroom@{node}", envelope.to, 0, 0, 0, MSGPACK, envelope.via, b"")
            self._send_to_peer(moved, encode(moved), node)

    def _learn(self, envelope: Envelope) -> None:
        self._remember(envelope.via, envelope.frm)

    def _remember(self, via: str, address: str) -> None:
        self._moved.pop(via, None)
        self._moved[via] = address
        if len(self._moved) > MOVED_MAX:
            del self._moved[next(iter(self._moved))]

    # ------------------------------------------------------------ failures

    def _fail(self, envelope: Envelope, failure: Failure) -> None:
        """Tell the sender of a call; the sender of anything else never hears."""
        if envelope.kind == CALL:
            self._answer(envelope.frm, envelope.ref, failure)

    def _answer(self, to: str, ref: int, failure: Failure) -> None:
        error = Envelope(ERROR, to, f"mailroom@{self.me}", ref, 0, 0, MSGPACK, "", encode(failure))
        self.route(error, encode(error), None)

    def _fail_calls(self, port: Port, failure: Failure) -> None:
        calls, port.calls = port.calls, {}
        for to, ref in calls:
            self._answer(to, ref, failure)

    def _refuse_pickle(self, envelope: Envelope) -> None:
        text = "it travels as pickle, which is refused from the network; declare an otp.Request"
        self._fail(envelope, Failure("undecodable", text))


def _topology(payload: bytes) -> Any:
    start, args = pickling.loads(payload)
    return (find(start) if isinstance(start, str) else start)(**args)
