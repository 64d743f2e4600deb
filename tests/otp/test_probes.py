"""One try at a time, against peers of every kind, without a process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence

import pytest

from otp.probes import STATUS_BYTES_MAX, Connection, End, Heard, Poll
from otp.reactor import Reactor
from otp.targets import Target, http
from otp.wire_tree import WireProbe

ROUNDS_MAX = 200


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = Reactor()
    yield made
    made.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def until(reactor: Reactor, done: Callable[[], object]) -> None:
    """Turn the loop until something is so; a timer keeps it from waiting for ever."""
    for _ in range(ROUNDS_MAX):
        if done():
            return
        reactor.after(0.05, lambda: None)
        reactor.run_once()
    raise AssertionError("nothing came of it")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 302 Found\r\n\r\n", ""),
        (b"HTTP/1.1 204", ""),
        (b"HTTP/1.1 404 Not Found\r\n", "answers 404 Not Found"),
        (b"HTTP/1.1 100 Continue\r\n", "answers 100 Continue"),
        (b"HTTP/1.1 2x0 OK\r\n", "answers, but not by HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "answers, but not by HTTP"),
        (b"", "answers, but not by HTTP"),
        (b"\xff" * 2 * STATUS_BYTES_MAX, "answers, but not by HTTP"),
    ],
)
def test_what_an_http_peer_may_say(
    reactor: Reactor, listener: socket.socket, answer: bytes, problem: str
) -> None:
    heard: list[str] = []
    target = http(f"http://127.0.0.1:{listener.getsockname()[1]}/health")
    Connection(reactor, target, heard.append, request=b"GET / HTTP/1.1\r\n\r\n")
    peer, _ = listener.accept()
    with peer:
        peer.send(answer)
        peer.shutdown(socket.SHUT_WR)
        until(reactor, lambda: heard)
    assert heard == [problem]


def test_a_try_that_is_ended_says_nothing_and_leaves_nothing(
    reactor: Reactor, listener: socket.socket
) -> None:
    before = os.listdir("/proc/self/fd")
    heard: list[str] = []
    made = Connection(reactor, Target("127.0.0.1", listener.getsockname()[1]), heard.append)
    made.stop()
    reactor.after(0, lambda: None)
    reactor.run_once()
    assert heard == []
    assert os.listdir("/proc/self/fd") == before


def test_a_port_at_which_nobody_listens_is_refused_later_not_at_once(reactor: Reactor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    heard: list[str] = []
    Connection(reactor, Target("127.0.0.1", port), heard.append)
    assert heard == []
    until(reactor, lambda: heard)
    assert heard == ["refused"]


class World:
    """Commands that end as the test says."""

    def __init__(self, reactor: Reactor, answers: list[str | None]) -> None:
        self.reactor, self.notify_path = reactor, ""
        self.uid: int | None = None
        self.line_matched: Callable[[], None] = lambda: None
        self.answers, self.ended = answers, 0

    def execute(self, command: Sequence[str], heard: Heard) -> End:
        if (answer := self.answers.pop(0)) is not None:
            self.reactor.after(0, lambda: heard(answer))
        return self._end

    def ask(self, codec: int, request: bytes, heard: Heard) -> End:
        raise AssertionError("no call was to be made")

    def _end(self) -> None:
        self.ended += 1


def test_a_poll_tries_until_yes_and_ends_a_try_that_hangs(reactor: Reactor) -> None:
    world, heard = World(reactor, ["exit code 1", None, ""]), list[str]()
    probe = WireProbe("exec", command=("check",), interval=0.01)
    poll = Poll(world, probe, heard.append, until_yes=True, timeout=0.05)
    poll.start()
    until(reactor, lambda: len(heard) == 3)
    assert heard == ["exec check: exit code 1", "exec check: no answer within 0.05 s", ""]
    assert world.ended == 3
    assert poll.problem == ""
