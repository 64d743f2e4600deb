"""A scenario's trees and requests in the words of `otp.messages`, which is what a node is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from otp import messages as m
from otp import pickling, wire
from otp import signals as s
from otp.messages import WireChild, WireSupervisor
from otp.strategy import Supervision
from otp.supervisor import Unit
from tests.conformance.actor import Actor
from tests.conformance.scenario import Node, Step, child_of, flags_of

NO_SUCH_PROCESS = "<none@here>"
"""The pid of a path at which nothing was ever started."""


class ChildOf(WireChild, frozen=True, tag="child"):
    """A worker and the type that its scenario declares, which is no field of ours."""

    declared: str = "worker"


class SupervisorOf(WireSupervisor, frozen=True, tag="supervisor"):
    """A supervisor, and what its scenario says of its starts."""

    declared: str = "supervisor"
    behaviour: dict[str, Any] = msgspec.field(default_factory=dict)


def supervisor_of(node: Node) -> SupervisorOf:
    """A supervisor as a node is told of it; deliberately invalid values go through as they are."""
    flags, child = flags_of(node), child_of(node)
    return SupervisorOf(
        id=child.id,
        children=tuple(map(spec_of, node["children"])),
        strategy=flags.strategy,
        max_restarts=flags.max_restarts,
        max_seconds=flags.max_seconds,
        auto_shutdown=flags.auto_shutdown,
        restart=child.restart,
        shutdown=child.shutdown,
        significant=child.significant,
        declared=child.type,
        behaviour=node.get("behaviour", {}),
    )


def spec_of(node: Node) -> ChildOf | SupervisorOf:
    """A child as a node is told of it."""
    if "children" in node:
        return supervisor_of(node)
    child = child_of(node)
    return ChildOf(
        id=child.id,
        # A program without a command is what cannot be started among our children.
        kind="server" if child.startable else "program",
        payload=wire.payload(Actor, node.get("behaviour", {})),
        restart=child.restart,
        shutdown=child.shutdown,
        significant=child.significant,
        declared=child.type,
    )


def typed(unit: Unit) -> None:
    """Give a supervisor's machine the types that the scenario declares, if they are odd."""
    machine = unit.machine
    children = [_typed(child) for child in machine.declared]
    if children != list(machine.declared):
        unit.machine = Supervision(machine.flags, children)


def typed_op(op: s.Op) -> s.Op:
    """The same for a child that is added later."""
    return s.StartChild(_typed(op.child)) if isinstance(op, s.StartChild) else op


def _typed(child: s.Child) -> s.Child:
    assert isinstance(child.payload, ChildOf | SupervisorOf)
    return msgspec.structs.replace(child, type=child.payload.declared)


def dynamic(unit: Unit) -> bool:
    """Its children have labels in the place of ids."""
    return unit.spec.strategy == "simple_one_for_one"


NAMED: dict[str, Callable[[str], Any]] = {
    "terminate_child": m.TerminateChild,
    "restart_child": m.RestartChild,
    "delete_child": m.DeleteChild,
    "get_childspec": m.GetChildSpec,
}


def request_of(step: Step, processes: dict[str, str]) -> Any:
    """The request of a step; `processes` is the latest process of each path."""
    match step["op"]:
        case "which_children":
            return m.WhichChildren()
        case "count_children":
            return m.CountChildren()
        case "start_child" if "label" in step:
            return m.StartDynamic(step["label"], pickling.dumps(step.get("behaviour", {})))
        case "start_child":
            return m.StartChild(spec_of(step["child"]))
    name = step["id"] if "id" in step else processes.get(step["pid_of"], NO_SUCH_PROCESS)
    return NAMED[step["op"]](name)
