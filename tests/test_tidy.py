"""The style that tools do not keep: sizes, no sleeping tests, no notes, a README that runs."""

from __future__ import annotations

import ast
import codeop
import io
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from otp.yaml_tree import loads

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX = 50
MODULE_LINES_MAX = 400
LINE_CHARS_MAX = 100
SNIPPET_SECONDS_MAX = 60
FOLDERS = ("otp", "ballot", "tests", "benchmarks", "examples")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Offence = tuple[int, str]


@cache
def modules() -> tuple[Path, ...]:
    """Every Python file that belongs to the project, as git knows it, or else as it lies there."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run([*command, *FOLDERS], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0:
        files = [ROOT / name for name in listed.stdout.decode().split("\0")]
    else:
        files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    return tuple(sorted(file for file in files if file.suffix == ".py" and file.is_file()))


# ---------------------------------------------------------------- the rules


def too_long(source: str, file: Path) -> Iterator[Offence]:
    """Lines, functions and modules beyond the house's limits."""
    lines = source.splitlines()
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_CHARS_MAX:
            yield number, f"a line of {len(line)} characters"
    if len(lines) > MODULE_LINES_MAX:
        yield 1, f"a module of {len(lines)} lines"
    for function in functions(ast.parse(source)):
        if (length := code_lines(function, lines)) > FUNCTION_LINES_MAX:
            yield function.lineno, f"{function.name} has {length} lines"


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def code_lines(function: Function, lines: list[str]) -> int:
    """How many lines it has, signature included, without docstring, comments and blank lines."""
    assert function.end_lineno is not None
    numbers = set(range(function.lineno, function.end_lineno + 1))
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        numbers -= set(range(docstring.lineno, docstring.end_lineno + 1))
    return sum(bool(text := lines[n - 1].strip()) and not text.startswith("#") for n in numbers)


def sleeps(source: str, file: Path) -> Iterator[Offence]:
    """A test waits for a report or a condition with a deadline; sleeping is slow and guesses."""
    if "tests" not in file.relative_to(ROOT).parts:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and called(node) == "sleep":
            yield node.lineno, "a test that sleeps"


def notes(source: str, file: Path) -> Iterator[Offence]:
    """What is to be done is done, or an issue."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and re.search(r"\b(TODO|FIXME|XXX|HACK)\b", token.string):
            yield token.start[0], f"a note: {token.string}"


def swallowed(source: str, file: Path) -> Iterator[Offence]:
    """Catching everything and doing nothing hides every mistake there will ever be."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and is_broad(node.type) and is_nothing(node.body):
            yield node.lineno, "an exception swallowed"
        elif isinstance(node, ast.Call) and called(node) == "suppress":
            yield from ((node.lineno, "all suppressed") for arg in node.args if is_broad(arg))


def called(call: ast.Call) -> str | None:
    """The last word of what is called: "sleep" of `time.sleep(1)`."""
    return getattr(call.func, "attr", None) or getattr(call.func, "id", None)


def is_broad(node: ast.expr | None) -> bool:
    members = node.elts if isinstance(node, ast.Tuple) else [node]
    broad = ("Exception", "BaseException")
    return any(m is None or (isinstance(m, ast.Name) and m.id in broad) for m in members)


def is_nothing(body: list[ast.stmt]) -> bool:
    return all(
        isinstance(statement, ast.Pass | ast.Continue)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in body
    )


RULES = [too_long, sleeps, notes, swallowed]


@pytest.mark.parametrize("rule", RULES)
def test_every_module_keeps_to(rule: Callable[[str, Path], Iterator[Offence]]) -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}: {what}"
        for file in modules()
        for line, what in rule(file.read_text(encoding="utf-8"), file)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "source", "expected"),
    [
        (too_long, "x = 1\n" * 401, 1),
        (too_long, "#" * 101, 1),
        (too_long, "def f():\n" + "    x = 1\n" * 50, 1),
        (too_long, "def f():\n    '''a\n    b'''\n\n    # c\n" + "    x = 1\n" * 49, 0),
        (sleeps, "import time\ntime.sleep(1)\nsleep(2)\nrun(['sleep', '1'])", 2),
        (notes, "# TO" + "DO: later\nx = 'FIXME'", 1),
        (swallowed, "try: x\nexcept Exception: pass\nexcept (OSError, BaseException): ...", 2),
        (swallowed, "try: x\nexcept OSError: pass\nexcept Exception: log()", 0),
        (swallowed, "with contextlib.suppress(Exception): x", 1),
    ],
)
def test_the_rules_find_what_they_look_for(
    rule: Callable[[str, Path], Iterator[Offence]], source: str, expected: int
) -> None:
    assert len(list(rule(source, ROOT / "tests" / "test_it.py"))) == expected


def test_there_is_something_to_look_at() -> None:
    assert {ROOT / "otp" / "spec.py", Path(__file__).resolve()} <= set(modules())


# ---------------------------------------------------------------- the README

# `<!-- not run: why -->` before a block keeps it from being run.
SNIPPET = re.compile(
    r"^(?:<!-- not run: (?P<why>.+?) -->\s*\n)?```(?P<language>python|yaml)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def snippets(text: str) -> list[ParameterSet]:
    """Each block of the README as (language, code), named by its line."""
    return [
        pytest.param(
            found["language"],
            found["code"],
            id=f"line {text.count(chr(10), 0, found.start('code'))}",
            marks=[pytest.mark.skip(reason=found["why"])] if found["why"] else [],
        )
        for found in SNIPPET.finditer(text)
    ]


def readme() -> list[ParameterSet]:
    file = ROOT / "README.md"
    if not file.exists():
        reason = pytest.mark.skip(reason="README.md is missing")
        return [pytest.param("", "", id="README.md", marks=reason)]
    return snippets(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("language", "code"), readme())
def test_the_readme_runs(language: str, code: str, tmp_path: Path) -> None:
    if language == "yaml":
        loads(code, file="README.md", imports=False)
        return
    script = tmp_path / "snippet.py"
    script.write_text(code, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SNIPPET_SECONDS_MAX,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"


@pytest.mark.parametrize(("language", "code"), readme())
def test_the_readme_can_be_pasted_into_a_prompt(language: str, code: str) -> None:
    """There an empty line ends a class, so that none may be within one."""
    if language == "python":
        lines: list[str] = []
        for line in [*code.splitlines(), ""]:
            lines.append(line)
            if codeop.compile_command("\n".join(lines), symbol="single") is not None:
                lines = []
        assert not lines


def test_snippets_are_found_with_their_reason_not_to_run() -> None:
    python, yaml, shell = "```python\nx = 1\n```\n", "```yaml\nid: a\n```\n", "```sh\nls\n```\n"
    first, second = snippets(f"# A\n\n{python}<!-- not run: needs a cluster -->\n{yaml}{shell}")
    assert (first.values, first.id) == (("python", "x = 1\n"), "line 3")
    assert (second.values, second.id) == (("yaml", "id: a\n"), "line 7")
    reasons = [[mark.kwargs["reason"] for mark in block.marks] for block in (first, second)]
    assert reasons == [[], ["needs a cluster"]]
