"""What is known of PID namespaces without making one."""

from __future__ import annotations

import os

import pytest

from otp import isolation


def test_outside_a_namespace_pids_are_what_they_are() -> None:
    outer = isolation.OuterPids()
    assert not outer.isolated
    assert outer.of(4711) == 4711
    outer.hand_on()
    assert outer.fds() == []
    assert isolation.VARIABLE not in os.environ


def test_a_child_is_known_by_its_pid_in_the_given_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    proc = os.open("/proc", os.O_RDONLY)
    monkeypatch.setenv(isolation.VARIABLE, str(proc))
    outer = isolation.OuterPids()
    assert outer.isolated and isolation.VARIABLE not in os.environ
    assert outer.of(os.getpid()) == os.getpid()
    assert not os.get_inheritable(proc)
    outer.hand_on()
    assert os.environ[isolation.VARIABLE] == str(proc) and os.get_inheritable(proc)
    monkeypatch.delenv(isolation.VARIABLE)
    assert outer.fds() == [proc]
    os.close(proc)


def test_a_problem_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(1, "unshare: Operation not permitted")

    monkeypatch.setattr(isolation, "_enter", refuse)
    found = isolation.problem()
    assert "not permitted here (unshare: Operation not permitted)" in found
    assert "user namespaces" in found


def test_it_is_started_by_a_node_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["otp.isolation"])
    with pytest.raises(SystemExit, match="started by a node"):
        isolation.main()
