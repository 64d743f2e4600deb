"""Ties with keys that a topology places: asked once, asked again, or wanted no more."""

from __future__ import annotations

from otp.frames import DEMONITOR, LINK, MONITOR, MSGPACK, Envelope, Locate
from otp.via_ties import ViaTies

ONE, TWO = "<c.1@a>", "<c.2@a>"


class Node:
    def __init__(self) -> None:
        self.tied: list[tuple[int, str]] = []
        self.asked: list[Locate] = []
        self.ties = ViaTies(
            lambda process, envelope: self.tied.append((envelope.kind, envelope.to)),
            {"via:rooms:x": ONE}.get,
            self.asked.append,
        )

    def wants(self, kind: int, to: str, ref: int = 1, process: str = ONE) -> None:
        self.ties.from_worker(process, Envelope(kind, to, process, ref, 0, 0, MSGPACK, "", b""))


def test_only_a_key_that_is_not_ours_is_asked_for() -> None:
    node = Node()
    for to in ("counter", "counter@b", ONE, "via:rooms:x"):
        node.wants(MONITOR, to)
    assert (len(node.tied), node.asked) == (4, [])
    node.wants(LINK, "via:keys:1")
    assert (len(node.tied), node.asked) == (4, [Locate(1, "via:keys:1")])
    node.ties.located(1, "counter@b")
    node.ties.located(1, "counter@b")
    assert node.tied[4:] == [(LINK, "counter@b")]


def test_a_key_that_is_nowhere_or_leads_to_a_key_is_nobody() -> None:
    node = Node()
    for number, address in enumerate(("", "via:keys:2"), 1):
        node.wants(MONITOR, "via:keys:1", number)
        node.ties.located(number, address)
    assert node.tied == [(MONITOR, "via:keys:1")] * 2


def test_who_has_ended_or_wants_no_more_is_not_tied() -> None:
    node = Node()
    node.wants(MONITOR, "via:keys:1", ref=7)
    node.wants(MONITOR, "via:keys:1", ref=7, process=TWO)
    node.wants(DEMONITOR, ONE, ref=7)
    node.ties.ended(TWO)
    node.ties.located(1, "counter")
    node.ties.located(2, "counter")
    assert node.tied == [(DEMONITOR, ONE)]


def test_the_next_mailroom_is_asked_again() -> None:
    node = Node()
    node.wants(MONITOR, "via:keys:1")
    node.ties.renew()
    assert node.asked == [Locate(1, "via:keys:1")] * 2
