"""The node's side of its mailroom: listeners, registrations, links and monitors.

All that the mailroom knows is kept here, so that its death loses no registration: a new one is
told everything again, and live workers get new ways to it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Any, Protocol

import msgspec

from otp.codec import decode_envelope
from otp.control import decode_supervisor_request
from otp.frames import (
    CALL,
    GROUPS,
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
    FromWorker,
    Heard,
    Ignored,
    Located,
    Overflowed,
    Pong,
    Post,
    Route,
    Serve,
    WatchNodes,
)
from otp.lane_broker import Broker
from otp.lane_frames import LaneFailed, LaneMade, LaneTo, OpenLane
from otp.link_frames import Beat, KeepLinks, LinkDown, LinkUp, Rejected
from otp.messages import (
    NOCONNECTION,
    SHUTDOWN,
    Message,
    MessagesDropped,
    Reason,
    Report,
    StartChild,
    StartDynamic,
    StrangerRejected,
)
from otp.neighbours import Neighbours
from otp.node_messages import NODE
from otp.node_names import Names
from otp.node_ties import Ties
from otp.registry import Registry
from otp.responder import Responder
from otp.running import Running
from otp.spawner import Spawner
from otp.supervisor import Unit
from otp.transport import listen
from otp.via_ties import ViaTies

BACKLOG = 128
"""Connections that may wait to be accepted."""
MAILROOM_BYTES_MAX = 32 * 1024 * 1024
"""What a mailroom may leave unread of what its node says; then a new one is told it all."""

_from_mailroom = msgspec.msgpack.Decoder(FromMailroom).decode
_from_worker = msgspec.msgpack.Decoder(FromWorker).decode


class Owner(Protocol):
    """What the link needs of its node."""

    def supervisor_request(self, address: str, request: Any, responder: Any) -> None: ...
    def report(self, report: Report) -> None: ...
    def fault(self, text: str) -> None: ...
    def link_up(self, node: str) -> None: ...
    def link_down(self, node: str, text: str) -> None: ...


class MailroomLink:
    """Everything between a node and its mailroom, across the mailroom's deaths."""

    def __init__(self, boot: Boot, creation: str, spawner: Spawner, owner: Owner) -> None:
        self._boot, self._creation = boot, creation
        self._spawner, self._owner = spawner, owner
        self._registry = Registry()
        self._ties = Ties(
            boot.name,
            post=lambda frame: self._tell(Post(frame)),
            whereis=self.whereis,
            overflowed=self._overflowed,
            reads=lambda process: self._workers[process].child.kind == "server",
            end=self._end,
        )
        self._lanes = Broker(boot.name, self, spawner.tell)
        self._vias = ViaTies(self._ties.from_worker, self.whereis, self.tell_mailroom)
        self._names = Names(boot.name, tuple(boot.topologies), self._registry, self)
        self._units: dict[str, Unit] = {}
        self._workers: dict[str, Running] = {}
        self._mailroom: Running | None = None
        self._listeners: list[socket.socket] = []
        self._path = ""
        self._hosts = 0
        self._neighbours = Neighbours(owner, self._ties.tell)

    # ------------------------------------------------------------ sockets

    def open(self) -> None:
        """Bind the listening sockets, which outlive any mailroom. OSErrors say where."""
        path = os.path.join(self._boot.run_dir, "mailroom.sock")
        local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listeners.append(local)
        local.bind(path)
        self._path = path
        local.listen(BACKLOG)
        if self._boot.listen:
            self._listeners.append(listen(self._boot.listen, BACKLOG))

    def close(self) -> None:
        """Stop listening, and leave no socket behind."""
        for listener in self._listeners:
            listener.close()
        if self._path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    # ------------------------------------------------------------ the mailroom's life

    def spawned(self, running: Running) -> None:
        """A new mailroom: tell it all that there is to know, before it is even ready to read."""
        self._mailroom = running
        running.reader = self._receive
        boot = self._boot
        fds = tuple(listener.fileno() for listener in self._listeners)
        serve = Serve(
            boot.name,
            self._creation,
            boot.authkey,
            boot.peers,
            boot.topologies,
            boot.listen,
            boot.tls,
        )
        self._tell(serve, fds)
        self._tell(Route((NODE, *self._units)))
        if self._neighbours.watched or self._names.keeps_links:
            self._tell(KeepLinks())
        self._vias.renew()
        for process, worker in self._workers.items():
            self._connect(worker, self._registry.addresses(process))
        for frame in self._ties.unheard():
            self._tell(Post(frame))

    def _connect(self, running: Running, addresses: tuple[str, ...]) -> None:
        try:
            with self._spawner.rewire(running) as mail:
                self._tell(Attach(running.process, addresses), (mail.fileno(),))
        except OSError as error:
            self._overflowed(running.process, f"no way from it to the mailroom: {error}")

    def lost(self) -> None:
        """The mailroom is dead: so are its connections to other nodes, until the next one's."""
        self._mailroom = None
        self._lanes.lost()
        for node in sorted({*self._neighbours.up, *self._ties.nodes()}):
            self._link_down(node, "the mailroom died")

    def behind(self) -> bool:
        """It has more to hear from its node than it has room for: a start or an end, say."""
        if self._mailroom is None or self._mailroom.control is None:
            return False
        self._spawner.flush()
        return self._mailroom.control.waiting > 0

    def _tell(self, message: Control, fds: tuple[int, ...] = ()) -> None:
        """Say it to the mailroom; the next one is told what it must know anyway."""
        mailroom = self._mailroom
        if mailroom is None:
            return
        self._spawner.tell(mailroom, message, fds)
        if mailroom.control is not None and mailroom.control.waiting > MAILROOM_BYTES_MAX:
            self._owner.fault("the mailroom does not listen to its node; it is killed")
            self._mailroom = None
            self._spawner.kill(mailroom)

    def _receive(self, frame: bytes) -> bool:
        """A control message of the mailroom's; False for those that every worker sends."""
        match _from_mailroom(frame):
            case Post(envelope, remote):
                self._from_outside(decode_envelope(envelope), remote=remote)
            case LinkUp(node):
                self._neighbours.link_up(node)
                self._names.link_up(node)
            case LinkDown(node, text):
                self._link_down(node, text)
            case Located(number, address):
                self._vias.located(number, address)
            case Overflowed(process, text):
                self._overflowed(process, text)
            case Dropped(process, count):
                worker = self._workers.get(process)
                path = worker.shown if worker else process
                self._owner.report(MessagesDropped(path, time.time(), count))
            case Rejected(address, count, text):
                self._owner.report(StrangerRejected(address, time.time(), count, text))
            case Beat():
                self._tell(Beat())
            case LaneMade(number, pid):
                self._lanes.made(number, pid, self._handed())
            case LaneFailed(number, failure):
                self._lanes.failed(number, failure)
            case LaneTo(to, frm, remote):
                self._lanes.handed(to, frm, self._handed(), remote=remote)
            case Began() | Ended() | Ignored() | Pong():
                return False
        return True

    def _link_down(self, node: str, text: str) -> None:
        """Who is tied to a process there hears it before who watches the node."""
        self._ties.node_lost(node)
        self._neighbours.link_down(node, text)
        self._names.link_down(node)

    def _handed(self) -> socket.socket:
        """A connection that the mailroom hands over."""
        assert self._mailroom is not None and self._mailroom.control is not None
        return socket.socket(fileno=self._mailroom.control.fds.popleft())

    def worker(self, address: str) -> Running | None:
        """The worker behind an address of this node."""
        return self._workers.get(self.whereis(address) or "")

    def tell_mailroom(self, message: Control) -> bool:
        """Say it to the mailroom; False while there is none."""
        self._tell(message)
        return self._mailroom is not None

    def _overflowed(self, process: str, text: str) -> None:
        worker = self._workers.get(process)
        if worker is not None:
            self._owner.fault(f"{worker.shown} is killed: {text}")
            self._spawner.kill(worker)

    def _end(self, process: str, reason: Reason) -> None:
        """Its link, or an exit signal, ends it: it is not asked."""
        worker = self._workers.get(process)
        if worker is not None:
            worker.verdict = reason
            self._spawner.kill(worker)

    # ------------------------------------------------------------ registrations

    def attach(self, running: Running, mail: socket.socket, names: tuple[str, ...]) -> None:
        """A new worker: its addresses lead to it from now on."""
        addresses = self._registry.register(running.process, names)
        self._workers[running.process] = running
        self._ties.began(running.process)
        running.reader = lambda frame: self._from_worker(running, frame)
        try:
            with mail:
                self._tell(Attach(running.process, addresses), (mail.fileno(),))
        except OSError as error:
            self._overflowed(running.process, f"no way from it to the mailroom: {error}")

    def detach(self, running: Running, reason: Reason) -> None:
        """A worker is gone: its callers, monitors and links hear of it, in this order."""
        self._registry.unregister(running.process)
        if self._workers.pop(running.process, None) is not None:
            self._tell(Detach(running.process, reason))
        self._lanes.gone(running)
        self._neighbours.watch(running.process, False)
        self._names.ended(running.process)
        self._vias.ended(running.process)
        self._ties.ended(running.process, reason)

    def add_host(self) -> str:
        """A program with a connection to this node: something that can be linked to."""
        self._hosts += 1
        pid = f"<{self._creation}.h{self._hosts}@{self._boot.name}>"
        self._registry.register(pid, ())
        return pid

    def remove_host(self, pid: str) -> None:
        """Its connection has ended."""
        self._registry.unregister(pid)
        self._ties.ended(pid, NOCONNECTION)

    def add_supervisor(self, unit: Unit) -> None:
        """A supervisor is reached through the node itself; the root's address is `/`."""
        for address in self._addresses(unit):
            self._units[address] = unit
        self._registry.register(unit.process, self._addresses(unit))
        self._tell(Route(self._addresses(unit)))

    def remove_supervisor(self, unit: Unit, reason: Reason = SHUTDOWN) -> None:
        """A supervisor has ended."""
        for address in self._addresses(unit):
            if self._units.get(address) is unit:
                del self._units[address]
        self._registry.unregister(unit.process)
        self._tell(Route(self._addresses(unit), remove=True))
        self._ties.ended(unit.process, reason)

    def forget_supervisors(self, reason: Reason) -> None:
        """All supervisors have ended at once."""
        for unit in list(dict.fromkeys(self._units.values())):
            self.remove_supervisor(unit, reason)

    def notify(self, process: str, message: Message) -> None:
        """An info message that a worker of ours must not miss."""
        self._ties.tell(process, message)

    def has_worker(self, process: str) -> bool:
        """It is a worker of ours, and alive."""
        return process in self._workers

    def supervisor(self, address: str) -> Unit | None:
        """The supervisor behind an address of this node."""
        return self._units.get(_local_part(address, self._boot.name))

    def nodes(self) -> list[str]:
        """The other nodes that there are links to."""
        return sorted(self._neighbours.up)

    def whereis(self, address: str) -> str | None:
        return self._registry.whereis(_local_part(address, self._boot.name))

    def _addresses(self, unit: Unit) -> tuple[str, ...]:
        names = (unit.address or "/", unit.process, unit.spec.name)
        return tuple(name for name in names if name)

    # ------------------------------------------------------------ frames for the node

    def _from_worker(self, running: Running, frame: bytes) -> bool:
        """A control message of a worker's; False where it is about its own life."""
        match _from_worker(frame):
            case Post(envelope):
                self._vias.from_worker(running.process, decode_envelope(envelope))
            case Heard(serial):
                self._ties.heard(running.process, serial)
            case WatchNodes(on):
                self._neighbours.watch(running.process, on)
                self._tell(KeepLinks())
            case OpenLane(ref, to):
                self._lanes.asked(running, ref, to)
            case _:
                return False
        return True

    def _from_outside(self, envelope: Envelope, *, remote: bool) -> None:
        """From the mailroom: calls to us and to supervisors, and what other nodes say."""
        if envelope.kind == CALL:
            self._supervisor_call(envelope, remote=remote)
            return
        try:
            if envelope.kind == GROUPS:
                self._names.from_node(envelope)
            else:
                self._ties.from_node(envelope)
        except (ValueError, RecursionError) as error:
            self._owner.fault(f"another node sent a signal that is none: {error}")

    def _supervisor_call(self, envelope: Envelope, *, remote: bool) -> None:
        responder = Responder(self, self._boot.name, envelope)
        if _local_part(envelope.to, self._boot.name) == NODE:
            responder.give(self._names.answer(envelope))
            return
        try:
            request = decode_supervisor_request(envelope.body)
        except (ValueError, RecursionError) as error:
            responder.fail(Failure("undecodable", f"a supervisor does not accept it ({error})"))
            return
        if remote and isinstance(request, StartChild | StartDynamic):
            text = "it carries a pickle, which is refused from the network; ask a worker over there"
            responder.fail(Failure("undecodable", text))
            return
        self._owner.supervisor_request(envelope.to, request, responder)


def _local_part(address: str, node: str) -> str:
    """An address without this node's own name."""
    if address.startswith("<"):
        return address
    return address.removesuffix(f"@{node}")
