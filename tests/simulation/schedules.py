"""Directed schedules: the shortest stories in which one broken rule breaks a promise.

Random runs rarely meet them. `w` is the writer's node; where a story needs a writer elsewhere, `w`
loses its memory and starts anew. Each must go well with the rules as they are.
"""

from __future__ import annotations

from collections.abc import Callable

from ballot.wire import Ack, Adopt, AnyReplica, Append, Heartbeat, Join, Prepare, Replica
from tests.simulation.ghost import Command
from tests.simulation.hosts import FOLLOWERS, TICK, WRITER, FreshRead, Host
from tests.simulation.world import CALM, SOUND, Kinds, World, brief

LATER_S = 2.0  # longer than any wait of the protocol


class OffScript(Exception):
    """The schedule does not fit the protocol: a fault of the schedule."""


class Bench(World):
    """A world in which only that happens which the schedule says."""

    def __init__(self, kinds: Kinds = SOUND) -> None:
        self.soup: list[tuple[str, str, AnyReplica]] = []
        self.store: list[Callable[[], None]] = []
        super().__init__(0, kinds, tracing=True)
        self.weather = CALM

    # --- what a world does by itself, this one does not ----------------------------------------

    def tick(self, host: Host) -> None:
        self.arrive(host, TICK)

    def arrive(self, host: Host, item: object) -> None:
        host.inbox.append(item)
        host.drain()
        while self.store:
            self.store.pop(0)()

    def after(self, delay: float, action: Callable[[], None]) -> None:
        if action.__qualname__.endswith("_tell_record.<locals>.<lambda>"):
            action()

    def _at_store(self, action: Callable[[], None]) -> None:
        self.store.append(action)

    def died(self, host: Host) -> None:
        host.alive = False

    def send(self, source: str, to: str, message: AnyReplica) -> None:
        self.soup.append((source, to, message))

    # --- the words of a schedule ---------------------------------------------------------------

    def later(self, *nodes: str) -> None:
        """Time passes, and these nodes' timers notice."""
        self.now += LATER_S
        for node in nodes:
            self.tick(self.hosts[node])

    def find(self, kind: type[Replica], source: str, to: str) -> AnyReplica | None:
        """The last message of a kind that was sent between two nodes."""
        for one, other, message in reversed(self.soup):
            if (one, other) == (source, to) and type(message) is kind:
                return message
        return None

    def sent(self, kind: type[Replica], source: str, to: str) -> AnyReplica:
        message = self.find(kind, source, to)
        if message is None:
            raise OffScript(f"no {kind.__name__} from {source} to {to}")
        return message

    def expect_serving(self, serving: bool = True) -> None:
        if self.writer.serving is not serving:
            raise OffScript(f"the writer is in phase {self.writer.machine.phase}")

    def give(self, message: AnyReplica | None, to: Host | str) -> None:
        """A message arrives: now, again, or much later than it was sent."""
        host = self.hosts[to] if isinstance(to, str) else to
        if message is not None and host.alive:
            self.say(f"{message.node} -> {host.name} {brief(message)}")
            self.arrive(host, message)

    def pass_on(self, kind: type[Replica], source: str, to: str) -> None:
        self.give(self.find(kind, source, to), to)

    def flow(self, *followers: str) -> None:
        """All that is under way between the writer and these arrives, until it is quiet."""
        near = {WRITER, *followers}
        while True:
            here = [item for item in self.soup if item[0] in near and item[1] in near]
            if not here:
                return
            self.soup = [item for item in self.soup if item not in here]
            for _, to, message in here:
                self.give(message, to)

    def forget(self) -> None:
        """What is under way now gets lost."""
        self.soup.clear()

    def vote(self, *actors: str, to: Host | None = None) -> None:
        """Each `a0` is actor a's first command, `a1` the second."""
        for name in actors:
            self.arrive(to or self.writer, Command(name[:-1], int(name[-1])))

    def append_to(self, follower: str) -> AnyReplica:
        """The writer's last frame arrives there; the answer stays under way and is returned."""
        self.pass_on(Append, WRITER, follower)
        return self.sent(Ack, follower, WRITER)

    def sync(self, *followers: str) -> None:
        for follower in followers:
            self.give(self.append_to(follower), WRITER)

    def begin(self) -> None:
        """The election starts; all five copies hold its first entry."""
        self.tick(self.writer)
        for follower in FOLLOWERS:
            self.now += LATER_S
            self.tick(self.hosts[follower])
        self.flow(*FOLLOWERS)
        self.forget()
        self.expect_serving()

    def move(self, *reachable: str) -> Host:
        """The writer's node loses its memory, and only these copies are there to recover from.

        Returns the old process, which does not know of it.
        """
        old = self.writer
        self.forget()
        self.new_copy(WRITER)
        self.zombies.append(old)
        self.start(WRITER)
        self.flow(*reachable)
        self.forget()
        return old

    def wipe(self, node: str) -> None:
        self.hosts[node].alive = False
        self.new_copy(node)
        self.start(node)


