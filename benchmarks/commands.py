"""How many commands of one election are acknowledged per second, and what a dead writer costs.

The embedded cluster of eight nodes runs on this machine, the five copies of each election on five
of them. Clients send ballots through a mailroom and wait for each answer; a command counts when it
is acknowledged. The floor is the same path written by hand: a client, a writer and four followers
on Unix sockets, without mailrooms, rules and recovery. Floor and cluster take turns.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, cycle
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any, Final

import msgspec

from ballot import dataset
from ballot.client import Elections, new_id
from ballot.cluster import Cluster, ClusterError
from ballot.messages import Ballot, CastBallot, CreateElection, OpenElection, Recorded
from ballot.names import slug
from ballot.topology import embedded, place
from benchmarks.floors import WritePath, write_path
from benchmarks.report import (
    Found,
    Row,
    at_least,
    at_least_times,
    at_most,
    percentile,
    run,
    spread,
)

TARGET_RATIO: Final = 0.5
TARGET_COMMANDS_S: Final = 30_000
TARGET_TAKEOVER_MS: Final = 50
INFLIGHT: Final = 256
ROUNDS, ROUNDS_QUICK = 3, 1
SECONDS, SECONDS_QUICK = 3.0, 1.5
KILLS, KILLS_QUICK = 10, 3
KILLED_AT_EVENTS: Final = 10_000
PROCESSES: Final = (1, 2)  # of clients; a single one may be what limits
BASE_PORT: Final = 17_400  # beside that of a cluster which may run here for other reasons
CLIENTS_S_MAX: Final = 60.0  # beyond the time of a load, until its clients have reported
ROOM_BYTES: Final = 1 << 30  # for all elections of a run, which stay until its end


class Load:
    """Clients of one election: each sends a ballot, waits for its answer, sends the next."""

    def __init__(self, elections: Elections, key: str, ballots: Iterator[Ballot]) -> None:
        self._elections, self._key, self._ballots = elections, key, ballots
        self._stopping = False
        self.acknowledged: list[tuple[float, float]] = []
        """When each command was sent, and when its answer came."""

    async def one(self) -> None:
        """Send one command and note its times. Raises RuntimeError if it is refused."""
        ballot = next(self._ballots)
        command = CastBallot(
            command_id=new_id(), key=self._key, actor=ballot.credential, ballot=ballot
        )
        sent = monotonic()
        answer = await self._elections.command(command)
        if not isinstance(answer, Recorded):
            raise RuntimeError(f"commands: {ballot.credential} was refused: {answer.text}")
        self.acknowledged.append((sent, monotonic()))

    async def client(self) -> None:
        """Send one command after the other until `stop`."""
        while not self._stopping:
            await self.one()

    def stop(self) -> None:
        """Let every client end with the command that it waits for."""
        self._stopping = True


class Work(msgspec.Struct, frozen=True):
    """What one process of clients is to do."""

    key: str
    socket_dirs: tuple[str, ...]
    clients: int
    seconds: float
    prefix: str


def ballots(prefix: str) -> Iterator[Ballot]:
    """The choices of the sample over and over, each with a credential of its own."""
    choices = [ballot.choice for ballot in dataset.ballots(dataset.load(dataset.SAMPLE))]
    for number, choice in zip(count(), cycle(choices), strict=False):
        yield Ballot(f"{prefix}-{number:08d}", choice)


async def send_for(work: Work) -> list[tuple[float, float]]:
    """Keep the clients busy for so long; the times of what was acknowledged."""
    async with Elections(work.socket_dirs) as elections:
        load = Load(elections, work.key, ballots(work.prefix))
        await load.one()  # connect, and learn the way
        load.acknowledged.clear()
        asyncio.get_running_loop().call_later(work.seconds, load.stop)
        await asyncio.gather(*(load.client() for _ in range(work.clients)))
        return load.acknowledged


def client_process(work: Work, results: Connection) -> None:
    """The body of one process of clients."""
    results.send(asyncio.run(send_for(work)))


def run_clients(works: list[Work]) -> list[tuple[float, float]]:
    """Run each work in a process of its own; the times of all together."""
    spawn = multiprocessing.get_context("spawn")
    running = []
    for work in works:
        ours, theirs = spawn.Pipe(duplex=False)
        process = spawn.Process(target=client_process, args=(work, theirs), daemon=True)
        process.start()
        theirs.close()
        running.append((process, ours))
    times: list[tuple[float, float]] = []
    for (process, results), work in zip(running, works, strict=True):
        if not results.poll(work.seconds + CLIENTS_S_MAX):
            raise RuntimeError(f"commands: {work.prefix} has not reported in {CLIENTS_S_MAX:g} s")
        times += results.recv()
        process.join()
    return times


async def open_election(cluster: Cluster, key: str) -> None:
    """Make an election with the sample's definition and open it."""
    definition = dataset.load(dataset.SAMPLE).definition
    async with Elections([cluster.socket_dir(cluster.nodes[0])]) as elections:
        create = CreateElection(
            command_id=new_id(), key=key, actor="officer", definition=definition
        )
        for command in (create, OpenElection(command_id=new_id(), key=key, actor="officer")):
            answer = await elections.command(command)
            if not isinstance(answer, Recorded):
                raise RuntimeError(f"commands: {key} was not opened: {answer.text}")


