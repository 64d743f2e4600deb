"""A node's answers about names, keys and groups, and what it tells its mailroom and other nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from otp import codec
from otp.codec import encode
from otp.entries import Entries
from otp.frames import (
    GROUPS,
    MSGPACK,
    Alias,
    Control,
    Envelope,
    Failure,
    Post,
)
from otp.link_frames import KeepLinks
from otp.messages import Message, Via
from otp.node_messages import NODE, Nodes, Whereis
from otp.pg import Effect, Groups, GroupUpdate, Tell
from otp.registry import Registry
from otp.services import (
    OWN_REQUESTS,
    DemonitorGroup,
    GroupChanged,
    JoinGroup,
    KeysOf,
    LeaveGroup,
    Lookup,
    Members,
    MonitorGroup,
    Register,
    ServiceRequest,
    Unregister,
    WhichGroups,
)

WORD_BYTES_MAX = 1024
"""The longest name of a registry, a key or a group."""
VALUE_BYTES_MAX = 64 * 1024
"""The largest value that may be registered with a key: the node process holds them all."""

_decode_request: Callable[[bytes], Any] = msgspec.msgpack.Decoder(ServiceRequest).decode
_decode_update = msgspec.msgpack.Decoder(GroupUpdate).decode


class Shell(Protocol):
    """What is needed of the link to the mailroom."""

    def tell_mailroom(self, message: Control) -> bool: ...
    def notify(self, process: str, message: Message) -> None: ...
    def has_worker(self, process: str) -> bool: ...
    def whereis(self, address: str) -> str | None: ...
    def nodes(self) -> list[str]: ...


class Names:
    """Registries and groups of one node; `registry` has the addresses that the mailroom knows."""

    def __init__(self, node: str, topologies: tuple[str, ...], registry: Registry, shell: Shell):
        self._node, self._topologies = node, frozenset(topologies)
        self._registry, self._shell = registry, shell
        self._entries = Entries()
        self._groups = Groups(node)
        self.keeps_links = False
        self._table: dict[type, Callable[[Any, str], Any]] = {
            Nodes: lambda *_: shell.nodes(),
            Whereis: lambda r, _: shell.whereis(r.address),
            Register: self._register,
            Unregister: self._unregister,
            Lookup: lambda r, _: self._entries.lookup(r.registry, r.key),
            KeysOf: lambda r, _: self._entries.keys(r.pid, r.registry),
            JoinGroup: self._join,
            LeaveGroup: self._leave,
            Members: lambda r, _: self._groups.members(r.group, local=r.local),
            WhichGroups: lambda r, _: self._groups.groups(),
            MonitorGroup: self._monitor,
            DemonitorGroup: lambda r, frm: self._groups.demonitor(frm, r.ref),
        }

    def answer(self, envelope: Envelope) -> Any:
        """The reply to a request, or a Failure."""
        try:
            request = _decode_request(envelope.body)
            self._check(request, envelope.frm)
            return self._table[type(request)](request, envelope.frm)
        except (ValueError, RecursionError) as error:
            return codec.refusal(error) if type(error) is ValueError else _undecodable(error)

    def _check(self, request: Any, frm: str) -> None:
        if isinstance(request, OWN_REQUESTS) and not self._shell.has_worker(frm):
            raise ValueError(f"{frm} is no server of node {self._node}; only those can be found")
        for field in ("registry", "key", "group"):
            if len(getattr(request, field, "").encode()) > WORD_BYTES_MAX:
                raise ValueError(f"{field}: longer than {WORD_BYTES_MAX} bytes")

    # ------------------------------------------------------------ keys

    def _register(self, request: Register, frm: str) -> str:
        if request.registry in self._topologies or ":" in request.registry:
            why = "a topology places its keys" if ":" not in request.registry else "no colons"
            raise ValueError(f"registry {request.registry!r} cannot have that name: {why}")
        if len(request.value.body) > VALUE_BYTES_MAX:
            raise ValueError(f"the value is longer than {VALUE_BYTES_MAX} bytes")
        registry, key, unique = request.registry, request.key, request.unique
        holder = self._entries.register(frm, registry, key, request.value, unique=unique)
        if unique and not holder:
            address = codec.wire_address(Via(registry, key))
            if self._registry.add(frm, address):
                self._shell.tell_mailroom(Alias(frm, address))
        return holder

    def _unregister(self, request: Unregister, frm: str) -> None:
        address = codec.wire_address(Via(request.registry, request.key))
        self._entries.unregister(frm, request.registry, request.key)
        if self._registry.drop(frm, address):
            self._shell.tell_mailroom(Alias(frm, address, remove=True))

    # ------------------------------------------------------------ groups

    def _join(self, request: JoinGroup, frm: str) -> None:
        self._perform(self._groups.join(request.group, frm))
        self._keep_links()

    def _leave(self, request: LeaveGroup, frm: str) -> bool:
        effects = self._groups.leave(request.group, frm)
        self._perform(effects or [])
        return effects is not None

    def _monitor(self, request: MonitorGroup, frm: str) -> list[str]:
        self._keep_links()
        self._groups.monitor(frm, request.ref, request.group)
        return self._groups.members(request.group) if request.group else []

    def _keep_links(self) -> None:
        """Who uses groups wants to know of all nodes, also of those that were not written to."""
        if not self.keeps_links:
            self.keeps_links = True
            self._shell.tell_mailroom(KeepLinks())

    def from_node(self, envelope: Envelope) -> None:
        """What another node says of its members. Raises ValueError for what makes no sense."""
        update = _decode_update(envelope.body)
        self._perform(self._groups.heard(envelope.frm, update))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Tell):
                body, to = encode(effect.update), f"{NODE}@{effect.node}"
                frame = Envelope(GROUPS, to, self._node, 0, 0, 0, MSGPACK, "", body)
                self._shell.tell_mailroom(Post(encode(frame)))
            else:
                message = GroupChanged(effect.ref, effect.group, effect.joined, effect.left)
                self._shell.notify(effect.to, message)

    # ------------------------------------------------------------ what happens

    def ended(self, process: str) -> None:
        """A process of ours is gone, and all that was known of it."""
        self._entries.ended(process)
        self._perform(self._groups.ended(process))

    def link_up(self, node: str) -> None:
        """There is a way to another node."""
        self._perform(self._groups.node_up(node))

    def link_down(self, node: str) -> None:
        """There is none any more."""
        self._perform(self._groups.node_down(node))


def _undecodable(error: Exception) -> Failure:
    return Failure("undecodable", f"a node does not accept it ({error})")
