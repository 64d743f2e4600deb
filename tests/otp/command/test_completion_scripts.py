from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from otp import cli
from otp.command.completion_scripts import SHELLS, Argument, completed
from otp.testing import Start
from tests.otp import programs
from tests.otp.programs import Command

COMMANDS = completed(cli.COMMANDS)


def bash(line: str, *, cwd: Path) -> set[str]:
    """What bash would offer at the end of this line."""
    words = line.split(" ")
    script = (
        f'otp() {{ {sys.executable} -m otp "$@"; }}\n{SHELLS["bash"](COMMANDS)}\n'
        f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}\n"
        '_otp; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=cwd,
        env=programs.environ(),
        capture_output=True,
        text=True,
        timeout=programs.SECONDS_MAX,
        check=False,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("otp re", {"reload", "restart"}),
        ("otp restart --ro", {"--rolling"}),
        ("otp import --format ", {"procfile", "supervisord"}),
        ("otp check super", {"supervisors.yaml"}),
        ("otp completion z", {"zsh"}),
        ("otp run --name ", set()),
        ("otp kill x", set()),
    ],
)
def test_what_bash_offers(line: str, offered: set[str], home: Path, project: Path) -> None:
    assert bash(line, cwd=project) == offered


def test_bash_offers_paths_and_nodes_of_what_runs(
    home: Path, project: Path, otp_start: Start
) -> None:
    otp_start(programs.tree(), name="shop")
    assert bash("otp kill ", cwd=project) == {"counter", "pool"}
    assert bash("otp stop po", cwd=project) == {"pool"}
    assert bash("otp ps --name ", cwd=project) == {"shop"}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_option_is_in_the_script(shell: str, otp_main: Command) -> None:
    done = otp_main("completion", shell)
    assert done.returncode == 0
    for command in COMMANDS:
        assert command.name in done.stdout
        for option in command.options():
            assert all(flag.lstrip("-") in done.stdout for flag in option.flags)
    assert json.loads(otp_main("completion", shell, "--json").stdout)["shell"] == shell


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_takes_the_script(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    done = subprocess.run(
        [shell, "-n"], input=SHELLS[shell](COMMANDS), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_quotes_in_a_help_text_stay_text() -> None:
    (one, *_) = COMMANDS
    odd = Argument(("--it",), 'it\'s [a] \\ "test": $(rm)', "value")
    command = type(one)("x", "it's", (odd,))
    assert "'--it[it'\\''s \\[a\\] \\\\ \"test\"\\: $(rm)]:value: '" in SHELLS["zsh"]([command])
    assert "-d 'it\\'s [a] \\\\ \"test\": $(rm)'" in SHELLS["fish"]([command])


def test_words_for_the_scripts(home: Path, otp_main: Command, otp_start: Start) -> None:
    assert otp_main("completion", "paths").stdout == ""
    assert otp_main("completion", "nodes", "--json").stdout == "[]\n"
    otp_start(programs.tree(), name="shop", log="none")
    assert json.loads(otp_main("completion", "paths", "--json").stdout) == ["counter", "pool"]
    assert otp_main("completion", "nodes").stdout == "shop\n"
