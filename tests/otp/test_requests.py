"""Requests to supervisors: to the machine's words and back."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from otp import messages as m
from otp import signals as s
from otp.amendment import Amend
from otp.frames import Failure
from otp.requests import NAMED, OPS, to_op, to_reply
from otp.running import Running
from otp.supervisor import Unit

PID, SUP = "<c.7@a>", "<c.s7@a>"
WORKER = m.WireChild("w")


@pytest.fixture
def unit() -> Unit:
    """A supervisor under which one process runs."""
    made = Unit(m.WireSupervisor("pool", children=(WORKER,)), "root/pool", "pool", SUP)
    running = Running(7, PID, "root/pool/w", WORKER, None)  # type: ignore[arg-type]
    running.os_pid = 4711
    made.processes[1] = running
    return made


def nobody(process: str) -> bool:
    return False


def test_every_request_has_an_operation() -> None:
    assert NAMED.keys() | OPS.keys() == {*get_args(m.SupervisorRequest), Amend}


@pytest.mark.parametrize(
    ("request_", "op"),
    [
        (m.TerminateChild("w"), s.TerminateChild("w")),
        (m.TerminateChild(PID), s.TerminateChild(s.ByPid(PID))),
        (m.RestartChild("w"), s.RestartChild("w")),
        (m.DeleteChild(PID), s.DeleteChild(s.ByPid(PID))),
        (m.GetChildSpec("w"), s.GetChildSpec("w")),
        (m.WhichChildren(), s.WhichChildren()),
        (m.CountChildren(), s.CountChildren()),
        (m.StartDynamic("job", b"x"), s.StartDynamic("job", b"x")),
    ],
)
def test_the_operation_of_a_request(request_: Any, op: s.Op) -> None:
    assert to_op(request_, nobody) == op


def test_a_pid_that_runs_is_told_from_one_that_does_not() -> None:
    assert to_op(m.TerminateChild(PID), {PID}.__contains__) == s.TerminateChild(s.ByPid(PID, True))


def test_a_child_that_is_to_start_carries_its_spec() -> None:
    op = to_op(m.StartChild(WORKER), nobody)
    assert isinstance(op, s.StartChild)
    assert (op.child.id, op.child.type, op.child.payload) == ("w", "worker", WORKER)
    inner = to_op(m.StartChild(m.WireSupervisor("inner")), nobody)
    assert isinstance(inner, s.StartChild) and inner.child.type == "supervisor"


@pytest.mark.parametrize(
    ("refused", "failure"),
    [
        (s.Refused("noproc"), Failure("noproc", "the supervisor root/pool")),
        (s.Refused("overloaded"), Failure("overloaded", "the supervisor root/pool")),
        (s.Refused("running"), Failure("supervisor", "running")),
        (s.Refused("bad_spec", "no id"), Failure("supervisor", "bad_spec: no id")),
        (
            s.Refused("start_failed", reason=m.Reason("crash", "boom")),
            Failure("supervisor", "start_failed: crash: boom"),
        ),
    ],
)
def test_a_refusal_is_a_failure_with_its_word_first(
    unit: Unit, refused: s.Refused, failure: Failure
) -> None:
    assert to_reply(m.WhichChildren(), refused, unit) == failure


@pytest.mark.parametrize(
    ("request_", "result", "expected"),
    [
        (m.StartChild(WORKER), s.Ok(PID), m.ChildInfo("w", "running", "worker", PID, 4711)),
        (m.RestartChild("w"), s.Ok(PID), m.ChildInfo("w", "running", "worker", PID, 4711)),
        (m.StartDynamic("j", b""), s.Ok(PID), m.ChildInfo("j", "running", "worker", PID, 4711)),
        (m.StartDynamic("j", b""), s.Ok(SUP), m.ChildInfo("j", "running", "supervisor", SUP)),
        (m.RestartChild("w"), s.Ok(ignored=True), m.ChildInfo("w", "undefined", "worker")),
        (m.TerminateChild("w"), s.Ok(), None),
        (m.DeleteChild("w"), s.Ok(), None),
        (m.CountChildren(), m.ChildCounts(1, 2, 3, 4), m.ChildCounts(1, 2, 3, 4)),
    ],
)
def test_what_the_caller_gets(unit: Unit, request_: Any, result: s.Result, expected: Any) -> None:
    assert to_reply(request_, result, unit) == expected


def test_the_list_of_children_has_os_pids_where_there_is_a_process(unit: Unit) -> None:
    entries = (
        s.ChildEntry(1, "w", "running", "worker", PID),
        s.ChildEntry(2, "x", "restarting", "worker"),
    )
    assert to_reply(m.WhichChildren(), entries, unit) == [
        m.ChildInfo("w", "running", "worker", PID, 4711),
        m.ChildInfo("x", "restarting", "worker"),
    ]
