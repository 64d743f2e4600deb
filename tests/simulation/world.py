"""Five nodes, a network that loses, repeats, delays and reorders, and a record that is swapped.

Everything is drawn from one seeded generator and happens at one simulated time: a seed is a run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ballot.replication import RecordRead
from ballot.replication_copy import Follower
from ballot.replication_writer import Writer
from ballot.wire import AnyReplica, Record
from tests.simulation.ghost import Answer, Command, Ghost
from tests.simulation.hosts import (
    MEMBERS,
    TICK,
    WRITER,
    FollowerHost,
    FreshRead,
    Host,
    Killed,
    WriterHost,
)
from tests.simulation.memory import MemoryCopy

TICK_S = 0.04
TRACE_MAX = 400


class Kinds(NamedTuple):
    """The classes that run; a mutant puts its own in."""

    writer: type[Writer] = Writer
    follower: type[Follower] = Follower
    writer_host: type[WriterHost] = WriterHost
    new_copy_votes: bool = False


SOUND = Kinds()
"""The protocol as it is."""


class Weather(NamedTuple):
    """How bad this seed is."""

    loss: float
    repeat: float
    delay: float
    stale: float  # part of the messages that arrive seconds late
    kill: float  # chance to be killed between two effects
    fault_every: float

    @classmethod
    def drawn(cls, rng: random.Random) -> Weather:
        return cls(
            loss=rng.choice((0.0, 0.02, 0.1, 0.3)),
            repeat=rng.choice((0.0, 0.1, 0.5)),
            delay=rng.choice((0.001, 0.005, 0.03)),
            stale=rng.choice((0.0, 0.01, 0.05)),
            kill=rng.choice((0.0, 0.0, 0.001, 0.004)),
            fault_every=rng.choice((0.15, 0.4, 1.0)),
        )


CALM = Weather(loss=0, repeat=0, delay=0.001, stale=0, kill=0, fault_every=1e9)


class World:
    """All nodes at one time; `run` advances it, faults are methods."""

    def __init__(self, seed: int, kinds: Kinds = SOUND, *, tracing: bool = False) -> None:
        self.rng = random.Random(seed)
        self.kinds, self.tracing = kinds, tracing
        self.now = 0.0
        self.trace: list[str] = []
        self.ghost = Ghost()
        self.weather = Weather.drawn(self.rng)
        self.record: Record | None = Record(1, WRITER, MEMBERS, "pending", None, 1, "creator")
        self.store_away = False
        self.blocked: set[tuple[str, str]] = set()
        self.copies: dict[str, MemoryCopy] = {}
        self.hosts: dict[str, Host] = {}
        self.zombies: list[Host] = []
        self.waiting: dict[Command, int] = {}
        self.answers: list[Answer] = []
        self.counts: dict[str, int] = {}
        self._serial = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        for node in MEMBERS:
            self.new_copy(node)
            self.start(node)

    def say(self, text: str) -> None:
        if self.tracing:
            self.trace.append(f"{self.now:9.4f} {text}")

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    # --- time ----------------------------------------------------------------------------------

    def after(self, delay: float, action: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._events, (self.now + delay, self._serial, action))

    def run(self, seconds: float, *, until: Callable[[], bool] | None = None) -> bool:
        """Advance; True as soon as `until` holds."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
            if until is not None and until():
                return True
        self.now = end
        return False

    # --- nodes ---------------------------------------------------------------------------------

    def new_copy(self, node: str) -> None:
        self._serial += 1
        incarnation = self._serial.to_bytes(16, "big")
        self.copies[node] = MemoryCopy(incarnation, voter=self.kinds.new_copy_votes)

    def start(self, node: str) -> None:
        """A supervisor starts the node's process."""
        self._serial += 1
        kind = self.kinds.writer_host if node == WRITER else FollowerHost
        host = kind(self, node, self.copies[node], self._serial)
        self.hosts[node] = host
        self.say(f"{host.name} starts")
        self.tick(host)

    def tick(self, host: Host) -> None:
        if host.alive:
            self.arrive(host, TICK)
            self.after(TICK_S, lambda: self.tick(host))

    def arrive(self, host: Host, item: Any) -> None:
        host.inbox.append(item)
        if not host.draining:
            host.draining = True
            self.after(self.rng.choice((0.0, 0.0, 0.002)), host.drain)

    def died(self, host: Host) -> None:
        """A process ended; where it was the node's, its supervisor starts another."""
        host.alive = False
        if self.hosts[host.node] is host:
            self.after(self.rng.uniform(0.01, 0.3), lambda: self.restart(host))

    def restart(self, dead: Host) -> None:
        if self.hosts[dead.node] is dead:
            self.start(dead.node)

    def between_effects(self, host: Host) -> None:
        if self.weather.kill and self.rng.random() < self.weather.kill:
            self.count("killed between effects")
            raise Killed

    def voters(self) -> list[str]:
        return [node for node in MEMBERS if self.copies[node].state().voter]

    @property
    def writer(self) -> WriterHost:
        host = self.hosts[WRITER]
        assert isinstance(host, WriterHost)
        return host

    # --- network -------------------------------------------------------------------------------

    def send(self, source: str, to: str, message: AnyReplica) -> None:
        rng, weather = self.rng, self.weather
        if (source, to) in self.blocked or rng.random() < weather.loss:
            return
        for _ in range(1 + (rng.random() < weather.repeat)):
            delay = rng.expovariate(1 / weather.delay)
            if rng.random() < weather.stale:
                delay += rng.uniform(0.2, 4.0)
            self.after(delay, lambda: self.deliver(source, to, message))

    def deliver(self, source: str, to: str, message: AnyReplica) -> None:
        for host in (self.hosts[to], *(z for z in self.zombies if z.node == to == WRITER)):
            if host.alive:
                if self.tracing:
                    self.say(f"{source} -> {host.name} {brief(message)}")
                self.count(type(message).__name__)
                self.arrive(host, message)

    # --- the record ----------------------------------------------------------------------------

    def read_record(self, host: Host) -> None:
        if host not in self.zombies:
            self._at_store(lambda: self._tell_record(host))

    def compare(self, host: Host, expected: int, record: Record) -> None:
        def swap() -> None:
            if self.record is not None and swappable(self.record, expected, record):
                self.record = record
                self.say(f"record: epoch {record.epoch} {record.status} by {record.owner}")
            self._tell_record(host)

        if host not in self.zombies:
            self._at_store(swap)

    def _at_store(self, action: Callable[[], None]) -> None:
        if not self.store_away:
            self.after(self.rng.uniform(0.001, 0.02), action)
            if self.rng.random() < self.weather.repeat / 5:
                self.after(self.rng.uniform(0.001, 1.0), action)

    def _tell_record(self, host: Host) -> None:
        answer = RecordRead(self.record)
        if (
            host.alive
            and host not in self.zombies
            and not self.store_away
            and self.rng.random() >= self.weather.loss
        ):
            self.after(self.rng.uniform(0.001, 0.02), lambda: self.arrive(host, answer))

    # --- clients -------------------------------------------------------------------------------

    def submit(self, command: Command) -> None:
        """A client sends a command until it has an answer, always with the same id."""
        if self.waiting.setdefault(command, 0) < 0:
            return
        self.waiting[command] += 1
        if self.rng.random() >= self.weather.loss:
            for host in (self.writer, *(z for z in self.zombies if z.node == WRITER)):
                self.arrive(host, command)
        self.after(self.rng.uniform(0.2, 1.0), lambda: self.submit(command))

    def answered(self, host: Host, answer: Answer) -> None:
        self.count(f"answer {type(answer).__name__}")
        lost = self.rng.random() < max(self.weather.loss, 0.05)
        if not lost or self.weather is CALM:
            self.waiting[answer.command] = -1
            self.answers.append(answer)

    def ask_fresh(self) -> None:
        for host in (self.writer, *(z for z in self.zombies if z.node == WRITER)):
            self.arrive(host, FreshRead(len(self.ghost)))


def swappable(current: Record, expected: int, record: Record) -> bool:
    """The compare-and-swap of the record store."""
    if current.epoch != expected:
        return False
    if record.epoch == expected:
        return record.owner == current.owner
    return record.prev == (None if record.status == "active" else current.authoritative) and (
        record.status == current.status
    )


def brief(message: AnyReplica) -> str:
    """A message on one line of a trace."""
    parts = []
    for name in message.__struct_fields__[3:]:
        value = getattr(message, name)
        if name == "entries":
            value = [f"{entry.position}@e{entry.epoch}" for entry in value]
        elif isinstance(value, msgspec.Struct):
            value = f"{value.position}@e{value.epoch}"  # type: ignore[attr-defined]
        elif isinstance(value, bytes):
            value = value.hex().lstrip("0")
        parts.append(f"{name}={value}")
    return f"{type(message).__name__}(e{message.epoch} {' '.join(parts)})"
