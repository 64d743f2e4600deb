"""Children that must be ready, stay alive and answer: programs and workers, and what kills them."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

import otp
from otp.expect import Wanted
from otp.testing import Expect, Start, eventually
from tests.system import odd_workers as odd
from tests.system import workers as w
from tests.system.help import assert_gone, family, free_ports, lines, row

SERVER = """
import os, pathlib, socket, sys
port, mood = int(sys.argv[1]), pathlib.Path(sys.argv[2])
while not mood.exists():
    os.sched_yield()
with socket.create_server(("127.0.0.1", port)) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            while connection.recv(1000) and mood.read_text() == "silence":
                pass
            connection.send(f"HTTP/1.1 {mood.read_text()}\\r\\n\\r\\n".encode())
"""
SLEEP = ["sleep", "300"]
FINE = "200 OK"


class Healthy(otp.Request[bool], frozen=True):
    """Is refused until a file is there."""


class Loading(Exception):
    """Not yet."""


class Patient(otp.GenServer):
    """Is well while its file is there; needs the port where it is given one."""

    refuses = (Loading,)

    def __init__(self, file: str = "", port: int = 0) -> None:
        self.file = file
        if port:
            socket.create_connection(("127.0.0.1", port)).close()

    def handle_call(self, request: Healthy, sender: otp.From[bool]) -> bool:
        if not os.path.exists(self.file):
            raise Loading("still loading")
        return True


class Waits(otp.GenServer):
    """Waits for another one, in vain."""

    def handle_call(self, request: Healthy, sender: otp.From[bool]) -> bool:
        try:
            return bool(self.call("y", w.Pid(), timeout=0.5))
        except otp.CallTimeout:
            return False


def server(id: str, port: int, mood: Path, **more: Any) -> otp.ChildSpec:
    command = [sys.executable, "-I", "-S", "-c", SERVER, str(port), str(mood)]
    return otp.ChildSpec(id, command=command, **more)


def tree(*children: otp.ChildSpec, **more: Any) -> otp.Supervisor:
    return otp.Supervisor("root", children, **({"max_restarts": 100} | more))


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def mood(tmp_path: Path) -> Path:
    """What a SERVER answers; without this file it does not even listen."""
    file = tmp_path / "mood"
    file.write_text(FINE)
    return file


# ---------------------------------------------------------------- ready


def test_what_depends_on_a_killed_database_starts_when_it_is_ready_again(
    otp_start: Start, otp_expect: Expect, port: int, mood: Path
) -> None:
    db = server("db", port, mood, ready={"tcp": f"127.0.0.1:{port}"})
    app = otp.ChildSpec("app", Patient, args={"port": port})
    node = otp_start(tree(db, app, strategy="rest_for_one"))
    mood.unlink()
    with otp_expect(
        node,
        (otp.ChildExited, "root/db"),
        (otp.ChildExited, "root/app"),
        (otp.ChildStarted, "root/db"),
        (otp.ChildStarted, "root/app"),
        never=[otp.ChildStartFailed],
    ) as seen:
        node.kill("db")
        eventually(lambda: row(node, "root/db").state == "unready")
        assert row(node, "root/app").state == "undefined"
        mood.write_text(FINE)
    times = [report.at for report in seen.reports]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("how", "answer", "why"),
    [
        ({"http": "http://127.0.0.1:{}/x"}, "503 No", "http http://127.0.0.1:{}/x: answers 503 No"),
        ({"http": "http://127.0.0.1:{}"}, "silence", "http http://127.0.0.1:{}: "),
        ({"exec": ["/bin/sh", "-c", "exit $CODE"]}, FINE, "exec /bin/sh -c exit $CODE: exit code"),
        ({"exec": ["no-such-thing"]}, FINE, "exec no-such-thing: cannot run no-such-thing: No"),
        ({"tcp": "127.0.0.1:1"}, FINE, "tcp 127.0.0.1:1: refused"),
    ],
    ids=["an error", "silence", "exit code", "no such probe", "nobody listens"],
)
def test_a_program_that_is_never_ready_says_why(
    port: int, mood: Path, how: dict[str, Any], answer: str, why: str
) -> None:
    mood.write_text(answer)
    ready = {key: value.format(port) if key == "http" else value for key, value in how.items()}
    spec = server("x", port, mood, ready=ready | {"timeout": 0.6}, env={"CODE": "4"})
    with pytest.raises(otp.StartError) as info:
        otp.start(tree(spec))
    text = str(info.value)
    assert f"root/x: killed: not ready after 0.6 s: {why.format(port)}" in text
    assert "no answer" in text or answer != "silence"


def test_the_node_answers_while_what_it_probes_is_silent(
    otp_start: Start, otp_expect: Expect, port: int, mood: Path
) -> None:
    silent = server("x", port, mood, ready={"http": f"http://127.0.0.1:{port}/health"})
    node = otp_start(tree(otp.ChildSpec("counter", w.Counter), silent))
    mood.write_text("silence")
    with otp_expect(node, (otp.ChildStartFailed, "root/x"), (otp.ChildStarted, "root/x")) as seen:
        node.kill("x")
        eventually(lambda: row(node, "root/x").state == "unready")
        assert node.call("counter", w.Pid()) > 0
        mood.write_text("302 Found")
        node.kill("x", signal=signal.SIGTERM)
    failed, started = seen.reports
    assert isinstance(failed, otp.ChildStartFailed), "it died while it was probed"
    assert failed.reason == otp.Reason("crash", "ended by SIGTERM")
    assert isinstance(started, otp.ChildStarted)
    assert started.restarts == 1


def test_a_probe_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    script = f"sleep 300 & echo $! >>{file}; echo $$ >>{file}; exec sleep 300"
    ready = {"exec": ["/bin/sh", "-c", script], "timeout": 0.4}
    before = family(os.getpid())
    with pytest.raises(otp.StartError, match=r"not ready after 0\.4 s: exec /bin/sh"):
        otp.start(tree(otp.ChildSpec("x", command=SLEEP, ready=ready)))
    assert len(list(lines(file))) >= 2
    assert_gone(map(int, lines(file)))
    assert_gone(family(os.getpid()) - before)


@pytest.mark.parametrize("way", ["call", "notify"])
def test_a_worker_is_ready_when_it_says_so(otp_start: Start, tmp_path: Path, way: str) -> None:
    file = tmp_path / "well"
    file.touch()
    if way == "call":
        spec = otp.ChildSpec("x", Patient, args={"file": str(file)}, ready={"call": Healthy})
    else:
        spec = otp.ChildSpec("x", odd.notifies, args={"file": str(file)}, ready="notify")
    node = otp_start(tree(spec))
    file.unlink()
    with node.expect(otp.ChildStarted, "root/x", never=[otp.ChildStartFailed]):
        node.kill("x")
        eventually(lambda: row(node, "root/x").state == "unready")
        file.touch()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_can_say_that_it_is_ready(otp_start: Start) -> None:
    """Who may not even look into the node's folder."""
    spec = otp.ChildSpec("x", odd.notifies, args={"file": "/"}, ready="notify", user="65534")
    node = otp_start(tree(spec))
    assert row(node, "root/x").state == "running"


