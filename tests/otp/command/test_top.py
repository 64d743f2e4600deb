from __future__ import annotations

import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import suppress
from fcntl import ioctl

import pytest

import otp
from otp.testing import Start, eventually
from tests.otp import programs
from tests.otp.programs import Command, Idle, is_one_line

QUIET_SECONDS = 0.15
"""A terminal on which nothing has come for so long has the whole picture."""


class Terminal:
    """A program on a terminal of its own; what it has drawn so far, as it came."""

    def __init__(self, *arguments: str) -> None:
        self.ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            programs.otp_command(*arguments),
            env=programs.environ(TERM="xterm"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        self.theirs = theirs
        self.drawn = ""
        os.set_blocking(self.ours, False)

    def shows(self, text: str) -> None:
        eventually(lambda: text in self._redrawn(), what=f"it shows {text!r}", within=20)

    def _redrawn(self) -> str:
        """It draws only what changes, unless asked by Ctrl-L."""
        self.type("\x0c")
        while select.select([self.ours], [], [], QUIET_SECONDS)[0]:
            self._read()
        return self.drawn

    def _read(self) -> None:
        with suppress(BlockingIOError):
            self.drawn += os.read(self.ours, 65536).decode(errors="replace")

    def type(self, keys: str) -> None:
        self.drawn = ""
        os.write(self.ours, keys.encode())

    def ends(self) -> int:
        """Its exit code; the terminal is as it was."""
        code = self.process.wait(programs.SECONDS_MAX)
        self._read()
        assert "\x1b[?1049l" in self.drawn
        assert termios.tcgetattr(self.theirs) == self.before
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def node(home: None, otp_start: Start) -> otp.StartedNode:
    pool = otp.Supervisor("pool", max_restarts=10, children=[otp.ChildSpec("w1", Idle)])
    return otp_start(otp.Supervisor("root", max_restarts=10, children=[pool]))


@pytest.fixture
def terminal(node: otp.StartedNode) -> Iterator[Terminal]:
    made = Terminal("top")
    try:
        made.shows("w1")
        yield made
    finally:
        made.close()


def test_kill_what_is_selected_and_leave(terminal: Terminal, node: otp.StartedNode) -> None:
    terminal.type("G")
    terminal.type("k")
    terminal.shows("kill -9 root/pool/w1? y/n")
    with node.expect(otp.ChildStarted, "root/pool/w1"):
        terminal.type("y")
    terminal.shows("killed root/pool/w1")
    terminal.type("r")
    terminal.shows("restart root/pool/w1: done")
    terminal.type("l")
    terminal.shows("log of root/pool/w1")
    terminal.type("q")
    assert terminal.ends() == 0


def test_a_signal_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.ends() == 128 + signal.SIGTERM


def test_a_node_that_ends_is_told_of(terminal: Terminal, node: otp.StartedNode) -> None:
    node.stop()
    terminal.shows("the node has ended")
    terminal.type("q")
    assert terminal.ends() == 0


def test_one_look(node: otp.StartedNode, otp_main: Command) -> None:
    found = json.loads(otp_main("top", "--json").stdout)
    rows = {row["path"]: row for row in found["processes"]}
    assert rows["root/pool/w1"]["memory"] > 100_000
    assert rows["root/pool/w1"]["cpu"] >= 0
    assert rows["root/pool"]["memory"] is None
    once = otp_main("top", "--once").stdout.splitlines()
    assert once[0].startswith(" local  up ")
    assert len(once) == len(rows) + 2


def test_a_terminal_that_cannot(node: otp.StartedNode) -> None:
    is_one_line(programs.run_otp("top", "--run-dir", "no"), 1, "no node answers at no/control.sock")
