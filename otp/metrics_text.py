"""What a node counts and shows to Prometheus: from its rows and reports to the text format.

Pure: rows (`ProcessInfo`), reports and samples come in, text of version 0.0.4 goes out. Names end
in their unit. A child that is gone for good is no series of its own any more: what was counted of
it goes on under its supervisor as `root/jobs/*`, so that a pool of jobs has as many series as it
has jobs at the moment, and sums stay right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from otp import messages as m
from otp.messages import ProcessInfo, Report

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels: TypeAlias = tuple[tuple[str, str], ...]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Sample(msgspec.Struct, frozen=True):
    """What a process and all below it use: bytes of memory, seconds of CPU, how many they are."""

    memory_bytes: int
    cpu_seconds: float
    processes: int


class Family(msgspec.Struct):
    """One metric: its name, what it says, and its values by labels."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    values: dict[Labels, float] = {}

    def text(self) -> str:
        """The lines of the text format; nothing where there is no value."""
        lines = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} {self.kind}"]
        for labels, value in self.values.items():
            shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
            lines.append(f"{self.name}{{{shown}}} {value!r}")
        return "\n".join(lines) + "\n" if self.values else ""


class Tally:
    """Counts reports, for as long as its process lives."""

    def __init__(self) -> None:
        self.exits: Counter[tuple[str, str]] = Counter()
        self.start_failures: Counter[str] = Counter()
        self.gave_up: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.faults = self.strangers = 0
        self.peers: dict[str, bool] = {}

    def add(self, report: Report) -> None:
        """Take in one report."""
        match report:
            case m.ChildExited(path, _, _, reason):
                self.exits[path, reason.kind] += 1
            case m.ChildStartFailed(path):
                self.start_failures[path] += 1
            case m.GaveUp(path):
                self.gave_up[path] += 1
            case m.MessagesDropped(path, _, count):
                self.dropped[path] += count
            case m.NodeFault():
                self.faults += 1
            case m.StrangerRejected(_, _, count):
                self.strangers += count
            case m.PeerUp(path):
                self.peers[path] = True
            case m.PeerDown(path):
                self.peers[path] = False

    def fold(self, here: set[str]) -> None:
        """Count those that are not in the tree any more under their supervisors."""
        exits, self.exits = self.exits, Counter()
        for (path, kind), count in exits.items():
            self.exits[_kept(path, here), kind] += count
        for name in ("start_failures", "gave_up", "dropped"):
            folded: Counter[str] = Counter()
            for path, count in getattr(self, name).items():
                folded[_kept(path, here)] += count
            setattr(self, name, folded)


def page(
    node: str,
    about: Mapping[str, str],
    rows: Sequence[ProcessInfo],
    samples: Mapping[int, Sample],
    tally: Tally,
) -> str:
    """The whole page. `samples` are by OS pid; `about` are labels of otp_node_info."""
    tally.fold({row.path for row in rows})
    base = (("node", node),)
    families = [
        Family("otp_node_info", "gauge", "What runs here.", {(*base, *about.items()): 1.0}),
        Family(
            "otp_node_faults_total",
            "counter",
            "How often the node found something wrong with itself.",
            {base: float(tally.faults)},
        ),
        Family(
            "otp_strangers_rejected_total",
            "counter",
            "Who was turned away at the door of the network.",
            {base: float(tally.strangers)},
        ),
        *_lives(base, rows),
        *_uses(base, rows, samples),
        *_counts(base, tally),
    ]
    return "".join(family.text() for family in families)


def _lives(base: Labels, rows: Iterable[ProcessInfo]) -> list[Family]:
    up = Family("otp_child_up", "gauge", "1 while the child runs and is ready, else 0.", {})
    begun = Family("otp_child_start_time_seconds", "gauge", "When it was started (epoch).", {})
    again = Family(
        "otp_child_restarts_total", "counter", "How often its supervisor has restarted it.", {}
    )
    for row in rows:
        labels = (*base, *_who(row))
        up.values[labels] = 1.0 if row.state == "running" else 0.0
        again.values[labels] = float(row.restarts)
        if row.started:
            begun.values[labels] = row.started
    return [up, begun, again]


def _uses(base: Labels, rows: Iterable[ProcessInfo], samples: Mapping[int, Sample]) -> list[Family]:
    memory = Family("otp_child_memory_bytes", "gauge", "Resident: it and all below it.", {})
    cpu = Family("otp_child_cpu_seconds_total", "counter", "CPU: it and all below it.", {})
    count = Family("otp_child_processes", "gauge", "OS processes: it and all below it.", {})
    for row in rows:
        sample = samples.get(row.pid)
        if sample is not None and row.pid:
            labels = (*base, *_who(row))
            memory.values[labels] = float(sample.memory_bytes)
            cpu.values[labels] = sample.cpu_seconds
            count.values[labels] = float(sample.processes)
    return [memory, cpu, count]


def _counts(base: Labels, tally: Tally) -> list[Family]:
    exits = {
        (*base, ("child", path), ("reason", kind)): float(count)
        for (path, kind), count in tally.exits.items()
    }
    peers = {(*base, ("peer", name)): float(up) for name, up in tally.peers.items()}
    return [
        Family("otp_child_exits_total", "counter", "Ends of children, by reason.", exits),
        _by(base, "otp_child_start_failures_total", "child", tally.start_failures),
        _by(base, "otp_supervisor_gave_up_total", "supervisor", tally.gave_up),
        _by(base, "otp_messages_dropped_total", "child", tally.dropped),
        Family("otp_peer_up", "gauge", "1 while the link to that node is up, else 0.", peers),
    ]


_HELP = {
    "otp_child_start_failures_total": "Starts that did not succeed.",
    "otp_supervisor_gave_up_total": "How often a supervisor stopped its children and left.",
    "otp_messages_dropped_total": "Messages to it that found its queue full.",
}


def _by(base: Labels, name: str, label: str, counts: Mapping[str, int]) -> Family:
    values = {(*base, (label, path)): float(count) for path, count in counts.items()}
    return Family(name, "counter", _HELP[name], values)


def _who(row: ProcessInfo) -> Labels:
    return ("child", row.path), ("type", row.type)


def _kept(path: str, here: set[str]) -> str:
    """The path, or where a child is counted that is gone. Already folded ones stay."""
    return path if path in here or path.endswith("*") else f"{path.rpartition('/')[0]}/*"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
