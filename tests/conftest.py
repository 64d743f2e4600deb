from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.orphans import describe, mark_session, survivors


def pytest_configure() -> None:
    """What runs in a shell's background has these ignored, and so has all that it starts."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            is_interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def no_orphans() -> Iterator[None]:
    """Fails the session when a process that it started is left running at its end, and kills it."""
    mark = mark_session()
    yield
    left = survivors(mark)
    report = [describe(process) for process in left]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if report:
        pytest.fail("processes left running:\n" + "\n".join(report), pytrace=False)
