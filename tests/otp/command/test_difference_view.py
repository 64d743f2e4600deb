from __future__ import annotations

from otp.command.difference_view import drawn, lines
from otp.difference import plan
from otp.messages import WireChild, WireSupervisor
from otp.wire_tree import Outfit, WireBackoff, WireCare

OLD = WireSupervisor(
    "root",
    (
        WireChild("a", command=("run", "it"), env={"KEY": "secret"}),
        WireChild("b"),
        WireSupervisor("pool", (WireChild("w"),)),
    ),
)
NEW = WireSupervisor(
    "root",
    (
        WireChild("a", command=("run", "that\n"), env={"KEY": "other"}),
        WireChild("c"),
        WireSupervisor("pool", (WireChild("w"),), max_restarts=3),
    ),
)


def test_a_line_for_each_child_and_a_count() -> None:
    shown = lines(OLD, NEW, plan(OLD, NEW))
    assert drawn(shown) == [
        "- root/b       stopped and removed",
        "~ root/a       restarted: command run it -> run that, env changed: KEY",
        "+ root/c       added and started",
        "~ root/pool    changed in place: max_restarts 1 -> 3",
        "  root         unchanged",
        "  root/pool/w  unchanged",
        "1 to add, 1 to remove, 1 to restart, 1 in place, 2 unchanged",
    ]


def test_what_is_below_a_new_supervisor_goes_with_it() -> None:
    new = WireSupervisor("root", (WireSupervisor("s", (WireChild("x"), WireChild("y"))),))
    old = WireSupervisor("root")
    assert [line.path for line in lines(old, new, plan(old, new))] == ["root/s", "root"]


def test_of_a_value_with_fields_only_those_that_differ_are_shown() -> None:
    old, new = (WireSupervisor("r", backoff=WireBackoff(n, 2.0, 9.0, 0.0, 9.0)) for n in (1.0, 2.0))
    (line, *_) = lines(old, new, plan(old, new))
    assert line.fields == {"backoff": "initial 1.0 -> 2.0"}


def test_fields_have_the_names_that_a_person_writes() -> None:
    before = WireChild("a", outfit=Outfit(nice=5), env={"OTP_REPLICAS": "2", "X": "1"})
    after = WireChild(
        "a",
        outfit=Outfit(nice=6),
        care=WireCare(heartbeat=3.0),
        env={"OTP_REPLICAS": "3", "X": "1"},
    )
    old, new = WireSupervisor("r", (before,)), WireSupervisor("r", (after,))
    (line, *_) = lines(old, new, plan(old, new))
    assert line.fields == {"nice": "5 -> 6", "heartbeat": "0.0 -> 3.0", "replicas": "2 -> 3"}
