"""A stream that nobody reads holds nobody up."""

from __future__ import annotations

import os
import pty
import socket
import tempfile

import pytest

from otp import outlet
from otp.outlet import OUTLET_BYTES_MAX, Outlet, same
from otp.reactor import Reactor

FLOOD = b"x" * 65536


def rounds(reactor: Reactor) -> None:
    """Let it do what it can do now."""
    reactor.after(0, reactor.stop)
    reactor.run()


def fill(out: Outlet) -> int:
    """Offer until there is no room; how much was taken."""
    taken = 0
    while out.offer(FLOOD):
        out.flush()
        taken += len(FLOOD)
        assert taken < 2 * (OUTLET_BYTES_MAX + 2**20), "there is no bound"
    return taken


def read_all(fd: int, reactor: Reactor) -> bytes:
    os.set_blocking(fd, False)
    data = b""
    for _ in range(10_000):
        rounds(reactor)
        try:
            data += os.read(fd, 65536)
        except BlockingIOError:
            return data
    raise AssertionError("it never ends")


@pytest.mark.parametrize("reopened", [True, False])
def test_a_pipe_that_nobody_reads(reopened: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not reopened:
        monkeypatch.setattr(os, "open", _refuse)
    reactor = Reactor()
    read, write = os.pipe()
    drained: list[bool] = []
    out = Outlet(reactor, write, drained=lambda: drained.append(True))
    monkeypatch.undo()
    taken = fill(out)
    out.offer(b"lost\n", 3)
    drained.clear()
    assert os.get_blocking(write), "the flag belongs to others, too"
    found = read_all(read, reactor)
    assert found == b"x" * taken + b"otp: 4 lines were not shown: nobody read them in time\n"
    assert drained and out.waiting == 0
    out.offer(b"on\n")
    assert read_all(read, reactor) == b"on\n"
    os.close(read)
    out.offer(b"nobody\n")
    out.flush()
    assert out.broken and not out.offer(b"any more\n")
    out.close()
    os.close(write)


def _refuse(*_: object) -> int:
    raise PermissionError(13, "somebody else's")


def test_a_terminal_a_socket_a_file_and_nothing() -> None:
    reactor = Reactor()
    ours, theirs = socket.socketpair()
    leader, terminal = pty.openpty()
    with tempfile.TemporaryFile() as file, ours, theirs:
        for fd in (theirs.fileno(), terminal, file.fileno()):
            out = Outlet(reactor, fd)
            out.offer(b"hello\n")
            rounds(reactor)
            assert not out.waiting
            out.close()
        assert ours.recv(100) == b"hello\n"
        assert os.read(leader, 100) == b"hello\r\n"
        file.seek(0)
        assert file.read() == b"hello\n"
    os.close(leader)
    os.close(terminal)
    assert Outlet(reactor, 999).broken


def test_the_end_waits_for_a_slow_reader_but_not_for_ever() -> None:
    reactor = Reactor()
    read, write = os.pipe()
    out = Outlet(reactor, write)
    fill(out)
    out.finish(0.02)
    assert out.waiting
    os.close(read)
    out.finish(60)
    assert out.broken and not out.waiting
    out.close()
    os.close(write)


def test_the_same_stream_is_known_by_two_numbers() -> None:
    read, write = os.pipe()
    other = os.dup(write)
    assert same(write, other)
    assert not same(write, 999)
    for fd in (read, write, other):
        os.close(fd)
    assert outlet.missing_lines(2).endswith(b"\n")
