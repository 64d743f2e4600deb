from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot.names import copy_address, key_fault, slug

PARTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
KEYS = st.builds("{}/{}".format, PARTS, PARTS)


@pytest.mark.parametrize(
    "key", ["lake/1", "demo/lake-fair-site", "a/b", "A.b_c-9/0", "x" * 64 + "/y"]
)
def test_keys_as_they_should_be(key: str) -> None:
    assert key_fault(key) is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "lake",
        "lake/",
        "/1",
        "lake/1/2",
        "lake//1",
        "../1",
        "lake/..",
        "lake/.hidden",
        "lake/-x",
        "la ke/1",
        "lake/1\n",
        "lake/1\x00",
        "läke/1",
        "lake~x/1",
        "lake/1@MI-A-1",
        "x" * 65 + "/y",
        "lake/" + "y" * 65,
        "²/1",
    ],
)
def test_keys_that_cannot_be_say_what_one_looks_like(key: str) -> None:
    fault = key_fault(key)
    assert fault is not None
    assert "FACILITY/ID" in fault
    assert len(fault) < 500


def test_a_key_that_is_far_too_long_is_quoted_in_part() -> None:
    fault = key_fault("x" * 10_000)
    assert fault is not None and len(fault) < 200


@given(KEYS)
@settings(max_examples=100, deadline=None)
def test_a_key_is_one_part_of_a_path_and_can_be_had_back(key: str) -> None:
    assert key_fault(key) is None
    assert "/" not in slug(key)
    assert slug(key).replace("~", "/") == key
    assert not slug(key).startswith(".")


def test_a_copy_has_an_address_on_its_node() -> None:
    assert copy_address("lake/1", "writer", "MI-A-1") == "elections/lake~1/writer@MI-A-1"
