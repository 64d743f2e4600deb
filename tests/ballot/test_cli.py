from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ballot.cli import main
from tests.ports import ports_in_a_row

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 30.0
ELECTION = '{"format": "ballot-election/1", "id": "x", "title": "X"'


def ballot(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("BALLOT_")}
    return subprocess.run(
        [sys.executable, "-m", "ballot", *arguments],
        cwd=ROOT,
        env={**others, **environ},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def one_line(error: str) -> str:
    """What was said on standard error: the last line, with nothing but the usage before it."""
    lines = error.rstrip("\n").split("\n")
    assert "Traceback" not in error, error
    assert len(lines) == 1 or lines[0].startswith("usage: "), error
    return lines[-1]


# --- usage: exit code 2 ------------------------------------------------------------------------

USAGE = [
    ([], "required: COMMAND"),
    (["nosuch"], "invalid choice: 'nosuch'"),
    (["demo", "--frobnicate"], "unrecognized arguments: --frobnicate"),
    (["demo", "--ballots", "0"], "--ballots: '0' is not a whole number from 1 on"),
    (["demo", "--ballots", "-3"], "--ballots"),
    (["demo", "--ballots", "ten"], "--ballots: 'ten' is not a whole number from 1 on"),
    (["demo", "--ballots", "9" * 5000], "--ballots"),
    (["demo", "--clients", "0"], "--clients: '0' is not a whole number from 1 on"),
    (["demo", "--kills", "writer,king"], "--kills: 'king' is none of writer, follower, mailroom"),
    (["demo", "--base-port", "80"], "--base-port: '80' is not a port from 1024 to 65500"),
    (["demo", "--base-port", "99999"], "--base-port: '99999' is not a port"),
    (["cluster", "--base-port", "x"], "--base-port: 'x' is not a port"),
]


@pytest.mark.parametrize(("arguments", "says"), USAGE, ids=lambda v: " ".join(v)[:40] if v else "-")
def test_wrong_usage_is_told_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert says in one_line(capsys.readouterr().err)


def test_a_wrong_port_in_the_environment_is_wrong_usage() -> None:
    done = ballot("demo", BALLOT_BASE_PORT="x")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--base-port: 'x' is not a port from 1024 to 65500" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (None, ": not a directory; name one that holds election.json"),
        ({}, "/election.json: is missing"),
        ({"election.json": '{\n "format":'}, "/election.json:2: is not JSON: Expecting value"),
        ({"election.json": ELECTION + "}"}, "/election.json: Object missing required field"),
        ({"election.json": "[]"}, "/election.json: Expected `object`, got `array`"),
    ],
)
def test_what_is_no_election_is_told_with_file_and_line(
    tmp_path: Path,
    files: dict[str, str] | None,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = tmp_path / "election"
    if files is not None:
        directory.mkdir()
        for name, text in files.items():
            (directory / name).write_text(text)
    assert main(["demo", "--election", str(directory)]) == 2
    assert f"{directory}{says}" in one_line(capsys.readouterr().err)


def test_more_ballots_than_there_are_is_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--ballots", "999999"]) == 2
    assert "--ballots asks for 999999" in one_line(capsys.readouterr().err)


NODE = {
    "BALLOT_NODE": "CA-A-1",
    "BALLOT_NODES": "CA-A-1,CA-B-1",
    "BALLOT_RUN": "/nonexistent",
    "BALLOT_SOCKETS": "/nonexistent",
    "BALLOT_DATA": "/nonexistent",
}


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "BALLOT_NODE, BALLOT_NODES, BALLOT_RUN, BALLOT_SOCKETS, BALLOT_DATA not set"),
        ({**NODE, "BALLOT_BASE_PORT": "x"}, "BALLOT_BASE_PORT: 'x' is not a port"),
        ({**NODE, "BALLOT_NODE": "MI-A-1"}, "'MI-A-1' is none of BALLOT_NODES, CA-A-1,CA-B-1"),
        ({**NODE, "BALLOT_NODE": "x", "BALLOT_NODES": "x"}, "node name 'x': expected DATACENTRE"),
    ],
    ids=["nothing set", "a wrong port", "a strange name", "a malformed name"],
)
def test_a_node_that_is_told_nonsense_does_not_start(environ: dict[str, str], says: str) -> None:
    done = ballot("node", **environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in one_line(done.stderr)


# --- what cannot be done here: exit code 1 -----------------------------------------------------


def test_a_taken_port_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        if not 1024 <= port <= 65_500:
            pytest.skip(f"the system gave port {port}, which no cluster may begin at")
        done = ballot("demo", "--base-port", str(port), "--run-dir", str(tmp_path / "runs"))
    assert (done.returncode, done.stdout.count("\n") > 1) == (1, False)
    said = one_line(done.stderr)
    assert f"127.0.0.1:{port}" in said
    assert "choose other ports with --base-port" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("option", ["--run-dir", "--data-dir"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, option: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    places = {"--run-dir": str(tmp_path / "runs"), "--base-port": str(ports_in_a_row(9))}
    places[option] = str(file)
    done = ballot("demo", *(word for place in places.items() for word in place))
    assert done.returncode == 1
    assert re.search(f"{file}/[0-9a-f]+: Not a directory; name another folder", done.stderr)
    one_line(done.stderr)


# --- help --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["demo"], ["cluster"], ["node"]])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: ballot" in capsys.readouterr().out


def test_output_that_nobody_takes_is_one_line_and_a_failure() -> None:
    code = "import ballot.cli as c; c._node = lambda _: print('x') or 0; exit(c.main(['node']))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left on device" in one_line(done.stderr)
