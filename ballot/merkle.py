"""The Merkle root over the events of one batch, hashed as RFC 6962 does (section 2.1).

A leaf is hashed with a 0 before it, an inner node with a 1, so that no inner node can be passed off
as an event; the left half of n leaves is the largest power of two below n.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY = sha256(b"").digest()
"""The root over no events at all."""


def leaf_hash(event: bytes) -> bytes:
    """Return the hash of one event, 32 bytes."""
    return sha256(b"\x00" + event).digest()


def root(events: Sequence[bytes]) -> bytes:
    """Return the Merkle root over `events`, 32 bytes; any change, order included, changes it."""
    level = [sha256(b"\x00" + event).digest() for event in events]
    if not level:
        return EMPTY
    # Pairing neighbours and carrying an odd last one up gives RFC 6962's tree without recursion.
    while len(level) > 1:
        pairs = iter(level)
        above = [
            sha256(b"\x01" + left + right).digest()
            for left, right in zip(pairs, pairs, strict=False)
        ]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]
