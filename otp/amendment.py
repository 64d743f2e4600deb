"""A supervisor whose children and flags can be told anew while it runs. Pure.

`Amend` starts and stops nothing: it is what the shell says between stopping what goes and starting
what comes, so that the supervisor's own knowledge is always that of the tree as it is by then.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec

from otp.children import Children, validate
from otp.signals import Child, Flags, Ok, Op, Refused, Result
from otp.strategy import Supervision


class Amend(msgspec.Struct, frozen=True):
    """From now on these are the declared children, in this start order, under these flags.

    Those that are declared no more are forgotten; `running` is the answer if one of them has a
    process. For each id in `fresh` there is a child afterwards (without a process, if there was
    none); others that are gone stay so. Children that requests have added come last.
    """

    flags: Flags
    children: tuple[Child, ...]
    fresh: tuple[str, ...] = ()


class Amendable(Supervision):
    """A `Supervision` that takes `Amend`."""

    def _perform(self, op: Op | Amend) -> Generator[None, Any, Result]:
        if isinstance(op, Amend):
            return self._amend(op)
        return (yield from super()._perform(op))

    def _amend(self, op: Amend) -> Result:
        if words := validate(op.flags, op.children):
            return Refused("bad_spec", words[0])
        if self._simple != (op.flags.strategy == "simple_one_for_one"):
            return Refused("bad_spec", "invalid_strategy")
        known = {child.id for child in self.declared}
        if not self._simple and (refused := arrange(self._children, known, op)):
            return refused
        if self._simple:
            self._children.template = op.children[0]
            for slot in self._children.by_key.values():
                slot.child = op.children[0]
        self.flags, self.declared = op.flags, op.children
        self._log.allow(op.flags.max_restarts, op.flags.max_seconds)
        return Ok()


def arrange(children: Children, known: set[str], op: Amend) -> Refused | None:
    """Bring the table in line with `op`; `known` are the ids that were declared before."""
    wanted = {child.id: child for child in op.children}
    gone = [slot for slot in children.in_start_order() if slot.child.id in known - wanted.keys()]
    if any(slot.running or slot.restarting for slot in gone):
        return Refused("running")
    for slot in gone:
        children.remove(slot)
    for child in op.children:
        slot_of_it = children.by_id.get(child.id)
        if slot_of_it is not None:
            slot_of_it.child = child
        elif child.id in op.fresh:
            children.add(child)
    rank = {id: place for place, id in enumerate(wanted)}
    slots = sorted(children.by_key.values(), key=lambda slot: rank.get(slot.child.id, len(rank)))
    children.by_key = {slot.key: slot for slot in slots}
    return None
