"""Where a frame goes: the tables and decisions of a mailroom, without its sockets' loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from otp.codec import decode_envelope, encode
from otp.frames import (
    CALL,
    CAST,
    ERROR,
    HEARTBEAT,
    HOPS_MAX,
    INFO,
    LANE,
    MOVED,
    MSGPACK,
    PICKLE,
    REPLY,
    SIGNALS,
    TIES,
    Envelope,
    Failure,
    Serve,
)
from otp.keys import Keys
from otp.links import node_of
from otp.local_addresses import LocalAddresses
from otp.messages import NOCONNECTION, Reason
from otp.peers import Peer
from otp.ports import CALLS_MAX, QUEUE_BYTES_MAX, CallKey, Port, call_deadline

PEERS_MAX = 1_024
"""Other nodes that may make themselves known; one more is not answered."""
PASSED_ON_MAX = HOPS_MAX + 1
"""Hops of a message that managers pass on: the last stray one may still find its server."""
_MESSAGES = frozenset({CALL, CAST, INFO, REPLY, ERROR})


class Shell(Protocol):
    """What a router needs of the mailroom around it."""

    def now(self) -> float: ...
    def to_node(self, frame: bytes, *, remote: bool) -> bool: ...
    def dirty(self, port: Port) -> None: ...
    def close(self, port: Port, text: str) -> None: ...
    def make_peer(self, name: str, address: str) -> Peer: ...
    def lost(self, node: str, text: str) -> None: ...
    def rejected(self, address: str, text: str) -> None: ...
    def open_lane(self, port: Port, envelope: Envelope) -> None: ...


class Router:
    """The mailroom's tables: local addresses, supervisors, other nodes, keys."""

    def __init__(self, serve: Serve, shell: Shell) -> None:
        self.me = serve.node
        self._creation = serve.creation
        self._shell = shell
        self.prompt = False  # what is routed now has nothing to be written together with
        self._ports: dict[str, Port] = {}
        self._local = LocalAddresses()
        self._at_node: set[str] = set()
        self._keys = Keys(serve.topologies)
        self.locate = self._keys.find
        # Calls that our own processes wait for other nodes to answer: where, and until when.
        self._abroad: dict[CallKey, tuple[str, float]] = {}
        self._configured = serve.peers
        self._peers = {n: shell.make_peer(n, a) for n, a in serve.peers.items() if n != self.me}

    # ------------------------------------------------------------ tables

    def client_pid(self, number: int) -> str:
        return f"<{self._creation}.c{number}@{self.me}>"

    def port(self, process: str) -> Port | None:
        return self._ports.get(process)

    def attach(self, port: Port, addresses: Iterable[str]) -> None:
        """These addresses lead to this port from now on."""
        self._ports[port.process] = port
        self._local.lead([port.process], port)
        for address in addresses:
            self._local.lead((address, f"{address}@{self.me}"), port)

    def alias(self, process: str, address: str, *, remove: bool) -> None:
        """A key leads to this process from now on, or no longer does."""
        port = self._ports.get(process)
        if port is not None:
            (self._local.mislead if remove else self._local.lead)([address], port)

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
        self._local.free(port)
        self._fail_calls(port, Failure("serverdown", str(reason), reason))
        self._shell.close(port, "")

    def closed_port(self, port: Port) -> None:
        """A connection ended. A worker's calls wait for its node's word; a client's end here."""
        if port.kind == "worker":
            return
        self._ports.pop(port.process, None)
        self._local.pop(port.process, None)
        if port.peer:
            self.lose(port.peer, "the other node closed its connection")

    def is_peer(self, port: Port, name: str, listen: str) -> None:
        """This incoming connection is another mailroom's, not a client's.

        A node that was not among our peers says where it listens, so that it can be answered.
        """
        if port.kind != "client" or not port.remote or name in ("", self.me):
            self._shell.close(port, "it cannot be a mailroom of another node")
            return
        if port.names is not None and name not in port.names:
            text = f"its certificate is for {', '.join(sorted(port.names)) or 'nobody'}, not {name}"
            self._shell.rejected(port.address, text)
            self._shell.close(port, text)
            return
        if any(other.peer == name for other in self._ports.values()):
            self.lose(name, "it has connected again")
        port.kind, port.peer = "link", name
        self._local.pop(port.process, None)
        peer = self._peers.get(name)
        if peer is None and listen and len(self._peers) < PEERS_MAX:
            peer = self._peers[name] = self._shell.make_peer(name, listen)
        if peer is not None:
            if listen and name not in self._configured:
                peer.address = listen
            peer.heard()
            peer.open()

    def links(self) -> list[Port]:
        """Every connection with another mailroom, both ways."""
        outgoing = [p.port for p in self._peers.values() if p.port is not None]
        return [*outgoing, *(p for p in self._ports.values() if p.kind == "link")]

    def keep_links(self) -> None:
        """Have links with all configured nodes, and again when they are lost."""
        for name in self._configured:
            if name in self._peers:
                self._peers[name].keep()

    def is_here(self, address: str) -> bool:
        """Whether an address is one of our own node's."""
        return node_of(address) in ("", self.me)

    def address_of(self, address: str) -> str:
        """Where the node of this address listens; empty if we do not know."""
        peer = self._peers.get(node_of(address))
        return peer.address if peer is not None else ""

    def outgoing(self, port: Port) -> Peer | None:
        """The peer whose link this port is."""
        peer = self._peers.get(port.peer)
        return peer if peer is not None and peer.port is port else None

    def lose(self, node: str, text: str) -> None:
        """One of the two connections with a node is lost, and with it the other."""
        peer = self._peers.get(node)
        if peer is None or not peer.fail(text):
            self._hang_up(node, text)

    def peer_lost(self, peer: Peer, text: str, waiting: Iterable[Envelope]) -> None:
        """The link is down, or was not made: whoever waits for an answer from there is told."""
        for envelope in waiting:  # these never left us
            self._abroad.pop((envelope.frm, envelope.ref), None)
            self._fail(envelope, Failure("nodedown", peer.name))
        failure = Failure("nodedown", peer.name, NOCONNECTION)
        for to, ref in [key for key, (node, _) in self._abroad.items() if node == peer.name]:
            del self._abroad[to, ref]
            self._answer(to, ref, failure)
        self._keys.forget_node(peer.name)
        self._hang_up(peer.name, text)

    def _hang_up(self, node: str, text: str) -> None:
        """Both nodes must come to one opinion, or one waits for what the other has given up."""
        for port in [p for p in self._ports.values() if p.peer == node]:
            port.peer = ""
            self._shell.close(port, text)
        self._shell.lost(node, text)

    def sweep(self) -> Iterator[tuple[str, int]]:
        """Forget calls that nobody waits for; yields (process, dropped messages) since last."""
        now = self._shell.now()
        for key in [key for key, (_, deadline) in self._abroad.items() if deadline < now]:
            del self._abroad[key]
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
        if source is not None and not self._admit(envelope, frame, source):
            return
        if (port := self._local.get(envelope.to)) is not None:
            self._deliver(envelope, frame, port)
        else:
            self._route_further(envelope, frame, source)

    def _admit(self, envelope: Envelope, frame: bytes, source: Port) -> bool:
        """Whether this goes on to its address; if not, it has been dealt with."""
        if envelope.kind not in _MESSAGES or envelope.hops < 0:
            self._special(envelope, frame, source)
            return False
        if envelope.codec == PICKLE and source.remote:
            self._refuse_pickle(envelope)
            return False
        if envelope.kind in (REPLY, ERROR):
            key = (envelope.to, envelope.ref)
            source.calls.pop(key, None)
            self._abroad.pop(key, None)
        elif envelope.frm != source.process and source.kind == "worker":
            self._passed_on(envelope, source)
        if envelope.hops > PASSED_ON_MAX:
            self._fail(envelope, Failure("noproc", envelope.via or envelope.to))
            return False
        return True

    def _special(self, envelope: Envelope, frame: bytes, source: Port) -> None:
        """What only mailrooms say to each other; from anybody else it is garbage."""
        if source.kind == "link" and envelope.kind in TIES:
            self._to_node(envelope, frame, source)
        elif source.kind == "link" and envelope.kind == MOVED:
            self._learn(envelope)
        elif source.kind == "link" and envelope.kind == HEARTBEAT:
            return  # that it came is all that it says
        elif source.kind == "client" and envelope.kind == LANE:
            self._shell.open_lane(source, envelope)
        else:
            self._shell.close(source, f"it sent a frame of kind {envelope.kind}")

    def _route_further(self, envelope: Envelope, frame: bytes, source: Port | None) -> None:
        if envelope.to in self._at_node:
            self._to_node(envelope, frame, source)
        elif envelope.to.startswith("via:"):
            self._route_via(envelope, envelope.to)
        elif (node := node_of(envelope.to)) and node != self.me:
            self._send_to_peer(envelope, frame, node)
        else:
            self._nobody(envelope)

    def _to_node(self, envelope: Envelope, frame: bytes, source: Port | None) -> None:
        if self._shell.to_node(frame, remote=source is not None and source.remote):
            return
        if envelope.kind == CALL:
            self._fail(envelope, Failure("overloaded", "the node process is behind"))
        elif envelope.kind in TIES and source is not None:
            self.lose(source.peer, "the node process is behind")

    def _deliver(self, envelope: Envelope, frame: bytes, port: Port) -> None:
        if not port.open:
            self._nobody(envelope)
            return
        if envelope.kind == CALL and not self._expect(envelope, port):
            return
        if port.offer(envelope, frame, now=self.prompt):
            if port.channel.waiting:
                self._shell.dirty(port)
        elif envelope.kind == CALL:
            port.answered(envelope.frm, envelope.ref)
            self._abroad.pop((envelope.frm, envelope.ref), None)
            self._fail(envelope, Failure("overloaded", f"{QUEUE_BYTES_MAX} bytes wait there"))
        elif envelope.kind in SIGNALS:
            self._shell.close(port, "its queue is full, and so is the room for replies and signals")

    def _expect(self, envelope: Envelope, port: Port) -> bool:
        """Remember who must be told if no answer comes; False if too many wait already.

        The node of the server answers for the server's end, that of the caller for lost links.
        """
        if port.kind == "link":
            return self._expect_abroad(envelope, port.peer)
        self._abroad.pop((envelope.frm, envelope.ref), None)
        if len(port.calls) >= CALLS_MAX:
            self._fail(envelope, Failure("overloaded", f"{CALLS_MAX} calls wait there"))
            return False
        port.expect(envelope, self._shell.now())
        return True

    def _expect_abroad(self, envelope: Envelope, node: str) -> bool:
        if node_of(envelope.frm) != self.me:
            return True
        if len(self._abroad) >= CALLS_MAX:
            text = f"{CALLS_MAX} calls to other nodes wait"
            self._fail(envelope, Failure("overloaded", text))
            return False
        deadline = call_deadline(envelope, self._shell.now())
        self._abroad[envelope.frm, envelope.ref] = (node, deadline)
        return True

    def _send_to_peer(self, envelope: Envelope, frame: bytes, node: str) -> None:
        peer = self._peers.get(node)
        if peer is not None and peer.port is not None:
            self._deliver(envelope, frame, peer.port)
            return
        obstacle = peer.queue(envelope, frame) if peer is not None else "down"
        if not obstacle:
            if envelope.kind == CALL and not self._expect_abroad(envelope, node):
                return
        elif envelope.kind in SIGNALS:
            self.lose(node, f"a signal found the way there {obstacle}")
        elif obstacle == "full":
            self._fail(envelope, Failure("overloaded", f"the link to {node} is being made"))
        else:
            self._keys.forget(envelope.via)
            self._fail(envelope, Failure("nodedown", node))

    def _nobody(self, envelope: Envelope) -> None:
        """There is no such process here; what was sent to a key may be elsewhere by now."""
        if envelope.via and envelope.kind in (CALL, CAST):
            self._keys.forget(envelope.via)
            self._route_via(envelope, envelope.via)
        else:
            self._fail(envelope, Failure("noproc", envelope.to))

    # ------------------------------------------------------------ keys

    def _route_via(self, envelope: Envelope, via: str) -> None:
        address = self._keys.find(via)
        if address is None or envelope.hops >= HOPS_MAX:
            self._fail(envelope, Failure("noproc", via))
            return
        envelope.to, envelope.via = address, via
        envelope.hops += 1
        self.route(envelope, encode(envelope), None)

    def _passed_on(self, envelope: Envelope, source: Port) -> None:
        """A manager passed a call on: it owes no answer now, and the sender learns the way."""
        source.answered(envelope.frm, envelope.ref)
        to, node = envelope.to, node_of(envelope.frm)
        if envelope.via and node == self.me:
            self._keys.remember(envelope.via, to)
        elif envelope.via and node in self._peers:
            where = to if node_of(to) else f"{to}@{self.me}"
            mailroom, caller = f"mailroom@{node}", envelope.frm.encode()
            moved = Envelope(
                MOVED, mailroom, where, envelope.ref, 0, 0, MSGPACK, envelope.via, caller
            )
            self._send_to_peer(moved, encode(moved), node)

    def _learn(self, envelope: Envelope) -> None:
        """A key is served at `frm`; so is the call that led there, which it answers for now."""
        self._keys.remember(envelope.via, envelope.frm)
        key = (envelope.body.decode(errors="replace"), envelope.ref)
        node = node_of(envelope.frm)
        if key not in self._abroad or node == self.me:
            return
        self._abroad[key] = (node, self._abroad[key][1])
        # Without a link of our own we would not hear of its loss.
        peer = self._peers.get(node)
        if peer is not None and not peer.open():
            del self._abroad[key]
            self._answer(*key, Failure("nodedown", node, NOCONNECTION))

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
        """Its sender hears that; where it is a reply, whoever waits for it."""
        text = "it travels as pickle, which is refused from the network; declare an otp.Request"
        failure = Failure("undecodable", text)
        if envelope.kind == REPLY:
            self._abroad.pop((envelope.to, envelope.ref), None)
            self._answer(envelope.to, envelope.ref, failure)
        else:
            self._fail(envelope, failure)
