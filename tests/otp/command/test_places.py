from __future__ import annotations

import pytest

from otp.command import places
from otp.errors import OtpError
from otp.messages import ProcessInfo


def row(path: str, type: str = "worker", process: str = "") -> ProcessInfo:
    return ProcessInfo(path, type, "running", 1, process, 0, 0.0)  # type: ignore[arg-type]


ROWS = [
    row("local", "node"),
    row("zygote", "zygote"),
    row("otp", "supervisor"),
    row("otp/mailroom", "mailroom"),
    row("root", "supervisor"),
    row("root/a", process="<1.7@local>"),
    row("root/pool", "supervisor"),
    row("root/pool/w1"),
    row("root/pool/inner", "supervisor"),
    row("root/pool/inner/of a/job"),
]


@pytest.mark.parametrize(
    ("path", "supervisor", "id", "address"),
    [
        ("root/a", "/", "a", "a"),
        ("a", "/", "a", "a"),
        ("<1.7@local>", "/", "a", "a"),
        ("pool", "/", "pool", "pool"),
        ("root/pool/w1", "pool", "w1", "pool/w1"),
        ("pool/w1/", "pool", "w1", "pool/w1"),
        ("pool/inner", "pool", "inner", "pool/inner"),
        ("pool/inner/of a/job", "pool/inner", "of a/job", "pool/inner/of a/job"),
        ("root", None, "root", "/"),
        ("/", None, "root", "/"),
        ("otp/mailroom", None, "otp/mailroom", "mailroom"),
    ],
)
def test_what_is_meant(path: str, supervisor: str | None, id: str, address: str) -> None:
    place = places.find(ROWS, path)
    assert (place.supervisor, place.id, place.address) == (supervisor, id, address)


def test_what_is_not_there_is_told_with_what_may_be_meant() -> None:
    with pytest.raises(OtpError, match=r"there is no 'pool/w2'; did you mean 'pool/w1'\?"):
        places.find(ROWS, "pool/w2")


def test_children_are_those_directly_below() -> None:
    pool = places.find(ROWS, "pool")
    assert [child.id for child in places.below(ROWS, pool)] == ["w1", "inner"]
    root = places.find(ROWS, "root")
    assert [child.id for child in places.below(ROWS, root)] == ["a", "pool"]
