"""The node's side of its mailroom: listeners, registrations, links and monitors.

All that the mailroom knows is kept here, so that its death loses no registration: a new one is
told everything again, and live workers get new ways to it.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from typing import Any, Protocol

import msgspec

from otp.codec import decode_envelope, encode
from otp.control import decode_request
from otp.frames import (
    CALL,
    DEMONITOR,
    DOWN,
    ERROR,
    EXIT,
    LINK,
    MONITOR,
    MSGPACK,
    REPLY,
    UNLINK,
    Attach,
    Began,
    Boot,
    Control,
    Detach,
    Dropped,
    Ended,
    Envelope,
    Failure,
    FromMailroom,
    Ignored,
    LinkDown,
    LinkUp,
    Post,
    Route,
    Serve,
)
from otp.links import Effect, Forward, Links, Signal
from otp.messages import Down, MessagesDropped, Reason, Report
from otp.registry import Registry
from otp.spawner import Running, Spawner
from otp.supervisor import Unit

BACKLOG = 128
"""Connections that may wait to be accepted."""
SIGNALS_MAX = 100_000
"""Signals that may wait while the mailroom is away; beyond it the oldest is dropped, and said."""

_decode = msgspec.msgpack.Decoder(FromMailroom).decode


class Owner(Protocol):
    """What the link needs of its node."""

    def supervisor_request(self, address: str, request: Any, responder: Any) -> None: ...
    def report(self, report: Report) -> None: ...
    def link_up(self, node: str) -> None: ...
    def link_down(self, node: str, text: str) -> None: ...


class MailroomLink:
    """Everything between a node and its mailroom, across the mailroom's deaths."""

    def __init__(self, boot: Boot, creation: str, spawner: Spawner, owner: Owner) -> None:
        self._boot, self._creation = boot, creation
        self._spawner, self._owner = spawner, owner
        self._registry = Registry()
        self._links = Links(boot.name)
        self._units: dict[str, Unit] = {}
        self._workers: dict[str, Running] = {}
        self._mailroom: Running | None = None
        self._listeners: list[socket.socket] = []
        self._waiting: deque[Control] = deque(maxlen=SIGNALS_MAX)
        self._peers_up: set[str] = set()

    # ------------------------------------------------------------ sockets

    def open(self) -> None:
        """Bind the listening sockets, which outlive any mailroom. Raises OSError that says where."""
        path = os.path.join(self._boot.run_dir, "mailroom.sock")
        local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        local.bind(path)
        local.listen(BACKLOG)
        self._listeners.append(local)
        if self._boot.listen:
            self._listeners.append(_bind(self._boot.listen))

    def close(self) -> None:
        """Stop listening."""
        for listener in self._listeners:
            listener.close()

    # ------------------------------------------------------------ the mailroom's life

    def spawned(self, running: Running) -> None:
        """A new mailroom: tell it all that there is to know, before it is even ready to read."""
        self._mailroom = running
        running.reader = self._receive
        boot = self._boot
        fds = tuple(listener.fileno() for listener in self._listeners)
        serve = Serve(
            boot.name, self._creation, boot.authkey, boot.peers, boot.topologies, boot.listen
        )
        self._tell(serve, fds)
        self._tell(Route(tuple(self._units)))
        for process, worker in self._workers.items():
            with self._spawner.rewire(worker) as mail:
                addresses = self._registry.addresses(process)
                self._tell(Attach(process, addresses), (mail.fileno(),))
        while self._waiting:
            self._tell(self._waiting.popleft())

    def lost(self) -> None:
        """The mailroom is dead: so are its connections to other nodes, until the next one's."""
        self._mailroom = None
        for node in sorted(self._peers_up):
            self._link_down(node, "the mailroom died")

    def _tell(self, message: Control, fds: tuple[int, ...] = ()) -> None:
        if self._mailroom is not None:
            self._spawner.tell(self._mailroom, message, fds)
        elif isinstance(message, Post):
            self._waiting.append(message)  # the rest is told again to the next mailroom anyway

    def _receive(self, frame: bytes) -> bool:
        """A control message of the mailroom's; False for those that every worker sends."""
        match _decode(frame):
            case Post(envelope):
                self._from_mailroom(decode_envelope(envelope), envelope)
            case LinkUp(node):
                self._peers_up.add(node)
                self._owner.link_up(node)
            case LinkDown(node, text):
                self._link_down(node, text)
            case Dropped(address, count):
                self._owner.report(MessagesDropped(address, time.time(), count))
            case Began() | Ended() | Ignored():
                return False
        return True

    def _link_down(self, node: str, text: str) -> None:
        if node in self._peers_up:
            self._peers_up.discard(node)
            self._owner.link_down(node, text)
        self._signal(self._links.node_lost(node))

    # ------------------------------------------------------------ registrations

    def attach(self, running: Running, mail: socket.socket, names: tuple[str, ...]) -> None:
        """A new worker: its addresses lead to it from now on."""
        addresses = self._registry.register(running.process, names)
        self._workers[running.process] = running
        with mail:
            self._tell(Attach(running.process, addresses), (mail.fileno(),))

    def detach(self, running: Running, reason: Reason) -> None:
        """A worker is gone: its callers, monitors and links hear of it, in this order."""
        self._registry.unregister(running.process)
        if self._workers.pop(running.process, None) is not None:
            self._tell(Detach(running.process, reason))
        self._signal(self._links.exited(running.process, reason))

    def add_supervisor(self, unit: Unit) -> None:
        """A supervisor is reached through the node itself; the root's address is `/`."""
        for address in self._addresses(unit):
            self._units[address] = unit
        self._registry.register(unit.process, self._addresses(unit))
        self._tell(Route(self._addresses(unit)))

    def remove_supervisor(self, unit: Unit) -> None:
        """A supervisor has ended."""
        for address in self._addresses(unit):
            if self._units.get(address) is unit:
                del self._units[address]
        self._registry.unregister(unit.process)
        self._tell(Route(self._addresses(unit), remove=True))

    def supervisor(self, address: str) -> Unit | None:
        """The supervisor behind an address."""
        return self._units.get(address.partition("@")[0] if address[:1] != "<" else address)

    def _addresses(self, unit: Unit) -> tuple[str, ...]:
        names = (unit.address or "/", unit.process, unit.spec.name)
        return tuple(name for name in names if name)

    # ------------------------------------------------------------ frames for the node

    def _from_mailroom(self, envelope: Envelope, frame: bytes) -> None:
        here = self._registry.whereis(_local_part(envelope.to, self._boot.name))
        match envelope.kind:
            case k if k == MONITOR:
                effects = self._links.monitor(envelope.frm, envelope.ref, envelope.to, here)
                self._signal(effects, frame)
            case k if k == DEMONITOR:
                self._signal(self._links.demonitor(envelope.frm, envelope.ref), frame)
            case k if k == LINK:
                self._signal(self._links.link(envelope.frm, envelope.to, here), frame)
            case k if k == UNLINK:
                self._signal(self._links.unlink(envelope.frm, envelope.to, here), frame)
            case k if k == DOWN:
                if self._links.heard(envelope.to, envelope.ref):
                    self._tell(Post(frame))
            case k if k == CALL:
                self._supervisor_call(envelope)

    def _supervisor_call(self, envelope: Envelope) -> None:
        responder = Responder(self, envelope)
        try:
            request = decode_request(envelope.body)
        except msgspec.MsgspecError as error:
            responder.fail(Failure("undecodable", f"a supervisor does not accept it ({error})"))
            return
        self._owner.supervisor_request(envelope.to, request, responder)

    def _signal(self, effects: list[Effect], frame: bytes = b"") -> None:
        for effect in effects:
            match effect:
                case Signal(to, Down() as down):
                    self._post(DOWN, to, down.ref, encode(down))
                case Signal(to, message):
                    self._post(EXIT, to, 0, encode(message))
                case Forward():
                    self._tell(Post(frame))

    def _post(self, kind: int, to: str, ref: int, body: bytes) -> None:
        self._tell(Post(encode(Envelope(kind, to, self._boot.name, ref, 0, 0, MSGPACK, "", body))))

    def answer(self, kind: int, to: Envelope, body: bytes) -> None:
        """Answer a call that came through the mailroom."""
        self._post(kind, to.frm, to.ref, body)


class Responder:
    """Answers one call to a supervisor."""

    def __init__(self, link: MailroomLink, envelope: Envelope) -> None:
        self._link, self._envelope = link, envelope

    def reply(self, value: Any) -> None:
        self._link.answer(REPLY, self._envelope, encode(value))

    def fail(self, failure: Failure) -> None:
        self._link.answer(ERROR, self._envelope, encode(failure))


def _local_part(address: str, node: str) -> str:
    """An address without this node's own name."""
    if address.startswith("<"):
        return address
    return address.removesuffix(f"@{node}")


def _bind(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, int(port)))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(
            f"cannot listen on {address}: {error.strerror}; "
            "stop what uses the port, or choose another (listen:)"
        ) from error
    return sock
