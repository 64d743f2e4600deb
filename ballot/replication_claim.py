"""How a writer becomes one, part 1: it takes the next epoch in the record (R2, R7)."""

from __future__ import annotations

from typing import Literal

import msgspec

from ballot.replication import (
    Alarm,
    Compare,
    Draft,
    Effect,
    LogReader,
    ReadRecord,
    Stopped,
    Timing,
)
from ballot.wire import Record

Phase = Literal["record", "claim", "seal", "fetch", "adopt", "activate", "serve", "stopped"]
"""record, claim: taking the epoch. seal: asking five copies for their promises. fetch: getting the
best log. adopt: bringing it to two followers. activate: making the record say so. Then serve."""


def successor(record: Record, *, owner: str) -> Record:
    """Return the record by which the named writer starts anew: next epoch, same members.

    Over an active record of the same members it is active at once; else it stays pending until the
    members hold the log, and names those that hold it now.
    """
    epoch = record.epoch + 1
    prev = None if record.status == "active" else record.prev
    return msgspec.structs.replace(record, epoch=epoch, prev=prev, owner=owner)


class Claim:
    """Owns one epoch, or finds out that it cannot."""

    def __init__(
        self, *, key: str, node: str, owner: str, log: LogReader, timing: Timing | None = None
    ) -> None:
        self.key, self.node, self.owner = key, node, owner
        self.phase: Phase = "record"
        self.epoch = 0
        self.copy = Draft(log)
        self._timing = timing or Timing()
        self._out: list[Effect] = []
        self._want: Record | None = None  # the record as we want it to be
        self._expected = 0  # the epoch that it is to replace
        self._asked_at = self._compared_at = float("-inf")

    @property
    def record(self) -> Record:
        """The record under which this writer works."""
        assert self._want is not None  # there is one from the phase `claim` on
        return self._want

    def _claimed(self, now: float) -> None:
        """The epoch is ours."""
        raise NotImplementedError

    def _activated(self, now: float) -> None:
        """The record names our members as those that hold the log."""
        raise NotImplementedError

    # --- the record ----------------------------------------------------------------------------

    def _ask_record(self, now: float) -> None:
        if now - self._asked_at >= self._timing.record:
            self._asked_at = now
            self._out.append(ReadRecord())

    def _judge(self, record: Record | None, now: float) -> None:
        """Take a record as it was read or as it is after a swap; late and repeated ones too."""
        if record is None:
            if self.phase == "record":
                self._stop(f"there is no election {self.key}")
        elif self.phase == "record" or self.phase == "claim":
            self._judge_claim(record, now)
        elif self.phase == "activate":
            self._judge_activation(record, now)

    def _judge_claim(self, record: Record, now: float) -> None:
        mine = self._want is not None and record.owner == self.owner
        if mine and record.epoch == self.record.epoch:
            self._want, self.epoch = record, record.epoch
            self._claimed(now)
        elif record.writer != self.node:
            self._stop(f"epoch {record.epoch} of {self.key} has {record.writer} as its writer")
        elif record.epoch >= self._expected:
            # New to us, or not yet swapped: what we want follows from what is there now. Its
            # status may have changed even where its epoch has not.
            want, before = successor(record, owner=self.owner), self._want
            self.phase, self._expected, self._want = "claim", record.epoch, want
            if want != before or self._may_repeat(now):
                self._compare(now)

    def _judge_activation(self, record: Record, now: float) -> None:
        if record.epoch > self.epoch or record.owner != self.owner:
            self._stop(f"epoch {self.epoch} of {self.key} lost to epoch {record.epoch}")
        elif record.epoch == self.epoch and record.status == "active":
            self._activated(now)
        elif record.epoch == self.epoch and self._may_repeat(now):
            self._compare(now)

    def _activate(self, now: float) -> None:
        """R7: the log is with the members; say so in the record before anything counts."""
        self.phase, self._expected = "activate", self.epoch
        self._want = msgspec.structs.replace(self.record, status="active", prev=None)
        self._compare(now)

    def _may_repeat(self, now: float) -> bool:
        return now - self._compared_at >= self._timing.record

    def _compare(self, now: float) -> None:
        self._asked_at = self._compared_at = now
        self._out.append(Compare(self._expected, self.record))

    # --- the end -------------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        self.phase = "stopped"
        self._out.append(Stopped(reason))

    def _alarm(self, text: str) -> None:
        self.phase = "stopped"
        self._out.append(Alarm(f"{self.key} on {self.node}: {text}"))
