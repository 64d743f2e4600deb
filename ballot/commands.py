"""A writer's commands: decided once, recorded once, answered when what they rest on is committed.

Exactly once (R10): a command id that is in the log gets its first answer, for ever. Refusals are
computed afresh; like every answer they leave only when the log they were computed from is
committed, since until then it may not have happened.
"""

from __future__ import annotations

import itertools
import sys
import traceback
from collections import deque
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
from ballot.replication_writer import Writer

EARLY_MAX = 20_000
"""Commands that may wait until their writer serves: two seconds of the highest load."""
BATCH_EVENTS_MAX = 2_000
"""Events in one batch, so that one batch never delays the next for long."""
READS_MAX = 1_000
"""Reads that may wait for their confirmation."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LogEvent).decode


class Sender(Protocol):
    """Whoever waits for an answer."""

    def reply(self, value: Any) -> None: ...


class Log(r.LogReader, Protocol):
    """The copy that the writer decides on."""

    def scan(self, start: int = 1, stop: int | None = None) -> Any: ...


class Commands:
    """The state of one election as its writer sees it, and everyone who waits for something."""

    def __init__(self, key: str, log: Log) -> None:
        self._key, self._log = key, log
        self._state = Election()
        self._dedupe = Dedupe()
        self._answers: AnswerQueue[tuple[Sender, Answer]] = AnswerQueue()
        self._serving = False
        self._early: deque[tuple[Command, Sender]] = deque()
        self._events: list[bytes] = []
        self._position = 0
        self._closed_at = 0
        self._reads: dict[int, tuple[GetOutcome, Sender]] = {}
        self._asked: list[int] = []
        self._read_ids = itertools.count(1)

    @property
    def waits(self) -> bool:
        """Whether anyone waits for anything."""
        return bool(self._events or self._reads or self._early or len(self._answers))

    # ------------------------------------------------------------ coming to serve

    def serve(self, now_ms: int) -> None:
        """The log is complete and ours: fold it, then take the commands that came early."""
        for entry in self._log.scan():
            for leaf, raw in enumerate(wire.events_of(entry)):
                event = _decode(raw)
                if not isinstance(event, EpochStarted):
                    self._apply(event, entry.position, leaf)
        self._position = self._log.state().last.position
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
            self._answers.hold(self._basis, (sender, self._decided(command, now_ms)))

    def _wait(self, command: Command, sender: Sender) -> None:
        if len(self._early) >= EARLY_MAX:
            sender.reply(Retry("the writer does not serve yet; send the same id again"))
        else:
            self._early.append((command, sender))

    @property
    def _basis(self) -> int:
        """The position up to which an answer computed now depends on the log."""
        return self._position + bool(self._events)

    def _decided(self, command: Command, now_ms: int) -> Answer:
        seen = self._dedupe.look(command.actor, command.command_id, payload_hash(command))
        if seen is not None:
            return self._repeated(seen)
        try:
            decided = decide(self._state, command, now_ms)
        except Exception:  # a fault of ours in the rules must not end the election
            print(f"{self._key}: {type(command).__name__} could not be decided:", file=sys.stderr)
            traceback.print_exc()
            return Refused("failed", "the rules failed on this command; it was reported")
        if isinstance(decided, Refused):
            return decided
        position, leaf, version = self._position + 1, len(self._events), 0
        for event in decided:
            self._apply(event, position, len(self._events))
            self._events.append(_encode(event))
            version = event.version
        return Recorded(position, leaf, version)

    def _repeated(self, seen: Seen) -> Answer:
        if not seen.same:
            return Refused("id_reused", "this command id was used with another payload")
        if seen.position > self._position:
            raw = self._events[seen.leaf]
        else:
            raw = wire.events_of(self._log.read(seen.position))[seen.leaf]
        event = _decode(raw)
        assert not isinstance(event, EpochStarted), "a command is never recorded as a barrier"
        return Recorded(seen.position, seen.leaf, event.version)

    # ------------------------------------------------------------ the machine

    def inputs(self, machine: Writer) -> list[Any]:
        """What the machine is to be given now: a batch, if there is room, and reads."""
        out: list[Any] = [r.ConfirmRead(read) for read in self._asked]
        self._asked.clear()
        if self._events and machine.room:
            out.append(r.Propose(wire.batch(self._events)))
            self._events = []
            self._position += 1
        return out

    def committed(self, upto: int) -> None:
        """The log is safe up to here: whoever waits for no more than that is answered."""
        self._dedupe.commit(upto)
        for sender, answer in self._answers.release(upto):
            sender.reply(answer)

    def abandon(self, reason: str) -> None:
        """This writer is done; the fate of what waits is not known to it."""
        retry = Retry(f"{reason}; send the same id again")
        for sender, _ in self._answers.drain():
            sender.reply(retry)
        for _, sender in self._early:
            sender.reply(retry)
        self._early.clear()

    # ------------------------------------------------------------ reads

    def ask(self, request: GetOutcome, sender: Sender) -> None:
        """A read that promises to be fresh: answered when two followers have confirmed us (R12)."""
        if len(self._reads) >= READS_MAX:
            text = f"{READS_MAX} reads wait already; ask again"
            refused = Refused("failed", text)
            sender.reply(Outcome(projections(self._state), refused=refused))
            return
        read = next(self._read_ids)
        self._reads[read] = (request, sender)
        self._asked.append(read)

    def confirmed(self, read: int) -> None:
        """We were the writer when this was asked."""
        request, sender = self._reads.pop(read)
        sender.reply(self._outcome(request))

    def _outcome(self, request: GetOutcome) -> Outcome:
        status = projections(self._state)
        if not request.count:
            return Outcome(status)
        if status.status not in ("closed", "certified"):
            text = f"the election is {status.status}; it is counted when it is closed"
            return Outcome(status, refused=Refused("bad_state", text))
        definition = self._state.definition
        assert definition is not None, "a closed election has a definition"
        # Nobody can know this hash before the last ballot is in, and everybody can check it after.
        seed = self._log.read(self._closed_at).hash
        return Outcome(status, tally.count(definition, ballots_counted(self._state), lot_seed=seed))
