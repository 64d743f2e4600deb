"""What a node shows: rows in tree order, reports as lines that a person or a program reads."""

from __future__ import annotations

import json
import os
from typing import cast, get_args

import psutil
import pytest

from otp import messages as m
from otp.messages import KILLED, WireChild, WireSupervisor
from otp.node_view import format_report, process_infos
from otp.running import Owner, Running
from otp.signals import Begin, Started
from otp.spawner import Spawner
from otp.supervisor import AUTO_SHUTDOWN, Unit

WORKER, PROGRAM = WireChild("w"), WireChild("p", "program", command=("redis",))
AT = 1_000_000_000.0


class FakeProcess:
    pid = 17


class FakeSpawner:
    """All that the view asks of a spawner."""

    zygote_pid = FakeProcess.pid


def run(unit: Unit, id: str, serial: int, child: WireChild, *, began: bool) -> None:
    """The child has a process, which has said that it serves, or has not yet."""
    (key,) = (entry.key for entry in unit.machine.entries() if entry.id == id)
    owner = cast(Owner, None)  # nothing happens to this process
    running = Running(serial, f"<c.{serial}@a>", unit.below(id)[0], child, owner)
    running.os_pid, running.began, running.started_at = 100 + serial, began, AT
    unit.processes[key] = running
    if began:
        unit.machine.step(Started(key, running.process), 0.0)


@pytest.fixture
def root() -> Unit:
    """The worker of root runs; the program of pool, below it, is on its way."""
    pool_spec = WireSupervisor("pool", (PROGRAM, WireChild("later")))
    root = Unit(WireSupervisor("root", (WORKER, pool_spec)), "root", "", "<c.s1@a>")
    pool = Unit(pool_spec, "root/pool", "pool", "<c.s2@a>")
    for unit in (root, pool):
        unit.started_at = AT
        unit.machine.step(Begin(), 0.0)
    run(root, "w", 1, WORKER, began=True)
    run(pool, "p", 2, PROGRAM, began=False)
    root.restarts["w"], root.last_exit["w"] = 2, "killed"
    root.units[root.machine.entries()[1].key] = pool
    pool.parent = root
    return root


def test_every_process_is_a_row_parents_first(root: Unit) -> None:
    node, zygote, *rows = process_infos("a", cast(Spawner, FakeSpawner()), [root])
    assert (node.path, node.type, node.pid) == ("a", "node", os.getpid())
    assert abs(node.started - psutil.Process().create_time()) < 1
    assert (zygote.path, zygote.type, zygote.pid) == ("zygote", "zygote", FakeProcess.pid)
    kept = "permanent"
    assert rows == [
        m.ProcessInfo("root", "supervisor", "running", 0, "<c.s1@a>", 0, AT),
        m.ProcessInfo("root/w", "worker", "running", 101, "<c.1@a>", 2, AT, "killed", restart=kept),
        m.ProcessInfo("root/pool", "supervisor", "running", 0, "<c.s2@a>", 0, AT, restart=kept),
        m.ProcessInfo("root/pool/p", "program", "starting", 102, "<c.2@a>", 0, AT, restart=kept),
        m.ProcessInfo("root/pool/later", "worker", "undefined", 0, "", 0, 0.0, restart=kept),
    ]


SENTENCES: list[tuple[m.Report, str]] = [
    (m.ChildStarted("r/a", AT, 7), "r/a: started, pid 7"),
    (m.ChildStarted("r/a", AT, 7, 2), "r/a: started, pid 7 (restart 2)"),
    (m.ChildStarted("r/s", AT), "r/s: started"),
    (m.ChildExited("r/a", AT, 7, KILLED, True), "r/a: ended, pid 7: killed; it is restarted"),
    (m.ChildExited("r/s", AT), "r/s: ended: normal"),
    (m.ChildStartFailed("r/a", AT, m.Reason("crash", "boom")), "r/a: did not start: crash: boom"),
    (m.GaveUp("r", AT), "r: gave up: too many restarts"),
    (m.GaveUp("r", AT, AUTO_SHUTDOWN), "r: has ended, as its significant children have"),
    (
        m.RestartDelayed("r/a", AT, 3.1416, "backoff"),
        "r/a: is started again in 3.14 s (backoff)",
    ),
    (
        m.EssentialEnded("r/a", AT, "crash: exit code 3", 3),
        "r/a: ended for good, is essential: exit code 3 (crash: exit code 3)",
    ),
    (m.NodeFault("a", AT, "the zygote died"), "a: the zygote died"),
    (m.MessagesDropped("r/a", AT, 3), "r/a: 3 messages dropped, its queue was full"),
    (m.PeerUp("b", AT), "node b: connected"),
    (m.PeerDown("b", AT, "closed"), "node b: connection lost (closed)"),
    (m.StrangerRejected("h", AT, 1, "mute"), "a stranger at h was turned away: mute"),
    (m.StrangerRejected("h", AT, 9, "mute"), "a stranger at h was turned away, 9 times: mute"),
]


@pytest.mark.parametrize(("report", "sentence"), SENTENCES)
def test_a_report_reads_as_a_sentence(report: m.Report, sentence: str) -> None:
    clock, node, said = format_report(report, "a", "text").split(" ", 2)
    assert (node, said) == ("[a]", sentence)
    assert len(clock) == len("23:59:59") and clock[2] == clock[5] == ":"


def test_every_kind_of_report_has_its_sentence() -> None:
    assert {type(report) for report, _ in SENTENCES} == set(get_args(m.AnyReport))


@pytest.mark.parametrize("report", [report for report, _ in SENTENCES])
def test_as_json_a_report_is_one_object_on_one_line(report: m.Report) -> None:
    line = format_report(report, "a", "json")
    assert "\n" not in line
    read = json.loads(line)
    assert (read["node"], read["type"], read["at"]) == ("a", type(report).__name__, AT)
