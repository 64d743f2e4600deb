from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otp.starts import find, misfits, missing_module


class Worker:
    def __init__(self, size: int, *, color: str = "red") -> None: ...


def open_ended(size: int, **rest: Any) -> None: ...


def positional(size: int, /) -> None: ...


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importable modules, each with something wrong in it."""
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "raises.py").write_text("x = 1\nraise ImportError('licence\\nexpired')\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "garbled.py").write_text("def (:\n")
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def test_a_start_is_found_also_inside_a_class() -> None:
    assert find("json:loads") is json.loads
    assert find("json:JSONDecoder.decode") is json.JSONDecoder.decode


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("json", "'json' is not of the form 'module:Class'"),
        ("json.loads", "did you mean 'json:loads'?"),
        ("json:", "not of the form"),
        (":loads", "not of the form"),
        ("a b:c", "not of the form"),
        ("json:loads:x", "not of the form"),
        ("nowhere_at_all:X", "there is no module 'nowhere_at_all'"),
        ("bag.inner:X", "there is no module 'bag.inner'"),
        ("json:load_s", "module 'json' has no 'load_s'; did you mean 'loads'?"),
        ("sys:path", "'sys:path' is a list, not a class or function"),
        ("needs_more:X", "No module named 'not_installed_anywhere'"),
        ("raises:X", "importing 'raises' failed: ImportError: licence expired"),
        ("leaves:X", "importing 'leaves' failed: SystemExit: 3"),
        ("garbled:X", "importing 'garbled' failed: SyntaxError"),
    ],
)
def test_what_cannot_be_found_is_told_in_one_line(start: str, message: str) -> None:
    with pytest.raises(LookupError) as raised:
        find(start)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("broken")
def test_an_error_inside_a_module_names_its_line() -> None:
    with pytest.raises(LookupError, match=r"raises\.py, line 2\)$"):
        find("raises:X")


@pytest.mark.parametrize(
    ("target", "args", "partial", "expected"),
    [
        (Worker, {"size": 1}, False, []),
        (Worker, {"size": 1, "color": "blue"}, False, []),
        (Worker, {}, False, [(None, "Worker needs the argument 'size'")]),
        (Worker, {}, True, []),
        (
            Worker,
            {"size": 1, "colour": "blue"},
            False,
            [("colour", "Worker takes no argument 'colour'; did you mean 'color'?")],
        ),
        (
            Worker,
            {"size": 1, "x": 1},
            True,
            [("x", "Worker takes no argument 'x'; it takes size, color")],
        ),
        (open_ended, {"size": 1, "x": 1}, False, []),
        (
            positional,
            {"size": 1},
            False,
            [
                ("size", "positional takes no argument 'size'; it takes none"),
                (None, "positional needs the argument 'size'"),
            ],
        ),
        (functools.partial(Worker, size=1), {}, False, []),
        (dict, {"anything": 1}, False, []),  # written in C, has no signature
    ],
)
def test_arguments_are_held_against_the_signature(
    target: Callable[..., Any], args: dict[str, Any], partial: bool, expected: Any
) -> None:
    assert list(misfits(target, args, partial=partial)) == expected


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("json.decoder", None),
        ("needs_more", None),  # is there; what is wrong in it shows when it is imported
        ("nowhere_at_all", "there is no module 'nowhere_at_all'"),
        ("nowhere.at_all", "there is no module 'nowhere'"),
        ("raises.inner", "importing 'raises.inner' failed: ImportError: licence expired"),
        ("a b", "'a b' is not the name of a module"),
    ],
)
def test_a_module_to_preload_must_be_there(name: str, expected: str | None) -> None:
    found = missing_module(name)
    assert found is None if expected is None else found is not None and found.startswith(expected)
