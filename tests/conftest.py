from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil
import pytest

from tests.orphans import describe, mark_session, survivors


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
