"""Requests to supervisors: from the wire to a machine's operations, and its answers back."""

from __future__ import annotations

from typing import Any, Literal

from otp import messages as m
from otp import signals as s
from otp.frames import Failure
from otp.supervisor import Unit, as_child

OPS: dict[type, Any] = {
    m.StartChild: lambda r: s.StartChild(as_child(r.child)),
    m.StartDynamic: lambda r: s.StartDynamic(r.label, r.args),
    m.TerminateChild: lambda r: s.TerminateChild(named(r.id)),
    m.RestartChild: lambda r: s.RestartChild(named(r.id)),
    m.DeleteChild: lambda r: s.DeleteChild(named(r.id)),
    m.WhichChildren: lambda r: s.WhichChildren(),
    m.CountChildren: lambda r: s.CountChildren(),
}


def named(id: str) -> str | s.ByPid:
    """A child is named by its id or, under simple_one_for_one, by its pid."""
    return s.ByPid(id) if id.startswith("<") else id


def to_op(request: m.SupervisorRequest) -> s.Op:
    """The machine's operation for a request."""
    op: s.Op = OPS[type(request)](request)
    return op


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
    return result


def _started(request: Any, result: s.Ok, unit: Unit) -> m.ChildInfo | None:
    if isinstance(request, (m.TerminateChild, m.DeleteChild)):
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
