"""The rings: which node holds what.

Placement is a pure function of the member list. A ring of the data centres names the writer's data
centre, that data centre's own ring names the writer; the followers come from the rings of the
others. Two nodes with the same `Cluster` therefore agree without a word between them, under any
hash seed; a node with an older one is merely late, since the configuration record decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec
from uhashring import HashRing

COPIES: Final = 5  # the writer's own and four followers: any two may lose their RAM
DATA_CENTRES: Final = ("CA", "MI", "NY", "TX")
ZONES: Final = ("A", "B")
EMBEDDED_MIN: Final = len(DATA_CENTRES) * len(ZONES)  # one node in each zone
EMBEDDED_MAX: Final = 4 * EMBEDDED_MIN  # four nodes in each zone
POINTS: Final = 256  # of a name on its ring: shares even to about 1/sqrt(256) = 6 %
RINGS_CACHED_MAX: Final = 8  # clusters alive at one time: the present view and a few late ones

_NAME: Final = re.compile(r"([A-Z][A-Z0-9]{1,7})-([A-Z])-([1-9][0-9]?)")


def _blake2b(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


# "ketama" is uhashring's own (MD5, so not on every machine); the default needs no old digest.
_HASHES: Final[dict[str, Callable[[str], int] | str]] = {"blake2b": _blake2b, "ketama": "ketama"}


class BadCluster(ValueError):
    """A member list that cannot be: a malformed or doubled name, an unknown hash, a bad count."""


class TooFewNodes(BadCluster):
    """Fewer than five nodes: five copies would not be on five different nodes."""


class NodeName(msgspec.Struct, frozen=True):
    """`MI-A-1` taken apart: data centre, zone in it, number in that (from 1)."""

    data_centre: str
    zone: str
    number: int

    def __str__(self) -> str:
        return f"{self.data_centre}-{self.zone}-{self.number}"


def parse_node(text: str) -> NodeName:
    """Take a node's name apart; raises `BadCluster` saying what a name looks like."""
    found = _NAME.fullmatch(text)
    if found is None:
        raise BadCluster(
            f"node name {text!r}: expected DATACENTRE-ZONE-NUMBER such as MI-A-1 (2 to 8 capitals "
            "or digits, one capital letter, 1 to 99)"
        )
    return NodeName(found[1], found[2], int(found[3]))


class Cluster(msgspec.Struct, frozen=True):
    """The live nodes as one version of the member record has them, and the hash of its rings.

    The order of `nodes` has no meaning. Raises `BadCluster` for a malformed or doubled name, a
    negative version or an unknown hash.
    """

    nodes: tuple[str, ...]
    version: int
    hash: str = "blake2b"

    def __post_init__(self) -> None:
        for node in self.nodes:
            parse_node(node)
        doubled = sorted({node for node in self.nodes if self.nodes.count(node) > 1})
        if doubled:
            raise BadCluster(f"cluster: {', '.join(doubled)} named more than once")
        if self.version < 0:
            raise BadCluster(f"cluster: version {self.version} is negative")
        if self.hash not in _HASHES:
            raise BadCluster(f"cluster: hash {self.hash!r} is not one of {', '.join(_HASHES)}")


class Placement(msgspec.Struct, frozen=True):
    """Where the five copies of one election belong."""

    writer: str
    followers: tuple[str, str, str, str]

    @property
    def members(self) -> tuple[str, ...]:
        """The five nodes, the writer's first, as the configuration record has them."""
        return (self.writer, *self.followers)


class _Rings(msgspec.Struct, frozen=True):
    data_centres: HashRing
    nodes_of: dict[str, HashRing]


