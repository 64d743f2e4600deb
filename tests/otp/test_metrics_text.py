from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from otp import messages as m
from otp.messages import ProcessInfo
from otp.metrics_text import Sample, Tally, page

ROWS = [
    ProcessInfo("a", "node", "running", 1, "", 0, 100.5),
    ProcessInfo("root", "supervisor", "running", 0, "<1.s1@a>", 0, 101.0),
    ProcessInfo("root/x", "worker", "running", 7, "<1.1@a>", 2, 102.0),
    ProcessInfo("root/y", "program", "restarting", 0, "", 3, 0.0),
]
CRASH = m.Reason("crash", "KeyError: 'x'")


def values(text: str) -> dict[tuple[str, str], float]:
    """By name and child (or supervisor, or peer), read as Prometheus would."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("node") == "a"
            labels.pop("type", None)
            found[sample.name, "/".join(labels.values())] = sample.value
    return found


def shown(tally: Tally, samples: dict[int, Sample] | None = None) -> dict[tuple[str, str], float]:
    return values(page("a", {"version": "1"}, ROWS, samples or {}, tally))


def test_rows_are_lives() -> None:
    found = shown(Tally())
    assert found["otp_node_info", "1"] == 1
    assert [found["otp_child_up", path] for path in ("root", "root/x", "root/y")] == [1, 1, 0]
    assert found["otp_child_restarts_total", "root/y"] == 3
    assert found["otp_child_start_time_seconds", "root/x"] == 102
    assert ("otp_child_start_time_seconds", "root/y") not in found


def test_samples_are_uses() -> None:
    found = shown(Tally(), {7: Sample(4096, 1.25, 3), 99: Sample(1, 1.0, 1)})
    assert found["otp_child_memory_bytes", "root/x"] == 4096
    assert found["otp_child_cpu_seconds_total", "root/x"] == 1.25
    assert found["otp_child_processes", "root/x"] == 3
    assert ("otp_child_memory_bytes", "root/y") not in found


def test_reports_are_counted() -> None:
    tally = Tally()
    for report in (
        m.ChildStarted("root/x", 0.0, 7),
        m.ChildExited("root/x", 0.0, 7, CRASH, True),
        m.ChildExited("root/x", 0.0, 8, CRASH, True),
        m.ChildExited("root/x", 0.0, 9, m.KILLED, True),
        m.ChildStartFailed("root/y", 0.0, CRASH),
        m.GaveUp("root", 0.0),
        m.MessagesDropped("root/x", 0.0, 5),
        m.MessagesDropped("root/x", 0.0, 2),
        m.NodeFault("a", 0.0, "x"),
        m.StrangerRejected("1.2.3.4:5", 0.0, 3, "x"),
        m.PeerUp("b", 0.0),
        m.PeerUp("c", 0.0),
        m.PeerDown("c", 0.0, "x"),
    ):
        tally.add(report)
    found = shown(tally)
    assert found["otp_child_exits_total", "root/x/crash"] == 2
    assert found["otp_child_exits_total", "root/x/killed"] == 1
    assert found["otp_child_start_failures_total", "root/y"] == 1
    assert found["otp_supervisor_gave_up_total", "root"] == 1
    assert found["otp_messages_dropped_total", "root/x"] == 7
    assert found["otp_node_faults_total", ""] == 1
    assert found["otp_strangers_rejected_total", ""] == 3
    assert (found["otp_peer_up", "b"], found["otp_peer_up", "c"]) == (1, 0)


def test_children_that_are_gone_go_on_under_their_supervisor() -> None:
    """A thousand jobs are one series, and the sum over all never shrinks."""
    tally = Tally()
    for number in range(1000):
        tally.add(m.ChildExited(f"root/jobs/job-{number}", 0.0, 7, m.NORMAL))
    tally.add(m.ChildExited("root/x", 0.0, 7, m.NORMAL))
    assert shown(tally)["otp_child_exits_total", "root/jobs/*/normal"] == 1000
    tally.add(m.ChildExited("root/jobs/job-7", 0.0, 7, m.NORMAL))
    found = shown(tally)
    assert found["otp_child_exits_total", "root/jobs/*/normal"] == 1001
    assert found["otp_child_exits_total", "root/x/normal"] == 1
    assert len(tally.exits) == 2


@pytest.mark.parametrize("path", ['root/"q"', "root/back\\slash", "root/new\nline", "root/ü"])
def test_any_name_is_text_that_prometheus_reads(path: str) -> None:
    text = page("a", {}, [ProcessInfo(path, "worker", "running", 1, "", 0, 1.0)], {}, Tally())
    assert values(text)["otp_child_up", path] == 1
