"""Pickles of what cannot be imported: cloudpickle, and msgspec Structs that live in `__main__`.

cloudpickle alone rebuilds a Struct of `__main__` without its fields, its `frozen` and its tag, so
Structs get a reducer of their own, and their annotations are resolved here, in the host, where the
names mean something. It is imported where it is needed only: what it brings along (logging,
threading) doubles the time of a fork and half the memory of an idle worker.
"""

from __future__ import annotations

import inspect
from typing import Any

import cloudpickle
import msgspec

from otp.by_value import by_value

_CONFIG = (
    "frozen",
    "eq",
    "order",
    "omit_defaults",
    "forbid_unknown_fields",
    "tag",
    "tag_field",
    "array_like",
    "gc",
    "weakref",
    "dict",
    "cache_hash",
)
# What Python or msgspec puts into every class by itself.
_OWN_NAMES = frozenset(
    {
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__match_args__",
        "__module__",
        "__orig_bases__",
        "__parameters__",
        "__post_init__",
        "__qualname__",
        "__slots__",
        "__static_attributes__",
        "__struct_config__",
        "__struct_defaults__",
        "__struct_encode_fields__",
        "__struct_fields__",
        "__weakref__",
    }
)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """cloudpickle's, with a reducer for Structs that cannot be imported."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and issubclass(obj, msgspec.Struct) and by_value(obj):
            return _rebuild_struct, _describe_struct(obj)
        return super().reducer_override(obj)


def _describe_struct(cls: type[msgspec.Struct]) -> tuple[Any, ...]:
    # Only fields that the class itself declares: the bases bring their own.
    structs = [base for base in cls.__mro__[1:] if _is_own_struct(base)]
    inherited = {field.name for base in structs for field in msgspec.structs.fields(base)}
    declared = inspect.get_annotations(cls)
    fields = [
        (field.name, field.type, _default(field))
        for field in msgspec.structs.fields(cls)
        if field.name not in inherited or field.name in declared
    ]
    own = set(cls.__struct_fields__) | _OWN_NAMES
    namespace = {k: v for k, v in cls.__dict__.items() if k not in own}
    if "__post_init__" in cls.__dict__:
        namespace["__post_init__"] = cls.__dict__["__post_init__"]
    namespace["__doc__"] = cls.__doc__
    config = {name: getattr(cls.__struct_config__, name) for name in _CONFIG}
    config["kw_only"] = any(name not in cls.__match_args__ for name, _, _ in fields)
    generic = getattr(cls, "__orig_bases__", None) if "__orig_bases__" in cls.__dict__ else None
    names = (cls.__name__, cls.__qualname__, cls.__module__)
    return names, cls.__bases__, fields, namespace, config, generic


def _is_own_struct(base: type) -> bool:
    return issubclass(base, msgspec.Struct) and base is not msgspec.Struct


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return ("value", field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return ("factory", field.default_factory)
    return None


def _rebuild_struct(
    names: tuple[str, str, str],
    bases: tuple[type, ...],
    fields: list[Any],
    namespace: dict[str, Any],
    config: dict[str, Any],
    generic: tuple[Any, ...] | None,
) -> type:
    name, qualname, module = names
    space = {**namespace, "__qualname__": qualname}
    if generic is not None:
        space["__orig_bases__"] = generic
    specs: list[Any] = []
    for field, kind, default in fields:
        if default is None:
            specs.append((field, kind))
        elif default[0] == "value":
            specs.append((field, kind, default[1]))
        else:
            specs.append((field, kind, msgspec.field(default_factory=default[1])))
    return msgspec.defstruct(name, specs, bases=bases, module=module, namespace=space, **config)
