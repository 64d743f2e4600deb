"""sd_notify both ways, without a process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from otp.notify import NotifySocket, notify_ready
from otp.reactor import Reactor


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = Reactor()
    yield made
    made.close()


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def listening(reactor: Reactor, tmp_path: Path, heard: list[str]) -> Iterator[NotifySocket]:
    made = NotifySocket(reactor, str(tmp_path / "n"), lambda: heard.append("ready"))
    yield made
    made.close()


def say(where: str, text: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(text, where)


def test_ready_is_heard(reactor: Reactor, listening: NotifySocket, heard: list[str]) -> None:
    notify_ready(listening.path)
    reactor.run_once()
    assert heard == ["ready"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"STATUS=loading", []),
        (b"READY=0", []),
        (b"NOTREADY=1", []),
        (b"", []),
        (b"\xff\xfe", []),
        (b"STATUS=up\nREADY=1\nMAINPID=7", ["ready"]),
    ],
)
def test_only_a_line_that_says_ready_counts(
    reactor: Reactor, listening: NotifySocket, heard: list[str], text: bytes, expected: list[str]
) -> None:
    say(listening.path, text)
    reactor.run_once()
    assert heard == expected


def test_closing_leaves_no_file_even_where_somebody_has_removed_it(
    reactor: Reactor, tmp_path: Path
) -> None:
    for removed in (False, True):
        made = NotifySocket(reactor, str(tmp_path / "n"), lambda: None)
        if removed:
            os.unlink(made.path)
        made.close()
        assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_is_an_error_and_leaves_no_socket(
    reactor: Reactor, tmp_path: Path
) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError):
        NotifySocket(reactor, str(tmp_path / "not there" / "n"), lambda: None)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_nobody_to_tell_is_nobody_to_wait_for(tmp_path: Path) -> None:
    notify_ready("")
    notify_ready(str(tmp_path / "gone"))


def test_an_abstract_address_is_understood() -> None:
    name = f"otp-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        notify_ready("@" + name)
        sock.settimeout(5)
        assert sock.recv(100) == b"READY=1"


@pytest.mark.parametrize(("uid", "expected"), [(os.getuid(), ["ready"]), (os.getuid() + 1, [])])
def test_at_an_abstract_address_only_the_programs_user_is_heard(
    reactor: Reactor, heard: list[str], uid: int, expected: list[str]
) -> None:
    name = f"@otp-test-{os.getpid()}"
    made = NotifySocket(reactor, name, lambda: heard.append("ready"), uid=uid)
    notify_ready(name)
    reactor.run_once()
    made.close()
    assert heard == expected
