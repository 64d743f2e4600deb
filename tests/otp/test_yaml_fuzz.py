"""Whatever is in a file: a tree, or a SpecError that says where; soon, and within bounds."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otp.care import Backoff, Liveness, Ready
from otp.errors import SpecError
from otp.spec import ChildSpec, NodeOptions, Supervisor, paths
from otp.yaml_nodes import FILE_BYTES_MAX
from otp.yaml_tree import load, loads
from tests.otp import programs
from tests.otp.programs import Command

BOMB_SECONDS_MAX = 5.0
"""Of CPU for one file; the worst takes about one."""
BOMB_BYTES_MAX = 300_000_000
"""What a process that loads the worst file of FILE_BYTES_MAX may take in all."""
ENVIRON = {"HOME": "/root", "BIG": "x" * 10_000, "TRAP": "${HOME} {a: [", "": "no name"}

GOOD = """\
id: root
strategy: rest_for_one
node: {name: n, listen: "127.0.0.1:7000", peers: {m: "127.0.0.1:7001"}, insecure: true}
children:
  - &base {id: a, command: [sleep, "1"], env: {A: "${HOME}", B: on}, shutdown: 5s}
  - {<<: *base, id: b, ready: {tcp: "127.0.0.1:1", timeout: 1s}, nice: 5, umask: "022"}
  - id: pool
    max_restarts: 3
    children:
      - {id: w, start: "json:JSONDecoder", args: {strict: true}, restart: transient}
"""


def holds(text: str) -> None:
    """A tree that can be walked, or problems that can be shown on one line each."""
    try:
        tree = loads(text, environ=ENVIRON, imports=False)
    except SpecError as error:
        assert error.problems
        for problem in error.problems:
            assert str(problem).startswith("<string>"), problem
            assert problem.message
        return
    assert all(path for path, _ in paths(tree))


@settings(max_examples=150, deadline=None)
@given(st.text())
@example("\x00")
@example("\ud800")
@example("\ufeff---\n")
@example("? [a]\n: b")
@example("!!python/object:os.system x")
@example("%YAML 9.9\n---\na")
@example("a: &a [*a]")
@example("id: &a {<<: *a}")
def test_any_text(text: str) -> None:
    holds(text)


FIELDS = sorted(
    {
        name
        for struct in (ChildSpec, Supervisor, NodeOptions, Ready, Liveness, Backoff)
        for name in struct.__struct_fields__
    }
    | {"include", "tree", "<<", "", "n0", "0"}
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["5s", "infinity", "${HOME}", "${BIG}", "${NO}", "${TRAP}", "$${", "1e999", "0755", "m:C",
         "notify", "one_for_all", "a/b", "-1", "9" * 5000, "512M", "wait 3s", "127.0.0.1:1", "~"]
    )
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5))
def test_any_values_for_the_known_keys(fields: dict[str, Any]) -> None:
    root = {"id": "root", "children": [{"id": "a", "command": ["x"]} | fields, fields]} | fields
    holds(yaml.safe_dump(root, allow_unicode=True))


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 20),
    st.sampled_from(["", "\n", "  ", "- ", "{", "]", ": ", "*base", "&x ", "${", '"', "#", "---\n"])
    | st.text(max_size=4),
)
def test_a_good_file_with_a_slip_of_the_pen(at: int, cut: int, put: str) -> None:
    holds(GOOD[:at] + put + GOOD[at + cut :])


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_in_a_file(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        try:
            load(file.name, environ=ENVIRON, imports=False)
        except SpecError as error:
            assert error.problems


# ---------------------------------------------------------------- bombs

SIZE = FILE_BYTES_MAX - 100
LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
MERGES = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30)
)
BOMBS = {
    "lists in lists": "[" * SIZE,
    "closed lists in lists": "[" * 50_000 + "]" * 50_000,
    "maps in maps": "{a: " * (SIZE // 4),
    "items in items": "- " * (SIZE // 2),
    "keys of keys": "? " * (SIZE // 2),
    "steps": "\n".join(" " * n + "a:" for n in range(1300)),
    "billion laughs": LAUGHS,
    "billion merges": MERGES,
    "itself": "id: r\nchildren: &a [*a, *a]\n",
    "a long number": "id: r\nmax_restarts: " + "9" * (SIZE - 50),
    "a long fraction": "id: r\nmax_seconds: 0." + "9" * (SIZE - 50),
    "a huge exponent": "id: r\nmax_seconds: 1e" + "9" * 1000,
    "a long key": "a" * SIZE + ": b",
    "a long id": "id: " + "a" * SIZE,
    "many keys": "".join(f"k{n}: v\n" for n in range(SIZE // 12)),
    "one key again and again": "a: b\n" * (SIZE // 5),
    "many documents": "---\n" * (SIZE // 4),
    "many trees": "--- {id: a}\n" * (SIZE // 12),
    "many children": "id: r\nchildren:\n" + "- {}\n" * (SIZE // 5 - 10),
    "many wrong children": "id: r\nchildren:\n" + "- {id: a, comand: [x]}\n" * (SIZE // 25),
    "many anchors": "".join(f"- &a{n} x\n" for n in range(SIZE // 12)),
    "many variables": "id: r\nchildren: [" + "'${BIG}'," * (SIZE // 9) + "]",
    "variables through aliases": "a: &a '" + "${BIG}" * 1000 + "'\nb: [" + "*a," * 50_000 + "]",
    "defaults of defaults": "id: " + "${A:-" * (SIZE // 6) + "}" * 10,
    "dollars": "id: " + "$" * SIZE,
    "quotes": "id: '" + "''" * (SIZE // 2 - 10) + "'",
    "escapes": 'id: "' + "\\x41" * (SIZE // 4 - 10) + '"',
    "spaces": " " * SIZE,
    "comments": "#\n" * (SIZE // 2),
    "a tag": "!" + "a" * (SIZE - 10) + " x",
    "directives": "%TAG ! a\n" * (SIZE // 10),
    "wide letters": "id: " + "\U0001f40d" * (SIZE // 4),
    "too large": "#" * (FILE_BYTES_MAX + 1),
}
LOAD = """\
import json, os, re, sys, time
from otp.errors import SpecError
from otp.yaml_tree import loads
for name in sorted(os.listdir(sys.argv[1])):
    text = open(os.path.join(sys.argv[1], name), encoding="utf-8").read()
    began = time.process_time()
    try:
        loads(text, environ={"BIG": "x" * 10_000}, imports=False)
        first = ""
    except SpecError as error:
        first = str(error.problems[0])
    # Not ru_maxrss: that of the process which started this one counts in it.
    status = open("/proc/self/status", encoding="ascii").read()
    peak = int(re.search(r"VmHWM:\\s+([0-9]+) kB", status)[1]) * 1024
    print(json.dumps([name, time.process_time() - began, peak, first[:100]]))
"""


def test_no_bomb_goes_off(tmp_path: Path) -> None:
    for name, text in BOMBS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = programs.run_python("-c", LOAD, str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(name for name, *_ in found) == sorted(BOMBS)
    for name, seconds, peak, first in found:
        print(f"{name}: {seconds:.2f} s, {peak / 1e6:.0f} MB: {first}")
        assert seconds < BOMB_SECONDS_MAX, name
        assert peak < BOMB_BYTES_MAX, name


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a: [", b"\x00", b"id: \xc3", b"&a [*a]", b""])
def test_check_says_one_line(data: bytes, otp_main: Command, project: Path) -> None:
    (project / "odd.yaml").write_bytes(data)
    done = otp_main("check", "odd.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("odd.yaml")
    assert "Traceback" not in done.stderr
