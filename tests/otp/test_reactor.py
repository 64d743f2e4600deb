"""The event loop: order within a round, timers, write callbacks, and numbers used again."""

from __future__ import annotations

import contextlib
import math
import os
import socket
from collections.abc import Iterator

import pytest

from otp import reactor as module
from otp.reactor import Reactor

Pair = tuple[socket.socket, socket.socket]


class Clocked(Reactor):
    """A reactor whose time is set by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 100.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def loop() -> Iterator[Clocked]:
    reactor = Clocked()
    yield reactor
    reactor.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    for sock in (one, other):
        sock.setblocking(False)
    yield one, other
    one.close()
    other.close()


# ---------------------------------------------------------------- timers


def test_timers_run_in_the_order_of_their_moments_and_only_once(loop: Clocked) -> None:
    ran: list[str] = []
    loop.after(2.0, lambda: ran.append("late"))
    loop.after(1.0, lambda: ran.append("early"))
    loop.after(1.0, lambda: ran.append("early too"))
    loop.after(9.0, lambda: ran.append("not yet"))
    loop.time += 3.0
    loop.run_once()
    assert ran == ["early", "early too", "late"]
    loop.at_end_of_round(lambda: None)  # so that the next round does not wait
    loop.run_once()
    assert len(ran) == 3


def test_a_cancelled_timer_does_not_run_even_when_it_is_due_in_the_same_round(
    loop: Clocked,
) -> None:
    ran: list[str] = []
    second = loop.after(2.0, lambda: ran.append("cancelled"))
    loop.after(1.0, second.cancel)
    third = loop.after(0.5, lambda: ran.append("cancelled before"))
    third.cancel()
    loop.after(3.0, lambda: ran.append("last"))
    loop.time += 5.0
    loop.run_once()
    assert ran == ["last"]


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, -math.inf])
def test_what_is_no_positive_number_is_due_at_once(loop: Clocked, seconds: float) -> None:
    ran: list[str] = []
    loop.after(5.0, lambda: ran.append("later"))
    loop.after(seconds, lambda: ran.append("at once"))
    loop.run_once()
    assert ran == ["at once"]


def test_the_wait_is_until_the_next_timer_that_counts(loop: Clocked) -> None:
    assert loop._timeout() == -1, "without timers it waits for sockets alone"
    soon, _ = loop.after(1.0, print), loop.after(5.0, print)
    assert loop._timeout() == 1.0
    soon.cancel()
    assert loop._timeout() == 5.0
    loop.time += 6.0
    assert loop._timeout() == 0.0
    far = Clocked()
    far.after(math.inf, print)
    assert far._timeout() == module.WAIT_SECONDS_MAX
    far.close()


def test_a_timer_set_by_a_timer_waits_its_turn(loop: Clocked) -> None:
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        loop.after(1.0, lambda: ran.append("second"))

    loop.after(1.0, first)
    loop.time += 1.0
    loop.run_once()
    assert ran == ["first"]
    loop.time += 1.0
    loop.run_once()
    assert ran == ["first", "second"]


# ---------------------------------------------------------------- a round


def test_what_is_left_for_the_end_runs_once_after_everything_else(
    loop: Clocked, pair: Pair
) -> None:
    ran: list[str] = []

    def end() -> None:
        ran.append("end")

    def read() -> None:
        pair[0].recv(10)
        ran.append("read")
        loop.at_end_of_round(end)
        loop.at_end_of_round(end)

    def timer() -> None:
        ran.append("timer")
        loop.at_end_of_round(end)

    loop.read(pair[0], read)
    loop.after(0.0, timer)
    pair[1].send(b"x")
    loop.run_once()
    assert ran == ["read", "timer", "end"]


def test_what_the_end_of_a_round_leaves_is_done_in_the_same_round(loop: Clocked) -> None:
    ran: list[str] = []

    def one() -> None:
        ran.append("one")
        loop.at_end_of_round(lambda: ran.append("two"))

    loop.at_end_of_round(one)
    loop.run_once()
    assert ran == ["one", "two"]


def test_run_serves_until_it_is_told_to_stop(loop: Clocked) -> None:
    rounds: list[int] = []

    def again() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 3:
            loop.stop()
        else:
            loop.after(0.0, again)

    loop.after(0.0, again)
    loop.run()
    assert rounds == [0, 1, 2]


# ---------------------------------------------------------------- sockets


def test_a_reader_is_called_for_bytes_and_for_the_end(loop: Clocked, pair: Pair) -> None:
    got: list[bytes] = []
    loop.read(pair[0], lambda: got.append(pair[0].recv(10)))
    pair[1].send(b"bytes")
    loop.run_once()
    pair[1].close()
    loop.run_once()
    assert got == [b"bytes", b""]


def test_each_is_called_in_its_turn(loop: Clocked) -> None:
    """Also where epoll tells of a later turn first, since it was ready in the round before."""
    ran: list[int] = []
    with contextlib.ExitStack() as opened:
        for turn in (2, 0, 1):
            ours, theirs = map(opened.enter_context, socket.socketpair())
            loop.read(ours, lambda turn=turn: ran.append(turn), turn=turn)  # type: ignore[misc]
            theirs.send(b"x")
            opened.callback(loop.forget, ours)
        loop.run_once()
        assert ran == [0, 1, 2]
        loop.read(ours, lambda: ran.append(-1), turn=3)
        loop.run_once()
        assert ran[3:] == [0, 2, -1]


def test_a_new_reader_takes_the_place_of_the_old(loop: Clocked, pair: Pair) -> None:
    got: list[str] = []
    loop.read(pair[0], lambda: got.append("old"))
    loop.read(pair[0], lambda: got.append("new"))
    pair[1].send(b"x")
    loop.run_once()
    assert got == ["new"]


def test_a_writer_is_called_while_there_is_room_until_it_is_taken_back(
    loop: Clocked, pair: Pair
) -> None:
    ran: list[str] = []
    loop.read(pair[0], lambda: ran.append("read"))
    loop.write(pair[0], lambda: ran.append("write"))
    loop.write(pair[0], lambda: ran.append("ignored: there is one"))
    loop.run_once()
    loop.run_once()
    assert ran == ["write", "write"]
    loop.write(pair[0], None)
    loop.write(pair[0], None)
    loop.after(0.0, lambda: ran.append("timer"))
    loop.run_once()
    assert ran == ["write", "write", "timer"]


def test_a_full_socket_calls_its_writer_when_the_other_side_has_read(
    loop: Clocked, pair: Pair
) -> None:
    ran: list[str] = []
    loop.read(pair[0], lambda: None)
    try:
        while True:
            pair[0].send(bytes(65536))
    except BlockingIOError:
        loop.write(pair[0], lambda: ran.append("write"))
    loop.at_end_of_round(lambda: ran.append("full"))
    loop.run_once()
    assert ran == ["full"]
    while True:
        try:
            pair[1].recv(1 << 20)
        except BlockingIOError:
            break
    loop.run_once()
    assert ran == ["full", "write"]


def test_a_source_that_is_not_read_has_no_writer(loop: Clocked, pair: Pair) -> None:
    ran: list[str] = []
    loop.write(pair[0], lambda: ran.append("write"))
    loop.read(pair[0], lambda: None)
    loop.forget(pair[0])
    loop.forget(pair[0])
    loop.write(pair[0], lambda: ran.append("write"))
    loop.at_end_of_round(lambda: ran.append("end"))
    loop.run_once()
    assert ran == ["end"]


def test_what_is_forgotten_in_a_round_is_not_called_in_it(loop: Clocked) -> None:
    """Two sources are ready in one round; whichever comes first closes the other."""
    pairs = [socket.socketpair(), socket.socketpair()]
    ran: list[int] = []

    def reader(number: int) -> None:
        ran.append(number)
        loop.forget(pairs[1 - number][0])
        pairs[1 - number][0].close()

    for number, (one, other) in enumerate(pairs):
        loop.read(one, lambda number=number: reader(number))  # type: ignore[misc]
        other.send(b"x")
    loop.run_once()
    assert len(ran) == 1
    for sock in (sock for both in pairs for sock in both):
        sock.close()


def test_a_number_used_again_in_the_same_round_gets_no_events_of_its_predecessor(
    loop: Clocked,
) -> None:
    pairs = [socket.socketpair(), socket.socketpair()]
    fresh: list[socket.socket] = []
    ran: list[str] = []

    def reader(number: int) -> None:
        old = pairs[1 - number][0]
        fd = old.fileno()
        loop.forget(old)
        old.close()
        one, other = socket.socketpair()
        assert fd in (one.fileno(), other.fileno()), "the kernel gives out the lowest number"
        again = one if one.fileno() == fd else other
        fresh.extend((one, other))
        loop.read(again, lambda: ran.append("the new one"))
        pairs[number][0].recv(10)

    for number, (one, other) in enumerate(pairs):
        loop.read(one, lambda number=number: reader(number))  # type: ignore[misc]
        other.send(b"x")
    loop.run_once()
    assert ran == []
    for sock in fresh:
        sock.send(b"to the other")
    loop.run_once()
    assert ran == ["the new one"]
    for sock in (*fresh, *(sock for both in pairs for sock in both)):
        sock.close()


def test_closing_frees_the_descriptor() -> None:
    reactor = Reactor()
    fd = reactor._epoll.fileno()
    assert reactor.now() <= reactor.now()
    reactor.close()
    with pytest.raises(OSError):
        os.fstat(fd)