class Bench:
    """One cluster, and a fresh election for each measurement."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._numbers = count(1)

    def election(self) -> str:
        """The key of a new, open election."""
        key = f"bench/e{next(self._numbers)}"
        asyncio.run(open_election(self._cluster, key))
        return key

    def load(
        self, inflight: int, seconds: float, *, processes: int = 1, all_nodes: bool = False
    ) -> list[tuple[float, float]]:
        """Send commands by the mailroom of the writer's node, or by those of all nodes in turn."""
        key = self.election()
        nodes = self._cluster.nodes if all_nodes else [writer_node(key)]
        dirs = tuple(self._cluster.socket_dir(node) for node in nodes)
        share = inflight // processes
        return run_clients([Work(key, dirs, share, seconds, f"p{i}") for i in range(processes)])

    def takeover(self) -> float:
        """Kill a writer under load; seconds until a command that was sent after is acknowledged."""
        key = self.election()
        node = writer_node(key)
        with self._cluster.node(node) as handle:
            path = f"{slug(key)}/writer"
            writer = next(p.pid for p in handle.processes() if p.path.endswith(path))
        dirs = [self._cluster.socket_dir(name) for name in self._cluster.nodes]
        return asyncio.run(kill_under_load(dirs, key, writer))


async def kill_under_load(dirs: list[str], key: str, writer: int) -> float:
    """Load an election, kill its writer at 10,000 events, and wait for the next answer."""
    async with Elections(dirs) as elections:
        load = Load(elections, key, ballots("k"))
        clients = [asyncio.create_task(load.client()) for _ in range(INFLIGHT)]
        while len(load.acknowledged) < KILLED_AT_EVENTS:
            await asyncio.wait(clients, timeout=0.001)
        killed = monotonic()
        os.kill(writer, signal.SIGKILL)
        await load.one()  # what is sent after the death was answered by nobody who is dead
        load.stop()
        await asyncio.gather(*clients)
    return min(answered for sent, answered in load.acknowledged if sent > killed) - killed


def writer_node(key: str) -> str:
    """The node on which the writer of `key` belongs."""
    return place(embedded(), key).writer


def per_second(times: list[tuple[float, float]]) -> float:
    """Acknowledged commands per second, from the first one sent to the last answer."""
    return len(times) / (max(a for _, a in times) - min(s for s, _ in times))


