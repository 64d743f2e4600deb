"""What travels by value between our own processes, and arrives as if it had been imported."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otp import pickling
from otp.by_value import by_value
from otp.messages import Message, Reason, Request

SCRIPT = '''
from __future__ import annotations
from typing import Generic, TypeVar
import msgspec, otp

T = TypeVar("T")

class Add(otp.Request[int], frozen=True, tag="add"):
    """Adds."""
    n: int
    step: int = 1
    notes: list[str] = msgspec.field(default_factory=list)

    def total(self) -> int:
        return self.n * self.step

    @property
    def double(self) -> int:
        return 2 * self.n

    @classmethod
    def one(cls) -> Add:
        return cls(1)

class AddMore(Add, frozen=True, kw_only=True, tag="more"):
    more: Point

class Point(msgspec.Struct, order=True, array_like=True):
    x: int = 0
    y: int = 0

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("below zero")

class Box(msgspec.Struct, Generic[T]):
    inside: T

class Strict(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"):
    a: int = 0

class Counter(otp.GenServer):
    refuses = (KeyError,)

    def handle_call(self, request: Add, sender: otp.From[int]) -> int:
        return request.total()

def tripled(n: int) -> int:
    return 3 * Point(n).x
'''


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A script's `__main__`, gone before anything is loaded: as in a worker."""
    module = types.ModuleType("__main__")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "__main__", module)
        exec(compile(SCRIPT, "script.py", "exec"), module.__dict__)
        yield module


def there_and_back(value: Any) -> Any:
    """Dumped here, loaded where `__main__` is another module."""
    data = pickling.dumps(value)
    mine = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        return pickling.loads(data)
    finally:
        sys.modules["__main__"] = mine


def test_a_struct_of_a_script_keeps_fields_defaults_tag_and_frozen(
    script: types.ModuleType,
) -> None:
    add = there_and_back(script.Add)
    assert add is not script.Add
    assert add.__struct_fields__ == ("n", "step", "notes")
    assert (add(2).step, add(2).notes) == (1, []) and add(2).notes is not add(2).notes
    assert add.__struct_config__.frozen and add.__struct_config__.tag == "add"
    with pytest.raises(AttributeError):
        add(2).n = 3
    assert add.__name__ == "Add" and add.__doc__ == "Adds." and add.__module__ == "__main__"
    assert issubclass(add, Request)


def test_it_keeps_methods_properties_and_class_methods(script: types.ModuleType) -> None:
    add = there_and_back(script.Add)
    assert (add(2, 5).total(), add(4).double, add.one()) == (10, 8, add(1))
    assert isinstance(add.one(), add), "what it calls itself is the class that arrived"


def test_it_travels_between_the_two_as_the_same_message(script: types.ModuleType) -> None:
    add = there_and_back(script.Add)
    body = msgspec.msgpack.encode(script.Add(7, notes=["x"]))
    assert msgspec.msgpack.decode(body, type=add) == add(7, notes=["x"])
    assert msgspec.msgpack.encode(add(7, notes=["x"])) == body
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode({"type": "add", "n": "7"}), type=add)


def test_one_that_derives_brings_its_base_and_resolves_what_it_names(
    script: types.ModuleType,
) -> None:
    more = there_and_back(script.AddMore)
    assert more.__struct_fields__ == ("n", "step", "notes", "more")
    assert more.__base__.__name__ == "Add" and more.__struct_config__.tag == "more"
    body = msgspec.msgpack.encode(script.AddMore(1, more=script.Point(3, 4)))
    assert msgspec.msgpack.decode(body, type=more).more.y == 4
    with pytest.raises(TypeError):
        more(1, 2, [], None)


def test_its_other_options_travel_too(script: types.ModuleType) -> None:
    point, strict = there_and_back((script.Point, script.Strict))
    assert msgspec.json.encode(point(1, 2)) == b"[1,2]" and point(1, 2) < point(1, 3)
    with pytest.raises(ValueError, match="below zero"):
        point(-1)
    assert msgspec.json.encode(strict()) == msgspec.json.encode(script.Strict())
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(b'{"b": 1}', type=strict)


def test_a_generic_struct_stays_generic(script: types.ModuleType) -> None:
    box = there_and_back(script.Box)
    assert msgspec.json.decode(b'{"inside": 3}', type=box[int]).inside == 3
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"inside": "x"}', type=box[int])


def test_one_pickle_has_one_class_of_each(script: types.ModuleType) -> None:
    add, value, point, both = there_and_back(
        (script.Add, script.Add(5), script.Point(1), [script.Point, script.tripled])
    )
    assert type(value) is add and value.n == 5
    assert both[0] is type(point) and both[1](7) == 21


def test_a_server_of_a_script_brings_the_messages_that_it_names(script: types.ModuleType) -> None:
    counter = there_and_back(script.Counter)
    assert counter.refuses == (KeyError,)
    request = counter.handle_call.__globals__
    assert request.get("__name__") == "__main__"
    assert counter().handle_call(script.Add(3, 2), None) == 6


def test_a_closure_and_a_class_in_a_function_travel_by_value() -> None:
    factor = 3

    class Local(msgspec.Struct, frozen=True):
        n: int = 4

        def times(self) -> int:
            return self.n * factor

    def make(n: int) -> int:
        return Local(n).times()

    makes: Callable[[int], int]
    makes, local = pickling.loads(pickling.dumps((make, Local)))
    assert makes(5) == 15 and local().times() == 12 and local is not Local
    assert "<locals>" in local.__qualname__
    with pytest.raises(AttributeError):
        local().n = 5


@pytest.mark.parametrize("value", [Reason, Message, Path, subprocess.run, Reason("normal")])
def test_what_can_be_imported_travels_by_name(value: Any) -> None:
    data = pickling.dumps(value)
    again = pickling.loads(data)
    assert again is value or again == value
    assert len(data) < 150


def test_whether_a_class_can_be_imported(script: types.ModuleType) -> None:
    class Local:
        pass

    stranger = type("Reason", (), {"__module__": "otp.messages"})
    assert [by_value(cls) for cls in (script.Point, Local, stranger)] == [True] * 3
    assert not by_value(Reason) and not by_value(Path)


def test_a_module_that_is_nowhere_is_by_value() -> None:
    assert by_value(type("Lost", (), {"__module__": "no.such.module"}))
