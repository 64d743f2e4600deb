"""Says whether two observations agree, and if not, where."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from tests.conformance.scenario import Node, Observation, Scenario, Step, World

Event = list[Any]


def run(scenario: Scenario, world: World) -> str:
    """Act the scenario out; what differs from what was recorded, or "" if nothing does."""
    dynamic = _dynamic_supervisors(scenario)
    steps: list[Step | None] = [None, *scenario.steps]
    for number, (step, expected) in enumerate(zip(steps, scenario.expected, strict=True)):
        actual = world.begin(scenario.tree) if step is None else world.do(step)
        parts = list(_differences(step, expected, actual, scenario.ignore, dynamic))
        if parts:
            what = "the start of the tree" if step is None else f"step {number} {json.dumps(step)}"
            return "\n".join([f"{scenario.id}: {scenario.title}", f"  at {what}", *parts])
    return ""


def _differences(
    step: Step | None,
    expected: Observation,
    actual: Observation,
    ignore: list[str],
    dynamic: set[str],
) -> Iterator[str]:
    unordered = step is not None and step.get("unordered", False)
    parts: list[tuple[str, Callable[[Observation], Any]]] = [
        ("result", lambda seen: _without_detail(seen.result)),
        ("events", lambda seen: _events(seen.events, unordered, dynamic)),
        ("state", lambda seen: _state(seen.state, ignore)),
    ]
    for name, view in parts:
        if view(expected) != view(actual):
            yield f"  {name} (- recorded, + here):"
            yield from difflib.ndiff(_lines(view(expected)), _lines(view(actual)))


def _lines(seen: Any) -> list[str]:
    rows = sorted(seen.items()) if isinstance(seen, dict) else seen
    return [f"  {json.dumps(row)}" for row in rows] if isinstance(rows, list) else [f"  {rows}"]


def _without_detail(result: Any) -> Any:
    # What OTP calls each fault of a specification is for its reader, not for a program.
    if isinstance(result, str) and result.startswith("error:bad_spec"):
        return "error:bad_spec"
    return [_without_detail(one) for one in result] if isinstance(result, list) else result


def _events(events: list[Event], unordered: bool, dynamic: set[str]) -> list[Event]:
    if unordered:
        return sorted(events, key=lambda event: (event[1], event[2], event[0] == "exit", event))
    # simple_one_for_one stops its children at the same time, so nobody can say who ended first.
    seen: list[Event] = []
    for parent, group in groupby(events, key=lambda event: _parallel_group(event, dynamic)):
        seen += sorted(group, key=lambda event: str(event[1]) if parent else "")
    return seen


def _parallel_group(event: Event, dynamic: set[str]) -> str:
    kind, path = event[0], str(event[1])
    parent = path.rpartition("/")[0] or path  # the recorder took the root for its own parent
    return parent if kind == "exit" and parent in dynamic else ""


def _state(state: dict[str, Any], ignore: list[str]) -> dict[str, Any]:
    return {
        path: {name: seen for name, seen in supervisor.items() if name not in ignore}
        for path, supervisor in state.items()
    }


def _dynamic_supervisors(scenario: Scenario) -> set[str]:
    found = set(_dynamic_below("root", scenario.tree))
    for step in scenario.steps:
        if "child" in step:
            found |= set(_dynamic_below(f"{step['sup']}/{step['child'].get('id')}", step["child"]))
    return found


def _dynamic_below(path: str, node: Node) -> Iterator[str]:
    if node.get("strategy") == "simple_one_for_one":
        yield path
    for child in node.get("children", []):
        yield from _dynamic_below(f"{path}/{child.get('id')}", child)
