from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

import otp
from otp.testing import Start
from tests.otp import programs
from tests.otp.programs import Command, Idle, is_one_line


@pytest.fixture
def node(otp_start: Start) -> otp.Node:
    pool = otp.Supervisor("pool", max_restarts=10, children=[otp.ChildSpec("w1", Idle)])
    tree = otp.Supervisor("root", children=[otp.ChildSpec("a", Idle), pool])
    return otp_start(tree, name="n")


def sentences(text: str) -> list[str]:
    """Without clock and node."""
    return [line.split("] ")[1].split(",")[0] for line in text.splitlines()]


def test_what_has_happened(home: None, node: otp.Node, otp_main: Command) -> None:
    assert sentences(otp_main("events").stdout) == [
        "otp/mailroom: started",
        "root/a: started",
        "root/pool/w1: started",
        "root/pool: started",
    ]
    assert sentences(otp_main("events", "-n", "1").stdout) == ["root/pool: started"]
    assert sentences(otp_main("events", "pool", "-n", "2").stdout) == [
        "root/pool/w1: started",
        "root/pool: started",
    ]
    assert sentences(otp_main("events", "root/a").stdout) == ["root/a: started"]
    assert otp_main("events", "-n", "0").stdout == ""
    (report,) = otp_main("events", "-n", "1", "--json").stdout.splitlines()
    assert json.loads(report)["path"] == "root/pool"
    is_one_line(otp_main("events", "pol"), 1, "nothing is known of 'pol'; did you mean 'pool'?")
    is_one_line(otp_main("events", "-n", "x"), 2, "'x' is not a whole number from 0 on")


@pytest.fixture
def following(home: None, node: otp.Node) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        programs.otp_command("events", "-f", "a"),
        env=programs.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def test_what_happens_from_now_on(following: subprocess.Popen[str], node: otp.StartedNode) -> None:
    assert following.stdout is not None and following.stderr is not None
    assert "root/a: started" in following.stdout.readline()
    killed = node.kill("a")
    assert f"root/a: ended, pid {killed}: killed; it is restarted" in following.stdout.readline()
    assert "(restart 1)" in following.stdout.readline()
    node.stop()
    assert "root/a: ended" in following.stdout.readline()
    assert following.wait(programs.SECONDS_MAX) == 0
    assert following.stderr.read() == "otp events: node n has ended\n"
