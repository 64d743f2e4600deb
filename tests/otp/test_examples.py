"""The examples of the guide, each as a script, from `python -`, and as an imported module.

Where code comes from decides how its classes reach the children: a script's and those of
`python -` live in `__main__`, which no child can import, and travel by value.
"""

from __future__ import annotations

import ast
import re
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

import otp
from otp.testing import Start
from tests.otp.programs import COUNTER, run_otp, run_python, write

TREE = """\
import otp


class Add(otp.Request[int], frozen=True):          # the type of the reply rides on the request
    n: int


class Counter(otp.GenServer):
    '''Counts; loses its count when it crashes, which is the point.'''

    def __init__(self, start: int = 0) -> None:     # runs in the new process; ready when it returns
        self.count = start

    def handle_call(self, request: Add, sender: otp.From[int]) -> int:
        self.count += request.n
        return self.count


tree = otp.Supervisor("root", strategy="rest_for_one", children=[
    otp.ChildSpec("counter", Counter, args={"start": 10}),
    otp.Supervisor("pool", max_restarts=10, max_seconds=60.0),
])

with otp.start(tree) as node:                        # a node process of its own
    assert node.call("counter", Add(5)) == 15        # a type checker sees int
    try:
        node.call("counter", Add(1), timeout=0.2)
    except otp.CallTimeout:                          # is a TimeoutError; Add(1) may still happen
        ...
    except otp.NoProcess:                            # is a LookupError; Add(1) did not happen
        ...
    assert issubclass(otp.CallTimeout, TimeoutError) and issubclass(otp.NoProcess, LookupError)
    assert [child.id for child in node.which_children()] == ["counter", "pool"]
print("done")
"""

WATCHER = """\
from __future__ import annotations

import otp


class Look(otp.Message, frozen=True):
    pass


class Seen(otp.Request[list[str]], frozen=True):
    pass


class Target(otp.GenServer):
    pass


class Watcher(otp.GenServer):
    trap_exit = True

    def __init__(self, target: str) -> None:
        self.target = target
        self.seen: list[str] = []
        self.ref = self.monitor(target)              # nobody there? Down at once

    def handle_info(self, message: otp.Down | Look) -> None:
        match message:
            case otp.Down(ref, _, reason) if ref == self.ref:
                self.seen.append(reason.kind)
                self.send_after(0.05, Look())
            case Look():
                self.seen.append("look")
                self.ref = self.monitor(self.target)

    def handle_call(self, request: Seen, sender: otp.From[list[str]]) -> list[str]:
        return self.seen


tree = otp.Supervisor("root", max_restarts=5, children=[
    otp.ChildSpec("watcher", Watcher, args={"target": "target"}),
    otp.ChildSpec("target", Target),
])

from otp.testing import eventually

with otp.start(tree) as node:
    def count() -> int:
        seen = node.call("watcher", Seen())
        return seen.count("killed") if seen[-1:] == ["look"] else -1

    if not node.call("watcher", Seen()):
        pass                                         # the target was there in time
    else:
        eventually(lambda: count() == 0)             # it was not: noproc, and a second look
    for killed in (1, 2):
        with node.expect(otp.ChildStarted, "root/target"):
            node.kill("target")
        eventually(lambda: count() == killed)
print("done")
"""

ASYNC = """\
import asyncio
import otp


class Add(otp.Request[int], frozen=True):
    n: int


class Counter(otp.GenServer):
    count = 0

    def handle_call(self, request: Add, sender: otp.From[int]) -> int:
        self.count += request.n
        return self.count


async def main() -> None:
    tree = otp.Supervisor("root", children=[otp.ChildSpec("counter", Counter)])
    async with otp.aio.start(tree) as node:
        calls = [node.call("counter", Add(1)) for _ in range(10)]
        assert sum(await asyncio.gather(*calls)) == 55


asyncio.run(main())
print("done")
"""

KILL = """\
import otp


class Counter(otp.GenServer):
    pass


tree = otp.Supervisor("root", children=[otp.ChildSpec("counter", Counter)])

with otp.start(tree) as node:
    with node.expect(otp.ChildStarted, "root/counter") as started:
        before = node.kill("counter")                # kill -9 by OS pid
    assert started.report.pid != before
print("done")
"""

