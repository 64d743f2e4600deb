from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.command.import_procfile import Imported
from otp.command.import_supervisord import from_supervisord, included, parse
from otp.command.yaml_text import written
from otp.spec import ChildSpec, Supervisor, paths
from otp.yaml_tree import loads


def imported(text: str) -> Imported:
    return from_supervisord(parse([text]), "/here")


def tree(text: str, **environ: str) -> dict[str, ChildSpec | Supervisor]:
    made = loads(written(imported(text).root), environ=environ, imports=False)
    return dict(paths(made))


def program(*lines: str, **environ: str) -> Any:
    return tree("\n".join(["[program:p]", "command=run it", *lines]), **environ)["p"]


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("", "command", ("run", "it")),
        ("", "restart", "transient"),
        ("", "shutdown", 10.0),
        ("autorestart=true", "restart", "permanent"),
        ("autorestart=false", "restart", "temporary"),
        ("autorestart=unexpected ; as ever", "restart", "transient"),
        ("stopwaitsecs=3", "shutdown", 3.0),
        ("stopsignal=QUIT", "stop_signal", "SIGQUIT"),
        ("stopsignal=SIGINT", "stop_signal", "SIGINT"),
        ("directory=%(here)s/x", "cwd", "/here/x"),
        ("user=nobody", "user", "nobody"),
        ("umask=022", "umask", "022"),
        ("environment=A=1,B=\"x,y\",C='z'", "env", {"A": "1", "B": "x,y", "C": "z"}),
        ("environment=H=\"%(ENV_HOME)s/%(program_name)s\"", "env", {"H": "/root/p"}),
        ("environment=A=\"${NOT}\"", "env", {"A": "${NOT}"}),
    ],
)  # fmt: skip
def test_an_option(line: str, field: str, value: object) -> None:
    assert getattr(program(line, HOME="/root"), field) == value


def test_that_a_temporary_child_is_forgotten_is_said_above_it() -> None:
    text = written(imported("[program:p]\ncommand=x\nautorestart=false").root)
    assert "forgotten when it ends" in text.partition("- id: p")[0]
    assert "forgotten" not in written(imported("[program:p]\ncommand=x").root)


def test_processes_of_one_program_are_a_supervisor() -> None:
    found = tree(
        "[program:w]\ncommand=run %(process_num)d %(process_num)02d/%(numprocs)d\n"
        "process_name=%(program_name)s-%(process_num)d\nnumprocs=2\nnumprocs_start=5\n"
    )
    commands = {path: spec.command for path, spec in found.items() if isinstance(spec, ChildSpec)}
    assert commands == {"w/w-5": ("run", "5", "05/2"), "w/w-6": ("run", "6", "06/2")}


def test_what_is_not_started_by_itself_is_a_comment_with_all_of_it() -> None:
    found = imported("[program:w]\ncommand=run it\nnumprocs=2\nautostart=false\nuser=nobody\n")
    text = written(found.root)
    assert text.count("command: [run, it]") == text.count("user: nobody") == 2
    assert text.count("autostart is false") == 1
    assert len(found.warnings) == 1
    lines = text.split("children: []\n")[1].splitlines()
    assert all(line.startswith("  # ") for line in lines)
    (_, *block) = [line.removeprefix("  # ") for line in lines]
    made = loads("id: r\nchildren:\n" + "\n".join(block), environ={}, imports=False)
    assert [path for path, _ in paths(made)] == ["w", "w/w_00", "w/w_01"]


def test_groups_and_priorities_are_the_order() -> None:
    found = tree(
        "[program:late]\ncommand=a\n[program:b]\ncommand=b\n[program:c]\ncommand=c\npriority=1\n"
        "[program:first]\ncommand=d\npriority=1\n[group:g]\nprograms=b,c\npriority=2\n"
        "[supervisord]\nenvironment=ALL=1\n"
    )
    assert list(found) == ["first", "g", "g/c", "g/b", "late"]
    assert found["g/b"].env == {"ALL": "1"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("[program:p]\ncommand=x\nautostart=false", "autostart is false: left as a comment"),
        ("[program:p]\nuser=x", "has no command: left out"),
        ("[program:p]\ncommand=x\nserverurl=AUTO", "serverurl has no like here"),
        ("[program:p]\ncommand=x\nstartsecs=5", "startsecs: see"),
        ("[program:p]\ncommand=x\nexitcodes=0,3", "exitcodes: only 0"),
        ("[program:p]\ncommand=x\nexitcodes=0,2", "exitcodes: only 0"),
        ("[program:p]\ncommand=x\nredirect_stderr=true", "redirect_stderr: left out, `otp logs`"),
        ("[program:p]\ncommand=x\nstdout_logfile=f", "stdout_logfile: left out, `otp logs`"),
        ("[program:p]\ncommand=x\n[inet_http_server]", "[inet_http_server] left out"),
        ("[program:p]\ncommand=x\nstopasgroup=true", "stopasgroup: the signal goes to the program"),
        ("[program:p]\ncommand=x %(nope)s", "command holds an expansion that is not known"),
        ("[program:p]\ncommand=x 'y", "command cannot be taken apart: No closing quotation"),
        ("[program:p]\ncommand=x\nnumprocs=many", "numprocs is no whole number: taken as 1"),
        ("[program:p]\ncommand=x\nnumprocs=99999", "numprocs is 99999: taken as 1"),
        ("[program:p]\ncommand=x\nenvironment=A", "environment holds 'A', which is no KEY=value"),
        ("[program:p]\ncommand=x\n[group:g]\nprograms=q", "[group:g] there is no program q"),
        ("[program:p]\ncommand=x\n[eventlistener:e]\ncommand=y", "[eventlistener:e] has no like"),
        ("[program:p]\ncommand=x\n[supervisord]\nuser=u", "[supervisord] user: start `otp run` as"),
    ],
)
def test_what_has_no_like_is_told(text: str, warning: str) -> None:
    found = imported(text)
    assert [one for one in found.warnings if warning in one], found.warnings
    loads(written(found.root), environ={}, imports=False)


@pytest.mark.parametrize("text", ["", "[supervisord]\n", "no section", "[program:p]\n = x"])
def test_what_is_no_configuration(text: str) -> None:
    with pytest.raises(ValueError, match=r"program|section|error|Source"):
        imported(text)


def test_names_become_ids() -> None:
    assert list(tree("[program:a b/c]\ncommand=x\n[program:a-b-c]\ncommand=y")) == [
        "a-b-c",
        "a-b-c-2",
    ]


def test_patterns_of_further_files() -> None:
    assert included(parse(["[include]\nfiles = a/*.conf b.conf\n"])) == ["a/*.conf", "b.conf"]


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="[]%"))
VALUES = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)


@settings(max_examples=100, deadline=None)
@given(NAMES, VALUES, VALUES, VALUES)
def test_whatever_is_written_there_is_told_or_passes(
    name: str, command: str, environment: str, folder: str
) -> None:
    text = (
        f"[program:p{name}]\ncommand=x {command}\nenvironment={environment}\ndirectory={folder}\n"
    )
    try:
        found = imported(text)
    except ValueError as error:
        assert str(error)
        return
    loads(written(found.root), environ=_Any(), imports=False)


class _Any(dict[str, str]):
    def get(self, key: str, default: object = None) -> str:
        return "0"