def frames_to(bench: Bench, follower: str) -> list[AnyReplica]:
    """The entries that are under way to a follower."""
    return [m for _, to, m in bench.soup if to == follower and isinstance(m, Append) and m.entries]


# --- the schedules -----------------------------------------------------------------------------


def two_promises(bench: Bench) -> None:
    bench.vote("a0")
    bench.sync("f1", "f2")
    bench.move("f3", "f4")


def blank_copy_votes(bench: Bench) -> None:
    bench.vote("a0")
    bench.sync("f1", "f2")
    bench.wipe("f1")
    bench.move("f1", "f3", "f4")


def longest_log(bench: Bench) -> None:
    bench.vote("a0")
    bench.append_to("f1")
    bench.vote("b0")
    bench.append_to("f1")
    bench.vote("c0")
    bench.append_to("f1")  # in doubt, and longer than what comes next
    bench.move("f2", "f3", "f4")
    bench.vote("d0")
    bench.flow("f2", "f3")
    bench.move("f1", "f2", "f4")


def old_entry_counted(bench: Bench) -> None:
    bench.vote("a0")
    bench.append_to("f1")
    bench.move("f2", "f3", "f4")
    bench.vote("b0")
    bench.pass_on(Append, WRITER, "f4")
    bench.move("f1", "f2", "f3")
    bench.move("f2", "f3", "f4")


def old_acknowledgement(bench: Bench) -> None:
    bench.vote("a0")
    bench.append_to("f1")
    bench.vote("b0")
    late = bench.append_to("f1")
    bench.move("f2", "f3", "f4")
    bench.vote("c0")
    bench.sync("f3")
    bench.give(late, WRITER)
    bench.move("f1", "f2", "f4")


def one_follower(bench: Bench) -> None:
    bench.vote("a0")
    bench.sync("f1")
    bench.move("f2", "f3", "f4")


def stale_writer(bench: Bench) -> None:
    old = bench.move("f2", "f3", "f4")
    bench.vote("b0")
    bench.flow("f3", "f4")
    bench.forget()
    bench.vote("a0", to=old)
    for follower in ("f3", "f4"):
        bench.pass_on(Append, WRITER, follower)
        bench.give(bench.find(Ack, follower, WRITER), old)


def late_duplicate(bench: Bench) -> None:
    bench.vote("a0")
    first = frames_to(bench, "f1")[0]
    bench.sync("f1", "f2")
    bench.vote("b0")
    bench.sync("f1", "f2")
    bench.give(first, "f1")
    bench.move("f1", "f3", "f4")


def dead_tail_counted(bench: Bench) -> None:
    """f1 has a tail that is dead; only what equals the new writer's log may be acknowledged."""
    bench.vote("a0")
    bench.append_to("f1")
    bench.move("f2", "f3", "f4")
    heartbeat_after_commit(bench)


def heartbeat_after_commit(bench: Bench) -> None:
    heartbeat = Heartbeat(bench.writer.machine.key, bench.writer.machine.epoch, WRITER, 0, 2)
    bench.give(heartbeat, "f1")


def dead_tail_acknowledged(bench: Bench) -> None:
    bench.vote("a0")
    bench.append_to("f1")
    bench.vote("b0")
    bench.append_to("f1")
    bench.move("f2", "f3", "f4")
    machine = bench.writer.machine
    prev = machine.copy.head(1)
    bench.vote("c0")
    bench.sync("f2")
    question = Append(machine.key, machine.epoch, WRITER, prev, (), machine.commit)
    bench.give(question, "f1")
    bench.pass_on(Ack, "f1", WRITER)
    bench.move("f1", "f3", "f4")


