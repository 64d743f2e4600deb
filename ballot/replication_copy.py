"""A follower's copy of one election: it obeys the newest writer, and never forgets that it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ballot.replication import (
    Alarm,
    Committed,
    Contradiction,
    CopyInput,
    Draft,
    Effect,
    LogReader,
    ReadRecord,
    RecordRead,
    Send,
    Stopped,
    Tick,
    Timing,
    chunk,
)
from ballot.wire import (
    Ack,
    Adopt,
    AnyReplica,
    Append,
    Fetch,
    FetchChunk,
    Gap,
    Head,
    Heartbeat,
    HeartbeatOk,
    Join,
    NoCopy,
    Prepare,
    Promise,
    Record,
    Refuse,
    Replica,
)


class Follower:
    """The state machine of one follower; the shell saves, sends and reads the record for it.

    A copy that is no voter (it is new, or lost its memory) first joins: it reads the record, asks
    its writer, and is refilled part by part; its log counts for nothing until the last part.
    """

    def __init__(
        self, *, key: str, node: str, log: LogReader, timing: Timing | None = None
    ) -> None:
        self.key, self.node = key, node
        self.copy = Draft(log)
        self.stopped = False
        self._log, self._timing = log, timing or Timing()
        self._incarnation = self.copy.saved.incarnation
        self._shown = self.visible
        # How far the log is known to equal that of the writer we obey (volatile; R6).
        self._matched = 0
        self._asked_at = float("-inf")  # when the record or the writer was last asked to let us in
        self._writer: str | None = None  # whom we have asked to fill us
        self._replies: dict[tuple[Any, ...], Send] = {}
        self._after: list[Effect] = []
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            Append: self._append,
            Heartbeat: self._heartbeat,
            Prepare: self._prepare,
            Fetch: self._fetch,
            Adopt: self._adopt,
        }

    @property
    def visible(self) -> int:
        """The position up to which readers may be shown the log (R11)."""
        return min(self.copy.commit, self.copy.last.position) if self.copy.voter else 0

    def step(self, event: CopyInput, now: float) -> list[Effect]:
        """Take one input; return what is to be done, in order."""
        return self.step_many((event,), now)

    def step_many(self, events: Sequence[CopyInput], now: float) -> list[Effect]:
        """Take all that has arrived; one `Save` and one `Ack` answer it together."""
        self.copy.begin()
        try:
            for event in events:
                if self.stopped:
                    break
                self._take(event, now)
        except Contradiction as problem:
            # Nothing of this step is saved or said: the copy stays as it was, for a person to see.
            self.stopped = True
            return [Alarm(f"{self.key} on {self.node}: {problem}")]
        return self._flush()

    def _take(self, event: CopyInput, now: float) -> None:
        if isinstance(event, Tick):
            self._tick(now)
        elif isinstance(event, RecordRead):
            self._record(event.record, now)
        elif event.key == self.key:
            handler = self._handlers.get(type(event))
            if handler is not None:
                handler(event, now)

    def _flush(self) -> list[Effect]:
        save = self.copy.save()
        out: list[Effect] = [] if save is None else [save]
        out += self._replies.values()
        out += self._after
        self._replies, self._after = {}, []
        if self.visible > self._shown:
            self._shown = self.visible
            out.append(Committed(self._shown))
        return out

    # --- obeying -------------------------------------------------------------------------------

    def _obeys(self, message: Replica, now: float) -> bool:
        """R3: refuse an older writer, promise a newer one. R8: without a log there is no say."""
        if message.epoch < self.copy.promised:
            self._refuse(message)
            return False
        if not self.copy.voter:
            reply = NoCopy(self.key, message.epoch, self.node, self._incarnation)
            self._reply(message.node, reply)
            self._seek(message, now)
            return False
        self._promise(message.epoch)
        return True

    def _promise(self, epoch: int) -> None:
        if epoch > self.copy.promised:
            self.copy.promised = epoch
            self._matched = 0

    def _refuse(self, message: Replica) -> None:
        self._reply(message.node, Refuse(self.key, message.epoch, self.node, self.copy.promised))

    def _reply(self, to: str, message: AnyReplica) -> None:
        # One answer of each kind to each writer is enough: what comes later says more.
        self._replies[to, message.epoch, type(message)] = Send((to,), message)

    def _prepare(self, message: Prepare, now: float) -> None:
        if self._obeys(message, now):
            last, commit = self.copy.last, self.copy.commit
            self._reply(
                message.node,
                Promise(self.key, message.epoch, self.node, self._incarnation, last, commit),
            )

    def _fetch(self, message: Fetch, now: float) -> None:
        if not self._obeys(message, now):
            return
        inc = self._incarnation
        if message.incarnation != inc:
            self._reply(message.node, NoCopy(self.key, message.epoch, self.node, inc))
            return
        prev, last = message.after, self.copy.last
        known = self.copy.head(prev.position) == prev
        entries = chunk(self.copy.entry, prev.position, last.position) if known else ()
        end = known and prev.position + len(entries) == last.position
        self._reply(
            message.node,
            FetchChunk(self.key, message.epoch, self.node, inc, prev, known, entries, end),
        )

    def _append(self, message: Append, now: float) -> None:
        if not self._obeys(message, now):
            return
        kind = (message.node, message.epoch)
        if not self.copy.holds(message.prev):
            # Beyond the end: go on from the end. Else our tail is not the writer's; both surely
            # agree on what is committed, and on what has matched already.
            short = message.prev.position > self.copy.last.position
            after = max(self.copy.commit, self._matched)
            after = self.copy.last.position if short else after
            self._reply(message.node, Gap(self.key, message.epoch, self.node, after))
            return
        self.copy.merge(message.entries)
        self._matched = max(self._matched, message.prev.position + len(message.entries))
        self._commit(message.commit)
        self._replies.pop((*kind, Gap), None)
        self._acknowledge(message)

    def _acknowledge(self, message: Replica) -> None:
        # `upto` is what equals the writer's log, not our length: behind it may be a dead tail.
        ack = Ack(
            self.key,
            message.epoch,
            self.node,
            self._matched,
            self._incarnation,
            self.copy.commit,
        )
        self._reply(message.node, ack)

    def _commit(self, commit: int) -> None:
        self.copy.commit = max(self.copy.commit, min(commit, self._matched))

    def _heartbeat(self, message: Heartbeat, now: float) -> None:
        if not self._obeys(message, now):
            return
        self._commit(message.commit)
        ok = HeartbeatOk(self.key, message.epoch, self.node, message.read, self.copy.commit)
        self._reply(message.node, ok)

    # --- being filled --------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        if not self.copy.voter and now - self._asked_at >= self._timing.record:
            self._ask_record(now)

    def _ask_record(self, now: float) -> None:
        self._asked_at, self._writer = now, None
        self._after.append(ReadRecord())

    def _seek(self, message: Replica, now: float) -> None:
        """A writer has been heard: do not wait for the next tick to join."""
        if message.epoch > self.copy.promised:
            if self._writer is not None or now - self._asked_at >= self._timing.gap:
                self._ask_record(now)
        elif self._writer == message.node and now - self._asked_at >= self._timing.gap:
            self._join(now, self.copy.last)

    def _record(self, record: Record | None, now: float) -> None:
        if self.copy.voter:
            return
        if record is None or self.node not in record.members[1:]:
            named = "there is no record" if record is None else f"epoch {record.epoch} names others"
            self._stop(f"{self.node} is no follower of {self.key}: {named}")
        elif record.epoch >= self.copy.promised:
            # The record bounds every promise that the forgotten copy can ever have made.
            self._promise(record.epoch)
            self._writer = record.writer
            self._join(now, self.copy.last)

    def _join(self, now: float, after: Head) -> None:
        assert self._writer is not None
        self._asked_at = now
        join = Join(self.key, self.copy.promised, self.node, self._incarnation, after)
        self._reply(self._writer, join)

    def _adopt(self, message: Adopt, now: float) -> None:
        if message.epoch < self.copy.promised:
            self._refuse(message)
            return
        if self.copy.voter or message.incarnation != self._incarnation:
            return
        self._promise(message.epoch)
        if not self.copy.holds(message.prev):
            return
        self.copy.merge(message.entries)
        if not message.end:
            # From where this part ends, not from our end: behind it may be what is left of an
            # earlier attempt, which this writer does not know.
            self._writer = message.node
            self._join(now, message.entries[-1].head if message.entries else message.prev)
            return
        self.copy.voter = True
        self._matched = message.prev.position + len(message.entries)
        self._commit(message.commit)
        self._acknowledge(message)

    def _stop(self, reason: str) -> None:
        self.stopped = True
        self._after.append(Stopped(reason))
