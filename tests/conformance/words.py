"""The words in which a scenario speaks of what `otp.signals` has structs for."""

from __future__ import annotations

from typing import Any

from otp.frames import Failure
from otp.messages import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    ChildCounts,
    ChildInfo,
    Reason,
    WireChild,
    WireSupervisor,
)
from otp.signals import Child, ChildEntry, Ok, Refused

CRASH = Reason("crash")
REASONS = {"normal": NORMAL, "shutdown": SHUTDOWN, "kill": KILLED, "crash": CRASH}


def reason_of(word: str) -> Reason:
    """A scenario's word for a reason, as ours."""
    kind, _, term = word.partition(":")
    return Reason("shutdown", term) if term else REASONS[kind]


def said(reason: Reason) -> str:
    """Our reason in a scenario's word."""
    if reason.kind == "shutdown" and reason.text:
        return f"shutdown:{reason.text}"
    return reason.kind


def answer(result: Ok | Refused | Child | ChildCounts) -> Any:
    """An answer, save that to which_children, in a scenario's words."""
    match result:
        case Ok(_, ignored):
            return "ok:undefined" if ignored else "ok"
        case Refused():
            return refusal(result)
        case Child():
            return spec(result)
        case ChildCounts(specs, active, supervisors, workers):
            return [specs, active, supervisors, workers]


def children(
    entries: tuple[ChildEntry, ...], incs: dict[int, int], *, dynamic: bool
) -> list[list[Any]]:
    """The answer to which_children in a scenario's words; `incs` are attempt numbers by key."""
    rows = [[e.id, e.state, e.type, incs.get(e.key)] for e in entries]
    return labelled(rows) if dynamic else rows


def labelled(rows: list[list[Any]]) -> list[list[Any]]:
    """Dynamic children: the recorder found labels by pid; one without a pid came first."""
    rows = [[None, *row[1:]] if row[1] == "restarting" else row for row in rows]
    return sorted(rows, key=lambda row: str(row[0] or ""))


def reply(answered: Any, incs: dict[str, int], *, dynamic: bool) -> Any:
    """What a node replies, in a scenario's words; `incs` are attempt numbers by process."""
    match answered:
        case None:
            return "ok"
        case Failure(kind="noproc"):
            return "noproc"
        case Failure(text=text):
            word, _, detail = text.partition(": ")
            known = word == "bad_spec" or detail.startswith("child:")
            return f"error:{word}:{detail}" if known else f"error:{word}"
        case ChildInfo(state=state):
            return "ok" if state == "running" else "ok:undefined"
        case ChildCounts(specs, active, supervisors, workers):
            return [specs, active, supervisors, workers]
        case WireChild() | WireSupervisor():
            kind: Any = "supervisor" if isinstance(answered, WireSupervisor) else "worker"
            return spec(Child(answered.id, *_terms(answered), kind))
    rows = [[c.id, c.state, c.type, incs[c.process] if c.process else None] for c in answered]
    return labelled(rows) if dynamic else rows


def _terms(child: WireChild | WireSupervisor) -> tuple[Any, Any, bool]:
    return child.restart, child.shutdown, child.significant


def refusal(refused: Refused) -> str:
    """A refusal in a scenario's words."""
    match refused.word:
        case "noproc":
            return "noproc"
        case "bad_spec":
            return f"error:bad_spec:{refused.detail}"
        case "start_failed" if refused.detail.startswith("child:"):
            return f"error:start_failed:{refused.detail}"
    return f"error:{refused.word}"


def spec(child: Child) -> dict[str, Any]:
    """What get_childspec shows of a child."""
    shutdown = child.shutdown
    return {
        "restart": child.restart,
        "shutdown": shutdown if isinstance(shutdown, str) else round(shutdown * 1000),
        "significant": child.significant,
        "type": child.type,
    }


def nth(behaviour: dict[str, Any], name: str, inc: int, otherwise: Any) -> Any:
    """What the behaviour says of attempt `inc`: its place in the list, or what holds beyond it."""
    listed = behaviour.get(name, [])
    return listed[inc - 1] if inc <= len(listed) else behaviour.get(f"{name}_rest", otherwise)
