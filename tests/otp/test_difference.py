from __future__ import annotations

from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.difference import (
    Add,
    Adjust,
    Flags,
    Remove,
    Reorder,
    Replace,
    Template,
    apply,
    plan,
    spec_at,
)
from otp.messages import WireChild, WireSupervisor

IDS = ("a", "b", "c", "d", "e")


def child(id: str, **fields: Any) -> WireChild:
    return WireChild(id, **fields)


def sup(id: str, *children: WireChild | WireSupervisor, **fields: Any) -> WireSupervisor:
    return WireSupervisor(id, children, **fields)


def changed(spec: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(spec, **fields)


A, B, C = map(child, "abc")
POOL = sup("pool", A, B, max_restarts=3)


@pytest.mark.parametrize(
    ("old", "new", "steps"),
    [
        (sup("r", A, B), sup("r", A, B), []),
        (sup("r", A), sup("r", A, B), [Add((), 1, B)]),
        (sup("r", A, C), sup("r", A, B, C), [Add((), 1, B)]),
        (sup("r", A, B, C), sup("r", B), [Remove((), "c"), Remove((), "a")]),
        (sup("r", A, B), sup("r", B, A), [Reorder((), ("b", "a"))]),
        (sup("r", A, B), sup("r", C, B, A), [Reorder((), ("b", "a")), Add((), 0, C)]),
        (sup("r", A), sup("r", changed(A, cwd="/")), [Replace((), changed(A, cwd="/"))]),
        (sup("r", A), sup("r", changed(A, shutdown=9.0)), [Adjust((), changed(A, shutdown=9.0))]),
        (sup("r", A), sup("r", sup("a")), [Replace((), sup("a"))]),
        (
            sup("r", POOL),
            sup("r", changed(POOL, max_restarts=5)),
            [Flags(("pool",), sup("pool", max_restarts=5))],
        ),
        (
            sup("r", POOL),
            sup("r", changed(POOL, children=(A, B, C))),
            [Add(("pool",), 2, C)],
        ),
        (sup("r", POOL), sup("r", changed(POOL, name="p")), [Replace((), changed(POOL, name="p"))]),
        (
            sup("r", A, strategy="simple_one_for_one"),
            sup("r", B, strategy="simple_one_for_one"),
            [Template((), B)],
        ),
    ],
)
def test_what_leads_from_one_to_the_other(
    old: WireSupervisor, new: WireSupervisor, steps: list[Any]
) -> None:
    assert plan(old, new) == steps
    assert reduce(apply, steps, old) == new


@pytest.mark.parametrize(
    "new",
    [sup("other"), sup("r", name="n"), sup("r", A, strategy="simple_one_for_one")],
)
def test_what_only_a_new_start_can_change(new: WireSupervisor) -> None:
    with pytest.raises(ValueError, match="root"):
        plan(sup("r", A), new)


# ---------------------------------------------------------------- any tree to any tree


def children(id: str) -> st.SearchStrategy[WireChild]:
    fields = {"cwd": st.sampled_from(["", "/"]), "shutdown": st.sampled_from([1.0, 2.0])}
    return st.builds(WireChild, st.just(id), **fields)


def supervisors(id: str, depth: int) -> st.SearchStrategy[WireSupervisor]:
    strategy = st.sampled_from(["one_for_one", "rest_for_one"])
    ordinary = st.builds(
        WireSupervisor,
        st.just(id),
        families(depth - 1),
        strategy=strategy,
        name=st.sampled_from(["", "n"]) if depth < 2 else st.just(""),
        max_restarts=st.integers(0, 2),
    )
    template = st.tuples(st.sampled_from(IDS).flatmap(children))
    simple = st.builds(
        WireSupervisor, st.just(id), template, strategy=st.just("simple_one_for_one")
    )
    return ordinary if depth == 2 else ordinary | simple


def families(depth: int) -> st.SearchStrategy[tuple[Any, ...]]:
    ids = st.lists(st.sampled_from(IDS), unique=True, max_size=4)

    def one(id: str) -> st.SearchStrategy[Any]:
        return children(id) if depth < 0 else children(id) | supervisors(id, depth)

    return ids.flatmap(lambda chosen: st.tuples(*map(one, chosen)))


TREES = supervisors("root", 2)


@settings(max_examples=50, deadline=None)
@given(TREES, TREES)
def test_a_plan_carried_out_is_the_new_tree(old: WireSupervisor, new: WireSupervisor) -> None:
    assert reduce(apply, plan(old, new), old) == new


@settings(max_examples=25, deadline=None)
@given(TREES, TREES)
def test_what_is_equal_is_not_touched(old: WireSupervisor, new: WireSupervisor) -> None:
    """Nor is anything started or stopped for what only its supervisor has to know."""
    for change in plan(old, new):
        here = change.supervisor
        if isinstance(change, Replace):
            before = spec_at(old, (*here, change.spec.id))
            assert before != change.spec
            if isinstance(before, WireChild) and isinstance(change.spec, WireChild):
                assert before.cwd != change.spec.cwd
        elif isinstance(change, Remove):
            with pytest.raises(KeyError):
                spec_at(new, (*here, change.id))
        elif isinstance(change, Add):
            with pytest.raises(KeyError):
                spec_at(old, (*here, change.spec.id))


@settings(max_examples=20, deadline=None)
@given(TREES)
def test_a_tree_and_itself_are_no_work(tree: WireSupervisor) -> None:
    assert plan(tree, tree) == []
