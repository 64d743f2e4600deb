from __future__ import annotations

import pytest

from otp.durations import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5s", 5.0), ("200ms", 0.2), ("1m", 60.0), ("1.5h", 5400.0), ("7", 7.0), ("0s", 0.0)],
)
def test_durations_have_units(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "5 s", "s", "-1s", "5x", "1e3", "5S", "\u0665s", "9" * 20 + "s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(text)
