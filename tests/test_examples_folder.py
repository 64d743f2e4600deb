"""The examples of the folder `examples/`, run as a reader would, things killed meanwhile."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from otp.testing import eventually
from tests.ports import ports_in_a_row

ROOT = Path(__file__).resolve().parent.parent
STORE = "redis-server" if shutil.which("redis-server") else "the stand-in"
SECONDS_MAX = 60
Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs programs from the root of the repository, where no other nodes are seen; ends them."""
    running: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(prefix="otp") as base:

        def start(*words: str, **environ: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": base} | environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            running.append(process)
            return process

        yield start
        for process in running:
            with process:
                process.terminate()


def output(process: subprocess.Popen[str]) -> str:
    """All that it says until it has ended."""
    return process.communicate(timeout=SECONDS_MAX)[0]


def fetch(url: str, data: str | None = None) -> str:
    body = None if data is None else data.encode()
    with urllib.request.urlopen(url, body, timeout=SECONDS_MAX) as answer:
        return str(answer.read().decode().strip())


def test_a_job_queue_whose_workers_crash(run: Run) -> None:
    said = output(run("-W", "error", "examples/job_queue.py", "-v"))
    assert "203 of 205 done, such as ASH" in said, said
    assert "set aside after 3 attempts: poison (crash: ValueError: this one cannot be done)" in said
    assert "set aside after 3 attempts: segfault (crash: ended by SIGABRT)" in said
    assert "workers: 4" in said
    assert len(re.findall("ended, pid .*; it is restarted", said)) == 7


@pytest.mark.parametrize("store", [STORE])
def test_a_stack_of_store_worker_and_web(store: str, run: Run) -> None:
    first = ports_in_a_row(2)
    web, port = str(first), str(first + 1)
    url = f"http://127.0.0.1:{web}"
    words = ("-m", "otp", "run", "examples/stack/supervisors.yaml")
    stack = run(*words, WEB_PORT=web, STORE_PORT=port)
    eventually(lambda: fetch(f"{url}/ready"), ignoring=(OSError,), within=SECONDS_MAX)

    assert fetch(url, "hello") == "1"
    assert result(url, 1) == "olleh"
    assert output(run("-m", "otp", "kill", "worker")).strip().isdigit()
    assert eventually(lambda: fetch(url, "again"), ignoring=(OSError,)) == "2"
    assert (result(url, 1), result(url, 2)) == ("olleh", "niaga")  # the store went on meanwhile
    assert output(run("-m", "otp", "kill", "store")).strip().isdigit()
    assert eventually(lambda: accepted(url), ignoring=(OSError,)) == "1"  # a new store, empty
    assert result(url, 1) == "anew"[::-1]

    stack.terminate()
    said = output(stack)
    assert ("stand-in serves" in said) == (store == "the stand-in")
    lives = re.findall(r"stack/(\w+): (started|ended)", said)
    assert [f"{child} {life}" for child, life in lives if child != "worker"][:9] == [
        "store started", "web started",
        "web ended", "web started",  # with the worker, on which it depends by its place
        "store ended", "web ended", "store started", "web started",
        "web ended",  # the end of all, in reverse order
    ]  # fmt: skip


def result(url: str, number: int) -> str:
    return eventually(lambda: fetch(f"{url}/{number}"), ignoring=(OSError,))


def accepted(url: str) -> str:
    """The number of a job that the new store has counted, and not the old one's web server."""
    number = fetch(url, "anew")
    return number if number == "1" else ""


FASTAPI = all(map(importlib.util.find_spec, ("fastapi", "uvicorn")))


@pytest.fixture
def web_app(run: Run) -> tuple[subprocess.Popen[str], str]:
    if not FASTAPI:
        pytest.skip("needs fastapi and uvicorn: pip install '.[examples]'")
    port = str(ports_in_a_row(1))
    server = run("-m", "uvicorn", "--app-dir", "examples", "--port", port, "web_app:app")
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: fetch(f"{url}/pool"), ignoring=(OSError,), within=SECONDS_MAX)
    return server, url


def workers(url: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(fetch(f"{url}/pool"))
    return found


def test_a_web_app_whose_workers_are_killed_answers_all_requests(
    web_app: tuple[subprocess.Popen[str], str],
) -> None:
    server, url = web_app
    before = workers(url)
    assert len(before) == 3
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
        assert json.loads(fetch(f"{url}/primes/100")) == {"below": 100, "primes": 25}
    eventually(
        lambda: len(after := workers(url)) == 3 and not {*after.values()} & {*before.values()}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(f"{url}/primes/-1")
    assert (refused.value.code, refused.value.read()) == (
        400,
        b'{"detail":"there are no primes below -1"}',
    )
    pids = below(server)
    server.terminate()
    said = output(server)
    assert "Application shutdown complete" in said
    eventually(lambda: not any(map(alive, pids)))


def test_a_web_server_that_is_killed_leaves_nothing(
    web_app: tuple[subprocess.Popen[str], str],
) -> None:
    server, _ = web_app
    pids = below(server)
    assert len(pids) >= 6
    server.kill()
    eventually(lambda: not any(map(alive, pids)))


def below(process: subprocess.Popen[str]) -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_each_example_says_how_it_is_run_and_the_readme_names_it() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for file in ("web_app.py", "job_queue.py", "stack/supervisors.yaml"):
        text = (ROOT / "examples" / file).read_text(encoding="utf-8")
        assert f"examples/{file}" in text or "--app-dir examples" in text
        assert f"(examples/{file})" in readme
