"""Reports waited for and looked out for, with the test as the node that sends them."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

import otp
from otp.expect import Expected, ExpectedNone, Wanted
from otp.messages import Report


class Sent:
    """A connection by which these reports come; then the node is silent, or (`ends`) gone."""

    def __init__(self, *reports: Report, ends: bool = False) -> None:
        self.reports, self.ends, self.closed, self.asked = deque(reports), ends, False, 0

    def ask(self, request: Any, *, to: str = "node", timeout: float | None = None) -> None:
        self.asked += 1

    def report(self, deadline: float | None = None) -> Report | None:
        if self.reports:
            return self.reports.popleft()
        if self.ends:
            raise EOFError
        return None

    def close(self) -> None:
        self.closed = True


A, B = otp.ChildStarted("root/a", 1.0, 11), otp.ChildStarted("root/b", 2.0, 12)
OUT = otp.ChildExited("root/a", 3.0, 11)
GAVE_UP = otp.GaveUp("root", 4.0)


def test_the_first_of_a_kind_and_of_a_path() -> None:
    source = Sent(OUT, A, B)
    with Expected[otp.ChildStarted](source, [(otp.ChildStarted, "root/b")]) as started:
        assert not started.reports
    assert started.report.pid == 12
    assert source.closed
    with Expected[Report](Sent(OUT, A, B), [otp.ChildStarted]) as started_first:
        pass
    assert started_first.report == A


def test_several_are_given_as_they_were_named_whatever_comes_first() -> None:
    wanted: list[Wanted] = [(otp.ChildExited, "root/a"), otp.ChildStarted, otp.ChildStarted]
    with Expected[Report](Sent(A, GAVE_UP, B, OUT), wanted) as seen:
        pass
    assert seen.reports == [OUT, A, B]


def test_what_does_not_come_is_named_with_what_came() -> None:
    source = Sent(A)
    with (
        pytest.raises(TimeoutError, match=r"no ChildExited of root/a, GaveUp within 0 s; .*pid=11"),
        Expected(source, [otp.ChildStarted, (otp.ChildExited, "root/a"), otp.GaveUp], timeout=0),
    ):
        pass
    assert source.closed


def test_what_must_never_come_ends_the_wait() -> None:
    with (
        pytest.raises(otp.Unexpected, match=r"GaveUp of root was not to be: GaveUp\(") as raised,
        Expected(Sent(A, GAVE_UP, OUT), [otp.ChildExited], never=[(otp.GaveUp, "root")]),
    ):
        pass
    assert raised.value.seen == GAVE_UP
    assert isinstance(raised.value, AssertionError)


def test_what_never_came() -> None:
    source = Sent(A, B)
    with ExpectedNone(source, [otp.GaveUp]):
        pass
    assert (source.asked, source.closed) == (2, True)
    with pytest.raises(otp.Unexpected), ExpectedNone(Sent(A, OUT), [otp.ChildExited]):
        pass


def test_a_node_that_ends_meanwhile() -> None:
    with (
        pytest.raises(otp.Disconnected, match=r"waiting for GaveUp \(seen: .*pid=11"),
        Expected(Sent(A, ends=True), [otp.GaveUp]),
    ):
        pass


def test_an_error_in_the_block_is_the_one_that_is_raised() -> None:
    source = Sent()
    with pytest.raises(KeyError), Expected(source, [otp.GaveUp]):
        raise KeyError("mine")
    assert source.closed


def test_who_cannot_subscribe_leaves_no_connection_open() -> None:
    class Refusing(Sent):
        def ask(self, request: Any, *, to: str = "node", timeout: float | None = None) -> None:
            raise otp.Disconnected(what="Subscribe", to=to)

    source = Refusing()
    with pytest.raises(otp.Disconnected), Expected(source, [otp.GaveUp]):
        raise AssertionError("it must not come to the block")
    assert source.closed
