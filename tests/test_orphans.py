from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.orphans import MARK, describe, mark_session, survivors

WAITS = "import sys; print('up', flush=True); sys.stdin.read()"
DOUBLE_FORKS = f"""
import os, sys
os.setsid()
if os.fork() == 0:
    {WAITS}
"""


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(MARK, os.environ[MARK])
    return mark_session()


@pytest.fixture(params=["child", "daemon", "child without environment"])
def started(request: pytest.FixtureRequest, mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until its standard input is closed."""
    code = DOUBLE_FORKS.replace("import sys; ", "") if request.param == "daemon" else WAITS
    env: dict[str, str] | None = {} if "without" in request.param else None
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        if request.param == "daemon":
            process.wait()  # its child lives on, and is nobody's descendant any more
        yield process


def test_what_still_runs_is_found_and_what_has_ended_is_not(
    mark: str, started: subprocess.Popen[bytes]
) -> None:
    (left,) = survivors(mark, seconds=0)
    assert "print('up'" in describe(left)
    started.communicate()  # closes its standard input
    assert survivors(mark) == []


def test_processes_of_other_sessions_are_not_ours(started: subprocess.Popen[bytes]) -> None:
    ours = {process.pid for process in survivors("0" * 32, seconds=0)}
    assert ours <= {started.pid}  # a direct child is found by ancestry


def test_a_process_that_is_gone_can_still_be_described(mark: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.PIPE)
    (left,) = survivors(mark, seconds=0)
    process.communicate()
    assert describe(left).startswith(f"pid {process.pid}: ")


def test_a_session_that_leaves_a_process_fails_and_kills_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = os.path.dirname(os.path.dirname(__file__))
    monkeypatch.setenv("PYTHONPATH", root)
    pytester.makeconftest(
        """
        import tests.orphans
        from tests.conftest import no_orphans

        tests.orphans.GONE_SECONDS_MAX = 0.2
        """
    )
    pytester.makepyfile(
        """
        import subprocess

        def test_forgets():
            subprocess.Popen(["tail", "-f", "/dev/null"], start_new_session=True).returncode = 0
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*processes left running:*", "pid *: tail -f /dev/null"])
    assert survivors(os.environ[MARK].rpartition("/")[2], seconds=1) == []