EXAMPLES = {"tree": TREE, "watcher": WATCHER, "asyncio": ASYNC, "kill": KILL}


def as_script(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "example.py").write_text(code)
    return run_python("example.py", cwd=folder)


def from_standard_input(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    return run_python("-", cwd=folder, input=code)


def as_module(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """The classes can be imported; whoever runs the tree imports the module and does so."""
    declared, with_, block = code.partition("\nwith otp.start")
    if not with_:
        declared, with_, block = code.partition("\nasyncio.run(")
    (folder / "example.py").write_text(declared)
    program = f"import asyncio, otp\nfrom example import *\n{with_}{block}"
    return run_python("-c", program, cwd=folder)


@pytest.mark.parametrize("run", [as_script, from_standard_input, as_module])
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(
    name: str,
    run: Callable[[Path, str], subprocess.CompletedProcess[str]],
    tmp_path: Path,
    home: Path,
) -> None:
    done = run(tmp_path, EXAMPLES[name])
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


# ---------------------------------------------------------------- the examples of the modules


INDENTED = re.compile(r"(?:^(?: {4}.*)?\n)+", re.MULTILINE)


def module_examples() -> list[ParameterSet]:
    """The indented block of each module's docstring that is a program: it starts a node."""
    return [
        pytest.param(textwrap.dedent(block), id=file.stem)
        for file in sorted(Path(otp.__file__).parent.glob("*.py"))
        for block in INDENTED.findall(ast.get_docstring(ast.parse(file.read_text())) or "")
        if "import otp\n" in block and ".start(" in block
    ]


@pytest.mark.parametrize("code", module_examples())
def test_the_example_of_a_module_runs(code: str, tmp_path: Path, home: Path) -> None:
    done = as_script(tmp_path, code)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


# ---------------------------------------------------------------- the same tree from YAML

YAML = """\
# The same tree, field for field; `otp run supervisors.yaml`
id: root
strategy: rest_for_one
children:
  - {id: counter, start: "counter:Counter", args: {start: 10}}
  - id: pool
    max_restarts: 10
    max_seconds: 60
    children: []
"""

RUN_YAML = """\
import otp
from counter import Add, Counter

tree = otp.load("supervisors.yaml")
written = otp.Supervisor("root", strategy="rest_for_one", children=[
    otp.ChildSpec("counter", "counter:Counter", args={"start": 10}),
    otp.Supervisor("pool", max_restarts=10, max_seconds=60.0),
])
assert tree == written

with otp.start(tree) as node:
    assert node.call("counter", Add(5)) == 15
print("done")
"""


@pytest.mark.parametrize("run", [as_script, from_standard_input, as_module])
def test_the_same_tree_from_yaml(
    run: Callable[[Path, str], subprocess.CompletedProcess[str]], tmp_path: Path, home: Path
) -> None:
    write(tmp_path, counter_py=COUNTER, supervisors_yaml=YAML)
    done = run(tmp_path, RUN_YAML)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
    assert run_otp("check", "supervisors.yaml", cwd=tmp_path).stdout == "ok: 2 children\n"


# ---------------------------------------------------------------- in a test


class Add(otp.Request[int], frozen=True):
    n: int


class Counter(otp.GenServer):
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def handle_call(self, request: Add, sender: otp.From[int]) -> int:
        self.count += request.n
        return self.count


tree = otp.Supervisor(
    "root", children=[otp.ChildSpec("counter", Counter, args={"start": 10})], max_restarts=5
)


def test_a_killed_counter_comes_back_at_its_start(home: Path, otp_start: Start) -> None:
    node = otp_start(tree)
    assert node.call("counter", Add(1)) == 11
    with node.expect(otp.ChildStarted, "root/counter") as started:
        before = node.kill("counter")
    assert started.report.pid != before
    assert node.call("counter", Add(1)) == 11


def test_a_class_of_a_test_function_travels_by_value(home: Path, otp_start: Start) -> None:
    factor = 3

    class Multiplier(otp.GenServer):
        def handle_call(self, request: Add, sender: otp.From[int]) -> int:
            return request.n * factor

    node = otp_start(otp.Supervisor("root", children=[otp.ChildSpec("m", Multiplier)]))
    assert node.call("m", Add(14)) == 42
