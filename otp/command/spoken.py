"""Requests as a person types them: `Add n=5`, or JSON with the `type` of the request. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from otp.messages import Request
from otp.sys import SYSTEM_REQUESTS
from otp.words import shown

_SYSTEM = {str(cls.__struct_config__.tag): cls for cls in SYSTEM_REQUESTS}
"""Any server answers these, whatever it accepts, so they are sent as what they are."""
_TYPE = re.compile(r"[^\W\d][\w.]*")


def request_of(words: Sequence[str]) -> Any:
    """The request that is meant. Raises ValueError that says how one is written.

    `["Add", "n=5"]` and `['{"type": "Add", "n": 5}']` are the same; a value is JSON, or else text.
    JSON without `type` is sent as the value that it is.
    """
    first, *rest = words
    value = _json(first) if not rest else first
    if value is not first:
        return _tagged(value) if isinstance(value, dict) and "type" in value else value
    if not _TYPE.fullmatch(first):
        raise ValueError(f"{shown(first)} is neither JSON nor a request such as: Add n=5")
    return _tagged({"type": first, **dict(map(_field, rest))})


def _field(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    if not equals or not name.isidentifier() or name == "type":
        raise ValueError(f"{shown(word)} is not of the form field=value")
    return name, _json(text)


def _json(text: str) -> Any:
    """What it is as JSON; the very text where it is none."""
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return text


def _tagged(fields: dict[str, Any]) -> Any:
    """A request of a class that is made for it: the receiver knows the real one by its tag."""
    tag = fields.pop("type")
    if not isinstance(tag, str):
        raise ValueError(f"`type` is {shown(tag)}; it is the name of a request")
    for name in fields:
        if not name.isidentifier() or name.startswith("__"):
            raise ValueError(f"{shown(name)} is not the name of a field")
    if tag in _SYSTEM:
        return _system(_SYSTEM[tag], fields)
    name = tag if tag.isidentifier() else "Request"
    made: Any = msgspec.defstruct(
        name, [(field, Any) for field in fields], bases=(Request,), tag=tag, frozen=True
    )
    return made(**fields)


def _system(cls: Any, fields: dict[str, Any]) -> Any:
    known = cls.__struct_fields__
    for name in fields:
        if name not in known:
            has = ", ".join(known) or "none"
            raise ValueError(f"{cls.__name__} has no field {shown(name)}; it has {has}")
    try:
        return msgspec.convert(fields, cls)
    except msgspec.ValidationError as error:
        raise ValueError(f"{cls.__name__}: {error}") from None