def old_frame_fills_blank_copy(bench: Bench) -> None:
    bench.vote("a0")
    first = frames_to(bench, "f1")[0]
    bench.sync("f1", "f2")
    bench.vote("b0")
    bench.sync("f1", "f2")
    old = Append(first.key, first.epoch, WRITER, first.prev, (), 0)  # type: ignore[union-attr]
    bench.wipe("f1")
    bench.now += LATER_S
    bench.tick(bench.hosts["f1"])
    bench.give(old, "f1")
    bench.move("f1", "f3", "f4")


def old_part_fills_blank_copy(bench: Bench) -> None:
    bench.wipe("f1")
    bench.later("f1")
    bench.pass_on(Join, "f1", WRITER)
    late = bench.find(Adopt, WRITER, "f1")
    bench.flow("f1")
    bench.later(WRITER)
    bench.vote("a0")
    bench.flow("f1", "f2")
    bench.later(WRITER)
    bench.flow("f1", "f2")
    bench.wipe("f1")
    bench.later("f1")
    bench.give(late, "f1")
    bench.move("f1", "f3", "f4")


def uncommitted_shown(bench: Bench) -> None:
    bench.vote("a0")
    bench.append_to("f1")
    bench.move("f2", "f3", "f4")


def refused_too_early(bench: Bench) -> None:
    bench.vote("a0", "a1")
    bench.move("f2", "f3", "f4")


def repeated(bench: Bench) -> None:
    bench.vote("a0")
    bench.flow(*FOLLOWERS)
    bench.vote("a0")
    bench.flow(*FOLLOWERS)


def repeated_after_restart(bench: Bench) -> None:
    bench.vote("a0")
    bench.flow(*FOLLOWERS)
    bench.writer.alive = False
    bench.start(WRITER)
    bench.flow(*FOLLOWERS)
    bench.vote("a0")
    bench.flow(*FOLLOWERS)


def stale_read(bench: Bench) -> None:
    old = bench.move("f2", "f3", "f4")
    bench.vote("a0")
    bench.flow("f2", "f3")
    bench.forget()
    bench.arrive(old, FreshRead(len(bench.ghost)))
    for follower in FOLLOWERS:
        bench.pass_on(Heartbeat, WRITER, follower)


def forgotten_promise(bench: Bench) -> None:
    """The copy with the best log loses it between its promise and the fetch."""
    bench.vote("a0")
    bench.sync("f1", "f2")
    bench.forget()
    bench.new_copy(WRITER)
    bench.start(WRITER)
    for follower in ("f1", "f3", "f4"):
        bench.pass_on(Prepare, WRITER, follower)
    bench.flow("f3", "f4")
    bench.wipe("f1")
    bench.flow("f1", "f3", "f4")
    bench.expect_serving(False)
    bench.later(WRITER)
    bench.flow("f2", "f3", "f4")
    bench.expect_serving()


def unserved_then_served(bench: Bench) -> None:
    """A start that got as far as entries, but not to its activation, recorded nothing."""
    bench.vote("a0")
    bench.flow(*FOLLOWERS)
    bench.writer.alive = False
    bench.start(WRITER)
    bench.flow(*FOLLOWERS)


Schedule = Callable[[Bench], None]

KILLERS: dict[str, tuple[Schedule, ...]] = {
    "seal-2-of-5": (two_promises,),
    "best-by-length": (longest_log,),
    "no-barrier": (old_entry_counted,),
    "ack-without-epoch": (old_acknowledgement,),
    "no-activation": (unserved_then_served,),
    "commit-on-2-of-5": (one_follower,),
    "same-epoch-resumed": (repeated_after_restart,),
    "no-fence": (stale_writer,),
    "overwrite": (late_duplicate,),
    "ack-by-length": (dead_tail_acknowledged,),
    "commit-of-a-dead-tail": (dead_tail_counted,),
    "join-without-nonce": (old_frame_fills_blank_copy,),
    "adopt-without-nonce": (old_part_fills_blank_copy,),
    "amnesia-votes": (blank_copy_votes,),
    "amnesia-promises": (blank_copy_votes,),
    "read-uncommitted": (uncommitted_shown,),
    "no-dedupe": (repeated,),
    "dedupe-in-memory": (repeated_after_restart,),
    "early-reject": (refused_too_early,),
    "writer-local-read": (stale_read,),
}

OTHERS: tuple[Schedule, ...] = (forgotten_promise,)


def play(schedule: Schedule, kinds: Kinds = SOUND) -> Bench:
    """Play one schedule from a begun election on. Raises what the ghost finds."""
    bench = Bench(kinds)
    bench.begin()
    schedule(bench)
    return bench
