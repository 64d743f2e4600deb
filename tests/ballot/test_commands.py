from __future__ import annotations

import msgspec
import pytest

from ballot import commands as module
from ballot import wire
from ballot.commands import Pending
from ballot.messages import BallotCasted, CreateElection, OpenElection, Recorded, Retry
from ballot.queries import Outcome
from tests.ballot.desk import CLOSE, CREATE, OPEN, Desk, events, opened
from tests.ballot.samples import cast, command, definition

# --- answers wait for their commit -------------------------------------------------------------


def test_the_answer_to_the_first_command_of_a_batch_waits_for_that_batch() -> None:
    desk = opened()
    one, two = desk.take(cast("ann")), desk.take(cast("bob"))
    desk.propose()
    three = desk.take(cast("cleo"))
    desk.commands.committed(3)  # late news of what was committed before
    assert one.answers == two.answers == []
    desk.commit(4)
    assert (one.answer, two.answer) == (Recorded(4, 0, 3), Recorded(4, 1, 4))
    assert three.answers == []
    desk.propose()
    desk.commit()
    assert three.answer == Recorded(5, 0, 5)


def test_a_refusal_waits_for_what_it_was_computed_from() -> None:
    desk = opened()
    desk.take(cast("ann"))
    twice = desk.take(cast("ann"))
    desk.propose()
    assert twice.answers == []
    desk.commit()
    assert twice.answer.reason == "already_voted"


def test_a_refusal_and_a_repetition_in_a_quiet_election_are_answered_at_once() -> None:
    desk = opened()
    assert desk.take(command(OpenElection)).answer.reason == "bad_state"
    assert desk.take(OPEN).answer == Recorded(3, 0, 2)
    assert not desk.commands.waits


# --- exactly once ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["pending", "in the log", "committed", "after a restart"])
def test_a_repeated_command_gets_its_first_answer(where: str) -> None:
    desk = opened()
    vote = cast("ann")
    first = desk.take(vote)
    if where != "pending":
        desk.propose()
    if where in ("committed", "after a restart"):
        desk.commit()
    if where == "after a restart":
        desk = Desk(tuple(desk.entries))
        desk.serve()
    again = desk.take(vote)
    desk.propose()
    desk.commit()
    assert again.answer == Recorded(4, 0, 3) == (first.answers or [Recorded(4, 0, 3)])[0]
    assert sum(isinstance(event, BallotCasted) for event in events(desk)) == 1


def test_an_id_with_another_payload_is_refused_and_another_actor_is_another_command() -> None:
    desk = opened()
    vote = cast("ann", actor="ann")
    desk.done(vote)
    other = cast("bob", actor="ann", command_id=vote.command_id)
    assert desk.done(other).reason == "id_reused"
    stranger = cast("bob", actor="bob", command_id=vote.command_id)
    assert desk.done(stranger) == Recorded(5, 0, 4)


def test_a_command_whose_event_was_lost_is_carried_out_afresh() -> None:
    desk = opened()
    vote = cast("ann")
    lost = desk.take(vote)
    desk.propose()
    desk.commands.abandon("killed")
    assert isinstance(lost.answer, Retry)
    desk = Desk(tuple(desk.entries[:3]))
    desk.serve()
    assert desk.done(vote) == Recorded(5, 0, 3)


def test_a_command_for_another_key_is_refused_even_a_creation() -> None:
    desk = Desk()
    desk.serve()
    wrong = command(CreateElection, key="lake/other", definition=definition())
    assert desk.done(wrong).reason == "no_such_election"
    assert desk.done(CREATE) == Recorded(2, 0, 1)


def test_a_fault_in_the_rules_is_a_refusal_and_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = opened()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("in the rules")

    monkeypatch.setattr(module, "decide", broken)
    assert desk.take(cast("ann")).answer.reason == "failed"
    assert "ZeroDivisionError: in the rules" in capsys.readouterr().err
    monkeypatch.undo()
    assert desk.done(cast("ann")) == Recorded(4, 0, 3)


# --- before serving, and the end ---------------------------------------------------------------


def test_commands_that_come_early_wait_until_the_writer_serves() -> None:
    desk = Desk()
    early = [desk.take(each) for each in (CREATE, OPEN, cast("ann"), cast("ann"))]
    assert desk.commands.waits
    desk.serve()
    desk.propose()
    desk.commit()
    assert [caller.answer for caller in early[:3]] == [Recorded(2, i, i + 1) for i in range(3)]
    assert early[3].answer.reason == "already_voted"


def test_too_many_early_commands_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EARLY_MAX", 1)
    desk = Desk()
    first, second = desk.take(CREATE), desk.take(OPEN)
    assert isinstance(second.answer, Retry)
    desk.serve()
    desk.propose()
    desk.commit()
    assert isinstance(first.answer, Recorded)


