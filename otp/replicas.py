"""`replicas: N`: several of one child, under a supervisor of their own, and which key is whose.

    otp.ChildSpec("pool", Worker, replicas=4)        # pool/0, pool/1, pool/2, pool/3
    node.call(otp.replica("pool", "customer-17", 4), request)

They start and stop at the same time. Each knows which it is: by OTP_REPLICA and OTP_REPLICAS (how
many) in its environment, by `{replica}` in `command`, `env` and the targets of `ready` and
`liveness`, and a worker by the argument `replica`, if its `__init__` has one.

Restarts are counted for the group, by the `max_restarts`, `max_seconds` and `give_up` of the
supervisor that it stands under, which restarts a group that gives up.
"""

from __future__ import annotations

import hashlib
import pickle
from typing import Any

import msgspec

from otp.messages import Address, Via, WireChild, WireSupervisor
from otp.wire_tree import WireCare, WireProbe

INDEX, COUNT = "OTP_REPLICA", "OTP_REPLICAS"
"""The environment variables: which one it is, from 0 on, and how many there are."""
MARK = "{replica}"


def replica(id: str, key: str, replicas: int) -> str:
    """The address of the one of `id/0` .. `id/N-1` that a key belongs to.

    The same in every process and every release: SHA-256 of the key, modulo the number.
    """
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return f"{id}/{number % replicas}"


class Replicas:
    """The topology of a group: `topologies: {pool: {start: "otp:Replicas", args: {replicas: 4}}}`.

    Then `otp.Via("pool", key)` leads to the replica of the key. `id` is the address of the child,
    where that is not the name of the group; `node` the node that holds it, if that is another one.
    """

    def __init__(self, replicas: int, id: str = "", node: str = "", **known: Any) -> None:
        self.replicas, self.id, self.node = replicas, id, node

    def locate(self, via: Via) -> Address:
        """Where the key is."""
        address = replica(self.id or via.group, via.key, self.replicas)
        return f"{address}@{self.node}" if self.node else address


def group(child: WireChild, parent: WireSupervisor | None) -> WireSupervisor:
    """The supervisor that such a child stands for."""
    flags = parent or WireSupervisor("")
    return WireSupervisor(
        id=child.id,
        children=tuple(_one(child, index) for index in range(child.replicas)),
        max_restarts=flags.max_restarts,
        max_seconds=flags.max_seconds,
        give_up=flags.give_up,
        backoff=child.backoff or flags.backoff,
        essential=child.essential,
        restart="temporary" if child.restart == "temporary" else "permanent",
        parallel=True,
    )


def expanded(tree: WireSupervisor) -> WireSupervisor:
    """The same tree with the supervisor of each group written out."""
    return msgspec.structs.replace(
        tree, children=tuple(_expanded(child, tree) for child in tree.children)
    )


def _expanded(
    child: WireChild | WireSupervisor, parent: WireSupervisor
) -> WireChild | WireSupervisor:
    if isinstance(child, WireSupervisor):
        return expanded(child)
    return group(child, parent) if child.replicas else child


def _one(child: WireChild, index: int) -> WireChild:
    env = {**child.env, INDEX: str(index), COUNT: str(child.replicas)}
    return msgspec.structs.replace(
        child,
        id=str(index),
        replicas=0,
        command=tuple(_filled(text, index) for text in child.command),
        env={key: _filled(value, index) for key, value in env.items()},
        care=child.care and _care(child.care, index),
        extra=pickle.dumps({"replica": index}) if child.takes_replica else b"",
    )


def _care(care: WireCare, index: int) -> WireCare:
    return msgspec.structs.replace(
        care,
        ready=care.ready and _probe(care.ready, index),
        liveness=care.liveness and _probe(care.liveness, index),
    )


def _probe(probe: WireProbe, index: int) -> WireProbe:
    command = tuple(_filled(text, index) for text in probe.command)
    return msgspec.structs.replace(probe, target=_filled(probe.target, index), command=command)


def _filled(text: str, index: int) -> str:
    return text.replace(MARK, str(index))
