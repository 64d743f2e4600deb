"""What no participant knows: everything that was ever committed or told; it checks P1 to P4."""

from __future__ import annotations

from typing import NamedTuple

from ballot.replication import LogReader
from ballot.wire import events_of


class Violation(AssertionError):
    """The protocol broke one of its promises."""


class Command(NamedTuple):
    """One vote; `number` tells an actor's several tries to vote apart."""

    actor: str
    number: int

    @property
    def id(self) -> bytes:
        return f"{self.actor}/{self.number}".encode()


class Recorded(NamedTuple):
    command: Command
    position: int
    leaf: int


class AlreadyVoted(NamedTuple):
    command: Command
    position: int
    leaf: int


Answer = Recorded | AlreadyVoted


class Ghost:
    """The one true history, as far as anybody was told of it."""

    def __init__(self) -> None:
        self.hashes: list[bytes] = []
        self.events: list[list[bytes]] = []
        self.places: dict[bytes, tuple[int, int]] = {}
        self.answers: dict[Command, tuple[int, int]] = {}
        self.refusals: list[AlreadyVoted] = []

    def __len__(self) -> int:
        return len(self.hashes)

    def commit(self, log: LogReader, upto: int, who: str) -> None:
        """P2: a writer counts its log as committed up to `upto`."""
        known = min(upto, len(self))
        if known and log.read(known).hash != self.hashes[known - 1]:
            raise Violation(f"{who} commits another history up to position {known}")
        for position in range(len(self) + 1, upto + 1):
            entry = log.read(position)
            self.hashes.append(entry.hash)
            self.events.append(events_of(entry))
            for leaf, event in enumerate(self.events[-1]):
                self._once(event, position, leaf)
        self._refusals_hold()

    def _once(self, event: bytes, position: int, leaf: int) -> None:
        if event in self.places:
            raise Violation(f"{event!r} at {self.places[event]} applied again at {position, leaf}")
        self.places[event] = (position, leaf)

    def _refusals_hold(self) -> None:
        for refusal in self.refusals:
            self._refusal_holds(refusal)

    def _refusal_holds(self, refusal: AlreadyVoted) -> None:
        if refusal.position <= len(self):
            events = self.events[refusal.position - 1]
            held = refusal.leaf < len(events) and events[refusal.leaf].startswith(
                f"{refusal.command.actor}/".encode()
            )
            if not held:
                raise Violation(f"{refusal} names a vote that was never committed")

    def serving(self, log: LogReader, who: str) -> None:
        """P1: a writer that begins to serve has everything."""
        have = log.state().last.position
        if have < len(self):
            raise Violation(f"{who} serves {have} entries, {len(self)} were committed")
        if len(self) and log.read(len(self)).hash != self.hashes[-1]:
            raise Violation(f"{who} serves another history")

    def shown(self, log: LogReader, upto: int, who: str) -> None:
        """P4: what a follower shows is a part of the history."""
        if upto > len(self):
            raise Violation(f"{who} shows {upto} entries, {len(self)} were committed")
        if upto and log.read(upto).hash != self.hashes[upto - 1]:
            raise Violation(f"{who} shows another history up to {upto}")

    def answered(self, answer: Answer) -> None:
        """P1, P3: an answer tells of something that is committed, and is always the same."""
        if isinstance(answer, AlreadyVoted):
            self.refusals.append(answer)
            self._refusal_holds(answer)
            return
        place = (answer.position, answer.leaf)
        if self.places.get(answer.command.id) != place:
            raise Violation(f"{answer} was told, but is not committed there")
        if self.answers.setdefault(answer.command, place) != place:
            raise Violation(f"{answer.command} got two answers")

    def read_confirmed(self, upto: int, committed_then: int, who: str) -> None:
        """P4: a fresh read sees all that was committed before it was asked."""
        if upto < committed_then:
            raise Violation(f"stale read at {who}: {upto} of {committed_then}")
