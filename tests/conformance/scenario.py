"""Scenarios: where they come from, and what OTP's words for a tree are in ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from otp.signals import Child, Flags

Node = dict[str, Any]
"""A supervisor or worker of a scenario's tree, as recorded; absent fields mean OTP's defaults."""
Step = dict[str, Any]
WORKER_SHUTDOWN_MS = 5000


class Observation(msgspec.Struct):
    """What a step did: its result, the events since the last one, each live supervisor's state."""

    result: Any
    events: list[list[Any]] = []
    state: dict[str, Any] = {}


class Scenario(msgspec.Struct):
    """A tree, what is done to it, and what was observed (once more than there are steps)."""

    id: str
    title: str
    tree: Node
    steps: list[Step]
    expected: list[Observation]
    class_: str = msgspec.field(name="class")
    tags: list[str] = []
    ignore: list[str] = []

    @property
    def is_quirk(self) -> bool:
        """A recorded bug of OTP 25, which nobody should imitate."""
        return self.class_ == "quirks" or "quirk" in self.tags

    @property
    def kills_supervisors(self) -> bool:
        """A supervisor is killed in it: some of its steps have no order."""
        return any(step.get("unordered") for step in self.steps)


class World(Protocol):
    """Something that scenarios can be acted out in, one tree each."""

    def begin(self, tree: Node) -> Observation:
        """Start the tree and wait until it is at rest."""

    def do(self, step: Step) -> Observation:
        """Do one step and wait until the tree is at rest."""


def load(paths: list[Path]) -> Iterator[Scenario]:
    """All scenarios of these files and folders, in the order of their names."""
    for path in paths:
        for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
            for line in file.read_text().splitlines():
                yield msgspec.json.decode(line, type=Scenario)


def flags_of(node: Node) -> Flags:
    """A supervisor's flags; deliberately invalid values go through as they are."""
    return Flags(
        node.get("strategy", "one_for_one"),
        node.get("intensity", 1),
        node.get("period", 5),
        node.get("auto_shutdown", "never"),
    )


def child_of(node: Node) -> Child:
    """A child's specification, its node as payload; milliseconds become seconds."""
    kind = node.get("type", "supervisor" if "children" in node else "worker")
    shutdown: Any = node.get("shutdown", "infinity" if kind == "supervisor" else WORKER_SHUTDOWN_MS)
    if not isinstance(shutdown, str):
        shutdown = shutdown / 1000
    return Child(
        node.get("id", ""),
        node.get("restart", "permanent"),
        shutdown,
        node.get("significant", False),
        kind,
        payload=node,
        startable=not node.get("no_start", False),
    )
