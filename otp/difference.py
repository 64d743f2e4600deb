"""What leads from one tree to another: the plan of `otp diff` and `otp reload`. Pure.

A plan is a list of changes. `apply` carries one out on a tree as data, the node on its processes;
all of them, in order, lead from the old tree to the new one. Each is as small as it can be: what is
equal in both trees is in no change, and what only its supervisor has to know restarts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from otp.messages import WireChild, WireSupervisor

WireSpec = WireChild | WireSupervisor
Path = tuple[str, ...]
"""Ids from below the root on: () is the root, ("pool", "w1") a child of its pool."""

IN_PLACE = frozenset({"restart", "shutdown", "significant", "backoff", "essential"})
"""What only the supervisor above has to know of a worker or program."""


class Change(msgspec.Struct, frozen=True, tag=True):
    """One step; `supervisor` is the path of the supervisor that takes it."""

    supervisor: Path


class Remove(Change, frozen=True):
    """Stop this child and forget it."""

    id: str


class Add(Change, frozen=True):
    """A new child at this place of the start order; start it."""

    index: int
    spec: WireSpec


class Replace(Change, frozen=True):
    """Stop the child of this id and start it as the new spec says."""

    spec: WireSpec


class Adjust(Change, frozen=True):
    """The spec of this child, a worker or program, without touching its process."""

    spec: WireSpec


class Flags(Change, frozen=True):
    """How this supervisor treats its children, and is treated; `spec` has no children."""

    spec: WireSupervisor


class Template(Change, frozen=True):
    """What children of this simple_one_for_one supervisor are started from, from now on."""

    spec: WireSpec


class Reorder(Change, frozen=True):
    """The start order; nothing is stopped or started."""

    ids: Path


AnyChange = Remove | Add | Replace | Adjust | Flags | Template | Reorder


def plan(old: WireSupervisor, new: WireSupervisor) -> list[AnyChange]:
    """What leads from the old tree to the new one. Raises ValueError where only a restart does."""
    if old.id != new.id:
        raise ValueError(f"the root is {old.id!r} there and {new.id!r} here: it is another tree")
    if not _same_machine(old, new):
        raise ValueError("the name of the root, or whether it is simple_one_for_one, cannot change")
    return list(_within((), old, new))


def _same_machine(old: WireSupervisor, new: WireSupervisor) -> bool:
    return old.name == new.name and _is_simple(old) == _is_simple(new)


def _is_simple(spec: WireSupervisor) -> bool:
    return spec.strategy == "simple_one_for_one"


def _within(path: Path, old: WireSupervisor, new: WireSupervisor) -> Iterator[AnyChange]:
    if _bare(old) != _bare(new):
        yield Flags(path, _bare(new))
    if _is_simple(new):
        if old.children != new.children:
            yield Template(path, new.children[0])
        return
    yield from _children(path, old, new)


def _children(path: Path, old: WireSupervisor, new: WireSupervisor) -> Iterator[AnyChange]:
    before = {child.id: child for child in old.children}
    wanted = {child.id for child in new.children}
    for child in reversed(old.children):
        if child.id not in wanted:
            yield Remove(path, child.id)
    kept = tuple(child.id for child in new.children if child.id in before)
    if kept != tuple(child.id for child in old.children if child.id in wanted):
        yield Reorder(path, kept)
    for index, child in enumerate(new.children):
        if child.id not in before:
            yield Add(path, index, child)
        else:
            yield from _changed(path, before[child.id], child)


def _changed(path: Path, old: WireSpec, new: WireSpec) -> Iterator[AnyChange]:
    if old == new:
        return
    if isinstance(old, WireSupervisor) and isinstance(new, WireSupervisor):
        if _same_machine(old, new):
            yield from _within((*path, new.id), old, new)
        else:
            yield Replace(path, new)
    elif type(old) is type(new) and set(differing(old, new)) <= IN_PLACE:
        yield Adjust(path, new)
    else:
        yield Replace(path, new)


def differing(old: msgspec.Struct, new: msgspec.Struct) -> list[str]:
    """The fields that are not equal, in their order; of structs of two kinds: none."""
    if type(old) is not type(new):
        return []
    fields = old.__struct_fields__
    return [name for name in fields if getattr(old, name) != getattr(new, name)]


def _bare(spec: WireSupervisor) -> WireSupervisor:
    return msgspec.structs.replace(spec, children=())


# ---------------------------------------------------------------- carrying it out, as data


def apply(tree: WireSupervisor, change: AnyChange) -> WireSupervisor:
    """The tree after this change."""
    return _at(tree, change.supervisor, change)


def _at(tree: WireSupervisor, path: Path, change: AnyChange) -> WireSupervisor:
    if not path:
        return _applied(tree, change)
    inner = spec_at(tree, path[:1])
    assert isinstance(inner, WireSupervisor)
    return _with_children(tree, _replaced(tree.children, _at(inner, path[1:], change)))


def _applied(spec: WireSupervisor, change: AnyChange) -> WireSupervisor:
    children = spec.children
    match change:
        case Remove(_, id):
            return _with_children(spec, [child for child in children if child.id != id])
        case Add(_, index, new):
            return _with_children(spec, [*children[:index], new, *children[index:]])
        case Replace(_, new) | Adjust(_, new):
            return _with_children(spec, _replaced(children, new))
        case Template(_, new):
            return _with_children(spec, [new])
        case Reorder(_, ids):
            by_id = {child.id: child for child in children}
            return _with_children(spec, [by_id[id] for id in ids])
        case Flags(_, new_flags):
            return msgspec.structs.replace(new_flags, children=children)


def _with_children(spec: WireSupervisor, children: Sequence[WireSpec]) -> WireSupervisor:
    return msgspec.structs.replace(spec, children=tuple(children))


def _replaced(children: Sequence[WireSpec], new: WireSpec) -> list[WireSpec]:
    return [new if child.id == new.id else child for child in children]


def spec_at(tree: WireSupervisor, path: Path) -> Any:
    """The spec at this path. Raises KeyError."""
    spec: Any = tree
    for id in path:
        children = spec.children if isinstance(spec, WireSupervisor) else ()
        found = [child for child in children if child.id == id]
        if not found:
            raise KeyError(id)
        spec = found[0]
    return spec
