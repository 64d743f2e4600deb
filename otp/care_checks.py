"""The check of a child's care: `ready`, `liveness`, `heartbeat` and the like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from otp import starts
from otp.care import WAYS, Backoff, Liveness, Ready, ways
from otp.messages import Request
from otp.rules import BACKOFF, LIVENESS, READY, TEXT, Rule, is_list
from otp.spec import ChildSpec
from otp.words import did_you_mean, shown

Where: TypeAlias = tuple[str | int, ...]
Fault: TypeAlias = tuple[Where, str]

_PROBES: dict[str, tuple[type, dict[str, Rule], str]] = {
    "ready": (Ready, READY, "{tcp: '127.0.0.1:6390'} or notify"),
    "liveness": (Liveness, LIVENESS, "{http: 'http://127.0.0.1:8000/health'}"),
}


def care_faults(spec: ChildSpec, where: Where, *, imports: bool) -> Iterator[Fault]:
    """What is wrong with the care of one child, as `checks.faults` tells it."""
    for field, (kind, rules, example) in _PROBES.items():
        value = getattr(spec, field)
        if isinstance(value, kind):
            yield from _probe(spec, value, (*where, field), rules, imports)
        elif value is not None:
            yield from _no_struct(value, (*where, field), rules, example)
    yield from _for_workers(spec, where, imports)
    yield from backoff_faults(spec.backoff, (*where, "backoff"))
    if spec.replicas is not None:
        yield from _replicas(spec, where)


def backoff_faults(backoff: Any, where: Where) -> Iterator[Fault]:
    """What is wrong with the pauses of a child, or of a supervisor's children."""
    if isinstance(backoff, Backoff):
        found = list(_fields(backoff, where, BACKOFF))
        yield from found
        if not found and backoff.initial > backoff.max:  # type: ignore[operator]
            yield (*where, "max"), "is less than `initial`, the first pause"
    elif backoff is not None:
        yield from _no_struct(backoff, where, BACKOFF, "{initial: 1s, max: 1m}")


def _fields(struct: Any, where: Where, rules: Mapping[str, Rule]) -> Iterator[Fault]:
    for field, rule in rules.items():
        if message := rule(getattr(struct, field)):
            yield (*where, field), message


def _replicas(spec: ChildSpec, where: Where) -> Iterator[Fault]:
    if spec.name is not None:
        text = f"replicas cannot share a name: they are {spec.id}/0, {spec.id}/1 and so on"
        yield (*where, "name"), text
    if spec.significant is True:
        text = "auto_shutdown takes no note of one of many replicas"
        yield (*where, "significant"), f"{text}: leave one of the two out"


def _no_struct(
    value: Any, where: Where, rules: Mapping[str, Rule], example: str
) -> Iterator[Fault]:
    if not isinstance(value, Mapping):
        yield where, f"{shown(value)} is not {where[-1]}: it is a mapping, such as {example}"
        return
    for key in value:
        if key not in rules:
            guess = did_you_mean(str(key), rules) or f"; use {', '.join(rules)}"
            yield (*where, key), f"{shown(key)} is not a key of `{where[-1]}`{guess}"


def _probe(
    spec: ChildSpec, probe: Any, where: Where, rules: Mapping[str, Rule], imports: bool
) -> Iterator[Fault]:
    yield from _fields(_as_of_the_first(probe) if spec.replicas else probe, where, rules)
    given = ways(probe)
    if len(given) != 1:
        names = ", ".join(way for way in WAYS if way in rules)
        have = f"{' and '.join(given)} exclude each other" if given else "it says no way"
        yield where, f"{have}: give exactly one of {names}"
    if is_list(probe.exec):
        for index, item in enumerate(probe.exec):
            if message := TEXT(item):
                yield (*where, "exec", index), message
        if not probe.exec or not probe.exec[0]:
            yield (*where, "exec"), "names no program: write it first, then its arguments"
    if probe.call is not None:
        yield from _call(spec, probe.call, (*where, "call"), imports)


def _as_of_the_first(probe: Any) -> Any:
    """The probe of replica 0: a target may hold `{replica}`."""
    filled = {
        field: value.replace("{replica}", "0")
        for field in ("tcp", "http")
        if isinstance(value := getattr(probe, field), str)
    }
    return msgspec.structs.replace(probe, **filled)


def _call(spec: ChildSpec, call: Any, where: Where, imports: bool) -> Iterator[Fault]:
    if spec.command is not None:
        yield where, "a program takes no calls: use tcp, http or exec"
        return
    if is_server(spec, imports) is False:
        yield where, "only a GenServer takes calls: use tcp, http or exec"
    try:
        request_of(call, imports=imports)
    except (LookupError, TypeError) as error:
        yield where, str(error)


def request_of(call: Any, *, imports: bool = True) -> Any:
    """The request that `call` names: an instance, a class, or "module:Class".

    None where it cannot be known without imports. Raises LookupError and TypeError.
    """
    if isinstance(call, str):
        starts.parse(call)
        if not imports:
            return None
        call = starts.find(call)
    if isinstance(call, type):
        try:
            call = call()
        except Exception as error:  # whatever the class of a user raises
            text = f"{shown(call.__name__)} cannot be made without arguments ({error})"
            raise TypeError(f"{text}: give its fields defaults, or an instance in Python") from None
    if not isinstance(call, Request):
        raise TypeError(f"{shown(call)} is not an otp.Request, nor the 'module:Class' of one")
    return call


def is_server(spec: ChildSpec, imports: bool) -> bool | None:
    """Does `start` name a GenServer? None where that cannot be known."""
    start = spec.start
    if isinstance(start, str):
        try:
            start = starts.find(start) if imports else None
        except LookupError:
            return None  # told already
    if start is None:
        return None
    return isinstance(start, type) and hasattr(start, "handle_call")


def _for_workers(spec: ChildSpec, where: Where, imports: bool) -> Iterator[Fault]:
    """What only a worker's own loop can do."""
    if spec.heartbeat is not None and spec.command is not None:
        text = "a program has no loop that could answer a heartbeat: use `liveness`"
        yield (*where, "heartbeat"), text
    elif spec.heartbeat is not None and is_server(spec, imports) is False:
        text = "only a GenServer has a loop that answers a heartbeat: use `liveness`"
        yield (*where, "heartbeat"), text
    if spec.start_timeout != "infinity" and spec.command is not None:
        text = "a program has started when it is executed: use `ready`, which has a `timeout`"
        yield (*where, "start_timeout"), text