def test_too_many_waiting_answers_make_new_commands_come_again() -> None:
    desk = opened()
    desk.commands._answers._max = 1
    first, second = desk.take(cast("ann")), desk.take(cast("bob"))
    assert isinstance(second.answer, Retry)
    desk.propose()
    desk.commit()
    assert isinstance(first.answer, Recorded)
    assert desk.done(cast("bob")) == Recorded(5, 0, 4)


def test_a_writer_that_ends_tells_everybody_who_waits() -> None:
    desk = Desk()
    callers = [desk.take(CREATE), desk.ask()]
    desk.commands.abandon("epoch 1 ended")
    assert {caller.answer.text for caller in callers} == {"epoch 1 ended; send the same id again"}
    assert not desk.commands.waits


# --- batches -----------------------------------------------------------------------------------


def test_batches_are_bounded_by_events_and_their_places_are_right() -> None:
    desk = opened()
    voters = [desk.take(cast(f"v{i}")) for i in range(module.BATCH_EVENTS_MAX + 3)]
    desk.room = 1
    desk.propose()
    desk.room = 0
    desk.propose()
    assert [entry.count for entry in desk.entries[3:]] == [module.BATCH_EVENTS_MAX]
    desk.room = 5
    desk.propose()
    desk.commit()
    assert [entry.count for entry in desk.entries[3:]] == [module.BATCH_EVENTS_MAX, 3]
    assert voters[-1].answer == Recorded(5, 2, 2 + len(voters))
    for number, caller in enumerate(voters):
        raw = wire.events_of(desk.entries[caller.answer.position - 1])[caller.answer.leaf]
        event = msgspec.msgpack.decode(raw, type=BallotCasted)
        assert event.ballot.credential == f"v{number}"
        assert event.version == caller.answer.version


def test_batches_are_bounded_by_bytes_and_a_larger_event_goes_alone() -> None:
    pending = Pending()
    large = b"l" * module.BATCH_BYTES_MAX
    assert [pending.add(event) for event in (b"a", large, b"b", b"c")] == [
        (1, 0),
        (2, 0),
        (3, 0),
        (3, 1),
    ]
    assert (pending.at(2, 0), pending.at(3, 1), pending.end) == (large, b"c", 3)
    assert [batch.count for batch in pending.hand_over(2)] == [1, 1]
    assert (pending.at(3, 0), pending.logged, bool(pending)) == (b"b", 2, True)
    assert [batch.count for batch in pending.hand_over(9)] == [2]
    assert (bool(pending), pending.add(b"d")) == (False, (4, 0))


# --- reads -------------------------------------------------------------------------------------


def test_a_read_shows_nothing_that_is_not_committed() -> None:
    desk = opened()
    reader = desk.ask()
    desk.propose()
    desk.take(cast("ann"))
    desk.confirm()
    assert reader.answers == []
    desk.propose()
    assert reader.answers == []
    desk.commit()
    assert isinstance(reader.answer, Outcome)
    assert reader.answer.status.casted_ballots == 1
    assert reader.answer.result is None


def test_nothing_is_counted_before_the_closing_is_committed() -> None:
    desk = opened()
    desk.done(cast("ann"))
    open_, closing, closed = desk.ask(count=True), desk.ask(count=True), desk.ask(count=True)
    desk.propose()
    desk.commands.confirmed(1)
    assert (open_.answer.reason, open_.answer.text) == (
        "bad_state",
        "the election is open; it is counted when it is closed",
    )
    desk.take(CLOSE)
    desk.commands.confirmed(2)
    desk.propose()
    desk.commands.confirmed(3)
    assert closed.answers == []
    desk.commit()
    assert isinstance(closing.answer, Retry)
    assert closed.answer.result.winners == ("a",)


def test_a_read_is_answered_only_when_it_was_confirmed() -> None:
    desk = opened()
    reader = desk.ask()
    desk.done(cast("ann"))
    assert reader.answers == []
    assert desk.commands.waits
    desk.propose()
    assert desk.reads == [1]  # it is asked once
    desk.confirm()
    assert reader.answer.status.casted_ballots == 1


def test_too_many_reads_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READS_MAX", 1)
    desk = opened()
    first, second = desk.ask(), desk.ask()
    assert isinstance(second.answer, Retry)
    desk.propose()
    desk.confirm()
    assert isinstance(first.answer, Outcome)


def test_a_read_while_too_many_answers_wait_comes_again() -> None:
    desk = opened()
    desk.commands._answers._max = 1
    reader = desk.ask()
    desk.propose()
    desk.take(cast("ann"))
    desk.confirm()
    assert isinstance(reader.answer, Retry)
