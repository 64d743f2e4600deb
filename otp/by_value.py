"""Whether a class or function can travel by its name."""

from __future__ import annotations

import sys
from typing import Any


def by_value(cls: Any) -> bool:
    """Whether a receiver could not import the class, or function, under its name."""
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        return True
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not cls
