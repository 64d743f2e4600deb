from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from otp import OtpError
from otp.command import runs
from otp.host import runs_home

DEAD_PID = 2**22 + 1  # the kernel gives none above 2**22


@pytest.fixture
def listening(home: Path, request: pytest.FixtureRequest) -> list[str]:
    """What looks like running nodes: a, b and one more b."""
    names = ["b.1.00", "a.1.01", "b.1.02"]
    for name in names:
        folder = Path(runs_home(), name)
        folder.mkdir()
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(folder / "control.sock"))
        sock.listen()
        request.addfinalizer(folder.rmdir)
        request.addfinalizer((folder / "control.sock").unlink)
        request.addfinalizer(sock.close)
    return [os.path.join(runs_home(), name) for name in names]


def test_nodes_are_found_by_their_sockets(listening: list[str]) -> None:
    assert [(run.name, run.run_dir) for run in runs.running()] == [
        ("a", listening[1]),
        ("b", listening[0]),
        ("b", listening[2]),
    ]


def test_a_node_is_chosen_by_its_name(listening: list[str]) -> None:
    assert runs.choose("a").run_dir == listening[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, r"3 nodes are running, choose one with --run-dir: .*a\.1\.01, .*b\.1\.00, .*"),
        ("b", r"2 nodes named 'b' are running, choose one with --run-dir: .*b\.1\.00, .*"),
        ("c", r"no node 'c' is running; these are: a, b$"),
    ],
)
def test_where_the_choice_is_not_clear_it_says_which_there_are(
    listening: list[str], name: str | None, message: str
) -> None:
    with pytest.raises(OtpError, match=message):
        runs.choose(name)


def test_nothing_runs(home: Path) -> None:
    with pytest.raises(OtpError, match="no node is running; start one with `otp run FILE`"):
        runs.choose(None)


def test_what_dead_nodes_left_is_removed_and_nothing_else(home: Path) -> None:
    folder = Path(runs_home())
    dead, silent, foreign = f"a.{DEAD_PID}.00", f"b.{os.getpid()}.00", "something else"
    for name in (dead, silent, foreign):
        (folder / name).mkdir()
    refusing = socket.socket(socket.AF_UNIX)
    refusing.bind(str(folder / dead / "control.sock"))
    refusing.close()
    assert runs.running() == []
    assert {entry.name for entry in folder.iterdir()} == {silent, foreign}
    for name in (silent, foreign):
        (folder / name).rmdir()


def test_a_node_too_busy_to_accept_counts_as_running(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "PROBE_SECONDS_MAX", 0.05)
    folder = Path(runs_home(), f"a.{DEAD_PID}.00")
    folder.mkdir()
    path = str(folder / "control.sock")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(path)
        busy.listen(0)
        waiting.connect(path)
        assert [run.name for run in runs.running()] == ["a"]
    os.unlink(path)
    folder.rmdir()


def test_a_name_is_not_taken_twice(listening: list[str]) -> None:
    name = runs.running()[0].name
    with pytest.raises(OtpError, match=f"a node named {name!r} runs already .*another --name"):
        runs.refuse_twice(name)
    runs.refuse_twice("nobody")
