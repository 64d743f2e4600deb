"""Every command that asks a node, with no node, with several, and with one that stands still."""

from __future__ import annotations

import os
import signal

import pytest

from otp import cli
from otp.command import base, events, lifecycle, reload, top_live
from otp.testing import Start
from tests.otp import programs
from tests.otp.programs import Command, is_one_line

ASKING = {
    "tree": [],
    "ps": [],
    "top": ["--once"],
    "stop": [],
    "start": ["counter"],
    "restart": ["counter"],
    "events": [],
    "logs": [],
    "call": ["counter", "X"],
    "kill": ["counter"],
    "shell": ["-c", "ps()"],
    "diff": ["supervisors.yaml"],
    "reload": ["supervisors.yaml"],
}
OTHERS = {"run", "check", "schema", "import", "certs", "completion"}
FROZEN = sorted(ASKING.keys() - {"call", "logs", "shell"})
"""Those that need the node itself; a call goes to its mailroom, logs are files."""


def test_all_commands_are_tried_here_or_ask_no_node() -> None:
    assert {command.name for command in cli.COMMANDS} - OTHERS == set(ASKING)


@pytest.mark.parametrize("command", ASKING)
def test_no_node(command: str, home: None, otp_main: Command) -> None:
    done = otp_main(command, *ASKING[command])
    is_one_line(done, 1, f"otp {command}: no node is running; start one with `otp run FILE`")


def test_several_nodes(home: None, otp_main: Command, otp_start: Start) -> None:
    for name in ("a", "b"):
        otp_start(programs.tree(), name=name, log="none")
    for command, arguments in ASKING.items():
        done = otp_main(command, *arguments)
        is_one_line(done, 1, f"otp {command}: 2 nodes are running, choose one with --name: a, b")
    for command in ("ps", "tree", "events"):
        assert otp_main(command, "--name", "b").returncode == 0


def test_a_node_that_stands_still(
    home: None, otp_main: Command, otp_start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (base, lifecycle, top_live, events, reload):
        monkeypatch.setattr(module, "ANSWER_SECONDS_MAX", 0.05)
    node = otp_start(programs.tree(), log="none")
    os.kill(node.pid, signal.SIGSTOP)
    try:
        for command in FROZEN:
            done = otp_main(command, *ASKING[command])
            is_one_line(done, 1, "the node does not answer; is it stopped?")
    finally:
        os.kill(node.pid, signal.SIGCONT)
