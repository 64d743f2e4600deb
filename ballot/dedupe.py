"""Exactly once: which command was recorded where, and answers that wait until it is for good.

Both are functions of the log: a new writer builds `Dedupe` by reading it. Waiting answers die with
their writer; the clients ask again.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import msgspec

ANSWERS_WAITING_MAX = 65_536
"""Answers held at once; a commit takes milliseconds, so this is seconds of the highest load."""

Item = TypeVar("Item")


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A command id that is in the log, at `leaf` of the batch at `position`.

    `same` is False where the id came with another payload before: that is no repetition but an
    id used twice. Until it is `committed` nobody may be told.
    """

    position: int
    leaf: int
    same: bool
    committed: bool


class Dedupe:
    """Knows every command in the log, by actor and command id; nobody sees another actor's."""

    def __init__(self) -> None:
        self.committed = 0
        self._places: dict[tuple[str, bytes], tuple[bytes, int, int]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def look(self, actor: str, command_id: bytes, payload_hash: bytes) -> Seen | None:
        """Return where this command is; None: it is new."""
        place = self._places.get((actor, command_id))
        if place is None:
            return None
        known, position, leaf = place
        return Seen(position, leaf, known == payload_hash, position <= self.committed)

    def add(
        self, actor: str, command_id: bytes, payload_hash: bytes, *, position: int, leaf: int
    ) -> None:
        """Note a command that was put into the log; the first place of an id stays its place."""
        self._places.setdefault((actor, command_id), (payload_hash, position, leaf))

    def commit(self, upto: int) -> None:
        """Note that the log is recorded for good up to position `upto`."""
        self.committed = max(self.committed, upto)


class AnswerQueue(Generic[Item]):
    """Answers, refusals too, in wait for the log that they were computed from to be committed."""

    def __init__(self, *, waiting_max: int = ANSWERS_WAITING_MAX) -> None:
        self._waiting: deque[tuple[int, Item]] = deque()
        self._max = waiting_max

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no more commands may be taken now."""
        return len(self._waiting) >= self._max

    def hold(self, position: int, item: Item) -> None:
        """Keep `item` until `position` is committed, and never before an item held earlier.

        Raises OverflowError when the queue is full: ask `full` before taking a command.
        """
        if self.full:
            raise OverflowError(f"{len(self._waiting)} answers wait already; none was added")
        # The queue stays in order: an answer may be late, it may never be early.
        floor = self._waiting[-1][0] if self._waiting else 0
        self._waiting.append((max(position, floor), item))

    def release(self, upto: int) -> list[Item]:
        """Take out all items whose position is committed, in the order in which they came."""
        waiting, out = self._waiting, []
        while waiting and waiting[0][0] <= upto:
            out.append(waiting.popleft()[1])
        return out

    def drain(self) -> list[Item]:
        """Take out everything: the writer stops, and the fate of these is not known to it."""
        out = [item for _, item in self._waiting]
        self._waiting.clear()
        return out
