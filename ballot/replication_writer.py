"""The writer of one election: it puts batches into its own log and brings them to four followers.

A batch is committed when the own copy and two followers hold it. Many are in flight at once; an
acknowledgement speaks for everything before it. Nothing counts before the barrier, the first entry
of the writer's own epoch, is committed (R5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ballot.replication import (
    Committed,
    ConfirmRead,
    Contradiction,
    Effect,
    LogReader,
    Propose,
    ReadConfirmed,
    RecordRead,
    Serving,
    Tick,
    Timing,
    WriterInput,
    chunk,
)
from ballot.replication_peer import Peer
from ballot.replication_recovery import Recovery
from ballot.wire import (
    START,
    Ack,
    Adopt,
    Append,
    Batch,
    Entry,
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
    Refuse,
    Replica,
    entry_after,
)

NEED = 2
"""Followers that must hold an entry beside the own copy: three of five copies."""

UNCOMMITTED_MAX = 256
"""Batches in the log that are not committed yet; the shell gathers commands meanwhile."""

STREAM_MAX = 512
"""Batches sent to one follower without an answer; a slower one is brought up from the log."""

READS_MAX = 4096
"""Reads that wait for their confirmation."""


class Writer(Recovery):
    """The state machine of a writer; the shell saves, sends, and reads and swaps the record for it.

    It owns the copy of its node, too: a message from a newer writer stops it. `barrier` makes the
    first batch of an epoch, `owner` is a token that no other process ever had.
    """

    def __init__(
        self,
        *,
        key: str,
        node: str,
        owner: str,
        log: LogReader,
        barrier: Callable[[int], Batch],
        timing: Timing | None = None,
    ) -> None:
        super().__init__(key=key, node=node, owner=owner, log=log, timing=timing)
        self.peers: dict[str, Peer] = {}
        self.commit = 0  # what this epoch has committed
        self._barrier_of = barrier
        self._barrier = 0
        self._told = 0.0  # when all followers were last told something
        self._third_at: float | None = None  # until when a third follower is waited for
        self._reads: deque[tuple[int, int]] = deque()
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            Ack: self._ack,
            Gap: self._gap,
            HeartbeatOk: self._heartbeat_ok,
            Promise: self._promise,
            FetchChunk: self._chunk,
            NoCopy: self._no_copy,
            Join: self._join,
            Refuse: self._refused,
        }

    @property
    def last(self) -> Head:
        """The end of the log, committed or not."""
        return self.copy.last

    @property
    def room(self) -> int:
        """How many batches may be proposed now; 0 unless serving."""
        if self.phase != "serve":
            return 0
        return max(0, UNCOMMITTED_MAX - (self.copy.last.position - self.commit))

    def step(self, event: WriterInput, now: float) -> list[Effect]:
        """Take one input; return what is to be done, in order."""
        return self.step_many((event,), now)

    def step_many(self, events: Sequence[WriterInput], now: float) -> list[Effect]:
        """Take all that has arrived. Raises OverflowError for a batch that there is no room for."""
        self.copy.begin()
        try:
            for event in events:
                if self.phase == "stopped":
                    break
                self._take(event, now)
            if self.phase != "stopped":
                self._advance(now)
        except Contradiction as problem:
            self._alarm(str(problem))
        out, self._out = self._out, []
        return out

    def _take(self, event: WriterInput, now: float) -> None:
        if isinstance(event, Replica):
            self._message(event, now)
        elif isinstance(event, Propose):
            self._propose(event.batch)
        elif isinstance(event, Tick):
            self._tick(now)
        elif isinstance(event, RecordRead):
            self._judge(event.record, now)
        else:
            self._confirm(event)

    # --- messages ------------------------------------------------------------------------------

    def _message(self, message: Replica, now: float) -> None:
        if message.key != self.key or not self.epoch:
            return
        if message.epoch > self.epoch:
            self._superseded(message)
        elif message.epoch == self.epoch:
            handler = self._handlers.get(type(message))
            if handler is not None:
                handler(message, now)
        # A Join from an older epoch may come from a copy that was lost since: its node reads the
        # record again when it hears us. The rest are late answers to the writers before us.
        elif isinstance(message, Prepare | Append | Heartbeat | Fetch | Adopt):
            refuse = Refuse(self.key, message.epoch, self.node, self.epoch)
            self._send((message.node,), refuse)

    def _superseded(self, message: Replica) -> None:
        """R3: there is a newer epoch; our copy obeys it, and that is the end of this writer."""
        if isinstance(message, Prepare) and self.copy.voter:
            self.copy.promised = message.epoch
            state = self.copy
            incarnation, commit = state.saved.incarnation, state.commit
            self._send(
                (message.node,),
                Promise(self.key, message.epoch, self.node, incarnation, state.last, commit),
            )
        self._stop(f"epoch {self.epoch} of {self.key} ended by epoch {message.epoch}")

    def _refused(self, message: Refuse, now: float) -> None:
        if message.promised > self.epoch:
            self._stop(
                f"epoch {self.epoch} of {self.key}: {message.node} promised {message.promised}"
            )

    # --- adopt, activate, serve ----------------------------------------------------------------

    def _recovered(self, now: float) -> None:
        self.peers = {node: Peer(now) for node in self.record.members if node != self.node}
        self.commit = self.copy.commit
        self.copy.voter = True
        self.phase = "adopt"
        self._extend(self._barrier_of(self.epoch), everyone=True)
        self._barrier = self.copy.last.position

    def _held_by(self, count: int) -> int:
        """The position that at least `count` followers hold."""
        acked = sorted((peer.acked for peer in self.peers.values()), reverse=True)
        return acked[count - 1] if len(acked) >= count else 0

    def _advance(self, now: float) -> None:
        if self.phase == "adopt" and self._held_by(NEED) >= self._barrier:
            self._adopted(now)
        if self.phase == "serve":
            self._commit_to(self._committable())
            self._confirmed()

    def _committable(self) -> int:
        """R5: what two followers hold counts from the barrier of this epoch on."""
        held = self._held_by(NEED)
        return held if held >= self._barrier else 0

    def _commit_to(self, upto: int) -> None:
        if upto > self.commit:
            self.commit = self.copy.commit = upto  # saved with the next batch, or when idle
            self._out.append(Committed(upto))

    def _adopted(self, now: float) -> None:
        if self.record.status == "active":
            self._activated(now)
            return
        if self._third_at is None:
            self._third_at = now + self._timing.third
        if now >= self._third_at or self._held_by(NEED + 1) >= self._barrier:
            self._activate(now)

    def _activated(self, now: float) -> None:
        self.phase = "serve"
        self._out.append(Serving(self.epoch))

    def _propose(self, events: Batch) -> None:
        if not self.room:
            raise OverflowError(
                f"{self.key} in phase {self.phase} takes no batch: "
                f"{self.copy.last.position - self.commit} are not committed"
            )
        self._extend(events)

    def _extend(self, events: Batch, *, everyone: bool = False) -> None:
        """Put a batch into the own copy, then send it to all who have what is before it (R1)."""
        prev = self.copy.last
        entry = entry_after(prev, self.epoch, events)
        self.copy.append(entry)
        to = []
        for node, peer in self.peers.items():
            ready = peer.sent == prev.position and prev.position - peer.acked < STREAM_MAX
            if everyone or (ready and not peer.joining):
                peer.sent = entry.position
                to.append(node)
        self._send(tuple(to), self._frame(prev, (entry,)))

    def _frame(self, prev: Head, entries: tuple[Entry, ...]) -> Append:
        return Append(self.key, self.epoch, self.node, prev, entries, self.commit)

    # --- followers -----------------------------------------------------------------------------

    def _ack(self, message: Ack, now: float) -> None:
        peer = self.peers.get(message.node)
        # A process that woke late may still hold the memory that its node has lost: what it
        # acknowledges is on no copy that anybody could recover from.
        patience = self._timing.memory
        if peer is None or not peer.hears(message.incarnation, now, patience=patience):
            return
        if message.upto > self.copy.last.position:
            raise Contradiction(
                f"{message.node} acknowledged {message.upto}, the log ends at "
                f"{self.copy.last.position}"
            )
        peer.joining, peer.told = False, now
        peer.commit = max(peer.commit, message.commit)
        peer.acked = max(peer.acked, message.upto)
        peer.sent = max(peer.sent, peer.acked)
        if peer.sent == peer.acked < self.copy.last.position:
            self._bring_up(message.node, peer)

    def _bring_up(self, node: str, peer: Peer) -> None:
        """Send the next part of the log to a follower that the stream has left behind."""
        after = self.copy.head(peer.sent)
        assert after is not None  # nothing beyond the end was ever sent
        entries = chunk(self.copy.entry, after.position, self.copy.last.position)
        peer.sent += len(entries)
        self._send((node,), self._frame(after, entries))

    def _gap(self, message: Gap, now: float) -> None:
        peer = self.peers.get(message.node)
        if peer is None:
            return
        peer.joining, peer.told = False, now
        after = max(message.after, peer.acked)  # an old gap may have been filled since
        if after >= self.copy.last.position:
            return
        if after == peer.gap and now - peer.gap_at < self._timing.gap:
            return  # every frame behind a lost one tells of the same gap
        peer.gap, peer.gap_at, peer.sent = after, now, after
        self._bring_up(message.node, peer)

    def _no_copy(self, message: NoCopy, now: float) -> None:
        super()._no_copy(message, now)
        peer = self.peers.get(message.node)
        if peer is not None:
            peer.joining = True

    def _join(self, message: Join, now: float) -> None:
        """R8: fill a copy part by part, each asked for; with our end it counts again."""
        peer = self.peers.get(message.node)
        if peer is None:
            return
        peer.hears(message.incarnation, now, joins=True, patience=self._timing.memory)
        peer.joining, peer.told = True, now
        known = self.copy.head(message.after.position) == message.after
        prev = message.after if known else START
        last = self.copy.last.position
        entries = chunk(self.copy.entry, prev.position, last)
        end = prev.position + len(entries) == last
        if end:
            peer.sent = last
        adopt = Adopt(
            self.key,
            self.epoch,
            self.node,
            message.incarnation,
            prev,
            entries,
            self.commit,
            end,
        )
        self._send((message.node,), adopt)

    # --- reads ---------------------------------------------------------------------------------

    def _confirm(self, event: ConfirmRead) -> None:
        if self.phase != "serve" or len(self._reads) >= READS_MAX:
            raise OverflowError(
                f"{self.key} in phase {self.phase} confirms no read: {len(self._reads)} wait"
            )
        self._reads.append((event.read, self.commit))
        self._send(tuple(self.peers), self._heartbeat())

    def _heartbeat(self) -> Heartbeat:
        read = self._reads[-1][0] if self._reads else 0
        return Heartbeat(self.key, self.epoch, self.node, read, self.commit)

    def _heartbeat_ok(self, message: HeartbeatOk, now: float) -> None:
        peer = self.peers.get(message.node)
        if peer is not None:
            peer.ok = max(peer.ok, message.read)
            peer.commit = max(peer.commit, message.commit)

    def _confirmed(self) -> None:
        if not self._reads:
            return
        confirmed = sorted((peer.ok for peer in self.peers.values()), reverse=True)[NEED - 1]
        while self._reads and self._reads[0][0] <= confirmed:
            self._out.append(ReadConfirmed(*self._reads.popleft()))

    # --- time ----------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        if self.phase in ("record", "claim", "activate"):
            self._ask_record(now)
        if self.phase in ("seal", "fetch"):
            self._tick_recovery(now)
        elif self.phase in ("adopt", "activate", "serve"):
            self._ask_silent(now)
            self._tell_commit(now)

    def _ask_silent(self, now: float) -> None:
        """Ask those that are behind and silent whether they have our end; a gap is the answer."""
        last = self.copy.last
        late = [
            node
            for node, peer in self.peers.items()
            if peer.acked < last.position and now - peer.told >= self._timing.resend
        ]
        for node in late:
            self.peers[node].told = now
        if late:
            self._send(tuple(late), self._frame(last, ()))

    def _tell_commit(self, now: float) -> None:
        """Tell followers and our own copy the last commit, when no batch carries it."""
        if now - self._told < self._timing.idle:
            return
        late = [n for n, p in self.peers.items() if p.commit < min(self.commit, p.acked)]
        to = tuple(self.peers) if self._reads else tuple(late)
        if to or self.copy.saved.commit < self.copy.commit:
            self._told = now
            self._send(to, self._heartbeat())
