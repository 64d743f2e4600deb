from __future__ import annotations

import pickle

from otp.command.aligned import align
from otp.messages import WireChild, WireSupervisor


def tree(payload: bytes) -> WireSupervisor:
    return WireSupervisor("r", (WireSupervisor("pool", (WireChild("a", payload=payload),)),))


def payload(args: dict[str, object], protocol: int = 5) -> bytes:
    return pickle.dumps(("module:Class", args, None), protocol)


def test_the_same_in_other_bytes_is_the_same() -> None:
    text = "text" * 2
    once, twice = payload({"a": text, "b": text}), payload({"b": text, "a": "texttext"})
    assert once != twice
    assert align(tree(once), tree(twice)) == tree(once)


def test_what_differs_stays_different() -> None:
    for other in (payload({"a": 2}), b"", b"no pickle"):
        assert align(tree(payload({"a": 1})), tree(other)) == tree(other)


def test_a_child_of_another_kind_is_left_alone() -> None:
    new = WireSupervisor("r", (WireChild("pool"), WireChild("new")))
    assert align(tree(payload({})), new) == new
