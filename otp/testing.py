"""A pytest plugin for supervision trees: start them, wait for what must come, break things.

    def test_a_killed_counter_comes_back(otp_start):
        node = otp_start(tree)
        with node.expect(otp.ChildStarted, "root/counter") as started:
            before = node.kill("counter")
        assert started.report.pid != before

    def test_who_asks_a_hung_counter_is_told(otp_start):
        node = otp_start(tree)
        node.hang("counter")
        with pytest.raises(otp.CallTimeout):
            node.call("counter", Add(1), timeout=0.1)

    def test_a_crash_is_put_right_without_giving_up(otp_start):
        node = otp_start(tree)
        with node.expect(otp.ChildStarted, "root/counter", never=[otp.GaveUp]):
            node.crash("counter")

pytest finds the plugin by itself where the package is installed. A test never sleeps: it waits for
a report (`node.expect`), or for a condition (`eventually`), and both have a deadline. A node that
the fixture started can also `freeze`, `thaw`, `hang` and `crash` what runs in it; whatever a test
leaves frozen or hanging ends with it. `otp_expect` waits for the reports of any node, and a wire of
`otp_wire` between two nodes can be cut.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import psutil
import pytest

from otp import faults, host
from otp.errors import NoProcess, OtpError
from otp.expect import EXPECT_SECONDS, Expected, Wanted
from otp.handle import Control
from otp.messages import Report
from otp.spec import Supervisor
from otp.wires import Wire

T = TypeVar("T")

EVENTUALLY_SECONDS = 10.0
"""How long `eventually` waits: far more than it takes, since a busy machine is no failure."""
LOOK_SECONDS = 0.005
"""Between two looks at a condition: short beside the start of a process."""


class BreakableNode(host.StartedNode):
    """A node that a test started: what runs in it can be frozen, made to hang, and crashed.

    Each takes an address, as `kill` does: a path, a name, a pid, `mailroom`, `zygote`, or `node`.
    """

    _frozen: dict[str, list[psutil.Process]]
    _hung: list[psutil.Process]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._frozen, self._hung = {}, []

    def freeze(self, path: str) -> int:
        """SIGSTOP this process and all below it; they are stopped when it returns. Its OS pid.

        They keep their sockets and memory and do nothing: calls time out, and a supervisor that
        wants the process gone kills it after its `shutdown` time. Raises NoProcess.
        """
        frozen = self._frozen.setdefault(path, [])
        top = psutil.Process(self.pid if path == "node" else self.kill(path, signal=0))

        def all_still() -> bool:
            for process in _family(top):  # again and again: it may be forking
                if process not in frozen:
                    frozen.append(process)
                    _quietly(process.suspend)
            return all(map(_is_still, frozen))

        eventually(all_still, what=f"{path} is frozen")
        return top.pid

    def thaw(self, path: str) -> None:
        """SIGCONT what `freeze` stopped. Raises NoProcess for what is not frozen."""
        if path not in self._frozen:
            raise NoProcess(what="thaw", to=path)
        for process in reversed(self._frozen.pop(path)):
            _quietly(process.resume)

    def hang(self, path: str) -> int:
        """A worker's main thread loops for ever, as if its code did; its OS pid.

        It hangs when this returns: in the middle of a handler, or while it waits for messages. It
        answers nothing any more, no shutdown either, and ends only when it is killed. Other threads
        of it go on. Raises ValueError for a program, which cannot be told to.
        """
        pid = self._inject(path, faults.HANG)
        self._hung.append(psutil.Process(pid))
        eventually(lambda: faults.is_hung(pid), what=f"{path} hangs")
        return pid

    def crash(self, path: str) -> int:
        """A worker raises `InjectedCrash`, as if its code did, wherever it is; its OS pid.

        As after any crash its supervisor hears "crash", `terminate` runs, and who waits for a reply
        gets ServerDown. Raises ValueError for a program, which cannot be told to.
        """
        return self._inject(path, faults.CRASH)

    def heal(self) -> None:
        """Thaw all that is frozen, and kill what hangs."""
        for path in reversed(list(self._frozen)):
            self.thaw(path)
        for process in self._hung:
            _quietly(process.kill)
        self._hung.clear()

    def close(self) -> None:
        """As ever, but nothing that a test broke is waited for."""
        self.hang_up()  # first, so that nothing that is killed now is started again
        self.heal()
        super().close()

    def _inject(self, path: str, number: int) -> int:
        pid = self.kill(path, signal=0)
        kind = next((row.type for row in self.processes() if row.pid == pid), "worker")
        if kind not in ("worker", "mailroom"):
            raise ValueError(f"{path} is a {kind}: only a worker can be told to; freeze or kill it")
        return self.kill(path, signal=number)


def _quietly(deed: Callable[[], None]) -> None:
    """Do it to a process that may be gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        deed()