def throughput(bench: Bench, rounds: int, seconds: float) -> dict[str, Any]:
    """Commands per second with many in flight, beside the floor."""
    ways: dict[str, Callable[[], list[tuple[float, float]]]] = {
        f"{n}_client_process": partial(bench.load, INFLIGHT, seconds, processes=n)
        for n in PROCESSES
    }
    ways["by_all_nodes"] = partial(bench.load, INFLIGHT, seconds, all_nodes=True)
    floors: list[WritePath] = []
    rates: dict[str, list[float]] = {way: [] for way in ways}
    latencies: list[float] = []
    for _ in range(rounds):
        floors.append(write_path(INFLIGHT, seconds))
        for way, sent in ways.items():
            times = sent()
            rates[way].append(per_second(times))
            latencies += [a - s for s, a in times] if way == "1_client_process" else []
    medians = {way: round(percentile(found, 0.5)) for way, found in rates.items()}
    floor, best = percentile([f.ops_s for f in floors], 0.5), max(medians.values())
    return {
        "inflight": INFLIGHT,
        "floor_commands_s": floor,
        "commands_s": medians,
        "latency_ms": spread(latencies, scale=1e3),
        "ratio": round(best / floor, 3),
        "target_ratio_min": TARGET_RATIO,
        "best_commands_s": best,
        "target_commands_s_min": TARGET_COMMANDS_S,
    }


def one_in_flight(bench: Bench, rounds: int, seconds: float) -> dict[str, Any]:
    """The time of a command when no other is under way, beside the floor."""
    floors: list[float] = []
    latencies: list[float] = []
    for _ in range(rounds):
        floors.append(write_path(1, seconds).p50_ms)
        latencies += [answered - sent for sent, answered in bench.load(1, seconds)]
    floor = percentile(floors, 0.5)
    return {
        "one_floor_p50_ms": floor,
        "one_ms": spread(latencies, scale=1e3),
        "one_ratio": round(percentile(latencies, 0.5) * 1e3 / floor, 2),
    }


def takeovers(bench: Bench, kills: int) -> dict[str, Any]:
    """How long an election stands still when its writer is killed under load."""
    taken = [bench.takeover() for _ in range(kills)]
    return {
        "writer_killed_at_events": KILLED_AT_EVENTS,
        "writer_back_ms": spread(taken, scale=1e3, digits=1),
        "target_writer_back_ms_max": TARGET_TAKEOVER_MS,
    }


def measure(short: bool) -> Found:
    """Take one question after the other and return the figures."""
    rounds, seconds = (ROUNDS_QUICK, SECONDS_QUICK) if short else (ROUNDS, SECONDS)
    with Cluster(base_port=BASE_PORT, room=ROOM_BYTES) as cluster:
        bench = Bench(cluster)
        figures = throughput(bench, rounds, seconds) | one_in_flight(bench, rounds, seconds)
        figures |= takeovers(bench, KILLS_QUICK if short else KILLS)
    return figures, rows(figures)


def rows(found: dict[str, Any]) -> list[Row]:
    """The figures beside their floors and targets."""
    many, floor = found["best_commands_s"], found["floor_commands_s"]
    one, one_floor = found["one_ms"]["p50"], found["one_floor_p50_ms"]
    back, events = found["writer_back_ms"]["p50"], KILLED_AT_EVENTS
    return [
        at_least_times(f"commands, {INFLIGHT} in flight", "/s", many, floor, TARGET_RATIO),
        at_least(f"commands, {INFLIGHT} in flight", "/s", many, TARGET_COMMANDS_S),
        Row("one command in flight, p50", "ms", one, one_floor),
        at_most(f"writer: kill -9 at {events:,} events", "ms", back, TARGET_TAKEOVER_MS),
    ]


def main() -> None:
    """Measure and print."""
    try:
        run("commands", __doc__, measure)
    except ClusterError as error:
        sys.exit(f"commands: {error}")


if __name__ == "__main__":
    main()
