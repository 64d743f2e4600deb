"""Registries: unique and duplicate keys, and that nothing outlives its process."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp import entries
from otp.entries import Entries
from otp.services import Entry, Value

ONE, TWO = "<c.1@a>", "<c.2@a>"
V, W = Value(0, b"v"), Value(0, b"w")


def test_a_unique_key_has_one_holder_until_it_is_free() -> None:
    table = Entries()
    assert table.register(ONE, "rooms", "x", V, unique=True) == ""
    assert table.register(TWO, "rooms", "x", V, unique=True) == ONE
    assert table.register(ONE, "rooms", "x", W, unique=True) == "", "its new value"
    assert table.lookup("rooms", "x") == [Entry(ONE, W)]
    assert table.unregister(ONE, "rooms", "x")
    assert not table.unregister(ONE, "rooms", "x")
    assert table.register(TWO, "rooms", "x", V, unique=True) == ""


def test_a_duplicate_key_has_many_in_order() -> None:
    table = Entries()
    for pid in (TWO, ONE, TWO):
        assert table.register(pid, "events", "all", V, unique=False) == ""
    assert table.lookup("events", "all") == [Entry(TWO, V), Entry(ONE, V)]
    assert table.lookup("events", "none") == table.lookup("none", "all") == []


def test_the_first_entry_decides_the_kind_of_keys_and_the_last_one_frees_it() -> None:
    table = Entries()
    table.register(ONE, "rooms", "x", V, unique=True)
    with pytest.raises(ValueError, match="registry 'rooms' has unique keys"):
        table.register(TWO, "rooms", "y", V, unique=False)
    table.ended(ONE)
    assert table.register(TWO, "rooms", "y", V, unique=False) == ""
    with pytest.raises(ValueError, match="duplicate keys"):
        table.register(TWO, "rooms", "y", V, unique=True)


def test_nobody_has_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "KEYS_MAX", 2)
    table = Entries()
    for key in "ab":
        table.register(ONE, "rooms", key, V, unique=True)
    with pytest.raises(ValueError, match="2 keys"):
        table.register(ONE, "rooms", "c", V, unique=True)
    assert table.register(TWO, "rooms", "c", V, unique=True) == ""


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["register", "unregister", "ended"]),
        st.sampled_from([ONE, TWO]),
        st.sampled_from(["u", "d"]),
        st.sampled_from("xy"),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_any_order_of_steps_is_as_a_plain_list_has_it(
    steps: list[tuple[str, str, str, str]],
) -> None:
    table, model = Entries(), list[tuple[str, str, str]]()
    for step, pid, registry, key in steps:
        if step == "register":
            held = [m for m in model if m[:2] == (registry, key) and m[2] != pid]
            holder = table.register(pid, registry, key, V, unique=registry == "u")
            assert holder == (held[0][2] if held and registry == "u" else "")
            if not holder and (registry, key, pid) not in model:
                model.append((registry, key, pid))
        elif step == "unregister":
            there = (registry, key, pid) in model
            assert table.unregister(pid, registry, key) == there
            model = [m for m in model if m != (registry, key, pid)]
        else:
            table.ended(pid)
            model = [m for m in model if m[2] != pid]
        for where in ("u", "d"):
            for name in "xy":
                expected = [m[2] for m in model if m[:2] == (where, name)]
                assert [entry.pid for entry in table.lookup(where, name)] == expected
            assert table.keys(pid, where) == [m[1] for m in model if (m[0], m[2]) == (where, pid)]
    for pid in (ONE, TWO):
        table.ended(pid)
    assert not any(vars(table).values()), "nothing is left of those who are gone"
