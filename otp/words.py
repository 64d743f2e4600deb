"""How error messages name what somebody wrote: short, and with the likely right word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

# More of a value than this makes an error message unreadable.
SHOWN_CHARS_MAX = 60
# Longer words are no slip of the pen, and comparing them costs time.
GUESS_CHARS_MAX = 60
# Python refuses to write out numbers of more than some thousand digits.
INT_BITS_MAX = 256
_KINDS = {"NoneType": "nothing", "dict": "a mapping", "list": "a list", "tuple": "a list"}


def shown(value: Any) -> str:
    """A value as it was written, cut when long; of what is no single value only its kind."""
    kind = type(value).__name__
    if isinstance(value, str):
        cut = "..." if len(value) > SHOWN_CHARS_MAX else ""
        return repr(value[:SHOWN_CHARS_MAX]) + cut
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > INT_BITS_MAX:
        return "a huge number"
    return repr(value) if isinstance(value, int | float) else _KINDS.get(kind, f"a {kind}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message: "; did you mean 'x'?", or nothing when no word is near."""
    if len(word) > GUESS_CHARS_MAX:
        return ""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
