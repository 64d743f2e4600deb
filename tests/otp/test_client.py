from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import otp
from otp import client as client_module
from otp.client import Client, outcome, socket_in
from otp.codec import decode_envelope, dump_reply, encode, refusal
from otp.errors import CallTimeout, Disconnected, NotRunning, Overloaded, ServerDown
from otp.frames import CALL, CAST, ERROR, HELLO, INFO, MSGPACK, REPLY, Envelope, Failure
from otp.messages import KILLED
from otp.testing import eventually
from otp.transport import FrameSocket

PID = "<1.c1@fake>"


class Ask(otp.Request[int], frozen=True):
    n: int = 0


class Say(otp.Message, frozen=True):
    text: str


class FakeMailroom:
    """Accepts, says hello, and answers each frame as it is told to; one thread for each client."""

    def __init__(self, path: Path, answer: Callable[[Envelope], list[Envelope] | None]) -> None:
        self.path = str(path)
        self.answer = answer
        self.heard: list[Envelope] = []
        self.accepted: list[socket.socket] = []
        self.hello = True
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted.append(sock)
            if self.hello:
                thread = threading.Thread(target=self._serve, args=(FrameSocket(sock),))
                self._threads.append(thread)
                thread.start()

    def _serve(self, frames: FrameSocket) -> None:
        self._send(frames, Envelope(HELLO, PID, "fake", 0, 0, 0, MSGPACK, "", b""))
        while True:
            select.select([frames], [], [])
            try:
                arrived = frames.receive()
            except (EOFError, OSError, ValueError):
                frames.close()
                return
            for frame in arrived:
                self.heard.append(decode_envelope(frame))
                answers = self.answer(self.heard[-1])
                if answers is None:
                    frames.sock.shutdown(socket.SHUT_RDWR)
                    continue
                for envelope in answers:
                    self._send(frames, envelope)

    @staticmethod
    def _send(frames: FrameSocket, envelope: Envelope) -> None:
        frames.send(encode(envelope))
        while not frames.flush():
            select.select([], [frames], [])

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for sock in self.accepted:
            with contextlib.suppress(OSError):  # its thread may just have closed it
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for sock in self.accepted:
            sock.close()


def reply(to: Envelope, value: int, ref: int | None = None) -> Envelope:
    how, body = dump_reply(Ask, value)
    return Envelope(REPLY, to.frm, to.to, to.ref if ref is None else ref, 0, 0, how, "", body)


def error(to: Envelope, failure: Failure) -> Envelope:
    return Envelope(ERROR, to.frm, to.to, to.ref, 0, 0, MSGPACK, "", encode(failure))


@pytest.fixture
def mailroom(tmp_path: Path) -> Iterator[FakeMailroom]:
    fake = FakeMailroom(tmp_path / "m", lambda envelope: [reply(envelope, 7)])
    yield fake
    fake.close()


@pytest.fixture
def client(mailroom: FakeMailroom) -> Iterator[Client]:
    made = Client(mailroom.path)
    yield made
    made.close()


def test_a_call_is_answered(client: Client, mailroom: FakeMailroom) -> None:
    assert client.call("counter", Ask(3), timeout=2.5) == 7
    (asked,) = mailroom.heard
    assert (asked.kind, asked.to, asked.frm, asked.ttl) == (CALL, "counter", PID, 2500)


def test_casts_and_sends_wait_for_nothing(client: Client, mailroom: FakeMailroom) -> None:
    client.cast("counter", Say("a"))
    client.send(otp.Via("elections", "7"), Say("b"))
    eventually(lambda: len(mailroom.heard) == 2)
    assert [(e.kind, e.to) for e in mailroom.heard] == [
        (CAST, "counter"),
        (INFO, "via:elections:7"),
    ]


def test_no_answer_in_time_is_a_timeout_and_the_late_answer_is_passed_over(
    client: Client, mailroom: FakeMailroom
) -> None:
    mailroom.answer = lambda envelope: []
    with pytest.raises(CallTimeout, match=r"call Ask to counter: no reply in 0.05 s"):
        client.call("counter", Ask(1), timeout=0.05)
    mailroom.answer = lambda envelope: [reply(envelope, 1, ref=1), reply(envelope, 2)]
    assert client.call("counter", Ask(2)) == 2


def test_who_waits_for_ever_says_so(client: Client, mailroom: FakeMailroom) -> None:
    for seconds in (math.inf, 1e30, 1e10):
        assert client.call("counter", Ask(), timeout=seconds) == 7
    with pytest.raises(ValueError, match="NaN"):
        client.call("counter", Ask(), timeout=math.nan)
    mailroom.answer = lambda envelope: []
    for seconds in (0, -1, 1e-9):  # 0 in a frame would be no limit
        with pytest.raises(CallTimeout):
            client.call("counter", Ask(), timeout=seconds)
    eventually(lambda: len(mailroom.heard) == 6)
    assert [envelope.ttl for envelope in mailroom.heard[-3:]] == [1, 1, 1]


def test_an_error_is_raised_as_what_it_stands_for(client: Client, mailroom: FakeMailroom) -> None:
    mailroom.answer = lambda envelope: [error(envelope, Failure("serverdown", "", KILLED))]
    with pytest.raises(ServerDown, match="killed") as raised:
        client.call("counter", Ask())
    assert raised.value.reason == KILLED


