"""A sleeping process's memory, back to the system."""

from __future__ import annotations

import ctypes
import gc

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc's; another C library keeps what it has."""


def give_back() -> None:
    """Collect garbage, and return free memory to the system."""
    gc.collect()
    if _trim is not None:
        _trim(0)
