"""What a node shows of itself: its processes as rows, its reports as lines."""

from __future__ import annotations

import json
import os
import time
from typing import Literal

import msgspec

from otp import messages as m
from otp.messages import ProcessInfo, Report, WireChild, WireSupervisor
from otp.proc import started_at
from otp.running import Running
from otp.signals import ChildEntry
from otp.spawner import Spawner
from otp.supervisor import AUTO_SHUTDOWN, Unit


def process_infos(node: str, spawner: Spawner, roots: list[Unit]) -> list[ProcessInfo]:
    """Every process of the node, parents before children, in start order."""
    own, zygote = os.getpid(), spawner.zygote_pid
    rows = [
        ProcessInfo(node, "node", "running", own, "", 0, started_at(own)),
        ProcessInfo("zygote", "zygote", "running", zygote, "", 0, started_at(zygote)),
    ]
    for root in roots:
        rows += _unit_rows(root)
    return rows


def _unit_rows(unit: Unit) -> list[ProcessInfo]:
    known = unit.parent
    id = unit.path.rpartition("/")[2]
    rows = [
        ProcessInfo(
            unit.path,
            "supervisor",
            "running",
            0,
            unit.process,
            known.restarts.get(id, 0) if known else 0,
            unit.started_at,
            known.last_exit.get(id, "") if known else "",
            name=unit.spec.name,
            restart=unit.spec.restart if known else "",
            dynamic=known is not None and known.spec.strategy == "simple_one_for_one",
        )
    ]
    specs = {spec.id: spec for spec in unit.spec.children}
    for entry in unit.machine.entries():
        inner = unit.units.get(entry.key)
        if inner is not None:
            rows += _unit_rows(inner)
        else:
            rows.append(_row(unit, entry, specs.get(entry.id)))
    return rows


def _row(unit: Unit, entry: ChildEntry, spec: WireChild | WireSupervisor | None) -> ProcessInfo:
    running, id = unit.processes.get(entry.key), entry.id
    child = running.child if running else spec
    kind: Literal["worker", "program", "supervisor", "mailroom", "logger"] = entry.type
    if isinstance(child, WireChild) and child.kind in ("program", "mailroom", "logger"):
        kind = child.kind
    return ProcessInfo(
        unit.below(id)[0],
        kind,
        entry.state if running is None or running.began else _starting(running),
        running.os_pid if running else 0,
        running.process if running else "",
        unit.restarts.get(id, 0),
        running.started_at if running else 0.0,
        unit.last_exit.get(id, ""),
        name=child.name if child else "",
        restart=child.restart if child else "",
        dynamic=unit.spec.strategy == "simple_one_for_one",
        next_start=unit.delays.get(entry.key, 0.0) if entry.state == "restarting" else 0.0,
    )


def _starting(running: Running) -> str:
    return "unready" if running.watch is not None and running.watch.waiting else "starting"


def format_report(report: Report, node: str, style: str) -> str:
    """One line of log for a report."""
    if style == "json":
        return json.dumps({"node": node, **msgspec.to_builtins(report)})
    clock = time.strftime("%H:%M:%S", time.localtime(report.at))
    return f"{clock} [{node}] {sentence(report)}"


def sentence(report: Report) -> str:
    """A report as a person would say it."""
    match report:
        case m.ChildStarted(path, _, pid, restarts):
            again = f" (restart {restarts})" if restarts else ""
            return f"{path}: started{f', pid {pid}' if pid else ''}{again}"
        case m.ChildExited(path, _, pid, reason, restart):
            after = "; it is restarted" if restart else ""
            return f"{path}: ended{f', pid {pid}' if pid else ''}: {reason}{after}"
        case m.ChildStartFailed(path, _, reason):
            return f"{path}: did not start: {reason}"
        case m.GaveUp(path, _, reason) if reason == AUTO_SHUTDOWN:
            return f"{path}: has ended, as its significant children have"
        case m.GaveUp(path, _, reason):
            return f"{path}: gave up: {reason.text or 'too many restarts'}"
        case m.RestartDelayed(path, _, seconds, text):
            return f"{path}: is started again in {seconds:.3g} s ({text})"
        case m.EssentialEnded(path, _, reason, code):
            return f"{path}: ended for good, is essential: exit code {code} ({reason})"
        case m.NodeFault(path, _, text):
            return f"{path}: {text}"
        case m.MessagesDropped(path, _, count):
            return f"{path}: {count} messages dropped, its queue was full"
        case m.PeerUp(path, _):
            return f"node {path}: connected"
        case m.PeerDown(path, _, text):
            return f"node {path}: connection lost ({text})"
        case m.StrangerRejected(path, _, count, text):
            times = f", {count} times" if count > 1 else ""
            return f"a stranger at {path} was turned away{times}: {text}"
        case _:
            return str(report)
