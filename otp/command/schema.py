"""The JSON Schema of supervisors.yaml (draft 2020-12), for editors: `otp schema`.

It is made from the structs of `spec`, so a new field is in it at once; FIELDS says more of those
whose type says too little. A schema cannot know all that `otp check` knows: what it refuses is
wrong, what it accepts may still be.
"""

from __future__ import annotations

import signal
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from otp import limits, spec
from otp.rules import ID_CHARS_MAX

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

VARIABLE: Schema = {"type": "string", "pattern": r"\$\{"}
"""${NAME} may stand for any value; only the loader knows what it is."""
TEXT: Schema = {"type": ["string", "number", "boolean"]}
"""Where text is expected, an unquoted number stays what was written."""
DURATION: Schema = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,12})?(ms|s|m|h)?$"},
        VARIABLE,
    ]
}
SIZE: Schema = {
    "anyOf": [
        {"type": "integer", "minimum": 1},
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*[kKmMgGtT]?i?[bB]?$"},
        VARIABLE,
    ]
}
_TOKEN = {"minLength": 1, "maxLength": ID_CHARS_MAX}
_HOST_PORT: Schema = {"type": "string", "pattern": r":[0-9]{1,5}$|\$\{"}
_REFERENCE: Schema = {"type": "string", "pattern": r"^[\w.]+:[\w.]+$|\$\{"}


def _words(*words: str) -> Schema:
    return {"anyOf": [DURATION, {"enum": list(words)}]}


FIELDS: dict[str, Schema] = {
    "id": TEXT | _TOKEN | {"pattern": r"^[^\s/@:<>]+$"},
    "name": TEXT | _TOKEN | {"pattern": r"^[^\s@:<>]+$"},
    "start": _REFERENCE,
    "command": {"type": "array", "items": TEXT, "minItems": 1},
    "exec": {"type": "array", "items": TEXT, "minItems": 1},
    "shutdown": _words(*spec.SHUTDOWN_WORDS),
    "start_timeout": _words("infinity"),
    "stop_signal": {"enum": [*signal.Signals.__members__]},
    "umask": {"type": ["string", "integer"], "pattern": "^[0-7]{1,4}$"},
    "nice": {"type": "integer", "minimum": -20, "maximum": 19},
    "max_restarts": {"type": "integer", "minimum": 0},
    "failures": {"type": "integer", "minimum": 1},
    "replicas": {"type": "integer", "minimum": 1},
    "give_up": {"type": "string", "pattern": r"^(exit|wait .*)$|\$\{"},
    "rlimits": {
        "type": "object",
        "propertyNames": {"enum": sorted(limits.RLIMITS)},
        "additionalProperties": {"type": ["integer", "string"]},
    },
    "args": {"type": "object"},
    "listen": _HOST_PORT,
}
"""Of fields whose type says too little, by their name."""


def schema() -> Schema:
    """The schema of one document: a root supervisor."""
    definitions: dict[str, Schema] = {}
    root = _of_struct(spec.Supervisor, definitions)
    inner = root | {"properties": {k: v for k, v in root["properties"].items() if k != "node"}}
    definitions["supervisor"] = inner
    definitions["child"] = _of_struct(spec.ChildSpec, definitions)
    definitions["include"] = {
        "type": "object",
        "properties": {"include": TEXT, "tree": TEXT},
        "required": ["include"],
        "additionalProperties": False,
    }
    definitions["any_child"] = _chosen()
    return {
        "$schema": DIALECT,
        "title": "A supervision tree of otp",
        "description": "`otp check` knows more than this schema.",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _chosen() -> Schema:
    """A child by the key that says what it is, so that errors are about what was meant."""
    kinds = (("include", "include"), ("start", "child"), ("command", "child"))
    chosen: Schema = _ref("supervisor")
    for key, kind in reversed(kinds):
        chosen = {"if": {"required": [key]}, "then": _ref(kind), "else": chosen}
    return {"type": "object", **chosen}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _of_struct(struct: type, definitions: dict[str, Schema]) -> Schema:
    hints = typing.get_type_hints(struct)
    fields = msgspec.structs.fields(struct)
    described = {
        field.name: _with_default(_of_field(field.name, hints[field.name], definitions), field)
        for field in fields
    }
    required = [field.name for field in fields if field.required]
    made: Schema = {
        "type": "object",
        "properties": described,
        "additionalProperties": False,
    }
    return made | ({"required": required} if required else {})


def _with_default(made: Schema, field: Any) -> Schema:
    default = field.default
    if default is msgspec.NODEFAULT or default is None:
        return made
    plain = default if isinstance(default, bool | int | float | str) else None
    return made if plain is None else made | {"default": plain}


def _of_field(name: str, hint: Any, definitions: dict[str, Schema]) -> Schema:
    if name == "children":
        return {"anyOf": [{"type": "array", "items": _ref("any_child")}, {"type": "null"}]}
    optional = type(None) in typing.get_args(hint)
    known = FIELDS.get(name)
    made = known if known is not None else _of_type(hint, definitions)
    return {"anyOf": [made, {"type": "null"}]} if optional and known is not None else made


def _of_type(hint: Any, definitions: dict[str, Schema]) -> Schema:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _of_union(arguments, definitions)
    if origin is Literal:
        return {"anyOf": [{"enum": list(arguments)}, VARIABLE]}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of_type(arguments[1], definitions)}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return {"type": "array", "items": _of_type(arguments[0], definitions)}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}  # one that holds itself ends here
            definitions[hint.__name__] = _of_struct(hint, definitions)
        return _ref(hint.__name__)
    return _SCALARS.get(hint, {})


_SCALARS: dict[Any, Schema] = {
    bool: {"anyOf": [{"type": "boolean"}, VARIABLE]},
    int: {"anyOf": [{"type": "integer"}, VARIABLE]},
    float: {"anyOf": [{"type": "number"}, VARIABLE]},
    str: TEXT,
    type(None): {"type": "null"},
}


def _of_union(arguments: tuple[Any, ...], definitions: dict[str, Schema]) -> Schema:
    left = list(arguments)
    made: list[Schema] = []
    for number, known in ((float, DURATION), (int, SIZE)):
        if number in left and str in left:
            left = [one for one in left if one not in (number, str)]
            made.append(known)
    if any(isinstance(one, type) and issubclass(one, msgspec.Struct) for one in left):
        # What stands for a struct in Python has the struct's keys in YAML.
        left = [one for one in left if typing.get_origin(one) is not Mapping]
    made += [_of_type(one, definitions) for one in left]
    return made[0] if len(made) == 1 else {"anyOf": made}
