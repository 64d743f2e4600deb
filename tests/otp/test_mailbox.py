"""A supervisor's mailbox: order, claimed deaths, bounds."""

from __future__ import annotations

import pytest

from otp import mailbox
from otp.mailbox import Mail, Mailbox
from otp.messages import NORMAL, SHUTDOWN
from otp.signals import Call, CountChildren, Exited, Resume, Shutdown

CALL = Call(1, CountChildren())
DEATH = Exited(7, "pid", NORMAL)


def test_mail_is_taken_in_the_order_of_its_arrival() -> None:
    box = Mailbox()
    mail: list[Mail] = [CALL, DEATH, Resume("a"), Shutdown(SHUTDOWN)]
    assert all([box.post(one) for one in mail])
    assert [box.take() for _ in mail] == mail
    assert box.take() is None and not box


def test_a_claimed_death_is_not_taken_again() -> None:
    box = Mailbox()
    box.post(DEATH)
    box.post(CALL)
    assert box.claim_death(7) == DEATH
    assert box.claim_death(7) is None
    assert box.take() == CALL


def test_a_later_death_of_the_same_child_keeps_its_own_place() -> None:
    box = Mailbox()
    later = Exited(7, "its next pid", NORMAL)
    box.post(DEATH)
    box.claim_death(7)
    box.post(CALL)
    box.post(later)
    assert [box.take() for _ in range(3)] == [CALL, later, None]


def test_a_taken_death_cannot_be_claimed() -> None:
    box = Mailbox()
    box.post(DEATH)
    assert box.take() == DEATH
    assert box.claim_death(7) is None


def test_calls_are_bounded_and_leave_room_when_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "CALLS_WAITING_MAX", 2)
    box = Mailbox()
    assert [box.post(CALL) for _ in range(3)] == [True, True, False]
    assert box.post(DEATH), "a death always has room"
    box.take()
    assert box.post(CALL)


def test_only_the_first_shutdown_is_kept() -> None:
    box = Mailbox()
    assert box.post(Shutdown(NORMAL)) and box.post(Shutdown(SHUTDOWN))
    assert box.take() == Shutdown(NORMAL)
    assert box.take() is None


def test_closing_hands_back_the_calls_that_nobody_will_serve() -> None:
    box = Mailbox()
    mail: list[Mail] = [CALL, DEATH, Resume("a")]
    assert all([box.post(one) for one in mail])
    assert box.close() == [CALL]
    assert not box and not box.deaths
