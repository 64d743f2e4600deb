"""What Linux tells of processes, beside what psutil makes of the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from otp import proc

NOBODY = 2**22 + 1
PARENT = "import os, sys; os.fork(); print(flush=True); sys.stdin.read()"


def test_families_and_children(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() + process.stdout.readline() == b"\n\n"
        (child,) = proc.children(process.pid)
        below = proc.families()
        monkeypatch.setattr(proc, "_KERNEL_LISTS_CHILDREN", False)
        assert proc.children(process.pid) == {child}
        process.stdin.close()
    assert process.pid in below[os.getpid()]
    assert list(proc.family(process.pid, below)) == [process.pid, child]
    assert list(proc.family(process.pid, below, {child})) == [process.pid]


def test_a_start() -> None:
    assert proc.started_at(os.getpid()) == pytest.approx(psutil.Process().create_time(), abs=2)


def test_memory() -> None:
    shares = proc.memory(os.getpid(), "Pss")
    assert 2**20 < shares <= proc.memory(os.getpid(), "Rss")
    assert proc.memory(os.getpid()) == 0


def test_who_is_gone() -> None:
    assert proc.children(NOBODY) == set()
    assert list(proc.family(NOBODY, proc.families())) == [NOBODY]
    assert proc.started_at(NOBODY) == 0
    with pytest.raises(OSError, match=str(NOBODY)):
        proc.memory(NOBODY, "Pss")


def test_a_name_may_hold_anything(tmp_path: Path) -> None:
    """The kernel puts the name in the middle of the line, as it is."""
    shell = tmp_path / "a) (b 1 2"
    shell.symlink_to("/bin/cat")
    with subprocess.Popen([shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        assert process.pid in proc.families()[os.getpid()]
        process.stdin.close()
