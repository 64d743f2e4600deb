from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from itertools import count
from pathlib import Path

import pytest

import otp
from otp import testing
from otp.testing import eventually
from tests.otp.programs import COUNTER, ROOT, Idle


def test_a_condition_that_comes_true_ends_the_wait_with_its_value() -> None:
    numbers = count()
    assert eventually(lambda: next(numbers) // 3) == 1
    assert next(numbers) == 4


def test_a_condition_that_does_not_come_true_is_named() -> None:
    with pytest.raises(TimeoutError, match=r"^the door opens: not within 0.02 s; last: 0$"):
        eventually(lambda: 0, within=0.02, what="the door opens")
    with pytest.raises(TimeoutError, match=r"test_a_condition.*lambda"):
        eventually(lambda: [], within=0)


def test_errors_count_as_not_yet_only_where_it_says_so() -> None:
    answers: Iterator[int] = iter([1])

    def once() -> int:
        return next(answers)

    assert eventually(once) == 1
    with pytest.raises(StopIteration):
        eventually(once)
    with pytest.raises(TimeoutError, match="last: StopIteration") as raised:
        eventually(once, within=0.02, ignoring=(StopIteration,))
    assert isinstance(raised.value.__cause__, StopIteration)


def test_an_error_that_passes_is_waited_out() -> None:
    numbers = count(-2)
    assert eventually(lambda: 1 // next(numbers) > 0, ignoring=(ZeroDivisionError,))


@pytest.fixture
def project(pytester: pytest.Pytester, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, whose tests use the plugin."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(counter=COUNTER)
    return pytester.path


def _run(pytester: pytest.Pytester, code: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=f"import otp, os, pytest\nfrom counter import *\n\n{code}")
    return pytester.runpytest_subprocess(*_plugin())


def _plugin() -> tuple[str, ...]:
    """The plugin by its entry point where the package is installed, else by its name."""
    known = any(entry.value == "otp.testing" for entry in entry_points(group="pytest11"))
    return ("-p", "no:cacheprovider", *(() if known else ("-p", "otp.testing")))


def examples(docstring: str) -> str:
    """The indented blocks of a docstring."""
    return "".join(line[4:] for line in docstring.splitlines(True) if line.startswith((" ", "\n")))


def test_the_examples_of_the_plugin_run_as_they_are_written(
    pytester: pytest.Pytester, project: Path
) -> None:
    assert testing.__doc__ is not None
    _run(pytester, examples(testing.__doc__)).assert_outcomes(passed=3)


def test_any_node_is_listened_to_by_the_fixture(
    otp_start: testing.Start, otp_expect: testing.Expect
) -> None:
    counter = otp.ChildSpec("counter", Idle)
    node = otp_start(otp.Supervisor("root", children=[counter]))
    with otp.Node(node.run_dir) as other, otp_expect(other, otp.ChildStarted) as seen:
        other.kill("counter")
    assert seen.report.path == "root/counter"


def test_what_the_fixture_started_is_stopped_the_last_one_first(
    pytester: pytest.Pytester, project: Path
) -> None:
    result = _run(
        pytester,
        """
def test_two(otp_start):
    a, b = otp_start(tree, name="a"), otp_start(tree, name="b")
    assert (a.call("counter", Add(1)), b.call("counter", Add(2))) == (1, 2)
    assert {os.path.basename(n.run_dir)[0] for n in (a, b)} == {"a", "b"}
    assert False, "so that the reports are shown"
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*[[]a[]] root/counter: started, pid *",
            "*[[]b[]] root/counter: started, pid *",
            "*[[]b[]] root/counter: ended, pid *: shutdown",
            "*[[]a[]] root/counter: ended, pid *: shutdown",
        ]
    )


def test_a_node_that_does_not_stop_is_a_warning_and_the_others_are_stopped(
    pytester: pytest.Pytester, project: Path
) -> None:
    result = _run(
        pytester,
        """
import signal
from otp import host

def test_stuck(otp_start, monkeypatch):
    host.STOP_SECONDS_MAX = 0.2
    well, stuck = otp_start(tree), otp_start(tree)
    os.kill(stuck.pid, signal.SIGSTOP)
    os.kill(well.pid, 0)
""",
    )
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*node * did not stop in 0.2 s; killed"])


def test_a_tree_that_does_not_start_leaves_nothing(home: Path, otp_start: testing.Start) -> None:
    def broken() -> None:
        raise AssertionError("never called")

    tree = otp.Supervisor("root", children=[otp.ChildSpec("x", broken, args={"n": 1})])
    with pytest.raises(otp.SpecError, match="takes no argument 'n'"):
        otp_start(tree)
