"""What a copy shows of its log: what is committed, and nothing before the election is closed."""

from __future__ import annotations

from typing import Final

import msgspec

from ballot.messages import (
    ElectionClosed,
    ElectionCreated,
    ElectionInvalidated,
    ElectionOpened,
    ElectionValidated,
    LogEvent,
    Refused,
)
from ballot.queries import LogPart
from ballot.replication import LogReader, chunk
from ballot.wire import events_of

_decode = msgspec.msgpack.Decoder(LogEvent).decode
_SHOWN: Final[dict[type, bool]] = {
    ElectionCreated: False,
    ElectionOpened: False,
    ElectionClosed: True,
    ElectionValidated: True,
    ElectionInvalidated: True,
}


class Readable:
    """Follows the phases of an election through the committed part of a log."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._scanned = 0
        self._shown = False

    def part(self, after: int, visible: int) -> LogPart:
        """The entries after a position, up to `visible`; refused while votes may still be cast."""
        self._scan(visible)
        if not self._shown:
            text = "the log is shown when the election is closed"
            return LogPart((), True, Refused("bad_state", text))
        entries = chunk(self._log.read, after, visible)
        return LogPart(entries, after + len(entries) >= visible)

    def _scan(self, visible: int) -> None:
        while self._scanned < visible:
            self._scanned += 1
            for raw in events_of(self._log.read(self._scanned)):
                self._shown = _SHOWN.get(type(_decode(raw)), self._shown)
