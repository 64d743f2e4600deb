from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from otp.command import usage
from otp.command.top_state import Usage
from otp.command.usage import Sampler
from otp.testing import eventually

BUSY = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while 1: 1'])"


@pytest.fixture
def parent() -> Iterator[psutil.Process]:
    """Idle itself; its child is not."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        found = psutil.Process(process.pid)
        eventually(found.children)
        yield found
        for child in found.children():
            child.kill()
        process.kill()


def test_what_a_process_has_started_counts_for_it(parent: psutil.Process) -> None:
    sampler = Sampler()
    assert sampler.sample([parent.pid])[parent.pid].cpu == 0.0
    found = eventually(
        lambda: used if (used := sampler.sample([parent.pid])[parent.pid]).cpu > 1 else None
    )
    assert found.memory > 1_000_000
    (child,) = parent.children()
    sampler.sample([parent.pid, child.pid])
    both = eventually(
        lambda: used if (used := sampler.sample([parent.pid, child.pid]))[child.pid].cpu else None
    )
    assert both[parent.pid].cpu < both[child.pid].cpu


def test_what_is_gone_takes_nothing() -> None:
    assert Sampler().sample([2**22 + 1]) == {2**22 + 1: Usage()}


def test_many_are_told_as_resident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "SHARES_MAX", 0)
    own = os.getpid()
    found = Sampler().sample([own])[own].memory
    assert found >= psutil.Process(own).memory_info().rss / 2
