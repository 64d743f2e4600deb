"""What a node shows of itself: its processes as rows, its reports as lines."""

from __future__ import annotations

import json
import os
import time
from typing import Literal

import msgspec

from otp import messages as m
from otp.messages import ProcessInfo, Report
from otp.running import Running
from otp.spawner import Spawner
from otp.supervisor import AUTO_SHUTDOWN, Unit


def process_infos(node: str, spawner: Spawner, roots: list[Unit]) -> list[ProcessInfo]:
    """Every process of the node, parents before children, in start order."""
    own, zygote = os.getpid(), spawner.zygote.pid
    rows = [
        ProcessInfo(node, "node", "running", own, "", 0, started_at(own)),
        ProcessInfo("zygote", "zygote", "running", zygote, "", 0, started_at(zygote)),
    ]
    for root in roots:
        rows += _unit_rows(root)
    return rows


def started_at(pid: int) -> float:
    """When a process was started, in seconds since the epoch; 0 if it is gone. From /proc."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
    except FileNotFoundError:
        return 0.0
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - since_boot + ticks / os.sysconf("SC_CLK_TCK")


def _unit_rows(unit: Unit) -> list[ProcessInfo]:
    rows = [
        ProcessInfo(unit.path, "supervisor", "running", 0, unit.process, 0, unit.started_at)
    ]
    for entry in unit.machine.entries():
        inner = unit.units.get(entry.key)
        running = unit.processes.get(entry.key)
        if inner is not None:
            rows += _unit_rows(inner)
        else:
            rows.append(_row(unit, entry.id, entry.state, running))
    return rows


def _row(unit: Unit, id: str, state: str, running: Running | None) -> ProcessInfo:
    kind: Literal["worker", "program", "mailroom"] = "worker"
    if running is not None and running.child.kind in ("program", "mailroom"):
        kind = running.child.kind
    if running is not None and not running.began:
        state = "starting"
    return ProcessInfo(
        unit.below(id)[0],
        kind,
        state,
        running.os_pid if running else 0,
        running.process if running else "",
        unit.restarts.get(id, 0),
        running.started_at if running else 0.0,
        unit.last_exit.get(id, ""),
    )


def format_report(report: Report, node: str, style: str) -> str:
    """One line of log for a report."""
    if style == "json":
        return json.dumps({"node": node, **msgspec.to_builtins(report)})
    clock = time.strftime("%H:%M:%S", time.localtime(report.at))
    return f"{clock} [{node}] {_sentence(report)}"


def _sentence(report: Report) -> str:
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
        case m.NodeFault(path, _, text):
            return f"{path}: {text}"
        case m.MessagesDropped(path, _, count):
            return f"{path}: {count} messages dropped, its queue was full"
        case m.PeerUp(path, _):
            return f"node {path}: connected"
        case m.PeerDown(path, _, text):
            return f"node {path}: connection lost ({text})"
        case _:
            return str(report)
