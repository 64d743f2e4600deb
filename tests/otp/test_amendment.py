from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.amendment import Amend, Amendable
from otp.messages import KILLED, SHUTDOWN
from otp.signals import (
    Begin,
    Call,
    Child,
    Effect,
    Exited,
    Flags,
    Ok,
    Ready,
    Refused,
    Reply,
    RestartChild,
    Start,
    StartChild,
    Started,
    Stop,
    TerminateChild,
)

MANY = Flags(max_restarts=100)


class Family:
    """A machine whose children start and stop at once."""

    def __init__(self, flags: Flags, *ids: str) -> None:
        self.machine = Amendable(flags, [Child(id) for id in ids])
        self.started: list[str] = []
        self._do(self.machine.step(Begin(), 0.0))

    def ask(self, op: Any) -> Any:
        replies = self._do(self.machine.step(Call(1, op), 0.0))
        assert len(replies) == 1
        return replies[0].result

    def kill(self, id: str) -> None:
        entry = next(entry for entry in self.machine.entries() if entry.id == id)
        self._do(self.machine.step(Exited(entry.key, entry.pid, KILLED), 0.0))

    def _do(self, effects: list[Effect]) -> list[Reply]:
        replies: list[Reply] = []
        for effect in effects:
            if isinstance(effect, Reply):
                replies.append(effect)
            elif isinstance(effect, Start):
                self.started.append(effect.child.id)
                pid = f"{effect.key}.{len(self.started)}"
                replies += self._do(self.machine.step(Started(effect.key, pid), 0.0))
            elif isinstance(effect, Stop):
                ended = Exited(effect.key, effect.pid, SHUTDOWN)
                replies += self._do(self.machine.step(ended, 0.0))
            else:
                assert isinstance(effect, Ready) or effect.__class__.__name__ == "Report"
        return replies

    @property
    def states(self) -> dict[str, str]:
        return {entry.id: entry.state for entry in self.machine.entries()}


def amend(*ids: str, flags: Flags = MANY, fresh: tuple[str, ...] = ()) -> Amend:
    return Amend(flags, tuple(Child(id) for id in ids), fresh)


def test_a_new_child_is_at_its_place_and_waits_to_be_started() -> None:
    family = Family(MANY, "a", "c")
    assert family.ask(amend("a", "b", "c", fresh=("b",))) == Ok()
    assert family.states == {"a": "running", "b": "undefined", "c": "running"}
    assert isinstance(family.ask(RestartChild("b")), Ok)
    assert family.started == ["a", "c", "b"]


def test_the_new_order_is_that_of_rest_for_one() -> None:
    family = Family(Flags("rest_for_one", 100), "a", "b", "c")
    assert family.ask(amend("c", "a", "b", flags=Flags("rest_for_one", 100))) == Ok()
    family.started.clear()
    family.kill("a")
    assert family.started == ["a", "b"]


def test_what_is_declared_no_more_is_forgotten_once_it_is_stopped() -> None:
    family = Family(MANY, "a", "b")
    assert family.ask(amend("a")) == Refused("running")
    assert family.states == {"a": "running", "b": "running"}
    assert family.ask(TerminateChild("b")) == Ok()
    assert family.ask(amend("a")) == Ok()
    assert family.states == {"a": "running"}


def test_what_requests_have_added_stays_and_comes_last() -> None:
    family = Family(MANY, "a")
    family.ask(StartChild(Child("added")))
    assert family.ask(amend("a", "b", fresh=("b",))) == Ok()
    assert list(family.states) == ["a", "b", "added"]


def test_what_was_deleted_stays_so() -> None:
    family = Family(MANY, "a", "b")
    family.ask(TerminateChild("b"))
    family.machine._children.delete("b")
    assert family.ask(amend("a", "b")) == Ok()
    assert list(family.states) == ["a"]


def test_a_new_budget_counts_what_was_before() -> None:
    family = Family(Flags(max_restarts=2), "a")
    family.kill("a")
    assert family.ask(amend("a", flags=Flags(max_restarts=1))) == Ok()
    with pytest.raises(AssertionError):
        family.kill("a")  # it gives up: `Gone` is no effect of a family that lives
    assert family.machine.gone


def test_a_template_is_that_of_the_next_start() -> None:
    simple = Flags("simple_one_for_one")
    family = Family(simple, "t")
    assert family.ask(Amend(simple, (Child("u", shutdown=9.0),))) == Ok()
    assert family.machine.declared[0].shutdown == 9.0
    assert family.ask(amend("u", flags=MANY)) == Refused("bad_spec", "invalid_strategy")


def test_what_is_wrong_changes_nothing() -> None:
    family = Family(MANY, "a")
    assert family.ask(amend("a", "a")) == Refused("bad_spec", "duplicate_child_name")
    assert family.ask(amend("a", flags=Flags(max_restarts=-1))) == Refused(
        "bad_spec", "invalid_intensity"
    )
    assert family.machine.flags == MANY


IDS = st.lists(st.sampled_from("abcdefg"), unique=True, max_size=6)


@settings(max_examples=150, deadline=None)
@given(IDS, IDS)
def test_any_order_from_any_other(before: list[str], after: list[str]) -> None:
    family = Family(MANY, *before)
    for id in set(before) - set(after):
        assert family.ask(TerminateChild(id)) == Ok()
    assert family.ask(amend(*after, fresh=tuple(after))) == Ok()
    states = {id: "running" if id in before else "undefined" for id in after}
    assert list(family.states.items()) == list(states.items())
