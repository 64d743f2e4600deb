from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot.dedupe import AnswerQueue, Dedupe, Seen


def test_a_command_is_new_then_pending_then_committed() -> None:
    dedupe = Dedupe()
    assert dedupe.look("ann", b"id", b"h") is None
    dedupe.add("ann", b"id", b"h", position=3, leaf=1)
    assert dedupe.look("ann", b"id", b"h") == Seen(3, 1, same=True, committed=False)
    dedupe.commit(2)
    assert dedupe.look("ann", b"id", b"h") == Seen(3, 1, same=True, committed=False)
    dedupe.commit(3)
    assert dedupe.look("ann", b"id", b"h") == Seen(3, 1, same=True, committed=True)
    dedupe.commit(1)  # late news takes nothing back
    assert dedupe.look("ann", b"id", b"h") == Seen(3, 1, same=True, committed=True)


def test_the_same_id_with_another_payload_is_told() -> None:
    dedupe = Dedupe()
    dedupe.add("ann", b"id", b"h", position=1, leaf=0)
    assert dedupe.look("ann", b"id", b"other") == Seen(1, 0, same=False, committed=False)


def test_nobody_gets_the_place_of_another_actors_command() -> None:
    dedupe = Dedupe()
    dedupe.add("ann", b"id", b"h", position=1, leaf=0)
    assert dedupe.look("bob", b"id", b"h") is None


def test_the_first_place_stays_the_place() -> None:
    dedupe = Dedupe()
    dedupe.add("ann", b"id", b"h", position=1, leaf=0)
    dedupe.add("ann", b"id", b"h", position=9, leaf=5)
    assert dedupe.look("ann", b"id", b"h") == Seen(1, 0, same=True, committed=False)
    assert len(dedupe) == 1


def test_answers_wait_for_their_position() -> None:
    queue: AnswerQueue[str] = AnswerQueue()
    for position, item in ((2, "a"), (2, "b"), (4, "c")):
        queue.hold(position, item)
    assert queue.release(1) == []
    assert queue.release(3) == ["a", "b"]
    assert queue.release(4) == ["c"]
    assert queue.release(9) == []


def test_an_answer_to_an_older_position_is_late_but_never_early() -> None:
    queue: AnswerQueue[str] = AnswerQueue()
    queue.hold(5, "new")
    queue.hold(3, "repeated")
    assert queue.release(4) == []
    assert queue.release(5) == ["new", "repeated"]


def test_a_full_queue_says_so_and_a_stopped_writer_drains_it() -> None:
    queue: AnswerQueue[str] = AnswerQueue(waiting_max=2)
    queue.hold(1, "a")
    assert not queue.full
    queue.hold(1, "b")
    assert queue.full
    with pytest.raises(OverflowError, match="2 answers wait"):
        queue.hold(1, "c")
    assert queue.drain() == ["a", "b"]
    assert (len(queue), queue.release(9)) == (0, [])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60))
@settings(max_examples=150, deadline=None)
def test_nothing_is_released_early_lost_or_reordered(steps: list[tuple[bool, int]]) -> None:
    queue: AnswerQueue[tuple[int, int]] = AnswerQueue()
    held: list[tuple[int, int]] = []
    out: list[tuple[int, int]] = []
    for number, (hold, position) in enumerate(steps):
        if hold:
            held.append((position, number))
            queue.hold(position, held[-1])
        else:
            released = queue.release(position)
            assert all(wanted <= position for wanted, _ in released)
            out += released
    out += queue.release(30)
    assert out == held