def _family(top: psutil.Process) -> list[psutil.Process]:
    try:
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _is_still(process: psutil.Process) -> bool:
    try:
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class Start(Protocol):
    """What the fixture `otp_start` gives: `otp.start`, with an end that it sees to."""

    def __call__(self, tree: Supervisor, *, log: str = "text", **options: Any) -> BreakableNode: ...


class HasRunDir(Protocol):
    """Any handle of a node: of `otp.start`, of `otp.aio.start`, or `otp.Node(run_dir)`."""

    @property
    def run_dir(self) -> str: ...


class Expect(Protocol):
    """What the fixture `otp_expect` gives."""

    def __call__(
        self,
        node: HasRunDir,
        *wanted: Wanted,
        never: Sequence[Wanted] = (),
        timeout: float = EXPECT_SECONDS,
    ) -> Expected[Report]: ...


@pytest.fixture
def otp_start() -> Iterator[Start]:
    """Starts trees as `otp.start` does; all are stopped after the test, the last one first.

    Reports go to stderr, so that pytest shows them where a test fails. A node that had to be
    killed since it did not stop is a warning.
    """
    nodes: list[BreakableNode] = []

    def start(tree: Supervisor, *, log: str = "text", **options: Any) -> BreakableNode:
        environ = {**options.pop("environ", os.environ), faults.VARIABLE: "1"}
        nodes.append(host.launch(BreakableNode, tree, log=log, environ=environ, **options))
        return nodes[-1]

    yield start
    problems = [problem for node in reversed(nodes) if (problem := _stop(node))]
    for problem in problems:
        warnings.warn(problem, stacklevel=1)


@pytest.fixture
def otp_expect() -> Expect:
    """Waits for reports of any node: `with otp_expect(node, (ChildExited, "root/a"), GaveUp):`.

    They may come in any order; the first of `never` that comes before them raises Unexpected.
    """

    def expect(
        node: HasRunDir,
        *wanted: Wanted,
        never: Sequence[Wanted] = (),
        timeout: float = EXPECT_SECONDS,
    ) -> Expected[Report]:
        return Expected(Control.of(node.run_dir), wanted, never=never, timeout=timeout)

    return expect


class MakeWire(Protocol):
    """What the fixture `otp_wire` gives."""

    def __call__(self, to: str) -> Wire: ...


@pytest.fixture
def otp_wire() -> Iterator[MakeWire]:
    """Wires between nodes that a test can cut and heal: see `otp.wires`."""
    made: list[Wire] = []

    def make(to: str) -> Wire:
        made.append(Wire(to))
        return made[-1]

    yield make
    for wire in made:
        wire.close()


def _stop(node: host.StartedNode) -> str:
    """What went wrong, if anything: the other nodes must be stopped all the same."""
    try:
        node.close()
    except OtpError as error:
        return str(error)
    return ""


def eventually(
    condition: Callable[[], T | None],
    *,
    within: float = EVENTUALLY_SECONDS,
    what: str = "",
    ignoring: tuple[type[Exception], ...] = (),
) -> T:
    """The first true value of `condition()`, asked again and again for `within` seconds.

    A condition that raises one of `ignoring` is not true yet. Raises TimeoutError that says
    `what` did not come true, and what the last look gave.
    """
    deadline = time.monotonic() + within
    never = threading.Event()
    while True:
        cause: Exception | None = None
        last: Any = None
        try:
            if last := condition():
                return last
        except ignoring as error:
            cause = error
        if time.monotonic() >= deadline:
            seen = f"{type(cause).__name__}: {cause}" if cause else repr(last)
            name = what or getattr(condition, "__qualname__", repr(condition))
            raise TimeoutError(f"{name}: not within {within:g} s; last: {seen}") from cause
        never.wait(LOOK_SECONDS)
