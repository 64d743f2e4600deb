"""Scenarios that nobody has thought of: random trees, and random things that are done to them.

There is no recording of them. What the pure state machine does is what real processes must do.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec

from tests.conformance.scenario import Node, Scenario, Step
from tests.conformance.virtual import Virtual

IDS = "abcdefgh"
STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
RESTARTS = ("permanent", "transient", "temporary")
REASONS = ("crash", "normal", "shutdown", "shutdown:bye", "kill")
DEPTH_MAX = 2
STUBBORN_MS = 200


def invented(seed: int) -> Scenario:
    """A scenario and what the state machine does in it."""
    random = Random(seed)
    tree = _supervisor(random, "root", 0, "never")
    steps = [step for _ in range(random.randint(2, 8)) if (step := _step(random, tree))]
    world = Virtual()
    expected = [world.begin(tree), *map(world.do, steps)]
    return Scenario(f"invented-{seed}", "invented", tree, steps, expected, class_="invented")


def _worker(random: Random, id: str, auto_shutdown: str) -> Node:
    node: Node = {"id": id, "restart": random.choice(RESTARTS)}
    behaviour: dict[str, Any] = {}
    if random.random() < 0.3:
        more = random.choices(("ok", "error", "crash", "ignore"), k=random.randint(1, 3))
        behaviour["init"] = ["ok", *more]
    if random.random() < 0.25:
        reason = random.choice(("normal", "crash", "shutdown:x"))
        behaviour["stop"] = random.choice(("ignore", {"delay_ms": 60}, {"exit_with": reason}))
    if behaviour.get("stop") == "ignore":
        node["shutdown"] = STUBBORN_MS
    if auto_shutdown != "never" and node["restart"] != "permanent":
        node["significant"] = random.random() < 0.6
    return {**node, "behaviour": behaviour}


def _supervisor(random: Random, id: str, depth: int, auto_shutdown: str) -> Node:
    dynamic = depth > 0 and random.random() < 0.25
    own = random.choice(("never", "never", "any_significant", "all_significant"))
    children = []
    for name in random.sample(IDS, 1 if dynamic else random.randint(1, 5)):
        deeper = not dynamic and depth < DEPTH_MAX and random.random() < 0.3
        make = _supervisor(random, name, depth + 1, own) if deeper else _worker(random, name, own)
        children.append(make)
    node: Node = {"id": id, "intensity": random.randint(0, 4), "period": 60, "children": children}
    node["strategy"] = "simple_one_for_one" if dynamic else random.choice(STRATEGIES)
    node["auto_shutdown"] = own
    if depth:
        node["restart"] = random.choice(RESTARTS)
        node["significant"] = auto_shutdown != "never" and node["restart"] != "permanent"
    return node


def _below(path: str, node: Node) -> Iterator[tuple[str, Node]]:
    yield path, node
    for child in node.get("children", []):
        yield from _below(f"{path}/{child['id']}", child)


def _step(random: Random, tree: Node) -> Step | None:
    """One thing that may be done to it; None where it makes no sense there."""
    supervisors = [(path, node) for path, node in _below("root", tree) if "children" in node]
    path, node = random.choice(supervisors)
    reason = random.choice(REASONS)
    if node["strategy"] == "simple_one_for_one":
        label = random.choice(("k1", "k2"))
        return random.choice(
            [
                {"op": "start_child", "sup": path, "label": f"{label}-{random.random()}"},
                {"op": "terminate_child", "sup": path, "pid_of": f"{path}/{label}"},
                {"op": "count_children", "sup": path},
            ]
        )
    workers = [f"{path}/{child['id']}" for child in node["children"] if "children" not in child]
    id = random.choice([child["id"] for child in node["children"]])
    if random.random() < 0.5:
        if not workers:
            return None
        some = random.sample(workers, random.randint(1, len(workers)))
        alone: Step = {"op": "exit", "path": some[0], "reason": reason}
        return random.choice(
            [alone, {"op": "exit_many", "sup": path, "paths": some, "reason": reason}]
        )
    return random.choice(
        [
            {"op": "stop", "path": path, "reason": random.choice(("normal", "shutdown"))},
            {"op": "terminate_child", "sup": path, "id": id},
            {"op": "restart_child", "sup": path, "id": id},
            {"op": "delete_child", "sup": path, "id": id},
            {"op": "start_child", "sup": path, "child": _worker(random, id, "never")},
            {"op": "start_child", "sup": path, "child": _supervisor(random, "x", 1, "never")},
        ]
    )


def as_line(scenario: Scenario) -> bytes:
    """A scenario as a line of a .jsonl file, to look into what went wrong."""
    return msgspec.json.encode(scenario) + b"\n"
