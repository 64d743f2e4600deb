"""Programs and trees as a user would write them, and running them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import otp

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., subprocess.CompletedProcess[str]]
SECONDS_MAX = 30.0
"""How long a command may take on a busy machine; it takes a tenth of a second on a quiet one."""

COUNTER = """\
import otp


class Add(otp.Request[int], frozen=True):
    n: int


class Counter(otp.GenServer):
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def handle_call(self, request: Add, sender: otp.From[int]) -> int:
        self.count += request.n
        return self.count


class Broken(otp.GenServer):
    def __init__(self) -> None:
        raise SystemExit("no licence")


tree = otp.Supervisor("root", children=[otp.ChildSpec("counter", Counter)])
"""

SUPERVISORS = """\
id: root
strategy: one_for_one
children:
  - {id: counter, start: "counter:Counter", args: {start: 10}}
  - id: pool
    max_restarts: 10
    max_seconds: 60
    children:
      - {id: w1, start: "counter:Counter"}
"""


def write(folder: Path, **files: str) -> None:
    """`counter_py="..."` becomes counter.py."""
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")


def environ(**more: str) -> dict[str, str]:
    """Ours, with this very checkout to import from."""
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


def otp_command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "otp", *arguments]


def run_otp(*arguments: str, cwd: Path = ROOT, **options: Any) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "otp", *arguments, cwd=cwd, **options)


def run_python(
    *arguments: str, cwd: Path = ROOT, **options: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=cwd,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        **options,
    )


class Idle(otp.GenServer):
    """Does nothing, which is all that some tests need."""


def tree() -> otp.Supervisor:
    """A root with one worker and a supervisor below it."""
    pool = otp.Supervisor("pool", max_restarts=10)
    return otp.Supervisor("root", children=[otp.ChildSpec("counter", Idle), pool])


def is_one_line(
    done: subprocess.CompletedProcess[str], code: int, *texts: str, problems: int = 1
) -> None:
    """One clear line for each problem, nothing else, and the right exit code."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == problems, done.stderr
    assert "Traceback" not in done.stderr
    for text in texts:
        assert text in done.stderr
