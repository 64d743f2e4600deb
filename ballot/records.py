"""What one asks the coordination process: requests about the elections' configuration records."""

from __future__ import annotations

import otp
from ballot.wire import Record


class ReadRecord(otp.Request[Record | None], frozen=True):
    """The record of election `key` as it is at this moment (linearizable); None: there is none."""

    key: str


class CasRecord(otp.Request[tuple[bool, Record | None]], frozen=True):
    """Put `record` in the place of the one with `expected_epoch`, or create it (None).

    The reply is (it was done, the record that now holds). Where the answer got lost, `ReadRecord`
    tells: what was done shows the caller's own epoch, owner and status.
    """

    key: str
    expected_epoch: int | None
    record: Record


class RecordsOf(otp.Request[list[tuple[str, Record]]], frozen=True):
    """Key and record of every election of which `node` holds a copy, by key."""

    node: str
