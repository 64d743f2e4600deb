"""Exactly once, and no answer before its time, whatever is repeated, refused, lost and replayed."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot import wire
from ballot.messages import Answer, BallotCasted, Command, LogEvent, Recorded, Retry
from tests.ballot.desk import Caller, Desk, events, opened
from tests.ballot.samples import AT, cast

VOTES = [cast(name, command_id=bytes(15) + bytes([n])) for n, name in enumerate("aabbcdef")]
REUSED = [cast("z", command_id=vote.command_id, actor=vote.actor) for vote in VOTES[:3]]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, len(VOTES) + len(REUSED) - 1)),
        st.tuples(st.just("propose"), st.integers(0, 2)),
        st.tuples(st.just("commit"), st.integers(0, 2)),
        st.tuples(st.just("restart"), st.integers(0, 3)),
    ),
    max_size=40,
)


class History:
    """Runs steps, and checks each answer at the moment at which it leaves."""

    def __init__(self) -> None:
        self.desk = opened()
        self.first: dict[bytes, Recorded] = {}
        self.callers: list[Watched] = []

    def take(self, number: int) -> None:
        caller = Watched(self, (VOTES + REUSED)[number])
        self.callers.append(caller)
        self.desk.commands.take(caller.command, caller, AT)
        caller.basis = self.desk.commands._pending.end

    def propose(self, room: int) -> None:
        self.desk.room = room
        self.desk.propose()

    def commit(self, more: int) -> None:
        self.desk.commit(min(self.desk.committed + more, len(self.desk.entries)))

    def restart(self, kept: int) -> None:
        """A new writer's log holds all that was committed and a part of the rest."""
        self.desk.commands.abandon("killed")
        desk, self.desk = self.desk, Desk(tuple(self.desk.entries[: self.desk.committed + kept]))
        self.desk.committed = desk.committed
        self.desk.serve()

    def finish(self) -> None:
        self.propose(256)
        self.desk.commit()
        assert all(len(caller.answers) == 1 for caller in self.callers)
        assert not self.desk.commands.waits
        ids = [event.command_id for event in events(self.desk) if isinstance(event, BallotCasted)]
        assert len(ids) == len(set(ids))
        assert set(self.first) <= set(ids)


class Watched(Caller):
    """A caller whose answer is judged when it comes."""

    basis: int | None = None

    def __init__(self, history: History, what: Command) -> None:
        super().__init__()
        self.history, self.command = history, what

    def reply(self, value: Answer) -> None:
        super().reply(value)
        desk, first = self.history.desk, self.history.first
        if isinstance(value, Retry):
            return
        # An answer that comes at once was computed from what was committed already.
        assert (self.basis or desk.commands._pending.end) <= desk.committed
        if isinstance(value, Recorded):
            raw = wire.events_of(desk.entries[value.position - 1])[value.leaf]
            event = msgspec.msgpack.decode(raw, type=LogEvent)
            assert isinstance(event, BallotCasted)
            assert (event.command_id, event.version) == (self.command.command_id, value.version)
            assert first.setdefault(event.command_id, value) == value
        else:
            assert value.reason in ("already_voted", "id_reused")


@given(STEPS)
@settings(max_examples=250, deadline=None)
def test_whatever_happens_each_command_has_one_effect_and_true_answers(
    steps: list[tuple[str, int]],
) -> None:
    history = History()
    for name, argument in steps:
        getattr(history, name)(argument)
    history.finish()
