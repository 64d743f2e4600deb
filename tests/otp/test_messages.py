"""Golden bytes of what users' messages and other versions' nodes rely on.

A change here is a change of the protocol: it needs a line in the changelog, and thought for a
cluster whose nodes are of two versions.
"""

from __future__ import annotations

import re
from typing import Any, get_args

import msgspec
import pytest

from otp import messages as m

encode = msgspec.msgpack.encode
CRASH = m.Reason("crash", "boom")
AT = b"\xa2at\xcb?\xf8\x00\x00\x00\x00\x00\x00"

GOLDEN: list[tuple[Any, bytes]] = [
    (CRASH, b"\x82\xa4kind\xa5crash\xa4text\xa4boom"),
    (
        m.Down(7, "counter", m.KILLED),
        b"\x84\xa4type\xa8otp.Down\xa3ref\x07\xa7process\xa7counter"
        b"\xa6reason\x82\xa4kind\xa6killed\xa4text\xa0",
    ),
    (
        m.Exit("<c.1@a>", CRASH),
        b"\x83\xa4type\xa8otp.Exit\xa7process\xa7<c.1@a>"
        b"\xa6reason\x82\xa4kind\xa5crash\xa4text\xa4boom",
    ),
    (m.WhichChildren(), b"\x81\xa4type\xb1otp.WhichChildren"),
    (m.CountChildren(), b"\x81\xa4type\xb1otp.CountChildren"),
    (m.TerminateChild("a"), b"\x82\xa4type\xb2otp.TerminateChild\xa2id\xa1a"),
    (m.RestartChild("a"), b"\x82\xa4type\xb0otp.RestartChild\xa2id\xa1a"),
    (m.DeleteChild("a"), b"\x82\xa4type\xafotp.DeleteChild\xa2id\xa1a"),
    (
        m.StartDynamic("job", b"x"),
        b"\x83\xa4type\xb0otp.StartDynamic\xa5label\xa3job\xa4args\xc4\x01x",
    ),
    (m.NodeInfo(), b"\x81\xa4type\xacotp.NodeInfo"),
    (m.StopNode(), b"\x81\xa4type\xacotp.StopNode"),
    (m.Subscribe(), b"\x81\xa4type\xadotp.Subscribe"),
    (
        m.KillProcess("root/a"),
        b"\x83\xa4type\xafotp.KillProcess\xa4path\xa6root/a\xa6signal\t",
    ),
    (
        m.ChildInfo("a", "running", "worker", "<c.1@a>", 4),
        b"\x85\xa2id\xa1a\xa5state\xa7running\xa4type\xa6worker\xa7process\xa7<c.1@a>\xa3pid\x04",
    ),
    (
        m.ChildCounts(1, 2, 3, 4),
        b"\x84\xa5specs\x01\xa6active\x02\xabsupervisors\x03\xa7workers\x04",
    ),
    (
        m.ChildStarted("root/a", 1.5, 9, 2),
        b"\x85\xa4type\xacChildStarted\xa4path\xa6root/a" + AT + b"\xa3pid\t\xa8restarts\x02",
    ),
    (
        m.GaveUp("root", 1.5),
        b"\x84\xa4type\xa6GaveUp\xa4path\xa4root"
        + AT
        + b"\xa6reason\x82\xa4kind\xa8shutdown\xa4text\xa0",
    ),
]


@pytest.mark.parametrize(("value", "golden"), GOLDEN, ids=lambda v: type(v).__name__)
def test_the_bytes_are_what_they_were(value: Any, golden: bytes) -> None:
    assert encode(value) == golden
    assert msgspec.msgpack.decode(golden, type=type(value)) == value


def test_a_child_may_be_a_worker_or_a_supervisor_with_children() -> None:
    worker = m.WireChild("w", payload=b"\0", command=("a", "b"), env={"A": "1"}, shutdown=2.5)
    tree = m.WireSupervisor("s", children=(worker, m.WireSupervisor("inner")))
    request = m.StartChild(tree)
    assert msgspec.msgpack.decode(encode(request), type=m.StartChild) == request


def declared(base: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """The classes of this module that derive from `base`, without `base` itself."""
    classes = [value for value in vars(m).values() if isinstance(value, type)]
    return [cls for cls in classes if issubclass(cls, base) and cls is not base]


def test_tags_tell_everything_apart_and_what_users_may_clash_with_is_marked() -> None:
    tags = [cls.__struct_config__.tag for cls in (*declared(m.Request), *declared(m.Message))]
    assert len(tags) == len(set(tags)) >= 17
    assert all(re.fullmatch(r"otp\.[A-Z]\w+", str(tag)) for tag in tags)


def test_every_report_is_among_those_that_are_decoded() -> None:
    assert set(get_args(m.AnyReport)) == set(declared(m.Report))
    requests = {*get_args(m.SupervisorRequest), *get_args(m.NodeRequest)}
    assert requests == set(declared(m.Request))


@pytest.mark.parametrize("cls", [*declared(m.Request), *declared(m.Message), *declared(m.Report)])
def test_what_was_sent_cannot_be_changed(cls: type[msgspec.Struct]) -> None:
    assert cls.__struct_config__.frozen


def test_a_users_message_is_tagged_by_its_name_and_frozen() -> None:
    class Add(m.Request[int], frozen=True):
        n: int

    assert encode(Add(2)) == b"\x82\xa4type\xa3Add\xa1n\x02"
    with pytest.raises(AttributeError):
        Add(2).n = 3  # type: ignore[misc]


def test_reasons_read_as_a_person_would_say_them() -> None:
    assert [str(reason) for reason in (m.NORMAL, CRASH)] == ["normal", "crash: boom"]
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value 'bored'"):
        msgspec.json.decode(b'{"kind": "bored"}', type=m.Reason)
