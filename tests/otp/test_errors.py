from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

from otp import errors
from otp.errors import OtpError, Problem
from otp.messages import Reason

CALL: dict[str, Any] = {"what": "call Add", "to": "counter"}
CASES: list[tuple[type[OtpError], dict[str, Any], type[BaseException], str]] = [
    (
        errors.AlreadyRegistered,
        {"registry": "rooms", "key": "lobby", "holder": "<1.2@a>"},
        LookupError,
        "register 'lobby' in 'rooms': <1.2@a> has it; keys are unique there",
    ),
    (
        errors.TaskFailed,
        {"task": "square", "reason": Reason("killed")},
        RuntimeError,
        "task square failed: killed",
    ),
    (
        errors.Unexpected,
        {"what": "ChildExited of a", "seen": "ChildExited"},
        AssertionError,
        "ChildExited of a was not to be: ChildExited",
    ),
    (
        errors.CallTimeout,
        CALL | {"seconds": 5.0},
        TimeoutError,
        "call Add to counter: no reply in 5 s; it may still happen",
    ),
    (
        errors.NoProcess,
        CALL,
        LookupError,
        "call Add to counter: there is no such process; it did not happen",
    ),
    (
        errors.ServerDown,
        CALL | {"reason": Reason("crash", "ValueError: n")},
        ConnectionError,
        "call Add to counter: the server ended before it replied (crash: ValueError: n); "
        "it may have happened",
    ),
    (
        errors.NodeDown,
        CALL | {"node": "MI-A-1"},
        ConnectionError,
        "call Add to counter: node MI-A-1 was lost before the reply; it may have happened",
    ),
    (
        errors.NodeDown,
        CALL | {"node": "MI-A-1", "sent": False},
        ConnectionError,
        "call Add to counter: node MI-A-1 is not connected; it did not happen",
    ),
    (
        errors.Disconnected,
        CALL,
        ConnectionError,
        "call Add to counter: the connection was lost before the reply; it may have happened "
        "and is not sent again",
    ),
    (
        errors.Overloaded,
        CALL | {"limit": "8 MiB"},
        OtpError,
        "call Add to counter: the queue is full (8 MiB); it did not happen; try again later",
    ),
    (
        errors.Undecodable,
        CALL | {"problem": "it takes no Add"},
        ValueError,
        "call Add to counter: it takes no Add; it did not happen",
    ),
    (
        errors.StartError,
        {"who": "root/counter", "reason": "no memory"},
        RuntimeError,
        "root/counter did not start: no memory",
    ),
    (
        errors.NotRunning,
        {"where": "/run/x", "problem": "no such file"},
        ConnectionError,
        "no node answers at /run/x (no such file); is it running?",
    ),
    (
        errors.NotRunning,
        {"where": "/run/x", "problem": "no such file", "ended": "root gave up"},
        ConnectionError,
        "the node at /run/x has ended: root gave up",
    ),
    (
        errors.SupervisorError,
        {"request": "delete_child", "supervisor": "pool", "child": "w1", "reason": "running"},
        OtpError,
        "delete_child w1 at pool: running: the child is running; terminate it first",
    ),
    (
        errors.SpecError,
        {"problems": [Problem("is wrong", "a.yaml", 3, 7), Problem("is bad", path="root/a.name")]},
        ValueError,
        "a.yaml:3:7: is wrong\nroot/a.name: is bad",
    ),
]


@pytest.mark.parametrize(("error", "fields", "builtin", "message"), CASES)
def test_an_error_says_it_all_keeps_its_fields_and_is_the_builtin_one_would_expect(
    error: type[OtpError], fields: dict[str, Any], builtin: type[BaseException], message: str
) -> None:
    raised = error(**fields)
    assert str(raised) == message
    assert {name: getattr(raised, name) for name in fields} == fields
    assert isinstance(raised, builtin)


@pytest.mark.parametrize("clone", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
@pytest.mark.parametrize(("error", "fields", "builtin", "message"), CASES)
def test_an_error_survives_pickling(
    error: type[OtpError],
    fields: dict[str, Any],
    builtin: type[BaseException],
    message: str,
    clone: Any,
) -> None:
    raised = error(**fields)
    raised.add_note("seen by the mailroom")
    again = clone(raised)
    assert type(again) is error
    assert str(again) == message
    assert again.__dict__ == raised.__dict__


def test_every_error_is_in_the_table_above() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, OtpError) and value is not OtpError
    }
    assert defined == {case[0] for case in CASES}


def test_signals_to_the_runtime_are_not_errors_and_survive_pickling() -> None:
    assert not issubclass(errors.Ignore, OtpError)
    stop = pickle.loads(pickle.dumps(errors.Stop("disk full")))
    assert not isinstance(stop, OtpError)
    assert stop.reason == "disk full"
    assert errors.Stop().reason == "normal"


def test_a_problem_names_its_place_as_well_as_it_can() -> None:
    assert str(Problem("is empty", "a.yaml")) == "a.yaml: is empty"
    assert str(Problem("is empty")) == "is empty"


def test_a_refusal_prefers_the_detail_over_the_explanation_of_its_word() -> None:
    fields = {"request": "start_child", "supervisor": "root", "child": "a"}
    known = errors.SupervisorError(**fields, reason="bad_spec", detail="no id")
    assert str(known) == "start_child a at root: bad_spec: no id"
    assert str(errors.SupervisorError(**fields, reason="odd")) == "start_child a at root: odd"
