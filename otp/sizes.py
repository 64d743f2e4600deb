"""Sizes in bytes, as people write them: "512M", "1.5G", or a plain number."""

from __future__ import annotations

import re

INFINITY = "infinity"
"""The word for no limit, as with `shutdown`."""

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?)([KMGT]?)")


def in_bytes(text: str) -> int:
    """A size such as "512M", "64K", "1.5G" or "1024" in bytes (K is 1024); else a ValueError."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a size: write bytes, or 64K, 512M, 1.5G")
    return int(float(found[1]) * _UNITS[found[2]])


def as_text(size: int) -> str:
    """Bytes for a person: in the largest unit of which it is at least one, rounded: "613M"."""
    for unit in ("T", "G", "M", "K"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.4g}{unit}"
    return str(size)


def brief(size: int) -> str:
    """Bytes for a column of five characters, rounded: "512B", "64K", "12.3M", "1.2G"."""
    amount = float(size)
    for unit in ("B", "K", "M", "G"):
        if amount < 1000:
            places = 1 if amount < 99.95 and unit not in "BK" else 0
            return f"{amount:.{places}f}{unit}"
        amount /= 1024
    return f"{amount:.1f}T"


def normal(value: object) -> object:
    """The bytes of a size in text; whatever is no size is left as it is, for a rule to name."""
    if isinstance(value, str) and _SIZE.fullmatch(value):
        return in_bytes(value)
    return value
