"""What is due when, against a plain dictionary; and that gaps do not pile up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp import agenda
from otp.agenda import Agenda

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 20)),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("due"), st.integers(0, 20)),
    ),
    max_size=60,
)


def test_what_is_due_comes_once_and_in_order() -> None:
    items = Agenda()
    items.add(3.0, 1, "late")
    items.add(1.0, 2, "early")
    items.add(1.0, 3, "early too")
    assert items.next() == 1.0 and len(items) == 3
    assert items.due(0.5) == []
    assert items.due(1.0) == [(2, "early"), (3, "early too")]
    assert items.due(1.0) == []
    assert items.next() == 3.0 and len(items) == 1


def test_what_is_removed_is_not_due_and_removing_it_again_does_nothing() -> None:
    items = Agenda()
    items.add(1.0, 1, None)
    assert items.remove(1) == 1.0
    assert items.remove(1) is None
    assert items.remove(99) is None
    assert items.due(2.0) == [] and items.next() is None and len(items) == 0


def test_what_comes_again_is_not_made_up_for() -> None:
    items = Agenda()
    items.add(1.0, 1, "tick", every=1.0)
    assert items.due(1.0) == [(1, "tick")]
    assert items.next() == 2.0
    assert items.due(4.5) == [(1, "tick")], "one for the three that were missed"
    assert items.next() == 5.0
    assert items.remove(1) == 5.0
    assert items.next() is None and items.due(9.0) == []


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_any_order_of_steps_is_as_a_plain_dictionary_has_it(steps: list[tuple[str, int]]) -> None:
    items, model = Agenda(), dict[int, int]()
    for ref, (step, number) in enumerate(steps):
        if step == "add":
            items.add(number, ref, f"item {ref}")
            model[ref] = number
        elif step == "remove":
            items.remove(number)
            model.pop(number, None)
        else:
            due = sorted((at, ref) for ref, at in model.items() if at <= number)
            assert items.due(number) == [(ref, f"item {ref}") for _, ref in due]
            model = {ref: at for ref, at in model.items() if at > number}
        assert len(items) == len(model)
        assert items.next() == min(model.values(), default=None)


def test_a_process_that_sets_and_cancels_for_ever_does_not_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agenda, "GAPS_MAX", 10)
    items = Agenda()
    items.add(1e9, 0, "far away")
    for ref in range(1, 1_000):
        items.add(1e6 + ref, ref, None)
        items.remove(ref)
        assert len(items._heap) <= 2 + 2 * 10
    assert items.due(1e10) == [(0, "far away")]
