"""The table of children, and validation in OTP's words and OTP's order of looking."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from otp.children import Children, validate, validate_child
from otp.messages import ChildCounts
from otp.signals import ByPid, Child, Flags, Ok, Refused

ANY = Flags(auto_shutdown="any_significant")
SUP = Child("s", type="supervisor", shutdown="infinity")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"strategy": "none_for_one"}, ["invalid_strategy"]),
        ({"max_restarts": -1}, ["invalid_intensity"]),
        ({"max_restarts": "infinity"}, ["invalid_intensity"]),
        ({"max_restarts": True}, ["invalid_intensity"]),
        ({"max_seconds": 0}, ["invalid_period"]),
        ({"max_seconds": "infinity"}, ["invalid_period"]),
        ({"auto_shutdown": "sometimes"}, ["invalid_auto_shutdown"]),
        ({"max_seconds": 0.25}, []),
        ({"max_seconds": 0, "strategy": "?"}, ["invalid_strategy", "invalid_period"]),
    ],
)
def test_flags(changes: dict[str, Any], words: list[str]) -> None:
    assert validate(msgspec.structs.replace(Flags(), **changes), [Child("a")]) == words


@pytest.mark.parametrize(
    ("flags", "changes", "words"),
    [
        (Flags(), {}, []),
        (Flags(), {"id": ""}, ["missing_id"]),
        (Flags(), {"startable": False}, ["invalid_mfa"]),
        (Flags(), {"restart": "prmanent"}, ["invalid_restart_type"]),
        (Flags(), {"type": "wrker"}, ["invalid_child_type"]),
        (Flags(), {"shutdown": -1}, ["invalid_shutdown"]),
        (Flags(), {"shutdown": 0}, ["invalid_shutdown"]),
        (Flags(), {"shutdown": "never"}, ["invalid_shutdown"]),
        (Flags(), {"shutdown": "brutal_kill"}, []),
        (Flags(), {"shutdown": "infinity"}, []),
        (Flags(), {"significant": True, "restart": "transient"}, ["bad_combination"]),
        (ANY, {"significant": True, "restart": "transient"}, []),
        (ANY, {"significant": True, "restart": "temporary"}, []),
        (ANY, {"significant": True}, ["bad_combination"]),
        (ANY, {"significant": "maybe", "restart": "transient"}, ["invalid_significant"]),
        (Flags(), {"shutdown": -1, "restart": "?"}, ["invalid_restart_type", "invalid_shutdown"]),
    ],
)
def test_child(flags: Flags, changes: dict[str, Any], words: list[str]) -> None:
    child = msgspec.structs.replace(Child("a"), **changes)
    assert validate_child(child, flags) == words
    assert validate(flags, [Child("z"), child]) == words


@pytest.mark.parametrize(
    ("strategy", "children", "words"),
    [
        ("one_for_one", [], []),
        ("one_for_one", [Child("a"), SUP], []),
        ("one_for_one", [Child("a"), Child("b"), Child("a")], ["duplicate_child_name"]),
        ("simple_one_for_one", [], ["bad_start_spec"]),
        ("simple_one_for_one", [Child("a")], []),
        ("simple_one_for_one", [Child("a"), Child("b")], ["bad_start_spec"]),
    ],
)
def test_children_together(strategy: Any, children: list[Child], words: list[str]) -> None:
    assert validate(Flags(strategy=strategy), children) == words


def test_a_stopped_child_keeps_its_place_and_a_deleted_one_loses_it() -> None:
    table = Children()
    a, b = table.add(Child("a")), table.add(Child("b"))
    table.began(a, 1)
    table.forget(a)
    assert [entry.id for entry in table.entries()] == ["a", "b"]
    assert table.delete("a") == Ok()
    table.add(Child("a"))
    assert [entry.id for entry in table.entries()] == ["b", "a"]
    assert table.find("b") is b


@pytest.mark.parametrize(
    ("restart", "left"), [("permanent", 1), ("transient", 1), ("temporary", 0)]
)
def test_only_a_temporary_childs_spec_goes_with_its_process(restart: Any, left: int) -> None:
    table = Children()
    slot = table.add(Child("a", restart))
    table.began(slot, 1)
    table.forget(slot)
    assert len(table.entries()) == left


def test_refusals_of_static_children() -> None:
    table = Children()
    for name in ("running", "restarting", "stopped"):
        table.add(Child(name))
    table.began(table.by_id["running"], 1)
    table.by_id["restarting"].restarting = True
    for name in ("running", "restarting"):
        assert table.delete(name) == Refused(name)  # type: ignore[arg-type]
    assert table.delete("unknown") == Refused("not_found")
    assert table.delete(ByPid(1, alive=True)) == Refused("not_found"), "a static child has an id"
    assert table.delete("stopped") == Ok()


def test_dynamic_children_are_found_by_pid_also_by_the_old_one() -> None:
    template = Child("t")
    table = Children(template)
    slot = table.add(template, label="k1")
    table.began(slot, 41)
    slot.restarting = True
    assert table.find(ByPid(41)) is slot and not slot.running
    table.began(slot, 42)
    assert table.find(ByPid(41)) is None and table.find(ByPid(42, alive=True)) is slot
    assert slot.state == "running"
    assert table.delete("t") == Refused("simple_one_for_one")


def test_specs_by_id_and_of_dynamic_children_by_pid() -> None:
    static, template = Children(), Child("t")
    static.add(SUP)
    assert static.spec("s") == SUP and static.spec("x") == Refused("not_found")
    dynamic = Children(template)
    dynamic.began(dynamic.add(template, label="k1"), 1)
    assert dynamic.spec("t") == dynamic.spec(ByPid(1, alive=True)) == template
    assert dynamic.spec(ByPid(2, alive=True)) == Refused("not_found")


def test_the_unhandled_dead_are_not_active_unless_dynamic() -> None:
    static, template = Children(), Child("t")
    for number, child in enumerate([Child("a"), Child("b"), SUP]):
        static.began(static.add(child), number)
    assert static.counts(dead={1}) == ChildCounts(3, 2, 1, 2)
    dynamic = Children(template)
    for number in range(3):
        dynamic.began(dynamic.add(template, label=f"k{number}"), number)
    assert dynamic.counts(dead={1}) == ChildCounts(1, 3, 0, 3)
