"""How a writer becomes one, part 2: it seals three copies and takes the best of their logs (R4)."""

from __future__ import annotations

import msgspec

from ballot.replication import LogReader, LostQuorum, Send, Timing
from ballot.replication_claim import Claim
from ballot.wire import (
    START,
    AnyReplica,
    Fetch,
    FetchChunk,
    Head,
    NoCopy,
    Prepare,
    Promise,
)

SEAL = 3
"""Promises needed of five copies: any three meet any three that recorded something."""

FETCH_TRIES_MAX = 5
"""Unanswered requests to one copy before another promise is taken instead of its."""


class Vote(msgspec.Struct, frozen=True):
    """What a copy had when it promised."""

    last: Head
    incarnation: bytes


class Recovery(Claim):
    """Has, in the end, a log that holds everything that was ever recorded."""

    def __init__(
        self, *, key: str, node: str, owner: str, log: LogReader, timing: Timing | None = None
    ) -> None:
        super().__init__(key=key, node=node, owner=owner, log=log, timing=timing)
        self.votes: dict[str, Vote] = {}
        self.without: set[str] = set()  # copies that say that they lost their memory
        self._lost = False
        self._sent_at = 0.0
        self._source = ""
        self._after: Head | None = None  # what the next chunk must follow
        self._tries = 0

    def _recovered(self, now: float) -> None:
        """The own copy holds the best log."""
        raise NotImplementedError

    @property
    def _asked(self) -> tuple[str, ...]:
        return self.record.prev or self.record.members

    @property
    def _first(self) -> bool:
        return self.record.status == "pending" and self.record.prev is None

    # --- seal ----------------------------------------------------------------------------------

    def _claimed(self, now: float) -> None:
        if self.copy.promised > self.epoch:
            self._alarm(f"own copy promised epoch {self.copy.promised}, record has {self.epoch}")
            return
        self.copy.promised = self.epoch
        if self._first:
            # Nothing was ever recorded: what an earlier attempt left behind is nobody's.
            if self.copy.last.position:
                self.copy.cut(1)
            self._recovered(now)
            return
        self.phase = "seal"
        if not self.copy.voter:
            self.without.add(self.node)
        elif self.node in self._asked:
            self.votes[self.node] = Vote(self.copy.last, self.copy.saved.incarnation)
        self._ask_promises(now)
        self._elect(now)

    def _ask_promises(self, now: float) -> None:
        self._sent_at = now
        silent = tuple(n for n in self._asked if n not in self.votes and n != self.node)
        self._send(silent, Prepare(self.key, self.epoch, self.node))

    def _promise(self, message: Promise, now: float) -> None:
        if self.phase == "seal" and message.node in self._asked:
            self.without.discard(message.node)
            self.votes[message.node] = Vote(message.last, message.incarnation)
            self._elect(now)

    def _no_copy(self, message: NoCopy, now: float) -> None:
        if self.phase in ("seal", "fetch") and message.node in self._asked:
            self.without.add(message.node)
            self._void(message.node, now)
            self._report_loss()

    def _report_loss(self) -> None:
        lost = len(self._asked) - len(self.without) < SEAL
        if lost and not self._lost:
            self._out.append(LostQuorum(tuple(sorted(self.without))))
        self._lost = lost

    def _void(self, node: str, now: float) -> None:
        """A copy that forgot, or cannot be reached, does not stand by its promise (R4)."""
        gone = self.votes.pop(node, None)
        if gone is not None and self.phase == "fetch" and node == self._source:
            self.phase = "seal"
            self._ask_promises(now)
            self._elect(now)

    def _elect(self, now: float) -> None:
        if len(self.votes) < SEAL:
            return
        best = self._best()
        if best == self.node:
            self._recovered(now)
            return
        self.phase, self._source = "fetch", best
        shared = min(self.copy.last.position, self.votes[best].last.position)
        self._fetch_after(self.copy.head(shared) or START, now)

    def _best(self) -> str:
        """R4: the highest epoch of the last entry, then the longest; our own where it is equal."""
        order = sorted(self.votes, key=lambda node: (node != self.node, node))
        return max(order, key=lambda n: (self.votes[n].last.epoch, self.votes[n].last.position))

    # --- fetch ---------------------------------------------------------------------------------

    def _fetch_after(self, head: Head, now: float) -> None:
        self._after, self._tries = head, 0
        self._ask_chunk(now)

    def _ask_chunk(self, now: float) -> None:
        assert self._after is not None  # set with the phase
        self._sent_at = now
        self._tries += 1
        incarnation = self.votes[self._source].incarnation
        self._send(
            (self._source,), Fetch(self.key, self.epoch, self.node, incarnation, self._after)
        )

    def _chunk(self, message: FetchChunk, now: float) -> None:
        if self.phase != "fetch" or message.node != self._source:
            return
        if message.incarnation != self.votes[self._source].incarnation:
            self._void(self._source, now)
        elif message.prev == self._after and message.known:
            self._take_chunk(message, now)
        elif message.prev == self._after:
            self._fall_back(message.prev, now)

    def _fall_back(self, asked: Head, now: float) -> None:
        """Our end is not in that log; what we know as committed must be."""
        agreed = self.copy.head(self.copy.commit) or START
        if asked.position <= agreed.position:
            self._alarm(f"committed position {asked.position} is not in the log of {self._source}")
        else:
            self._fetch_after(agreed, now)

    def _take_chunk(self, message: FetchChunk, now: float) -> None:
        self.copy.merge(message.entries)
        reached = message.entries[-1].head if message.entries else message.prev
        if not message.end:
            self._fetch_after(reached, now)
            return
        if self.copy.last.position > reached.position:
            self.copy.cut(reached.position + 1)
        self._recovered(now)

    # --- time ----------------------------------------------------------------------------------

    def _tick_recovery(self, now: float) -> None:
        if now - self._sent_at < self._timing.resend:
            return
        if self.phase == "seal":
            self._ask_promises(now)
        elif self._tries < FETCH_TRIES_MAX:
            self._ask_chunk(now)
        else:
            self._void(self._source, now)

    def _send(self, to: tuple[str, ...], message: AnyReplica) -> None:
        # Everything that was drafted must be durable before anybody hears of it (R1).
        save = self.copy.save()
        if save is not None:
            self._out.append(save)
        if to:
            self._out.append(Send(to, message))
