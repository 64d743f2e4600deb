from __future__ import annotations

import io
import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import otp
from otp import log_reports
from otp import messages as m
from otp.codec import encode
from otp.frames import INFO, MSGPACK, Envelope
from otp.supervisor import AUTO_SHUTDOWN
from otp.testing import Start, eventually
from otp.transport import FrameSocket
from tests.otp import programs
from tests.otp.programs import tree

CRASH = m.Reason("crash", "x")


@pytest.mark.parametrize(
    ("report", "level"),
    [
        (m.ChildStarted("root/a", 0.0, 1), logging.INFO),
        (m.ChildExited("root/a", 0.0, 1, m.NORMAL), logging.INFO),
        (m.ChildExited("root/a", 0.0, 1, m.SHUTDOWN), logging.INFO),
        (m.ChildExited("root/a", 0.0, 1, m.NORMAL, restart=True), logging.WARNING),
        (m.ChildExited("root/a", 0.0, 1, CRASH), logging.WARNING),
        (m.ChildStartFailed("root/a", 0.0, CRASH), logging.ERROR),
        (m.GaveUp("root", 0.0), logging.ERROR),
        (m.GaveUp("root", 0.0, AUTO_SHUTDOWN), logging.INFO),
        (m.NodeFault("a", 0.0, "x"), logging.ERROR),
        (m.MessagesDropped("root/a", 0.0, 3), logging.WARNING),
        (m.StrangerRejected("1.2.3.4:5", 0.0), logging.WARNING),
        (m.PeerUp("b", 0.0), logging.INFO),
        (m.PeerDown("b", 0.0, "x"), logging.WARNING),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, m.Report) else "",
)
def test_how_bad_a_report_is(report: m.Report, level: int) -> None:
    assert log_reports.level(report) == level


def test_a_life_in_the_log_of_the_program_from_the_first_report_to_the_last(
    otp_start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "otp")
    node = otp_start(tree(), log="logging", name="mine")
    with node.expect(otp.ChildStarted, "root/counter"):
        node.kill("counter")
    node.close()
    records = [r for r in caplog.records if r.name == "otp"]
    lives = [r for r in records if r.getMessage().startswith("root/counter: ")]
    texts = ["started, pid", "ended, pid", "started, pid", "ended, pid"]
    assert [r.getMessage().split()[1] + " pid" for r in lives] == texts
    assert [r.levelname for r in lives] == ["INFO", "WARNING", "INFO", "INFO"]
    extra: Any = lives[1]
    assert extra.otp_node == "mine"
    assert extra.otp_report.reason.kind == "killed"
    assert not [t for t in threading.enumerate() if t.name == "otp-log-mine"]
    assert not [r for r in records if "no more reports" in r.getMessage()]


def test_a_node_that_is_gone_is_logged_too(
    otp_start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    node = otp_start(tree(), log="logging")
    os.kill(node.pid, signal.SIGKILL)
    eventually(lambda: "sends no more reports" in caplog.text)


def test_a_handler_that_raises_does_not_end_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """logging prints what a handler raises, and goes on; so do we."""
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    seen: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                seen.append(record.getMessage())
                raise OSError("disk full")
            except OSError:
                self.handleError(record)

    logger, handler = logging.getLogger("otp"), Handler()
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "propagate", False)
    mine, theirs = socket.socketpair()
    with theirs:
        channel = FrameSocket(theirs)
        for name in ("b", "c"):
            body = encode(m.PeerDown(name, 0.0, "x"))
            channel.send(encode(Envelope(INFO, "", "node", 0, 0, 0, MSGPACK, "", body)))
        channel.flush()
        thread = log_reports.LogThread(mine, "a")
        thread.stopping = True
    thread.join()
    logger.removeHandler(handler)
    assert [text.split(":")[0] for text in seen] == ["node b", "node c"]
    assert "disk full" in stderr.getvalue()


def test_a_word_for_log_that_there_is_not(home: Path) -> None:
    with pytest.raises(ValueError, match="log is 'loud'; use none, text, json or, in"):
        otp.start(tree(), log="loud")


def test_the_example_of_the_module_runs() -> None:
    assert log_reports.__doc__ is not None
    lines = [line[4:] for line in log_reports.__doc__.splitlines() if line.startswith("    ")]
    code = "import logging, otp\nfrom tests.otp.programs import tree\ntree = tree()\n"
    done = programs.run_python("-c", code + "\n".join(lines))
    assert (done.returncode, done.stdout) == (0, "")
    assert "INFO:otp:root/counter: started, pid" in done.stderr
