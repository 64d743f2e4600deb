"""How a plan is shown: a line for each child of both trees. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from otp.command.view import Paint, one_line, plain
from otp.difference import (
    Add,
    Adjust,
    AnyChange,
    Flags,
    Path,
    Remove,
    Reorder,
    Replace,
    Template,
    differing,
    spec_at,
)
from otp.messages import WireSupervisor
from otp.replicas import COUNT
from otp.wire_tree import Outfit, WireCare

Kind = Literal["add", "remove", "restart", "adjust", "flags", "template", "reorder", "unchanged"]
_INNER: dict[str, type[Outfit | WireCare]] = {"outfit": Outfit, "care": WireCare}
"""What a person writes as fields of the child itself."""
VALUE_CHARS_MAX = 40
"""More of a value than this is not shown."""
_SECRET = ("payload", "module", "children", "id")
"""What a person did not write, or sees elsewhere."""
_SIGNS: dict[str, tuple[str, str]] = {
    "add": ("+", "good"),
    "remove": ("-", "bad"),
    "restart": ("~", "busy"),
    "adjust": ("~", "busy"),
    "flags": ("~", "busy"),
    "template": ("~", "busy"),
    "reorder": ("~", "busy"),
    "unchanged": (" ", "faint"),
}
_WORDS = {
    "add": "added and started",
    "remove": "stopped and removed",
    "restart": "restarted",
    "adjust": "changed in place",
    "flags": "changed in place",
    "template": "new children get the new template",
    "reorder": "another start order, in place",
    "unchanged": "unchanged",
}


class Line(msgspec.Struct, frozen=True):
    """What happens to one child; `fields` says which of its fields are others, from what to what.

    Values of `env` and of `args` are not shown: they may be secret.
    """

    path: str
    change: Kind
    fields: dict[str, str] = {}


def lines(old: WireSupervisor, new: WireSupervisor, changes: Sequence[AnyChange]) -> list[Line]:
    """The changes in the order in which they are done, then what is unchanged."""
    changed = [_line(old, change) for change in changes]
    told = {line.path for line in changed}
    whole = tuple(f"{line.path}/" for line in changed if line.change in ("add", "restart"))
    rest = [path for path in _paths(new, new.id) if path not in told and not path.startswith(whole)]
    return changed + [Line(path, "unchanged") for path in rest]


def _paths(tree: WireSupervisor, path: str) -> Iterator[str]:
    yield path
    for child in tree.children:
        if isinstance(child, WireSupervisor):
            yield from _paths(child, f"{path}/{child.id}")
        else:
            yield f"{path}/{child.id}"


def _line(old: WireSupervisor, change: AnyChange) -> Line:
    path = change.supervisor
    match change:
        case Remove(_, id):
            return Line(_joined(old, *path, id), "remove")
        case Add(_, _, spec):
            return Line(_joined(old, *path, spec.id), "add")
        case Replace(_, spec):
            return _compared(old, (*path, spec.id), "restart", spec)
        case Adjust(_, spec):
            return _compared(old, (*path, spec.id), "adjust", spec)
        case Flags(_, spec):
            return _compared(old, path, "flags", spec)
        case Template(_, spec):
            return _compared(old, (*path, spec.id), "template", spec)
        case Reorder(_, ids):
            return Line(_joined(old, *path), "reorder", {"order": ", ".join(ids)})


def _joined(tree: WireSupervisor, *ids: str) -> str:
    return "/".join((tree.id, *ids))


def _compared(old: WireSupervisor, path: Path, kind: Kind, new: Any) -> Line:
    try:
        before = spec_at(old, path)
    except KeyError:  # a template of another id
        return Line(_joined(old, *path), kind)
    names = [name for name in differing(before, new) if name not in _SECRET]
    fields: dict[str, str] = {}
    for name in names:
        fields |= _field(name, getattr(before, name), getattr(new, name))
    if "payload" in differing(before, new):
        fields["start or args"] = "changed"
    return Line(_joined(old, *path), kind, fields)


def _field(name: str, before: Any, after: Any) -> dict[str, str]:
    """By the name that it has in a tree; what is held together there is several fields."""
    if name in _INNER:
        kind = _INNER[name]
        old, new = before or kind(), after or kind()
        return {one: _values(getattr(old, one), getattr(new, one)) for one in differing(old, new)}
    if name == "env" and _count_only(before, after):
        return {"replicas": f"{before[COUNT]} -> {after[COUNT]}"}
    return {name: _values(before, after)}


def _count_only(before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether only the number of a child's replicas, which each of them is told, is another."""
    return COUNT in before and COUNT in after and {**before, COUNT: ""} == {**after, COUNT: ""}


def _values(before: Any, after: Any) -> str:
    if isinstance(before, msgspec.Struct) and type(before) is type(after):
        shown = (
            f"{field} {_short(getattr(before, field))} -> {_short(getattr(after, field))}"
            for field in differing(before, after)
        )
        return ", ".join(shown)
    if isinstance(before, dict) or isinstance(after, dict):
        keys = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        return f"changed: {', '.join(sorted(map(str, keys)))}"
    return f"{_short(before)} -> {_short(after)}"


def _short(value: Any) -> str:
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    return one_line(text, VALUE_CHARS_MAX) if value not in (None, "") else "none"


def drawn(shown: Sequence[Line], paint: Paint = plain) -> list[str]:
    """For a terminal; the last line counts."""
    width = max(len(line.path) for line in shown)
    return [*(_drawn(line, width, paint) for line in shown), summary(shown)]


def _drawn(line: Line, width: int, paint: Paint) -> str:
    sign, style = _SIGNS[line.change]
    fields = ", ".join(f"{name} {text}" for name, text in line.fields.items())
    text = f"{_WORDS[line.change]}{f': {fields}' if fields else ''}"
    return paint(f"{sign} {line.path.ljust(width)}  {one_line(text, None)}", style)


def summary(shown: Sequence[Line]) -> str:
    """So many of each."""
    count = Counter(line.change for line in shown)
    in_place = sum(count[kind] for kind in ("adjust", "flags", "template", "reorder"))
    return (
        f"{count['add']} to add, {count['remove']} to remove, {count['restart']} to restart, "
        f"{in_place} in place, {count['unchanged']} unchanged"
    )