def _ring(names: Iterable[str], hash_name: str) -> HashRing:
    # Sorted: where two points fall on one place the last name wins, on every node the same.
    if hash_name == "ketama":
        return HashRing(sorted(names), hash_fn="ketama", vnodes=POINTS // 4)  # 4 points from each
    return HashRing(sorted(names), hash_fn=_HASHES[hash_name], vnodes=POINTS)


@lru_cache(maxsize=RINGS_CACHED_MAX)
def _rings(cluster: Cluster) -> _Rings:
    by_data_centre: dict[str, list[str]] = {}
    for node in cluster.nodes:
        by_data_centre.setdefault(parse_node(node).data_centre, []).append(node)
    return _Rings(
        _ring(by_data_centre, cluster.hash),
        {centre: _ring(nodes, cluster.hash) for centre, nodes in by_data_centre.items()},
    )


@lru_cache(maxsize=RINGS_CACHED_MAX)
def _ring_of_all(cluster: Cluster) -> HashRing:
    return _ring(cluster.nodes, cluster.hash)


def _in_order(ring: HashRing, key: str) -> list[str]:
    """Return each name of a ring once, in ring order from the key on; an empty ring has none."""
    return [name for name in ring.iterate_nodes(key) if name is not None]


def _first(ring: HashRing, key: str) -> str:
    name: str | None = ring.get_node(key)
    assert name is not None, "a data centre is in the ring only with a node"
    return name


def _closeness(node: str, other: str) -> int:
    """Say what two nodes would lose together: 0 nothing, 1 their data centre, 2 also their zone."""
    one, two = parse_node(node), parse_node(other)
    if one.data_centre != two.data_centre:
        return 0
    return 2 if one.zone == two.zone else 1


def _one_in_each(rings: _Rings, centres: list[str], writer: str, key: str) -> list[str]:
    """Return a follower of each data centre, the writer's own (in its other zone) first."""
    near = _in_order(rings.nodes_of[centres[0]], key)
    chosen = [node for node in near if _closeness(node, writer) == 1][:1]
    return chosen + [_first(rings.nodes_of[c], key) for c in centres[1 : COPIES - 1]]


def _substitutes(
    cluster: Cluster, taken: list[str], key: str, load: Mapping[str, float]
) -> list[str]:
    """Return the nodes that hold no copy yet, the most wanted first."""
    spare = [node for node in _in_order(_ring_of_all(cluster), key) if node not in taken]
    return sorted(spare, key=lambda node: (_closeness(node, taken[0]), load.get(node, 0)))


def place(cluster: Cluster, key: str, *, load: Mapping[str, float] | None = None) -> Placement:
    """Return the five different nodes on which the election `key` belongs.

    The writer comes from the ring of data centres, then from that one's ring. The followers are one
    in each data centre, in the writer's own from the other zone; what that leaves open is filled
    from the nodes elsewhere (only if none is left: from the writer's own data centre, its own zone
    last), the least loaded first and among equals in ring order. `load` holds any measure per node,
    0 for the absent; it matters to these substitutes only, so a change of load moves nothing else.

    Raises `TooFewNodes` below five nodes.
    """
    if len(cluster.nodes) < COPIES:
        raise TooFewNodes(
            f"placing {key!r}: {len(cluster.nodes)} nodes in version {cluster.version} of the "
            f"cluster, and {COPIES} copies need {COPIES} different nodes; start more nodes"
        )
    rings = _rings(cluster)
    centres = _in_order(rings.data_centres, key)
    writer = _first(rings.nodes_of[centres[0]], key)
    followers = _one_in_each(rings, centres, writer, key)
    if len(followers) < COPIES - 1:
        followers += _substitutes(cluster, [writer, *followers], key, load or {})
    first, second, third, fourth = followers[: COPIES - 1]
    return Placement(writer, (first, second, third, fourth))


def embedded(count: int = EMBEDDED_MIN, *, version: int = 1) -> Cluster:
    """Return the cluster of one machine: four data centres of two zones, 8 to 32 nodes.

    Zones are filled evenly: 8 is one node in each, 32 is four. Raises `BadCluster` outside 8 to 32.
    """
    if not EMBEDDED_MIN <= count <= EMBEDDED_MAX:
        raise BadCluster(
            f"embedded cluster of {count} nodes: choose {EMBEDDED_MIN} (one node in each of "
            f"{EMBEDDED_MIN} zones) to {EMBEDDED_MAX}"
        )
    slots = [(centre, zone) for zone in ZONES for centre in DATA_CENTRES]
    names = [NodeName(*slots[i % len(slots)], i // len(slots) + 1) for i in range(count)]
    return Cluster(tuple(sorted(map(str, names))), version)
