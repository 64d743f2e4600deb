"""Pickles for our own processes: by name what can be imported, by value what cannot.

What can be imported travels by name. What cannot (a script's `__main__`, a notebook, a closure)
travels by value, by cloudpickle; only a process that meets such a thing imports that.
"""

from __future__ import annotations

import io
import pickle
import sys
from types import FunctionType
from typing import Any

from otp.by_value import by_value

CLOUD = "otp.cloud"
"""What a pickle by value needs."""


class _ByValue(Exception):
    """It holds something that cannot be imported."""


class _Plain(pickle.Pickler):
    """By name alone."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type | FunctionType) and by_value(obj):
            raise _ByValue
        return NotImplemented


def dumps(value: Any) -> bytes:
    """The value as bytes that another process of this node can load."""
    if CLOUD not in sys.modules and (data := _by_name(value)) is not None:
        return data
    from otp.cloud import Pickler

    return _dump(Pickler, value)


def _by_name(value: Any) -> bytes | None:
    try:
        return _dump(_Plain, value)
    except Exception:  # not all of it can be imported; else the next one says what is wrong
        return None


def _dump(pickler: Any, value: Any) -> bytes:
    with io.BytesIO() as file:
        pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
        return file.getvalue()


def loads(data: bytes) -> Any:
    """The value again. Only ever call it on bytes from our own node's processes."""
    return pickle.loads(data)
