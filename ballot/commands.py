"""A writer's commands: decided once, recorded once, answered when what they rest on is committed.

Exactly once (R10): a command id that is in the log gets its first answer, for ever. Refusals are
computed afresh; like every answer they leave only when the log they were computed from is
committed, since until then it may not have happened. So do fresh reads (R12).
"""

from __future__ import annotations

import itertools
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from ballot import replication as r
from ballot import tally, wire
from ballot.dedupe import AnswerQueue, Dedupe, Seen
from ballot.election import Election, ballots_counted, decide, evolve, projections
from ballot.messages import (
    Answer,
    Command,
    ElectionClosed,
    EpochStarted,
    Event,
    LogEvent,
    Recorded,
    Refused,
    Retry,
    dedupe_key,
    payload_hash,
)
from ballot.queries import GetOutcome, Outcome

EARLY_MAX = 20_000
"""Commands that may wait until their writer serves: two seconds of the highest load."""
BATCH_EVENTS_MAX = 2_000
"""Events in one batch, so that one batch never delays the next for long."""
BATCH_BYTES_MAX = 1 << 20
"""Bytes in one batch, so that it shares a connection well; one larger event still goes, alone."""
READS_MAX = 1_000
"""Reads that may wait for their confirmation."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LogEvent).decode


class Sender(Protocol):
    """Whoever waits for an answer."""

    def reply(self, value: Any) -> None:
        """Give it; nobody may wait any more."""


class Log(r.LogReader, Protocol):
    """The copy that the writer decides on."""

    def scan(self) -> Iterator[wire.Entry]:
        """All entries in order."""


class Machine(Protocol):
    """The writer's state machine, as far as commands depend on it."""

    @property
    def room(self) -> int:
        """How many batches it takes now."""


class Pending:
    """Decided events on their way into the log, in batches; each knows already where it will be.

    `logged` is the position of the last batch that was handed over.
    """

    def __init__(self) -> None:
        self.logged = 0
        self._batches: deque[list[bytes]] = deque()
        self._bytes = 0  # in the last batch

    def __bool__(self) -> bool:
        return bool(self._batches)

    @property
    def end(self) -> int:
        """Where the log will end when all of this is in it."""
        return self.logged + len(self._batches)

    def add(self, event: bytes) -> tuple[int, int]:
        """Take one event; the position of its batch and its leaf there."""
        full = self._bytes + len(event) > BATCH_BYTES_MAX
        if not self._batches or full or len(self._batches[-1]) >= BATCH_EVENTS_MAX:
            self._batches.append([])
            self._bytes = 0
        self._batches[-1].append(event)
        self._bytes += len(event)
        return self.end, len(self._batches[-1]) - 1

    def at(self, position: int, leaf: int) -> bytes:
        """The event at a place that was given out and is not handed over."""
        return self._batches[position - self.logged - 1][leaf]

    def hand_over(self, room: int) -> list[wire.Batch]:
        """Take out as many batches as there is room for, oldest first."""
        out = [wire.batch(self._batches.popleft()) for _ in range(min(room, len(self._batches)))]
        self.logged += len(out)
        return out


