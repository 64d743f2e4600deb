"""How long until many workers are there and answer, and what memory an idle one has for itself.

The node runs already; what is timed is a supervisor with so many children from the request to add
it until each of them has answered a call. The floor is as many bare forks in order, each child
writing one byte and staying alive like a worker. In order is how a supervisor starts its children;
`replicas` are started at the same time. Floors and starts take turns.
"""

from __future__ import annotations

import os
import signal
import statistics
from time import perf_counter
from typing import Final

import otp
from benchmarks.report import Found, Row, at_most, at_most_times, run
from benchmarks.workers import Who, Worker, affordable

IN_ORDER_RATIO: Final = 2.5
REPLICAS_RATIO: Final = 1.5
PRIVATE_MB: Final = 1.2
COUNTS, COUNTS_QUICK = (200, 2_000), (100,)
ROUNDS: Final = 3


def forks_alive(count: int) -> float:
    """Floor: seconds for `count` forks in order, each child alive once its one byte is here."""
    pids = []
    reading, writing = os.pipe()
    start = perf_counter()
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os.write(writing, b"x")
            signal.pause()
        pids.append(pid)
        os.read(reading, 1)
    seconds = perf_counter() - start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os.close(reading)
    os.close(writing)
    return seconds


def in_order(count: int) -> otp.Supervisor:
    """So many workers, each started when the one before it is there."""
    children = [otp.ChildSpec(str(i), Worker) for i in range(count)]
    return otp.Supervisor("pool", children=children)


def at_once(count: int) -> otp.ChildSpec:
    """So many workers, started at the same time."""
    return otp.ChildSpec("pool", Worker, replicas=count)


def started_s(
    node: otp.Node, spec: otp.Supervisor | otp.ChildSpec, count: int
) -> tuple[float, list[int]]:
    """Seconds until all of them have answered, and who they are."""
    start = perf_counter()
    node.start_child("/", spec)
    pids = [node.call(f"pool/{i}", Who()) for i in range(count)]
    return perf_counter() - start, pids


def private_mb(pid: int) -> float:
    """Memory that a process shares with nobody, in MB."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        kilobytes = [int(line.split()[1]) for line in file if line.startswith("Private_")]
    return sum(kilobytes) * 1024 / 1e6


def measure_count(count: int) -> dict[str, float]:
    """Take turns for this many workers."""
    taken: dict[str, list[float]] = {"floor_forks": [], "in_order": [], "replicas": []}
    private: list[float] = []
    first = otp.ChildSpec("first", Worker)  # so that its module is loaded before the forks
    with otp.start(otp.Supervisor("root", children=[first])) as node:
        for _ in range(ROUNDS):
            taken["floor_forks"].append(forks_alive(count))
            for name, spec in (("in_order", in_order(count)), ("replicas", at_once(count))):
                seconds, pids = started_s(node, spec, count)
                taken[name].append(seconds)
                private += [private_mb(pid) for pid in pids]
                node.terminate_child("/", "pool")
                node.delete_child("/", "pool")
    medians = {f"{name}_ms": statistics.median(times) * 1e3 for name, times in taken.items()}
    return {"workers": count, **medians, "private_mb": statistics.median(private)}


def rows(found: dict[str, float]) -> list[Row]:
    """What was found for one number of workers."""
    count, floor = f"{found['workers']:,} workers", found["floor_forks_ms"]
    ordered, at_once_ms = found["in_order_ms"], found["replicas_ms"]
    question = f"{count}: start to all answering"
    return [
        at_most_times(f"{question}, in order", "ms", ordered, floor, IN_ORDER_RATIO),
        at_most_times(f"{question}, replicas", "ms", at_once_ms, floor, REPLICAS_RATIO),
        at_most(f"one of {count}: private memory", "MB", found["private_mb"], PRIVATE_MB),
    ]


def measure(short: bool) -> Found:
    """One number of workers after the other."""
    counts = COUNTS_QUICK if short else COUNTS
    found = [measure_count(affordable(count)) for count in counts]
    return {"counts": found}, [row for each in found for row in rows(each)]


def main() -> None:
    """Measure and print."""
    run("spawn_many", __doc__, measure)


if __name__ == "__main__":
    main()
