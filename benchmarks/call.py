"""What a message through the mailroom costs, beside a bare pipe between two processes.

Calls: from a client and from a worker to a worker, and by a lane, one at a time; the floor is a
ping-pong over multiprocessing.Pipe with its pickle. Casts: from one worker to another, counted at
the receiver by its clock; the floor is the same pipe in one direction. Each takes its turn in every
round, so that a change of the machine's mood meets them all.
"""

from __future__ import annotations

import multiprocessing
import pickle
import select
import socket
import time
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Final

import otp
from benchmarks.floors import pipe_ping_pong
from benchmarks.report import Found, Row, at_least, at_most_times, percentile, run, spread

TARGET_RATIO: Final = 2.5
TARGET_LANE_RATIO: Final = 1.3
TARGET_CASTS_S: Final = 100_000
ROUNDS, ROUNDS_QUICK = 20, 5
CALLS: Final = 1_000  # in a round, of each kind
CASTS: Final = 50_000  # in a round; together less than a mailroom queues for one slow reader
CASTS_AT_ONCE: Final = 500  # between them the sender's loop writes, as it does between handlers
CALL_S_MAX: Final = 30.0
READ_BYTES: Final = 65_536


class Echo(otp.Request[int], frozen=True):
    """Ask for a number back; nothing is computed."""

    number: int


class Count(otp.Message, frozen=True):
    """One cast, and how many of its round come after it."""

    left: int


class Counted(otp.Request[tuple[int, float]], frozen=True):
    """Ask a sink how many casts came since it was last asked, and when the last of a round did."""


class TimeCalls(otp.Request[list[float]], frozen=True):
    """Ask a worker to call the sink so often, and for the seconds that each call took."""

    times: int


class TimeLane(otp.Request[list[float]], frozen=True):
    """The same by a lane of its own."""

    times: int


class Cast(otp.Request[float], frozen=True):
    """Ask a worker to cast so often to the sink, and for the time at which it began."""

    times: int


class More(otp.Message, frozen=True):
    """A sender's note to itself: go on."""


class Sink(otp.GenServer):
    """Answers calls, counts casts."""

    def __init__(self) -> None:
        self.count, self.last = 0, 0.0

    def handle_call(self, request: Echo | Counted, sender: otp.From[object]) -> object:
        if isinstance(request, Echo):
            return request.number
        counted, self.count = (self.count, self.last), 0
        return counted

    def handle_cast(self, message: Count) -> None:
        self.count += 1
        if not message.left:
            self.last = time.monotonic()


class Source(otp.GenServer):
    """Calls and casts to the sink."""

    def __init__(self) -> None:
        self.left, self.began = 0, 0.0
        self.waiting: otp.From[float]
        self.by_lane: otp.Lane | None = None

    def handle_call(self, request: TimeCalls | TimeLane | Cast, sender: otp.From[float]) -> object:
        if isinstance(request, TimeCalls):
            return [self.time_call(i) for i in range(request.times)]
        if isinstance(request, TimeLane):
            lane = self.by_lane = self.by_lane or self.lane("sink")
            return [self.time_lane(lane, i) for i in range(request.times)]
        self.left, self.began, self.waiting = request.times, time.monotonic(), sender
        self.send_after(0, More())
        return otp.NoReply

    def time_call(self, number: int) -> float:
        start = perf_counter()
        self.call("sink", Echo(number))
        return perf_counter() - start

    def time_lane(self, lane: otp.Lane, number: int) -> float:
        start = perf_counter()
        lane.call(Echo(number))
        return perf_counter() - start

    def handle_info(self, message: More) -> None:
        for _ in range(min(self.left, CASTS_AT_ONCE)):
            self.left -= 1
            self.cast("sink", Count(self.left))
        if self.left > 0:
            self.send_after(0, More())
        else:
            self.waiting.reply(self.began)


CHILDREN: Final = [otp.ChildSpec("sink", Sink), otp.ChildSpec("source", Source)]


def client_calls(node: otp.Node) -> list[float]:
    """Seconds of each call from this program to a worker."""
    taken: list[float] = []
    for number in range(CALLS):
        start = perf_counter()
        node.call("sink", Echo(number))
        taken.append(perf_counter() - start)
    return taken


