"""How long until a process that was killed (kill -9) is back, beside a bare fork.

A worker counts as back when its replacement answers a call, a mailroom when it has routed one. The
floor is a fork whose child writes one byte; a second one, without a target, begins like a restart
with the death: kill, wait for it, fork, byte. Worker with one sibling, worker with many siblings,
mailroom and floors take turns, so that a change of the machine's mood meets them all.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from time import perf_counter
from typing import Final

import otp
from benchmarks.floors import fork_and_byte
from benchmarks.report import emit, percentile, quick, spread
from benchmarks.workers import Who, Worker, affordable

NAMES: Final = (
    "floor_fork_and_byte",
    "floor_kill_fork_and_byte",
    "worker",
    "worker_with_siblings",
    "mailroom",
)
TARGET_RATIO: Final = 1.6
TARGET_SIBLINGS_RATIO: Final = 1.2
KILLS, KILLS_QUICK = 100, 50
SIBLINGS, SIBLINGS_QUICK = 1_000, 200
FLOORS_PER_KILL: Final = 3  # a fork is short, so three of them weigh like one restart
CALM_S: Final = 0.02  # after each measurement, so that none pays for what the last one left
MAILROOM_EVERY: Final = 5  # kills of workers for one of a mailroom, whose budget is smaller
BACK_S_MAX: Final = 10.0  # a process that is not back by then never will be
GONE: Final = (otp.ServerDown, otp.NoProcess, otp.Disconnected, otp.NotRunning)
RETRY_S: Final = 0.0001  # a caller that spins would take the core that the restart needs


def tree(siblings: int) -> otp.Supervisor:
    """A worker that is killed, and others beside it."""
    others = [otp.ChildSpec(f"sibling{i}", Worker) for i in range(siblings)]
    children = [otp.ChildSpec("worker", Worker), *others]
    return otp.Supervisor("root", max_restarts=10 * KILLS, max_seconds=3600.0, children=children)


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
    seconds = seconds_back(node, node.call("worker", Who()), new_pid=True)
    time.sleep(CALM_S)
    return seconds


def mailroom_back(node: otp.Node) -> float:
    """Kill the mailroom; seconds until a call to a worker, who did not notice, is answered."""
    victim = next(p.pid for p in node.processes() if p.path == "otp/mailroom")
    seconds = seconds_back(node, victim, new_pid=False)
    time.sleep(CALM_S)
    return seconds


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


def measure(kills: int, siblings: int) -> dict[str, object]:
    """Kill in turn and return the figures."""
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    with otp.start(tree(1)) as small:
        began = perf_counter()
        with otp.start(tree(siblings)) as large:
            started_s = perf_counter() - began
            for i in range(kills):
                for _ in range(FLOORS_PER_KILL):
                    times["floor_fork_and_byte"].append(fork_and_byte(times=1) / 1e3)
                times["floor_kill_fork_and_byte"].append(kill_fork_and_byte())
                times["worker"].append(worker_back(small))
                times["worker_with_siblings"].append(worker_back(large))
                if i % MAILROOM_EVERY == 0:
                    times["mailroom"].append(mailroom_back(small))
    return figures(times) | {
        "siblings": siblings,
        "start_with_siblings_s": round(started_s, 2),
    }


def figures(times: dict[str, list[float]]) -> dict[str, object]:
    """Turn seconds into milliseconds and ratios of medians."""
    found: dict[str, object] = {f"{name}_ms": spread(times[name], scale=1e3) for name in NAMES}
    fork, kill_fork, one, many, mailroom = [percentile(times[name], 0.5) for name in NAMES]
    return found | {
        "ratio": round(one / fork, 2),
        "target_ratio_max": TARGET_RATIO,
        "ratio_to_kill_fork_and_byte": round(one / kill_fork, 2),
        "ratio_with_siblings": round(many / fork, 2),
        "siblings_ratio": round(many / one, 2),
        "target_siblings_ratio_max": TARGET_SIBLINGS_RATIO,
        "mailroom_ratio": round(mailroom / fork, 2),
    }


def main() -> None:
    """Measure and print."""
    short = quick("restart", __doc__)
    wanted = SIBLINGS_QUICK if short else SIBLINGS
    siblings = affordable(wanted)
    if siblings < wanted:
        print(f"restart: room for {siblings} siblings only, not {wanted}", file=sys.stderr)
    emit("restart", measure(KILLS_QUICK if short else KILLS, siblings))


if __name__ == "__main__":
    main()
