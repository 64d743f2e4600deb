from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.command.import_procfile import from_procfile
from otp.command.yaml_text import written
from otp.spec import ChildSpec
from otp.yaml_tree import loads


def children(text: str, **options: Any) -> list[ChildSpec]:
    tree = loads(written(from_procfile(text, **options).root), environ={}, imports=False)
    assert all(isinstance(child, ChildSpec) for child in tree.children)
    return list(tree.children)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "command", "env"),
    [
        ("web: python app.py", ("python", "app.py"), {}),
        ('web: run --queue "a b"', ("run", "--queue", "a b"), {}),
        ("web: A=1 B=x/y run it", ("run", "it"), {"A": "1", "B": "x/y"}),
        ("web: run -p $PORT", ("sh", "-c", "exec run -p $PORT"), {"PORT": "5000"}),
        ("web: run ${X:-1}", ("sh", "-c", "exec run ${X:-1}"), {}),
        ("web: run | tee log", ("sh", "-c", "run | tee log"), {}),
        ("web: cd x && run", ("sh", "-c", "cd x && run"), {}),
        ("web: run *.txt", ("sh", "-c", "exec run *.txt"), {}),
        ("web: A='1 2' run", ("sh", "-c", "A='1 2' run"), {}),
        ("web: echo it's", ("sh", "-c", "exec echo it's"), {}),
        ("web:   8080  ", ("8080",), {}),
    ],
)
def test_a_line(line: str, command: tuple[str, ...], env: dict[str, str]) -> None:
    (child,) = children(line)
    assert (child.id, child.command, child.env) == ("web", command, env)


def test_what_is_no_line_is_told() -> None:
    found = from_procfile("# web: x\n\nweb: a\nweb: b\nrelease: migrate\nnonsense\n")
    assert len(found.warnings) == 3
    assert "    #   command: [migrate]" in f"  {written(found.root)}".replace("\n", "\n  ")
    assert [child.id for child in children("web: a\nrelease: b")] == ["web"]
    with pytest.raises(ValueError, match="no line of the form"):
        from_procfile("# nothing")


def test_a_file_of_variables_beside_it_is_used() -> None:
    text = written(from_procfile("web: a", has_env=True).root)
    assert "    env_file: .env\n" in text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.text(max_size=20))
def test_any_line_makes_a_tree_that_passes(lines: list[str], command: str) -> None:
    command = command.encode("utf-8", "ignore").decode()
    text = "\n".join(["web: run", *lines, f"x: {command}"])
    assert children(text)[0].id == "web"
