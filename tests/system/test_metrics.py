"""A node's metrics, read as Prometheus reads them, while things are killed."""

from __future__ import annotations

import os
import socket
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import otp
from otp.testing import Start, eventually
from tests.ports import ports_in_a_row


class Busy(otp.GenServer):
    """Has done something by the time that it runs."""

    def __init__(self) -> None:
        self.sum = sum(range(1_000_000))


TREE = otp.Supervisor("root", max_restarts=5, children=[otp.ChildSpec("busy", Busy)])


def read(text: str) -> dict[tuple[str, str], float]:
    """By name and child."""
    return {
        (sample.name, sample.labels.get("child", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(address: str) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return read(answer.read().decode())


def test_lives_and_deaths_are_seen_and_the_exporter_may_die(otp_start: Start) -> None:
    address = f"127.0.0.1:{ports_in_a_row(1)}"
    node = otp_start(TREE, metrics=address)
    found = scrape(address)
    assert found["otp_child_up", "root/busy"] == 1
    assert found["otp_child_memory_bytes", "root/busy"] > 100_000
    with node.expect(otp.ChildStarted, "root/busy"):
        node.kill("busy")
    found = scrape(address)
    assert found["otp_child_exits_total", "root/busy"] == 1
    assert found["otp_child_restarts_total", "root/busy"] == 1
    with node.expect(otp.ChildStarted, "otp/metrics/exporter"):
        node.kill("metrics/exporter")
    found = scrape(address)
    assert found["otp_child_restarts_total", "root/busy"] == 1
    assert ("otp_child_exits_total", "root/busy") not in found


def test_a_slow_scraper_keeps_nobody_waiting(otp_start: Start) -> None:
    address = f"127.0.0.1:{ports_in_a_row(1)}"
    otp_start(TREE, metrics=address)
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(b"GET /met")
        assert scrape(address)["otp_child_up", "root/busy"] == 1


def test_a_frozen_exporter_does_not_hold_up_its_node(otp_start: Start) -> None:
    node = otp_start(TREE, metrics=f"127.0.0.1:{ports_in_a_row(1)}")
    node.freeze("metrics/exporter")
    with node.expect(otp.ChildStarted, "root/busy"):
        node.kill("busy")


def test_a_node_whose_port_is_taken_does_not_start_and_says_which(otp_start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(otp.StartError, match=f"cannot listen on {address}: Address already in"):
            otp_start(TREE, metrics=address)


def test_a_node_goes_on_where_its_exporter_cannot(otp_start: Start, tmp_path: Path) -> None:
    """Its folder is gone when it is killed: it gives up, and the tree does not."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    node = otp_start(TREE, metrics=otp.MetricsSpec(textfile=str(folder / "otp.prom")))
    eventually((folder / "otp.prom").exists)
    (folder / "otp.prom").unlink()
    folder.rmdir()
    with node.expect(otp.GaveUp, "otp/metrics", never=[(otp.GaveUp, "otp")]):
        node.kill("metrics/exporter")
    with node.expect(otp.ChildStarted, "root/busy"):
        node.kill("busy")


def test_a_text_file_is_whole_at_any_time_and_goes_with_the_node(
    otp_start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "otp.prom"
    node = otp_start(TREE, metrics={"textfile": str(file), "interval": "50ms"})
    eventually(file.exists)
    begun = os.stat(file).st_mtime_ns
    node.kill("busy")
    eventually(lambda: read(file.read_text()).get(("otp_child_restarts_total", "root/busy")) == 1)
    assert os.stat(file).st_mtime_ns > begun
    node.close()
    assert not list(tmp_path.iterdir())


def test_where_there_is_no_such_folder_the_node_does_not_start(
    otp_start: Start, tmp_path: Path
) -> None:
    spec = otp.MetricsSpec(textfile=str(tmp_path / "none" / "otp.prom"))
    with pytest.raises(otp.StartError, match=r"cannot write .*otp\.prom: no folder"):
        otp_start(TREE, metrics=spec)


def test_without_metrics_there_is_no_exporter(otp_start: Start) -> None:
    node = otp_start(TREE)
    assert not [row for row in node.processes() if "metrics" in row.path]