def test_a_refusal_with_an_end_of_file_is_not_taken_for_a_lost_connection(
    client: Client, mailroom: FakeMailroom
) -> None:
    mailroom.answer = lambda envelope: [error(envelope, refusal(EOFError("no more")))]
    with pytest.raises(EOFError, match="no more"):
        client.call("counter", Ask())


def test_a_lost_connection_ends_the_call_and_the_next_one_connects_again(
    client: Client, mailroom: FakeMailroom
) -> None:
    mailroom.answer = lambda envelope: None
    with pytest.raises(Disconnected, match=r"call Ask to counter.*not sent again"):
        client.call("counter", Ask())
    mailroom.answer = lambda envelope: [reply(envelope, 7)]
    assert client.call("counter", Ask()) == 7
    assert len(mailroom.accepted) == 2


def test_a_connection_lost_meanwhile_is_noticed_before_anything_is_sent(
    client: Client, mailroom: FakeMailroom
) -> None:
    assert client.call("counter", Ask()) == 7
    mailroom.accepted[0].shutdown(socket.SHUT_RDWR)
    client.cast("counter", Say("it arrives"))
    eventually(lambda: len(mailroom.heard) == 2)


def test_threads_have_connections_of_their_own_which_end_with_them(
    client: Client, mailroom: FakeMailroom
) -> None:
    results: list[int] = []
    for _ in range(5):
        thread = threading.Thread(target=lambda: results.append(client.call("counter", Ask())))
        thread.start()
        thread.join()
    assert results == [7] * 5
    client.call("counter", Ask())
    assert len(mailroom.accepted) == 6
    eventually(lambda: [s.fileno() < 0 for s in mailroom.accepted].count(True) == 5)


def test_many_threads_at_a_time(client: Client, mailroom: FakeMailroom) -> None:
    mailroom.answer = lambda envelope: [reply(envelope, envelope.ref)]
    results: list[list[int]] = []

    def work() -> None:
        results.append([client.call("counter", Ask()) for _ in range(50)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(1, 51))] * 8


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="No such file"):
        Client(str(tmp_path / "nobody")).call("counter", Ask())
    with socket.socket(socket.AF_UNIX) as unused:
        unused.bind(str(tmp_path / "dead"))
    with pytest.raises(NotRunning, match="refused"):
        Client(str(tmp_path / "dead")).cast("counter", Say(""))


def test_somebody_else_listens(
    client: Client, mailroom: FakeMailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailroom.hello = False
    monkeypatch.setattr(client_module, "CONNECT_SECONDS_MAX", 0.05)
    with pytest.raises(NotRunning, match="no hello from a mailroom"):
        client.call("counter", Ask())
    monkeypatch.setattr(client_module, "CONNECT_SECONDS_MAX", 5.0)

    def hang_up() -> None:
        eventually(lambda: len(mailroom.accepted) == 2)
        mailroom.accepted[1].shutdown(socket.SHUT_RDWR)

    closer = threading.Thread(target=hang_up)
    closer.start()
    with pytest.raises(NotRunning, match="closed before hello"):
        client.call("counter", Ask())
    closer.join()


def test_a_mailroom_that_does_not_read_blocks_nobody_for_ever(
    client: Client, mailroom: FakeMailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = threading.Event()
    mailroom.answer = lambda envelope: [] if stopped.wait() else None
    monkeypatch.setattr(client_module, "SEND_SECONDS_MAX", 0.05)
    large = Say("x" * 4_000_000)
    client.cast("counter", Say("the last that it reads"))
    try:
        with pytest.raises(Overloaded, match=r"cast Say to counter.*took nothing for 0.05 s"):
            client.cast("counter", large)
        client.cast("counter", Say("on a new connection"))
        with pytest.raises(CallTimeout):
            client.call("counter", ["x" * 8_000_000], timeout=0.05)
    finally:
        stopped.set()


def test_close_ends_all_connections(client: Client, mailroom: FakeMailroom) -> None:
    client.call("counter", Ask())
    client.close()
    eventually(lambda: mailroom.accepted[0].fileno() < 0)
    client.close()
    assert client.call("counter", Ask()) == 7


def test_close_ends_the_wait_of_another_thread(client: Client, mailroom: FakeMailroom) -> None:
    mailroom.answer = lambda envelope: []
    ended: list[BaseException] = []

    def wait() -> None:
        with pytest.raises(Disconnected) as raised:
            client.call("counter", Ask(), timeout=60)
        ended.append(raised.value)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    eventually(lambda: len(mailroom.heard) == 1)
    client.close()
    waiting.join(10)
    assert ended


def test_an_answer_stands_for_a_value_or_an_error() -> None:
    asked = Envelope(CALL, "counter", PID, 1, 0, 0, MSGPACK, "", b"")
    assert outcome(Ask(), "counter", reply(asked, 4)) == 4
    with pytest.raises(Overloaded, match=r"call Ask to counter.*8 MiB"):
        outcome(Ask(), "counter", error(asked, Failure("overloaded", "8 MiB")))


def test_sockets_are_named_by_their_folder() -> None:
    assert socket_in("/run/x", "control.sock") == os.path.join("/run/x", "control.sock")
