"""What a worker's payload stands for: unpickled, and its decoders built, before the fork.

Both are the same for every incarnation of a child, and making them costs as much as a fork. The
zygote makes them once (`warm`), and every child finds them in the memory that it inherits. Only
payloads that need nothing but modules that are loaded already are made there: an import in the
zygote at that point could start a thread, and forking with threads can deadlock.
"""

from __future__ import annotations

import gc
import io
import itertools
import pickle
import sys
from types import ModuleType
from typing import Any

import msgspec

from otp import codec, pickling
from otp.gen_server import GenServer
from otp.starts import find

PREPARED_MAX = 1_000
"""Payloads kept by a zygote, about one for each child of a tree; the oldest is forgotten first."""
_IMPORTERS = frozenset(
    {
        ("cloudpickle.cloudpickle", "subimport"),
        ("builtins", "__import__"),
        ("importlib", "import_module"),
    }
)
"""Functions by which a pickle imports a module while it loads."""
_HARMLESS = frozenset({"cloudpickle.cloudpickle", pickling.CLOUD})
"""What a pickle by value is made with: it starts no threads."""


class Prepared(msgspec.Struct, frozen=True):
    """What to run: `decoders` is None for what is not a GenServer; `order`: of making, or 0."""

    start: Any
    args: dict[str, Any]
    decoders: dict[int, codec.Decoder] | None
    order: int


class _NotLoaded(Exception):
    """The payload needs a module that is not there yet."""


class _Careful(pickle.Unpickler):
    """Loads only with what is imported already."""

    def find_class(self, module: str, name: str) -> Any:
        if module not in sys.modules and module not in _HARMLESS:
            raise _NotLoaded(module)
        if (module, name) in _IMPORTERS:
            return _loaded
        return super().find_class(module, name)


def _loaded(name: str, *_: Any) -> ModuleType:
    """A module that is imported already; raises KeyError for another."""
    return sys.modules[name]


_made: dict[bytes, Prepared] = {}
_count = itertools.count(1)


def warm(payload: bytes) -> int:
    """In the zygote: make it now if that is safe; a fault in it is left for the child to report.

    Returns which one it is in the order of making: a child that was forked after that one was
    made has it. 0 if no child has it.
    """
    if not payload:
        return 0
    if payload in _made:
        return _made[payload].order
    try:
        start, args, types = _Careful(io.BytesIO(payload)).load()
        if isinstance(start, str) and start.partition(":")[0] not in sys.modules:
            return 0
        made = _make(start, args, types, order=next(_count))
    except Exception:  # not loaded, or whatever a user's class raises: the child says it better
        return 0
    _made[payload] = made
    gc.freeze()  # a collection in a child would copy it
    if len(_made) > PREPARED_MAX:
        del _made[next(iter(_made))]
    return made.order


def prepared(payload: bytes) -> Prepared:
    """In the child: what was made before the fork, or made now. Raises what a user's class does."""
    found = _made.get(payload)
    return found if found is not None else _make(*pickling.loads(payload))


def _make(
    start: Any, args: dict[str, Any], types: dict[str, Any] | None, order: int = 0
) -> Prepared:
    start = find(start) if isinstance(start, str) else start
    server = isinstance(start, type) and issubclass(start, GenServer)
    decoders = codec.decoders(types or codec.handler_types(start)) if server else None
    return Prepared(start, args, decoders, order)
