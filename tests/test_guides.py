"""The guide for those who come from supervisord, tried out as it is written.

Its programs are stand-ins: a redis-server that listens, a worker.py that waits. (The Python and
YAML of all guides are run by test_tidy.py, like any of the README.)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from otp import loads
from otp.care import Ready
from otp.spec import ChildSpec, Supervisor
from otp.testing import eventually
from tests.ports import ports_in_a_row

ROOT = Path(__file__).resolve().parent.parent
GUIDE = re.search(
    r"^## Coming from supervisord.*?(?=^## )",
    (ROOT / "README.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)
SECONDS_MAX = 60

REDIS = """#!{python}
import signal, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
while True:
    listener.accept()[0].close()
"""
WORKER = "import os, signal; print('works with', os.environ['STORE'], flush=True); signal.pause()"


def block(language: str) -> str:
    assert GUIDE is not None
    found = re.search(rf"^```{language}\n(.*?)^```$", GUIDE[0], re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project as the guide has it, on a port of its own."""
    port = str(ports_in_a_row(1))
    (tmp_path / "supervisord.conf").write_text(block("ini").replace("6390", port))
    (tmp_path / "supervisors.yaml").write_text(block("yaml").replace("6390", port))
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "redis-server").write_text(REDIS.format(python=sys.executable))
    (tmp_path / "redis-server").chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    return tmp_path


class Shell:
    """A terminal in that folder, where no other nodes are seen."""

    def __init__(self, folder: Path, home: str) -> None:
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        self.environ = {"PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": home, "PATH": path}
        self.folder = folder

    def otp(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "otp", *words],
            cwd=self.folder,
            env=os.environ | self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout


@pytest.fixture
def shell(folder: Path) -> Iterator[Shell]:
    with tempfile.TemporaryDirectory(prefix="otp") as home:
        yield Shell(folder, home)


def test_what_is_imported_is_what_the_guide_shows_but_for_its_changes(shell: Shell) -> None:
    imported = loads(shell.otp("import", "supervisord.conf"), imports=False)
    shown = loads((shell.folder / "supervisors.yaml").read_text(), imports=False)
    store, workers = imported.children
    assert isinstance(store, ChildSpec) and isinstance(workers, Supervisor)
    port = store.command[-1] if store.command else ""
    changed = msgspec.structs.replace(store, ready=Ready(tcp=f"127.0.0.1:{port}"))
    expected = msgspec.structs.replace(
        imported, id="shop", strategy="rest_for_one", children=[changed, workers]
    )
    assert shown == expected


def test_the_commands_of_the_guide(shell: Shell) -> None:
    assert "ok" in shell.otp("check", "supervisors.yaml")
    shell.otp("run", "-d", "supervisors.yaml")
    try:
        tree = shell.otp("tree")
        for name in ("store", "worker_0", "worker_1"):
            assert name in tree
        eventually(
            lambda: shell.otp("logs", "worker").count("works with 127.0.0.1:") == 2,
            ignoring=(AssertionError,),
        )  # nothing was written yet
        shell.otp("restart", "worker", "--rolling")
    finally:
        shell.otp("stop")
    shell.otp("tree", code=1)
