"""A pytest plugin for supervision trees: start them by a fixture, wait for what must come.

    def test_a_killed_counter_comes_back(otp_start):
        node = otp_start(tree)
        with node.expect(otp.ChildStarted, "root/counter") as started:
            before = node.kill("counter")
        assert started.report.pid != before

pytest finds the plugin by itself where the package is installed. A test never sleeps: it waits for
a report (`node.expect`), or for a condition (`eventually`), and both have a deadline.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import pytest

from otp import host
from otp.errors import OtpError
from otp.spec import Supervisor

T = TypeVar("T")

EVENTUALLY_SECONDS = 10.0
"""How long `eventually` waits: far more than it takes, since a busy machine is no failure."""
LOOK_SECONDS = 0.005
"""Between two looks at a condition: short beside the start of a process."""


class Start(Protocol):
    """What the fixture `otp_start` gives: `otp.start`, with an end that it sees to."""

    def __call__(
        self, tree: Supervisor, *, log: str = "text", **options: Any
    ) -> host.StartedNode: ...


@pytest.fixture
def otp_start() -> Iterator[Start]:
    """Starts trees as `otp.start` does; all are stopped after the test, the last one first.

    Reports go to stderr, so that pytest shows them where a test fails. A node that had to be
    killed since it did not stop is a warning.
    """
    nodes: list[host.StartedNode] = []

    def start(tree: Supervisor, *, log: str = "text", **options: Any) -> host.StartedNode:
        nodes.append(host.start(tree, log=log, **options))
        return nodes[-1]

    yield start
    problems = [problem for node in reversed(nodes) if (problem := _stop(node))]
    for problem in problems:
        warnings.warn(problem, stacklevel=1)


def _stop(node: host.StartedNode) -> str:
    """What went wrong, if anything: the other nodes must be stopped all the same."""
    try:
        node.close()
    except OtpError as error:
        return str(error)
    return ""


def eventually(
    condition: Callable[[], T | None],
    *,
    within: float = EVENTUALLY_SECONDS,
    what: str = "",
    ignoring: tuple[type[Exception], ...] = (),
) -> T:
    """The first true value of `condition()`, asked again and again for `within` seconds.

    A condition that raises one of `ignoring` is not true yet. Raises TimeoutError that says
    `what` did not come true, and what the last look gave.
    """
    deadline = time.monotonic() + within
    never = threading.Event()
    while True:
        cause: Exception | None = None
        last: Any = None
        try:
            if last := condition():
                return last
        except ignoring as error:
            cause = error
        if time.monotonic() >= deadline:
            seen = f"{type(cause).__name__}: {cause}" if cause else repr(last)
            name = what or getattr(condition, "__qualname__", repr(condition))
            raise TimeoutError(f"{name}: not within {within:g} s; last: {seen}") from cause
        never.wait(LOOK_SECONDS)
