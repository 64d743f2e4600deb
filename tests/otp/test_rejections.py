"""Strangers are reported at once, then once a minute for each address; memory is bounded."""

from __future__ import annotations

from otp.rejections import ADDRESSES_MAX, OTHERS, QUIET_SECONDS, TEXT_CHARS_MAX, Rejections


def test_the_first_is_said_at_once_and_the_rest_once_a_minute() -> None:
    rejections = Rejections()
    assert rejections.add("10.0.0.1", "wrong authkey", 0.0) == ("10.0.0.1", 1, "wrong authkey")
    assert rejections.add("10.0.0.1", "a", 1.0) is None
    assert rejections.add("10.0.0.2", "other", 1.0) == ("10.0.0.2", 1, "other")
    assert rejections.add("10.0.0.1", "b", 59.0) is None
    assert list(rejections.due(59.9)) == []
    assert list(rejections.due(QUIET_SECONDS)) == [("10.0.0.1", 2, "b")]
    assert list(rejections.due(QUIET_SECONDS + 59)) == []
    assert rejections.add("10.0.0.1", "c", 119.5) is None
    assert list(rejections.due(QUIET_SECONDS * 2)) == [("10.0.0.1", 1, "c")]
    assert list(rejections.due(10_000.0)) == []
    assert rejections.add("10.0.0.2", "again", 10_001.0) == ("10.0.0.2", 1, "again")


def test_many_addresses_are_one_and_texts_are_short() -> None:
    rejections = Rejections()
    said = [rejections.add(f"10.0.0.{n}", "x" * 10_000, 0.0) for n in range(ADDRESSES_MAX + 5)]
    assert said[ADDRESSES_MAX] == (OTHERS, 1, "x" * TEXT_CHARS_MAX)
    assert said[ADDRESSES_MAX + 1 :] == [None] * 4
    assert list(rejections.due(QUIET_SECONDS)) == [(OTHERS, 4, "x" * TEXT_CHARS_MAX)]
