"""What `start:` names: finding it, and whether the given arguments fit it.

A start is a callable, or text such as "package.module:Class". Looking for it imports the module,
so an import error is told with its own text and never taken for a missing module.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from otp.words import did_you_mean, shown

# An error message is one line; what a module raises may be of any length.
TEXT_CHARS_MAX = 300
NAME_CHARS_MAX = 300  # no module or class has a longer one


def parse(start: str) -> tuple[str, str]:
    """The module and the attribute of "module:attribute"; LookupError if it is not of that form."""
    module_name, colon, attribute = start.partition(":")
    if not (colon and _is_dotted(module_name) and _is_dotted(attribute)):
        raise LookupError(f"{shown(start)} is not of the form 'module:Class'{_as_colon(start)}")
    return module_name, attribute


def look_up(start: str) -> Any:
    """What "module:attribute" names; raises LookupError that says what is missing or went wrong."""
    module_name, attribute = parse(start)
    found = _module(module_name)
    for name in attribute.split("."):
        if not hasattr(found, name):
            guess = did_you_mean(name, (n for n in vars(found) if not n.startswith("_")))
            raise LookupError(f"module {shown(module_name)} has no {shown(attribute)}{guess}")
        found = getattr(found, name)
    return found


def find(start: str) -> Callable[..., Any]:
    """The class or function that "module:attribute" names; raises LookupError as `look_up` does."""
    found = look_up(start)
    if not callable(found):
        raise LookupError(f"{shown(start)} is a {type(found).__name__}, not a class or function")
    return found  # type: ignore[no-any-return]


def missing_module(name: str) -> str | None:
    """Why module `name` cannot be found, or None; imports only the packages around it."""
    if not _is_dotted(name):
        return f"{shown(name)} is not the name of a module"
    try:
        found = importlib.util.find_spec(name)
    except (Exception, SystemExit) as error:
        return _import_failure(name, error)
    return None if found else _no_module(name)


def takes(target: Callable[..., Any], name: str) -> bool:
    """Has it an argument of this name?"""
    try:
        parameter = inspect.signature(target).parameters.get(name)
    except (TypeError, ValueError):  # written in C, say
        return False
    return parameter is not None and parameter.kind in _BY_NAME


def misfits(
    target: Callable[..., Any], args: Mapping[str, Any], *, partial: bool
) -> Iterator[tuple[str | None, str]]:
    """What keeps `target(**args)` from being called: (argument or None, message) of each.

    `partial` means that more arguments come later (a template's), so none is missing yet.
    """
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # written in C, say: only the call itself can tell
        return
    by_name = {n: p for n, p in parameters.items() if p.kind in _BY_NAME}
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        for key in args:
            if key not in by_name:
                yield key, f"{_title(target)} takes no argument {shown(key)}{_taken(key, by_name)}"
    for name, parameter in () if partial else parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind not in _VARIADIC
        if needed and (name not in args or name not in by_name):
            yield None, f"{_title(target)} needs the argument {shown(name)}"


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _title(target: Callable[..., Any]) -> str:
    return str(getattr(target, "__qualname__", None) or type(target).__qualname__)


def _taken(key: str, by_name: Mapping[str, Any]) -> str:
    known = ", ".join(by_name) or "none"
    return did_you_mean(key, by_name) or f"; it takes {known}"


def _is_dotted(name: str) -> bool:
    return len(name) <= NAME_CHARS_MAX and all(part.isidentifier() for part in name.split("."))


def _as_colon(start: str) -> str:
    module, _, attribute = start.rpartition(".")
    likely = ":" not in start and _is_dotted(start) and module
    return f"; did you mean '{module}:{attribute}'?" if likely else ""


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise LookupError(_import_failure(name, error)) from error


def _import_failure(name: str, error: BaseException) -> str:
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent and f"{name}.".startswith(f"{absent}."):
        return _no_module(absent)
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "importlib" not in f.filename and f.filename != __file__]
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    text = " ".join(str(error).split())[:TEXT_CHARS_MAX]
    return f"importing {shown(name)} failed: {type(error).__name__}: {text}{place}"


def _no_module(name: str) -> str:
    return f"there is no module {shown(name)}; is it installed, or in the folder you start from?"
