from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

import otp
from otp import control
from otp.codec import encode
from otp.control import ControlServer
from otp.frames import CALL, MSGPACK, Envelope
from otp.messages import NodeInfo, RecentReports
from otp.reactor import Reactor
from otp.testing import Start, eventually
from tests.otp import programs

AS_NOBODY = """\
import os, socket, sys
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.settimeout(10)
    print("closed" if sock.recv(1) == b"" else "heard")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_user_is_not_let_in_even_where_the_folder_is_open(
    home: Path, otp_start: Start
) -> None:
    node = otp_start(programs.tree())
    path = os.path.join(node.run_dir, "control.sock")
    assert stat.S_IMODE(os.stat(node.run_dir).st_mode) == 0o700
    denied = programs.run_python("-c", AS_NOBODY, path)
    assert "PermissionError" in denied.stderr
    for folder in (node.run_dir, home, home.parent):
        os.chmod(folder, 0o755)
    os.chmod(path, 0o777)
    asked = programs.run_python("-c", AS_NOBODY, path)
    assert asked.stdout == "closed\n", asked.stderr
    assert node.processes()


def test_reports_are_kept_for_those_who_come_later(home: Path, otp_start: Start) -> None:
    node = otp_start(programs.tree())
    reports = node.control.ask(RecentReports(2))
    assert [report.path for report in reports] == ["root/counter", "root/pool"]
    with node.expect(otp.ChildStarted, "root/counter"):
        node.kill("counter")
    kinds = [type(report) for report in node.control.ask(RecentReports(2))]
    assert kinds == [otp.ChildExited, otp.ChildStarted]
    assert eventually(lambda: len(node.control.ask(RecentReports(1000)))) >= 5


def test_who_hears_of_a_start_hears_it_after_the_mailroom() -> None:
    reactor = Reactor()
    server = ControlServer(reactor, lambda _, request, responder: responder.reply(None))
    waits = [True, True, False]
    server.behind = lambda: waits.pop(0)
    ours, theirs = socket.socketpair()
    with ours:
        server.add(theirs)
        ours.send(_asked(NodeInfo()))
        ours.setblocking(False)
        while waits:
            with pytest.raises(BlockingIOError):
                ours.recv(1)
            reactor.run_once()
        assert ours.recv(1000)
        server.close()


def test_a_mailroom_that_does_not_listen_does_not_silence_its_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "BEHIND_SECONDS_MAX", 0.0)
    reactor = Reactor()
    server = ControlServer(reactor, lambda _, request, responder: responder.reply(None))
    server.behind = lambda: True
    ours, theirs = socket.socketpair()
    with ours:
        server.add(theirs)
        ours.send(_asked(NodeInfo()))
        reactor.run_once()
        ours.setblocking(False)
        assert ours.recv(1000)
        server.close()


def _asked(request: Any) -> bytes:
    frame = encode(Envelope(CALL, "", "", 1, 0, 0, MSGPACK, "", encode(request)))
    return len(frame).to_bytes(4, "big") + frame
