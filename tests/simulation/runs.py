"""One seed, one run: bad weather, then calm, in which the election must serve again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from unittest.mock import patch

from ballot import replication, replication_writer
from ballot.wire import START
from tests.simulation.ghost import Command, Violation
from tests.simulation.hosts import FOLLOWERS, MEMBERS, WRITER
from tests.simulation.world import CALM, SOUND, Kinds, World

STORM_S = 6.0
CALM_S = 15.0  # far more than any wait of the protocol; a run ends as soon as all is well
ACTORS = 12
DOOM = 0.1  # part of the seeds that end with more copies lost than can be borne


class Result(NamedTuple):
    """How a run went; `problem` None: well."""

    seed: int
    problem: str | None
    trace: list[str]
    counts: dict[str, int]


def run(seed: int, kinds: Kinds = SOUND, *, tracing: bool = False) -> Result:
    """Run one seed to its end."""
    world = World(seed, kinds, tracing=tracing)
    problem = None
    try:
        # Small limits, so that short logs travel in parts and slow followers are left behind.
        with (
            patch.object(replication, "CHUNK_ENTRIES_MAX", world.rng.choice((1, 2, 5, 1024))),
            patch.object(replication_writer, "STREAM_MAX", world.rng.choice((1, 4, 512))),
            patch.object(replication_writer, "UNCOMMITTED_MAX", world.rng.choice((2, 256))),
        ):
            live(world)
    except (Violation, AssertionError) as found:
        problem = f"{type(found).__name__}: {found}"
    return Result(seed, problem, world.trace, world.counts)


def live(world: World) -> None:
    doomed = world.rng.random() < DOOM
    storm(world)
    if doomed and doom(world):
        must_stand_still(world)
    else:
        calm(world)


# --- the storm ---------------------------------------------------------------------------------


def storm(world: World) -> None:
    """Clients vote, and everything that may go wrong does."""
    rng = world.rng
    faults = list(FAULTS)
    # Swarm testing: a run that has every fault in equal parts never gets far into any of them.
    weights = [2 ** rng.uniform(-3, 3) for _ in faults]

    def next_fault() -> None:
        if world.weather is CALM:
            return
        rng.choices(faults, weights)[0](world)
        world.after(rng.expovariate(1 / world.weather.fault_every), next_fault)

    world.after(rng.uniform(0.5, 2.5), next_fault)
    for number in range(ACTORS * 2):
        command = Command(f"actor{number % ACTORS}", number // ACTORS)
        submit = partial(world.submit, command)
        world.after(rng.uniform(0.0, STORM_S), submit)
    for _ in range(6):
        world.after(rng.uniform(0.5, STORM_S), world.ask_fresh)
    world.run(STORM_S)


def crash(world: World) -> None:
    host = world.hosts[world.rng.choice((WRITER, *MEMBERS))]
    if host.alive:
        world.count("crash")
        world.say(f"{host.name} is killed")
        world.died(host)


def freeze(world: World) -> None:
    host = world.hosts[world.rng.choice((WRITER, *MEMBERS))]
    if host.alive and not host.frozen:
        host.frozen = True
        world.count("freeze")
        world.say(f"{host.name} is frozen")

        def wake() -> None:
            host.frozen = False
            world.say(f"{host.name} wakes")
            host.drain()

        world.after(world.rng.uniform(0.1, 2.0), wake)


def wipe(world: World) -> None:
    """A node loses its memory; at most two copies may be without their log at one time.

    Sometimes only the files are gone and the old process goes on with what it has mapped, beside
    its successor: a writer that does not know that it is none, a follower that says its last words.
    """
    node = world.rng.choice(MEMBERS)
    without = len(MEMBERS) - len(world.voters())
    record = world.record
    if record is None or record.status != "active" or node not in world.voters() or without >= 2:
        return
    lose(world, node, zombie=world.rng.random() < 0.4)


def lose(world: World, node: str, *, zombie: bool) -> None:
    host = world.hosts[node]
    world.count("wipe")
    world.say(f"{node} loses its memory{', its process goes on' if zombie else ''}")
    world.new_copy(node)
    if zombie and host.alive:
        world.zombies.append(host)
        world.after(world.rng.uniform(0.5, 3.0), lambda: world.died(host))
        world.start(node)
    else:
        world.died(host)


def partition(world: World) -> None:
    """Some ways between nodes are cut, each direction for itself."""
    rng = world.rng
    share = rng.choice((0.2, 0.5))
    cut = {(a, b) for a in MEMBERS for b in MEMBERS if a != b and rng.random() < share}
    if rng.random() < 0.4:
        alone = rng.choice(MEMBERS)
        cut = {(a, b) for a in MEMBERS for b in MEMBERS if alone in (a, b)}
    world.count("partition")
    world.say(f"cut: {sorted(cut)}")
    world.blocked |= cut
    world.after(rng.uniform(0.1, 1.5), lambda: world.blocked.difference_update(cut))


def store_away(world: World) -> None:
    def back() -> None:
        world.store_away = False

    world.store_away = True
    world.count("store away")
    world.say("the record store is away")
    world.after(world.rng.uniform(0.1, 1.5), back)


def writer_crash(world: World) -> None:
    host = world.writer
    if host.alive:
        world.count("writer crash")
        world.say(f"{host.name} is killed")
        world.died(host)


FAULTS: tuple[Callable[[World], None], ...] = (
    crash,
    writer_crash,
    freeze,
    wipe,
    partition,
    store_away,
)

# --- the calm ----------------------------------------------------------------------------------


def end_faults(world: World) -> None:
    world.weather = CALM
    world.blocked.clear()
    world.store_away = False
    for zombie in world.zombies:
        zombie.alive = False
    world.zombies.clear()
    for host in world.hosts.values():
        host.frozen = False
        host.drain()


def calm(world: World) -> None:
    """P6: with three copies left, the election serves again and all five logs become equal."""
    end_faults(world)
    probe = Command("late", 0)
    world.submit(probe)
    if not world.run(CALM_S, until=lambda: settled(world, probe)):
        raise Violation(f"does not settle in {CALM_S} s: {state_of(world)}")


def settled(world: World, probe: Command) -> bool:
    if world.waiting.get(probe) != -1 or any(left >= 0 for left in world.waiting.values()):
        return False
    states = [world.copies[node].state() for node in MEMBERS]
    return all(s.voter and s.last == states[0].last and s.commit == s.last.position for s in states)


def doom(world: World) -> bool:
    """More copies lose their memory than may, the writer's among them; True where it is fatal."""
    record = world.record
    if record is None or record.status != "active" or world.ghost.hashes == []:
        return False
    end_faults(world)
    for node in (WRITER, *world.rng.sample(FOLLOWERS, world.rng.choice((2, 3)))):
        world.count("doom")
        lose(world, node, zombie=False)
    return len(world.voters()) < 3


def must_stand_still(world: World) -> None:
    """P5: less than three copies never serve again; the writer says why."""
    world.submit(Command("late", 0))
    before = len(world.ghost)
    if world.run(4.0, until=lambda: world.writer.serving):
        raise Violation("serves although three copies of five lost their memory")
    if not world.writer.lost_quorum:
        raise Violation(f"does not report that its quorum is lost: {state_of(world)}")
    assert len(world.ghost) == before


def state_of(world: World) -> str:
    writer = world.writer.machine
    copies = {
        node: (s.last.position if s.last != START else 0, s.promised, s.voter, s.commit)
        for node in MEMBERS
        for s in (world.copies[node].state(),)
    }
    open_commands = [c for c, left in world.waiting.items() if left >= 0]
    return f"{writer.phase} e{writer.epoch}, record {world.record}, {copies}, open {open_commands}"
