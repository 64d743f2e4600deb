"""In a notebook: cells that define classes and Structs, start nodes, and define them anew."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.otp.programs import run_python, write

CELLS = [
    """
import otp

class Add(otp.Request[int], frozen=True):
    n: int

class Counter(otp.GenServer):
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def handle_call(self, request: Add, sender: otp.From[int]) -> int:
        self.count += request.n
        return self.count

tree = otp.Supervisor("root", children=[otp.ChildSpec("counter", Counter, args={"start": 10})])
node = otp.start(tree)
node.call("counter", Add(5))
""",
    # A cell that is changed and run again: the class by this name is another one now.
    """
class Add(otp.Request[int], frozen=True):
    n: int
    times: int = 2

class Counter(otp.GenServer):
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def handle_call(self, request: Add, sender: otp.From[int]) -> int:
        self.count += request.n * request.times
        return self.count

node.start_child("/", otp.ChildSpec("new", Counter))
node.call("new", Add(1))
""",
    # What runs already goes on as what it was started from, also when it is restarted.
    """
with node.expect(otp.ChildStarted, "root/counter"):
    node.kill("counter")
node.call("counter", Add(5))
""",
    'node.close()\nnode = otp.start(tree)\nnode.call("counter", Add(5))',
    """
node.close()
node = otp.start(otp.Supervisor("root", children=[otp.ChildSpec("counter", Counter)]))
node.call("counter", Add(5))
""",
    # A notebook has a running loop, so a cell may await.
    """
async with otp.aio.start(tree, name="other") as other:
    answer = await other.call("counter", Add(1))
answer
""",
    "node.close()\n'closed'",
]
ANSWERS = ["15", "2", "15", "15", "10", "11", "'closed'"]

RUN = """
import json, nbclient, nbformat, sys

notebook = nbformat.v4.new_notebook()
cells = json.load(open("cells.json"))
notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
nbclient.NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
for cell in notebook.cells:
    print(*(o["data"]["text/plain"] for o in cell.outputs if o.output_type == "execute_result"))
"""

BY_HAND = """
import ast, asyncio, code, inspect, json, sys

class Console(code.InteractiveInterpreter):
    def cell(self, source):
        tree = ast.parse(source)
        last = ast.Expression(tree.body.pop().value)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        done = eval(compile(tree, "<cell>", "exec", flags=flags), self.locals)
        if inspect.iscoroutine(done):
            asyncio.run(done)
        print(repr(eval(compile(last, "<cell>", "eval"), self.locals)))

console = Console(sys.modules["__main__"].__dict__)
for cell in json.load(open("cells.json")):
    console.cell(cell)
"""


@pytest.mark.parametrize("how", ["kernel", "console"])
def test_classes_of_cells_are_what_they_were_when_something_was_started(
    how: str, home: Path, tmp_path: Path
) -> None:
    if how == "kernel" and not all(map(importlib.util.find_spec, ("nbclient", "ipykernel"))):
        pytest.skip("needs nbclient and ipykernel: pip install '.[notebook]'")
    write(tmp_path, run_py=RUN if how == "kernel" else BY_HAND, cells_json=json.dumps(CELLS))
    options = ("-W", "ignore") if how == "kernel" else ()  # its libraries' warnings are not ours
    done = run_python(*options, "run.py", cwd=tmp_path)
    assert done.stdout.splitlines() == ANSWERS, done.stderr
