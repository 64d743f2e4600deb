"""One page over HTTP, its visitors well and badly behaved, in one loop that the test turns."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from otp import page_server
from otp.page_server import Deliver, PageServer
from otp.reactor import Reactor

SECONDS_MAX = 60.0


class Room:
    """The server, and a loop that turns until something is so."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.asked: list[Deliver] = []
        self.server = PageServer(self.reactor, "127.0.0.1:0", "text/x", self.asked.append)
        self.reactor.after(SECONDS_MAX, self._too_late)

    def _too_late(self) -> None:
        raise TimeoutError("it did not happen")

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.reactor.run_once()

    def visit(self, request: bytes = b"") -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.server.port))
        sock.sendall(request)
        sock.setblocking(False)
        return sock

    def read(self, sock: socket.socket) -> str:
        """All that comes until the connection is closed."""
        parts: list[bytes] = []

        def ended() -> bool:
            try:
                parts.append(sock.recv(65536))
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            return parts[-1] == b""

        with sock:
            # Somebody must turn the loop also when only the visitor's end has news.
            self.reactor.read(sock, lambda: None)
            self.until(ended)
            self.reactor.forget(sock)
        return b"".join(parts).decode()


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.reactor.forget(room.server._listener)
    room.server._listener.close()
    room.reactor.close()


GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_page_is_made_for_who_asks(room: Room) -> None:
    sock = room.visit(GET)
    room.until(lambda: room.asked)
    room.asked.pop()("up 1\nü\n")
    head, _, body = room.read(sock).partition("\r\n\r\n")
    assert head.split("\r\n") == [
        "HTTP/1.1 200 OK", "Content-Type: text/x", "Content-Length: 8", "Connection: close",
    ]  # fmt: skip
    assert body == "up 1\nü\n"


def test_a_head_has_no_body_and_a_query_is_passed_over(room: Room) -> None:
    sock = room.visit(b"HEAD /metrics?x=1 HTTP/1.0\r\n\r\n")
    room.until(lambda: room.asked)
    room.asked.pop()("up 1\n")
    assert room.read(sock).endswith("Content-Length: 5\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"hello\r\n\r\n", "400 Bad Request"),
        (b"\x00\xff\xfe\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics HTTP/2\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 9000, "431 Request Header Fields Too Large"),
    ],
)
def test_what_is_no_question_gets_an_answer(request_: bytes, status: str, room: Room) -> None:
    assert room.read(room.visit(request_)).startswith(f"HTTP/1.1 {status}\r\n")
    assert not room.asked


def test_a_request_may_come_in_pieces(room: Room) -> None:
    sock = room.visit(GET[:10])
    room.until(lambda: room.server._visitors)
    sock.sendall(GET[10:])
    room.until(lambda: room.asked)
    room.asked.pop()("x")
    assert room.read(sock).endswith("x")


def test_who_is_silent_is_closed_and_keeps_nobody_waiting(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server, "EXCHANGE_SECONDS_MAX", 0.2)
    silent, begun = room.visit(), time.monotonic()
    room.until(lambda: room.server._visitors)
    sock = room.visit(GET)
    room.until(lambda: room.asked)
    room.asked.pop()("x")
    assert room.read(sock).endswith("x")
    assert room.read(silent) == ""
    assert time.monotonic() - begun < SECONDS_MAX / 2
    assert not room.server._visitors


def test_who_does_not_read_the_answer_is_closed(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server, "EXCHANGE_SECONDS_MAX", 0.2)
    sock = room.visit(GET)
    room.until(lambda: room.asked)
    room.asked.pop()("x" * 50_000_000)
    room.until(lambda: not room.server._visitors)
    sock.close()


def test_who_is_gone_when_the_page_is_made(room: Room) -> None:
    sock = room.visit(GET)
    room.until(lambda: room.asked)
    sock.close()
    room.until(lambda: not room.server._visitors)
    room.asked.pop()("x")


def test_there_are_only_so_many_visitors(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "CONNECTIONS_MAX", 1)
    first = room.visit()
    room.until(lambda: room.server._visitors)
    assert room.read(room.visit(GET)) == ""
    first.close()
    room.until(lambda: not room.server._visitors)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {address}: Address already in use"):
            PageServer(Reactor(), address, "text/x", lambda deliver: None)
