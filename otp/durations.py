"""Times as people write them: seconds as a number, or text with a unit ("200ms", "5s", "1m")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

_INT_MAX = 2**53  # beyond it a float is not the same number
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h)?")


def seconds(text: str) -> float:
    """A duration such as "5s", "200ms", "1.5m", "1h" or "5" in seconds; else a ValueError."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a duration: write seconds, or 200ms, 5s, 1m, 1h")
    return float(found[1]) * _UNITS[found[2] or "s"]


def normalise(
    spec: msgspec.Struct, *, durations: Sequence[str] = (), sequences: Sequence[str] = ()
) -> None:
    """Text to seconds, lists to tuples; what cannot be converted is left for `check` to name."""
    for field in durations:
        msgspec.structs.force_setattr(spec, field, _as_seconds(getattr(spec, field)))
    for field in sequences:
        if isinstance(value := getattr(spec, field), list):
            msgspec.structs.force_setattr(spec, field, tuple(value))


def _as_seconds(value: Any) -> Any:
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return seconds(value)
    return float(value) if type(value) is int and abs(value) < _INT_MAX else value
