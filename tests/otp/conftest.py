from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from otp import cli, testing
from tests.otp.programs import COUNTER, SUPERVISORS, Command, write


def pytest_configure(config: pytest.Config) -> None:
    """Installed, the plugin is there already; in a plain checkout it has no entry point."""
    if not config.pluginmanager.is_registered(testing):
        config.pluginmanager.register(testing, "otp")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of this test's nodes alone, short enough for sockets; at its end it is empty."""
    with tempfile.TemporaryDirectory(prefix="otp") as base:
        monkeypatch.setenv("XDG_RUNTIME_DIR", base)
        folder = Path(base, f"otp-{os.getuid()}")
        yield folder
        left = [path.name for path in folder.glob("*")]
        assert not left, f"left behind: {left}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the tree of SUPERVISORS and the module that it names."""
    write(tmp_path, counter_py=COUNTER, supervisors_yaml=SUPERVISORS)
    return tmp_path


@pytest.fixture
def otp_main(
    home: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """The `otp` command in this process, for what starts nothing: fifty times as fast."""

    def execve(*arguments: object) -> None:
        raise AssertionError(f"it must not come to that: {arguments}")

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(project)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            code = cli.main(arguments)
        except SystemExit as error:
            assert isinstance(error.code, int)
            code = error.code
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    yield run
    sys.modules.pop("counter", None)