class Commands:
    """The state of one election as its writer sees it, and everyone who waits for something."""

    def __init__(self, key: str, log: Log) -> None:
        self._key, self._log = key, log
        self._state = Election()
        self._dedupe = Dedupe()
        self._answers: AnswerQueue[tuple[Sender, Answer | Outcome]] = AnswerQueue()
        self._serving = False
        self._early: deque[tuple[Command, Sender]] = deque()
        self._pending = Pending()
        self._closed_at = 0
        self._reads: dict[int, tuple[GetOutcome, Sender]] = {}
        self._asked: list[int] = []
        self._read_ids = itertools.count(1)

    @property
    def waits(self) -> bool:
        """Whether anyone waits for anything."""
        return bool(self._pending or self._reads or self._early or len(self._answers))

    # ------------------------------------------------------------ coming to serve

    def serve(self, now_ms: int) -> None:
        """The log is complete and ours: fold it, then take the commands that came early."""
        for entry in self._log.scan():
            for leaf, raw in enumerate(wire.events_of(entry)):
                event = _decode(raw)
                if not isinstance(event, EpochStarted):
                    self._apply(event, entry.position, leaf)
        self._pending.logged = self._log.state().last.position
        self._serving = True
        early, self._early = self._early, deque()
        for command, sender in early:
            self.take(command, sender, now_ms)

    def _apply(self, event: Event, position: int, leaf: int) -> None:
        self._state = evolve(self._state, event)
        actor, command_id = dedupe_key(event)
        self._dedupe.add(actor, command_id, event.payload_hash, position=position, leaf=leaf)
        if isinstance(event, ElectionClosed):
            self._closed_at = position

    # ------------------------------------------------------------ commands

    def take(self, command: Command, sender: Sender, now_ms: int) -> None:
        """Decide a command; its answer leaves when it may."""
        if not self._serving:
            self._wait(command, sender)
        elif self._answers.full:
            sender.reply(Retry("too many answers wait for their commit; send the same id again"))
        else:
            self._answer(sender, self._decided(command, now_ms))

    def _wait(self, command: Command, sender: Sender) -> None:
        if len(self._early) >= EARLY_MAX:
            sender.reply(Retry("the writer does not serve yet; send the same id again"))
        else:
            self._early.append((command, sender))

    def _answer(self, sender: Sender, answer: Answer | Outcome) -> None:
        """Hold an answer until all that it was computed from is committed."""
        basis = self._pending.end
        if basis <= self._dedupe.committed:
            sender.reply(answer)
        else:
            self._answers.hold(basis, (sender, answer))

    def _decided(self, command: Command, now_ms: int) -> Answer:
        if command.key != self._key:
            return Refused("no_such_election", f"this is {self._key}, not {command.key[:80]!r}")
        seen = self._dedupe.look(command.actor, command.command_id, payload_hash(command))
        if seen is not None:
            return self._repeated(seen)
        try:
            decided = decide(self._state, command, now_ms)
        except Exception:  # a fault of ours in the rules must not end the election
            print(f"{self._key}: {type(command).__name__} could not be decided:", file=sys.stderr)
            traceback.print_exc()
            return Refused("failed", "the rules failed on this command; it was reported")
        return decided if isinstance(decided, Refused) else self._recorded(decided)

    def _recorded(self, events: list[Event]) -> Recorded:
        assert len(events) == 1, "a command is one event, so that it is recorded whole or not"
        event = events[0]
        position, leaf = self._pending.add(_encode(event))
        self._apply(event, position, leaf)
        return Recorded(position, leaf, event.version)

    def _repeated(self, seen: Seen) -> Answer:
        if not seen.same:
            return Refused("id_reused", "this command id was used with another payload")
        if seen.position > self._pending.logged:
            raw = self._pending.at(seen.position, seen.leaf)
        else:
            raw = wire.events_of(self._log.read(seen.position))[seen.leaf]
        event = _decode(raw)
        assert not isinstance(event, EpochStarted), "a command is never recorded as a barrier"
        return Recorded(seen.position, seen.leaf, event.version)

    # ------------------------------------------------------------ the machine

    def inputs(self, machine: Machine) -> list[r.ConfirmRead | r.Propose]:
        """What the machine is to be given now: reads, and as many batches as it has room for."""
        reads = [r.ConfirmRead(read) for read in self._asked]
        self._asked.clear()
        return [*reads, *map(r.Propose, self._pending.hand_over(machine.room))]

    def committed(self, upto: int) -> None:
        """The log is safe up to here: whoever waits for no more than that is answered."""
        self._dedupe.commit(upto)
        for sender, answer in self._answers.release(upto):
            sender.reply(answer)

    def abandon(self, reason: str) -> None:
        """This writer is done; the fate of what waits is not known to it."""
        waiting = [sender for sender, _ in self._answers.drain()]
        waiting += [sender for _, sender in self._early]
        waiting += [sender for _, sender in self._reads.values()]
        self._early.clear()
        self._reads.clear()
        for sender in waiting:
            sender.reply(Retry(f"{reason}; send the same id again"))

    # ------------------------------------------------------------ reads

    def ask(self, request: GetOutcome, sender: Sender) -> None:
        """A read that promises to be fresh: answered when two followers have confirmed us (R12)."""
        if len(self._reads) >= READS_MAX:
            sender.reply(Retry(f"{READS_MAX} reads wait already; ask again"))
            return
        read = next(self._read_ids)
        self._reads[read] = (request, sender)
        self._asked.append(read)

    def confirmed(self, read: int) -> None:
        """We were the writer when this was asked; what is told must be committed all the same."""
        request, sender = self._reads.pop(read)
        if self._answers.full:
            sender.reply(Retry("too many answers wait for their commit; ask again"))
        else:
            self._answer(sender, self._outcome(request))

    def _outcome(self, request: GetOutcome) -> Outcome | Refused | Retry:
        status = projections(self._state)
        if not request.count:
            return Outcome(status)
        if status.status not in ("closed", "certified"):
            text = f"the election is {status.status}; it is counted when it is closed"
            return Refused("bad_state", text)
        if self._closed_at > self._pending.logged:
            return Retry("the election is being closed; ask again")
        definition = self._state.definition
        assert definition is not None, "a closed election has a definition"
        # Nobody can know this hash before the last ballot is in, and everybody can check it after.
        seed = self._log.read(self._closed_at).hash
        return Outcome(status, tally.count(definition, ballots_counted(self._state), lot_seed=seed))
