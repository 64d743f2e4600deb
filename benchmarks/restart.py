"""How long until a process that was killed (kill -9) is back, beside a bare fork.

A worker counts as back when its replacement answers a call, a mailroom when it has routed one, a
tiny program when its first line is read. The floor of a worker is a fork whose child writes one
byte; a second one, without a target, begins like a restart with the death: kill, wait for it, fork,
byte. The floor of a program begins so, too, and executes it. With one sibling, with many siblings,
by other supervisors, and floors take turns, so that a change of the machine's mood meets them all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from time import perf_counter
from typing import Final

import otp
from benchmarks.floors import fork_and_byte
from benchmarks.programs import PEERS, Tiny, installed, kept_by, tinies
from benchmarks.report import (
    Found,
    Row,
    at_most_more,
    at_most_times,
    percentile,
    run,
    spread,
)
from benchmarks.workers import Who, Worker, affordable

TARGET_RATIO: Final = 1.6
TARGET_ADDED_MS: Final = 3.0
TARGET_SIBLINGS_RATIO: Final = 1.2
KILLS, KILLS_QUICK = 100, 30
SIBLINGS, SIBLINGS_QUICK = 1_000, 100
FLOORS_PER_KILL: Final = 3  # in a row, their median: the first one finds cold caches
CALM_S: Final = 0.02  # after each measurement, so that none pays for what the last one left
MAILROOM_EVERY: Final = 5  # kills of workers for one of a mailroom, whose budget is smaller
PEER_KILLS, PEER_KILLS_QUICK = 10, 2  # a peer may take seconds for each
BACK_S_MAX: Final = 10.0  # a process that is not back by then never will be
GONE: Final = (otp.ServerDown, otp.NoProcess, otp.Disconnected, otp.NotRunning)
RETRY_S: Final = 0.0001  # a caller that spins would take the core that the restart needs

Times = dict[str, list[float]]


def tree(first: otp.ChildSpec, others: list[otp.ChildSpec]) -> otp.Supervisor:
    """One that is killed, and others beside it."""
    return otp.Supervisor(
        "root", max_restarts=10 * KILLS, max_seconds=3600.0, children=[first, *others]
    )


def workers(siblings: int) -> otp.Supervisor:
    """A worker and its siblings."""
    others = [otp.ChildSpec(f"sibling{i}", Worker) for i in range(siblings)]
    return tree(otp.ChildSpec("worker", Worker), others)


def programs(tiny: Tiny, sibling: Tiny, siblings: int) -> otp.Supervisor:
    """A tiny program and its siblings, which say that they are there where nobody listens."""
    others = [otp.ChildSpec(f"sibling{i}", command=sibling.command) for i in range(siblings)]
    return tree(otp.ChildSpec("tiny", command=tiny.command), others)


def seconds_back(node: otp.Node, victim: int, *, new_pid: bool) -> float:
    """Kill a process; seconds until a call is answered, with `new_pid` by another one."""
    start = perf_counter()
    os.kill(victim, signal.SIGKILL)
    while perf_counter() - start < BACK_S_MAX:
        try:
            if node.call("worker", Who()) != victim or not new_pid:
                return perf_counter() - start
        except GONE:
            time.sleep(RETRY_S)
    raise RuntimeError(f"restart: {victim} was killed and not replaced within {BACK_S_MAX:g} s")


def worker_back(node: otp.Node) -> float:
    """Kill the worker; seconds until its replacement answers."""
    return seconds_back(node, node.call("worker", Who()), new_pid=True)


def mailroom_back(node: otp.Node) -> float:
    """Kill the mailroom; seconds until a call to a worker, who did not notice, is answered."""
    victim = next(p.pid for p in node.processes() if p.path == "otp/mailroom")
    return seconds_back(node, victim, new_pid=False)


def kill_fork_and_byte() -> float:
    """Second floor: seconds to kill a child, wait for its death, fork the next and hear of it."""
    victim = os.fork()
    if victim == 0:
        signal.pause()
    reading, writing = os.pipe()
    start = perf_counter()
    os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0)
    pid = os.fork()
    if pid == 0:
        os.write(writing, b"x")
        os._exit(0)
    os.read(reading, 1)
    seconds = perf_counter() - start
    os.waitpid(pid, 0)
    os.close(reading)
    os.close(writing)
    return seconds


def take_turns(times: Times, turns: dict[str, Callable[[], float]], kills: int) -> None:
    """Measure each of them so often, one after the other."""
    for _ in range(kills):
        for name, measure in turns.items():
            times.setdefault(name, []).append(measure())
            time.sleep(CALM_S)


def measure_workers(times: Times, kills: int, siblings: int) -> None:
    """Workers, a mailroom, and their floors."""
    with otp.start(workers(1)) as small, otp.start(workers(siblings)) as large:
        turns: dict[str, Callable[[], float]] = {}
        turns["fork_and_byte"] = lambda: fork_and_byte(FLOORS_PER_KILL) / 1e3
        turns["kill_fork_and_byte"] = kill_fork_and_byte
        turns["worker"] = lambda: worker_back(small)
        turns["worker_with_siblings"] = lambda: worker_back(large)
        take_turns(times, turns, kills)
        take_turns(times, {"mailroom": lambda: mailroom_back(small)}, kills // MAILROOM_EVERY)


def measure_programs(times: Times, kills: int, siblings: int) -> None:
    """Tiny programs, and their floor."""
    with tinies() as make, contextlib.ExitStack() as stack:
        small, large, others, floor = map(make, ("small", "large", "others", "floor"))
        stack.enter_context(otp.start(programs(small, others, 1)))
        stack.enter_context(otp.start(programs(large, others, siblings)))
        small.wait()
        large.wait()
        turns = {
            "kill_fork_exec": floor.floor_s,
            "program": small.back_s,
            "program_with_siblings": large.back_s,
        }
        take_turns(times, turns, kills)


def measure_peers(times: Times, kills: int) -> None:
    """The same tiny program under other supervisors, those of them that are installed."""
    with tinies() as make:
        for peer in filter(installed, PEERS):
            tiny = make(peer)
            with kept_by(peer, tiny):
                take_turns(times, {peer: tiny.back_s}, kills)


def measure(short: bool) -> Found:
    """Kill in turn and return the figures."""
    kills, wanted = (KILLS_QUICK, SIBLINGS_QUICK) if short else (KILLS, SIBLINGS)
    siblings = affordable(wanted)
    if siblings < wanted:
        print(f"restart: room for {siblings} siblings only, not {wanted}", file=sys.stderr)
    times: Times = {}
    measure_workers(times, kills, siblings)
    measure_programs(times, kills, siblings)
    measure_peers(times, PEER_KILLS_QUICK if short else PEER_KILLS)
    figures = {f"{name}_ms": spread(taken, scale=1e3) for name, taken in times.items()}
    return figures | {"siblings": siblings}, rows(times, siblings)


def rows(times: Times, siblings: int) -> list[Row]:
    """Medians in milliseconds beside their floors."""
    ms = {name: percentile(taken, 0.5) * 1e3 for name, taken in times.items()}
    fork, floor = ms["fork_and_byte"], ms["kill_fork_exec"]
    many = f"the same with {siblings:,} siblings, beside that with one"
    least = TARGET_SIBLINGS_RATIO
    found = [
        at_most_times("worker: kill -9 to answering", "ms", ms["worker"], fork, TARGET_RATIO),
        at_most_times(many, "ms", ms["worker_with_siblings"], ms["worker"], least),
        Row("the worker beside kill, wait, fork", "ms", ms["worker"], ms["kill_fork_and_byte"]),
        Row("mailroom: kill -9 to routing", "ms", ms["mailroom"], fork),
        at_most_more("program: kill -9 to running", "ms", ms["program"], floor, TARGET_ADDED_MS),
        at_most_times(many, "ms", ms["program_with_siblings"], ms["program"], least),
    ]
    return found + [Row(f"program, by {p}", "ms", ms[p], floor) for p in PEERS if p in ms]


def main() -> None:
    """Measure and print."""
    run("restart", __doc__, measure)


if __name__ == "__main__":
    main()