def test_an_init_that_never_returns_is_ended(tmp_path: Path) -> None:
    args = {"file": str(tmp_path / "file")}
    spec = otp.ChildSpec("x", odd.HangsInInit, args=args, start_timeout=0.1)
    with pytest.raises(otp.StartError) as info:
        otp.start(tree(spec))
    text = "root/x: killed: __init__ did not return within 0.1 s (start_timeout)"
    assert text in str(info.value)


# ---------------------------------------------------------------- alive


@pytest.mark.parametrize("way", ["http", "exec", "call"])
def test_what_is_not_alive_any_more_is_restarted(
    otp_start: Start, way: str, port: int, mood: Path
) -> None:
    url = f"http://127.0.0.1:{port}/"
    how: Any = {"http": url, "exec": ["grep", "200", str(mood)], "call": Healthy}[way]
    alive = {way: how, "interval": 0.05, "failures": 2}
    if way == "http":
        spec = server("x", port, mood, ready={"tcp": f"127.0.0.1:{port}"}, liveness=alive)
    else:
        spec = otp.ChildSpec("x", Patient, args={"file": str(mood)}, liveness=alive)
    node = otp_start(tree(spec))
    with node.expect(otp.ChildStarted, "root/x"):
        with node.expect(otp.ChildExited, "root/x") as exited:
            mood.write_text("500 Sorry") if way != "call" else mood.unlink()
        mood.write_text(FINE)
    reason = exited.report.reason
    assert reason.kind == "killed"
    assert reason.text.startswith(f"not alive: {way}")
    assert reason.text.endswith("(2 times in a row)")


def test_a_port_that_is_not_open_any_more_is_a_sign_of_death(otp_start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        alive = {"tcp": address, "interval": 0.05, "failures": 1}
        spec = otp.ChildSpec("x", command=SLEEP, liveness=alive, restart="temporary")
        node = otp_start(tree(spec))
        with node.expect(otp.ChildExited, "root/x") as exited:
            listener.close()
    assert exited.report.reason.text == f"not alive: tcp {address}: refused (1 times in a row)"


@pytest.mark.parametrize("how", ["frozen", "in a handler"])
def test_a_hung_worker_is_killed_and_restarted(
    otp_start: Start, otp_expect: Expect, how: str
) -> None:
    node = otp_start(tree(otp.ChildSpec("x", w.Counter, heartbeat=0.3)))
    with otp_expect(node, (otp.ChildExited, "root/x"), (otp.ChildStarted, "root/x")) as seen:
        if how == "frozen":
            node.freeze("x")
        else:
            node.hang("x")
    exited = seen.reports[0]
    assert isinstance(exited, otp.ChildExited)
    assert exited.reason == otp.Reason("killed", "hung: its loop did not answer within 0.3 s")


def test_a_worker_that_waits_for_a_reply_is_not_hung(otp_start: Start) -> None:
    """Its loop goes on, and its wait has a deadline of its own."""
    spec = otp.ChildSpec("x", Waits, heartbeat=0.1)
    node = otp_start(tree(spec, otp.ChildSpec("y", w.Counter)))
    with node.expect_none((otp.ChildExited, "root/x")):
        node.freeze("y")
        assert node.call("x", Healthy(), timeout=5) is False


@pytest.mark.parametrize("part", ["mailroom", "zygote"])
def test_the_nodes_own_parts_are_looked_after(part: str, otp_expect: Expect) -> None:
    spec = tree(otp.ChildSpec("counter", w.Counter))
    with otp.start(spec, heartbeat=0.3) as node:
        pid = node.call("counter", w.Pid())
        signs: dict[str, Wanted] = {
            "mailroom": (otp.ChildStarted, "otp/mailroom"),
            "zygote": (otp.NodeFault, None),
        }
        with otp_expect(node, signs[part]):
            node.kill(part, signal=signal.SIGSTOP)
        eventually(lambda: row(node, "root/counter").state == "running")
        assert node.call("counter", w.Pid()) == pid
        with node.expect(otp.ChildStarted, "root/counter"):
            node.kill("counter")
