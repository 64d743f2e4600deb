from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.words import SHOWN_CHARS_MAX, did_you_mean, shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("on", "'on'"),
        (755, "755"),
        (True, "true"),
        (None, "nothing"),
        ([1], "a list"),
        ({}, "a mapping"),
        (object(), "a object"),
        pytest.param(10**9999, "a huge number", id="huge"),
        ("x" * 61, "'" + "x" * 60 + "'..."),
    ],
)
def test_a_value_is_shown_as_it_was_written(value: Any, expected: str) -> None:
    assert shown(value) == expected


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.integers(), st.floats(), st.binary()))
def test_what_is_shown_is_one_short_line(value: Any) -> None:
    assert len(shown(value).splitlines()) == 1
    assert len(shown(value)) <= len(r"\U0001f600") * SHOWN_CHARS_MAX + len("''...")


def test_a_near_word_is_offered_and_a_far_one_is_not() -> None:
    assert did_you_mean("restrat", ["restart", "start_at"]) == "; did you mean 'restart'?"
    assert did_you_mean("colour", ["restart"]) == ""
    assert did_you_mean("restart" * 100_000, ["restart" * 100_000]) == ""
