"""Which workers are the same in two trees although their pickles are not, byte for byte."""

from __future__ import annotations

import msgspec

from otp import pickling
from otp.messages import WireChild, WireSupervisor


def align(old: WireSupervisor, new: WireSupervisor) -> WireSupervisor:
    """The new tree, with the old one's payload wherever it says the same in other bytes.

    Unpickles both, so it is for who wrote the trees, never for a node. A class that travels by
    value is the same only in the same bytes.
    """
    before = {child.id: child for child in old.children}
    children = tuple(_aligned(before.get(child.id), child) for child in new.children)
    return msgspec.structs.replace(new, children=children)


def _aligned(
    old: WireChild | WireSupervisor | None, new: WireChild | WireSupervisor
) -> WireChild | WireSupervisor:
    if isinstance(old, WireSupervisor) and isinstance(new, WireSupervisor):
        return align(old, new)
    if isinstance(old, WireChild) and isinstance(new, WireChild) and _same(old, new):
        return msgspec.structs.replace(new, payload=old.payload)
    return new


def _same(old: WireChild, new: WireChild) -> bool:
    if old.payload == new.payload or not (old.payload and new.payload):
        return False
    try:
        return bool(pickling.loads(old.payload)[:2] == pickling.loads(new.payload)[:2])
    except Exception:  # what a pickle or a comparison raises is up to the classes in it
        return False
