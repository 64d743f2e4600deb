from __future__ import annotations

import pytest

from otp import recent
from otp.recent import Recent


@pytest.mark.parametrize(("count", "last"), [(0, []), (2, [b"b", b"c"]), (9, [b"a", b"b", b"c"])])
def test_the_last_ones_oldest_first(count: int, last: list[bytes]) -> None:
    kept = Recent()
    for body in (b"a", b"b", b"c"):
        kept.add(body)
    assert kept.last(count) == last


def test_no_more_are_kept_than_the_bounds_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "REPORTS_MAX", 3)
    monkeypatch.setattr(recent, "BYTES_MAX", 5)
    kept = Recent()
    for body in (b"a", b"b", b"c", b"d"):
        kept.add(body)
    assert kept.last(9) == [b"b", b"c", b"d"]
    kept.add(b"long")
    assert kept.last(9) == [b"d", b"long"]
    kept.add(b"too long")
    assert kept.last(9) == []
