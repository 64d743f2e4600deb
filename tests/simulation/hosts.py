"""The shells of the simulator: what the Writer and Follower actors do in production, on one thread.

A host is one process. It performs effects in order; it may be killed between any two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ballot.dedupe import AnswerQueue, Dedupe
from ballot.replication import (
    Alarm,
    Committed,
    Compare,
    ConfirmRead,
    Effect,
    LostQuorum,
    Propose,
    ReadConfirmed,
    ReadRecord,
    Save,
    Send,
    Serving,
    Stopped,
    Tick,
)
from ballot.wire import Batch, batch, events_of
from tests.simulation.ghost import AlreadyVoted, Answer, Command, Recorded, Violation
from tests.simulation.memory import Fenced, MemoryCopy

if TYPE_CHECKING:
    from tests.simulation.world import World

KEY = "here/1"
WRITER = "w"
FOLLOWERS = ("f1", "f2", "f3", "f4")
MEMBERS = (WRITER, *FOLLOWERS)


class Killed(Exception):
    """The process was killed between two effects."""


class FreshRead:
    """A client asks the writer for what is committed now."""

    def __init__(self, committed_then: int) -> None:
        self.committed_then = committed_then


class Host:
    """One process on one node, with the copy that it owns."""

    def __init__(self, world: World, node: str, copy: MemoryCopy, serial: int) -> None:
        self.world, self.node, self.copy = world, node, copy
        self.name = f"{node}#{serial}"
        self.alive = True
        self.frozen = False
        self.draining = False
        self.inbox: list[Any] = []

    machine: Any

    def drain(self) -> None:
        """Take all that has arrived, as one group."""
        self.draining = False
        if not self.alive or self.frozen:
            return
        inputs, self.inbox = self.inbox, []
        try:
            self.take(inputs)
        except (Killed, Fenced) as end:
            self.world.say(f"{self.name} dies: {end!r}")
            self.world.died(self)

    def take(self, inputs: Sequence[Any]) -> None:
        raise NotImplementedError

    def perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self.world.between_effects(self)
            self.perform_one(effect)

    def perform_one(self, effect: Effect) -> None:
        match effect:
            case Save():
                self.copy.apply(effect)
            case Send(to, message):
                for node in to:
                    self.world.send(self.node, node, message)
            case ReadRecord():
                self.world.read_record(self)
            case Compare(expected, record):
                self.world.compare(self, expected, record)
            case Stopped(reason):
                self.world.say(f"{self.name} stopped: {reason}")
                self.world.died(self)
            case Alarm(text):
                raise Violation(f"alarm: {text}")
            case Committed(upto):
                self.committed(upto)
            case _:
                self.perform_other(effect)

    def perform_other(self, effect: Effect) -> None:
        raise AssertionError(effect)

    def committed(self, upto: int) -> None:
        raise NotImplementedError


class FollowerHost(Host):
    """The process of a follower."""

    def __init__(self, world: World, node: str, copy: MemoryCopy, serial: int) -> None:
        super().__init__(world, node, copy, serial)
        self.machine = world.kinds.follower(key=KEY, node=node, log=copy)

    def take(self, inputs: Sequence[Any]) -> None:
        self.perform(self.machine.step_many(inputs, self.world.now))
        if self.alive:
            self.world.ghost.shown(self.copy, self.machine.visible, self.name)

    def committed(self, upto: int) -> None:
        self.world.ghost.shown(self.copy, upto, self.name)


class WriterHost(Host):
    """The process of the writer: an election with one rule, one vote for each actor."""

    def __init__(self, world: World, node: str, copy: MemoryCopy, serial: int) -> None:
        super().__init__(world, node, copy, serial)
        self.machine = world.kinds.writer(
            key=KEY, node=node, owner=self.name, log=copy, barrier=self.barrier
        )
        self.dedupe = Dedupe()
        self.voted: dict[str, tuple[int, int]] = {}
        self.answers: AnswerQueue[Answer] = AnswerQueue(waiting_max=256)
        self.reads: dict[int, FreshRead] = {}
        self.fresh: list[Command] = []
        self.lost_quorum = False

    @property
    def serving(self) -> bool:
        return self.alive and self.machine.phase == "serve"

    def barrier(self, epoch: int) -> Batch:
        return batch([f"epoch {epoch}".encode()])

    def take(self, inputs: Sequence[Any]) -> None:
        asked = [item for item in inputs if isinstance(item, Command | FreshRead)]
        self.run([item for item in inputs if not isinstance(item, Command | FreshRead)])
        for item in asked:
            if self.serving and self.machine.room:
                self.ask(item)
        if self.fresh and self.serving:
            events, self.fresh = [command.id for command in self.fresh], []
            self.run([Propose(batch(events))])
        if self.alive:
            self.release()

    def run(self, inputs: Sequence[Any]) -> None:
        if inputs and self.alive:
            self.perform(self.machine.step_many(inputs, self.world.now))

    def ask(self, item: Command | FreshRead) -> None:
        if isinstance(item, Command):
            self.decide(item)
        else:
            self.read(item)

    def read(self, item: FreshRead) -> None:
        number = max(self.reads, default=0) + 1
        self.reads[number] = item
        self.run([ConfirmRead(number)])

    def decide(self, command: Command) -> None:
        """R10: what is in the log is answered from it, a refusal waits for what it rests on."""
        seen = self.dedupe.look(command.actor, command.id, b"")
        if seen is not None:
            self.answers.hold(seen.position, Recorded(command, seen.position, seen.leaf))
            return
        before = self.voted.get(command.actor)
        if before is not None:
            self.refuse(AlreadyVoted(command, *before))
            return
        # It will be the next batch of this turn: nothing is proposed in between.
        position, leaf = self.machine.last.position + 1, len(self.fresh)
        self.note(command.id, position, leaf)
        self.fresh.append(command)
        self.answers.hold(position, Recorded(command, position, leaf))

    def refuse(self, refusal: AlreadyVoted) -> None:
        self.answers.hold(self.machine.last.position + bool(self.fresh), refusal)

    def note(self, event: bytes, position: int, leaf: int) -> None:
        actor, _, number = event.decode().partition("/")
        if number:
            self.dedupe.add(actor, event, b"", position=position, leaf=leaf)
            self.voted.setdefault(actor, (position, leaf))

    def release(self) -> None:
        for answer in self.answers.release(self.machine.commit):
            self.world.ghost.answered(answer)
            self.world.answered(self, answer)

    def committed(self, upto: int) -> None:
        self.world.ghost.commit(self.copy, upto, self.name)
        self.dedupe.commit(upto)

    def rebuild(self) -> None:
        for position in range(1, self.copy.state().last.position + 1):
            for leaf, event in enumerate(events_of(self.copy.read(position))):
                self.note(event, position, leaf)

    def perform_other(self, effect: Effect) -> None:
        match effect:
            case Serving():
                self.world.ghost.serving(self.copy, self.name)
                self.rebuild()
                self.world.say(f"{self.name} serves epoch {effect.epoch}")
            case ReadConfirmed(read, upto):
                asked = self.reads.pop(read)
                self.world.count("read confirmed")
                self.world.ghost.read_confirmed(upto, asked.committed_then, self.name)
            case LostQuorum(without):
                self.lost_quorum = True
                self.world.say(f"{self.name} has lost its quorum: {without}")


TICK = Tick()
