"""Requests to supervisors: from the wire to a machine's operations, and its answers back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

from otp import messages as m
from otp import signals as s
from otp.amendment import Amend
from otp.frames import Failure
from otp.supervisor import Unit, as_child

Alive = Callable[[str], bool]
"""Whether the process of this pid runs: a dead one may have been a dynamic child."""

NAMED: dict[type, Callable[[str | s.ByPid], s.Op]] = {
    m.TerminateChild: s.TerminateChild,
    m.RestartChild: s.RestartChild,
    m.DeleteChild: s.DeleteChild,
    m.GetChildSpec: s.GetChildSpec,
}
OPS: dict[type, Callable[[Any, m.WireSupervisor | None], s.Op]] = {
    m.StartChild: lambda r, under: s.StartChild(as_child(r.child, under)),
    m.StartDynamic: lambda r, _: s.StartDynamic(r.label, r.args),
    m.WhichChildren: lambda r, _: s.WhichChildren(),
    m.CountChildren: lambda r, _: s.CountChildren(),
    Amend: lambda r, _: cast(s.Op, r),  # every machine of a node is Amendable
}


def to_op(
    request: m.SupervisorRequest | Amend, alive: Alive, under: m.WireSupervisor | None = None
) -> s.Op:
    """The machine's operation for a request to the supervisor `under`.

    A child is named by its id or, under simple_one_for_one, by its pid.
    """
    if make := NAMED.get(type(request)):
        name = request.id  # type: ignore[union-attr]
        return make(s.ByPid(name, alive(name)) if name.startswith("<") else name)
    return OPS[type(request)](request, under)


def to_reply(request: Any, result: s.Result, unit: Unit) -> Any:
    """What the caller gets: the reply that its request declares, or a Failure."""
    if isinstance(result, s.Refused) and result.word in ("noproc", "overloaded"):
        return Failure(result.word, f"the supervisor {unit.path}")
    if isinstance(result, s.Refused):
        detail = result.detail or (str(result.reason) if result.reason else "")
        return Failure("supervisor", f"{result.word}: {detail}" if detail else result.word)
    if isinstance(result, s.Ok):
        return _started(request, result, unit)
    if isinstance(result, tuple):
        return [_info(entry, unit) for entry in result]
    return result.payload if isinstance(result, s.Child) else result


def _started(request: Any, result: s.Ok, unit: Unit) -> m.ChildInfo | None:
    if isinstance(request, (m.TerminateChild, m.DeleteChild, Amend)):
        return None
    name = request.child.id if isinstance(request, m.StartChild) else ""
    name = request.label if isinstance(request, m.StartDynamic) else name
    name = request.id if isinstance(request, m.RestartChild) else name
    state: Literal["running", "undefined"] = "undefined" if result.ignored else "running"
    process = None if result.pid is None else str(result.pid)
    return m.ChildInfo(name, state, _kind(process), process, _os_pid(process, unit))


def _kind(process: str | None) -> Literal["worker", "supervisor"]:
    """`<creation.s7@node>` is a supervisor, `<creation.7@node>` is not."""
    serial = (process or "").rpartition("@")[0].rpartition(".")[2]
    return "supervisor" if serial.startswith("s") else "worker"


def _info(entry: s.ChildEntry, unit: Unit) -> m.ChildInfo:
    process = None if entry.pid is None else str(entry.pid)
    return m.ChildInfo(entry.id, entry.state, entry.type, process, _os_pid(process, unit))


def _os_pid(process: str | None, unit: Unit) -> int | None:
    found = (r.os_pid for r in unit.processes.values() if r.process == process)
    return next(found, None)
