from __future__ import annotations

import pytest

from otp import sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1024", 1024), ("64K", 65536), ("512M", 2**29), ("1.5G", 3 * 2**29), ("1T", 2**40)],
)
def test_a_size_in_bytes(text: str, size: int) -> None:
    assert sizes.in_bytes(text) == size
    assert sizes.normal(text) == size


@pytest.mark.parametrize("text", ["", "M", "5MB", "5 M", "-5", "1e3", "5m", "infinity", "9" * 19])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write bytes"):
        sizes.in_bytes(text)
    assert sizes.normal(text) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1023, "1023"), (2**29, "512M"), (642_777_088, "613M"), (3 * 2**29, "1.5G")],
)
def test_a_size_for_a_person(size: int, text: str) -> None:
    assert sizes.as_text(size) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (999, "999B"), (1024, "1K"), (150_000, "146K"), (12_900_000, "12.3M"),
     (104_815_700, "100M"), (250 << 20, "250M"), (1 << 30, "1.0G"), (5 << 40, "5.0T")],
)  # fmt: skip
def test_a_column_of_five_characters(count: int, text: str) -> None:
    assert sizes.brief(count) == text
