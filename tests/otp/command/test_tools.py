from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.otp.programs import Command, is_one_line


def test_the_schema_is_json(otp_main: Command) -> None:
    done = otp_main("schema")
    assert json.loads(done.stdout)["$schema"].startswith("https://json-schema.org/draft/2020-12/")
    assert json.loads(otp_main("schema", "--json").stdout) == json.loads(done.stdout)


def test_an_imported_procfile_passes_the_check(otp_main: Command, project: Path) -> None:
    (project / "Procfile").write_text("web: run -p $PORT\nnonsense\n")
    done = otp_main("import", "Procfile")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    (project / "tree.yaml").write_text(done.stdout)
    assert otp_main("check", "tree.yaml").stdout == "ok: 1 child\n"
    found = json.loads(otp_main("import", "Procfile", "--json").stdout)
    assert found["yaml"] == done.stdout
    assert (len(found["warnings"]), found["problems"]) == (1, [])


def test_a_supervisord_conf_and_what_it_includes(otp_main: Command, project: Path) -> None:
    (project / "more").mkdir()
    (project / "more" / "b.conf").write_text("[program:b]\ncommand=b\n")
    conf = project / "supervisord.conf"
    conf.write_text("[program:a]\ncommand=a %(ENV_X)s\n[include]\nfiles=%(here)s/more/*.conf\n")
    done = otp_main("import", "supervisord.conf")
    assert (done.returncode, done.stderr) == (0, "")
    assert '[a, "${X}"]' in done.stdout
    assert "- id: b" in done.stdout


def test_what_check_will_not_take_is_told(otp_main: Command, project: Path) -> None:
    conf = project / "s.conf"
    conf.write_text("[program:a]\ncommand=a\nstopsignal=NOPE\n")
    done = otp_main("import", "s.conf")
    assert (done.returncode, ": 'SIGNOPE' is not a signal" in done.stderr) == (
        1,
        True,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("no.conf", 1, "No such file or directory: 'no.conf'"),
        ("empty --format procfile", 1, "empty: it holds no line of the form `name: command`"),
        ("empty", 1, "empty: it holds no [program:..]"),
        ("binary", 1, "binary: 'utf-8' codec can't decode"),
        ("empty --format toml", 2, "argument --format: invalid choice: 'toml'"),
    ],
)
def test_what_cannot_be_imported(
    arguments: str, code: int, message: str, otp_main: Command, project: Path
) -> None:
    (project / "empty").touch()
    (project / "binary").write_bytes(b"\xff\xfe")
    is_one_line(otp_main("import", *arguments.split()), code, message)