def casts_s(node: otp.Node) -> float:
    """Casts per second of one sender, by the receiver's count and clock."""
    began = node.call("source", Cast(CASTS), timeout=CALL_S_MAX)
    # Sent by another way than the casts, this question may overtake them: ask until all are in.
    count, deadline = 0, time.monotonic() + CALL_S_MAX
    while count < CASTS:
        came, last = node.call("sink", Counted(), timeout=CALL_S_MAX)
        count += came
        if time.monotonic() > deadline:
            raise RuntimeError(f"call: {CASTS - count} of {CASTS} casts did not arrive")
    return CASTS / (last - began)


def _copy(ends: dict[int, tuple[socket.socket, socket.socket]]) -> None:
    poll = select.poll()
    for fd in ends:
        poll.register(fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            here, there = ends[fd]
            data = here.recv(READ_BYTES)
            if not data:
                return
            there.sendall(data)


def routed_ping_pong(times: int = CALLS) -> float:
    """Second floor: median seconds of a round trip by way of a process that copies bytes."""
    fork = multiprocessing.get_context("fork")
    client, client_end = socket.socketpair()
    server_end, server = socket.socketpair()
    ends = {
        client_end.fileno(): (client_end, server_end),
        server_end.fileno(): (server_end, client_end),
    }
    both = [
        fork.Process(target=_copy, args=(ends,), daemon=True),
        fork.Process(target=_copy, args=({server.fileno(): (server, server)},), daemon=True),
    ]
    for process in both:
        process.start()
    taken: list[float] = []
    for i in range(times):
        start = perf_counter()
        client.sendall(pickle.dumps(("add", i)))
        pickle.loads(client.recv(READ_BYTES))
        taken.append(perf_counter() - start)
    for process in both:
        process.kill()
        process.join()
    for sock in (client, client_end, server_end, server):
        sock.close()
    return percentile(taken, 0.5)


def _take(connection: Connection, count: int) -> None:
    for _ in range(count):
        connection.recv()
    connection.send(time.monotonic())


def pipe_one_way_s(count: int = CASTS) -> float:
    """Floor: messages per second over multiprocessing.Pipe in one direction, with its pickle."""
    here, there = multiprocessing.Pipe()
    taker = multiprocessing.get_context("fork").Process(target=_take, args=(there, count))
    taker.start()
    there.close()
    began = time.monotonic()
    for i in range(count):
        here.send(("count", i))
    last: float = here.recv()
    taker.join()
    here.close()
    return count / (last - began)


def measure(short: bool) -> Found:
    """Take turns and return the figures."""
    floor, routed, client, worker, lane, pipe, casts = [list[float]() for _ in range(7)]
    with otp.start(otp.Supervisor("root", children=CHILDREN)) as node:
        for _ in range(ROUNDS_QUICK if short else ROUNDS):
            floor.append(pipe_ping_pong(CALLS) / 1e6)
            routed.append(routed_ping_pong())
            client += client_calls(node)
            worker += node.call("source", TimeCalls(CALLS), timeout=CALL_S_MAX)
            lane += node.call("source", TimeLane(CALLS), timeout=CALL_S_MAX)
            pipe.append(pipe_one_way_s())
            casts.append(casts_s(node))
    floor_us, routed_us, client_us, worker_us, lane_us = [
        percentile(taken, 0.5) * 1e6 for taken in (floor, routed, client, worker, lane)
    ]
    pipe_rate, cast_rate = percentile(pipe, 0.5), percentile(casts, 0.5)
    figures = {
        "floor_pipe_ping_pong_us": round(floor_us, 1),
        "floor_routed_us": round(routed_us, 1),
        "client_to_worker_us": spread(client, scale=1e6, digits=1),
        "worker_to_worker_us": spread(worker, scale=1e6, digits=1),
        "lane_us": spread(lane, scale=1e6, digits=1),
        "floor_pipe_one_way_s": round(pipe_rate),
        "casts_s": round(cast_rate),
    }
    return figures, [
        at_most_times("call, worker to worker, p50", "us", worker_us, floor_us, TARGET_RATIO),
        at_most_times("call, client to worker, p50", "us", client_us, floor_us, TARGET_RATIO),
        at_most_times("call by a lane, p50", "us", lane_us, floor_us, TARGET_LANE_RATIO),
        Row("call, worker to worker, beside bytes copied by a third", "us", worker_us, routed_us),
        at_least("casts from one sender", "/s", cast_rate, TARGET_CASTS_S),
        Row("casts beside a pipe in one direction", "/s", cast_rate, pipe_rate),
    ]


def main() -> None:
    """Measure and print."""
    run("call", __doc__, measure)


if __name__ == "__main__":
    main()
