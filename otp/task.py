"""Task: run a function in a supervised process of its own, and wait for what it returns.

    import otp

    def square(n: int) -> int:
        return n * n

    tree = otp.Supervisor("root", children=[otp.task_supervisor("tasks")])

    if __name__ == "__main__":
        with otp.start(tree) as node:
            task = node.start_task(square, 7)
            assert task.result() == 49
            results = node.async_stream(square, range(100), max_concurrency=4)
            assert list(results) == [n * n for n in range(100)]      # in order

The same methods are there in a GenServer (`self.start_task`) and, to be awaited, in `otp.aio`. What
the function raises, and what kills its process, is raised by `result` as `TaskFailed`: it harms
nobody else. When whoever started a task ends, the task is killed, whatever it is doing, unless
it was started with `link=False`. Functions and results travel as pickles, so inside one node only.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from otp import pickling
from otp.errors import CallTimeout, Disconnected, NoProcess, OtpError, ServerDown, TaskFailed
from otp.messages import NOPROC, Message, Pid, Reason, Request, StartDynamic, TerminateChild
from otp.process import Process

T = TypeVar("T")

TASK_SECONDS_MAX = 24 * 3600.0
"""How long a task may take; after that nobody is told any more what it returned."""
SUPERVISOR_SECONDS_MAX = 30.0
"""How long the start or the end of a task may take where its supervisor is busy."""
ASK_TIMES_MAX = 3
"""How often a supervisor of tasks is asked, where the mailroom dies in between: one that was
started and is not asked for its result has run nothing, and one that is ended twice has ended."""
AHEAD_MAX = 4
"""An ordered stream starts so many times its concurrency before the slowest one is done."""
STREAM_TASK_SECONDS = 5.0
"""How long one item of a stream may take, where nothing else is said."""
SUPERVISOR = "tasks"
"""The address of the supervisor of tasks, where nothing else is said."""
_labels = itertools.count(1)


class Run(Request[Any], frozen=True, tag="otp.Run"):
    """Ask a task for its result; the first one who asks starts it."""


class Release(Message, frozen=True, tag="otp.Release"):
    """Tell a task that its result has arrived."""


def start_request(function: Callable[..., Any], arguments: tuple[Any, ...], owner: str) -> Any:
    """The request to a supervisor of tasks. Raises what pickling the function does."""
    args = {"function": function, "arguments": arguments, "owner": owner}
    return StartDynamic(f"{named(function)}-{next(_labels)}", pickling.dumps(args))


def named(function: Callable[..., Any]) -> str:
    """What a task is called in errors and paths."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    return "lambda" if name == "<lambda>" else name


def failure(name: str, error: Exception) -> Exception:
    """What `result` raises for what became of the call."""
    if isinstance(error, ServerDown):
        return TaskFailed(task=name, reason=error.reason)
    if isinstance(error, NoProcess):
        text = "it ended before it could be asked, or its result was lost with a mailroom"
        return TaskFailed(task=name, reason=Reason(NOPROC.kind, text))
    return error


def at_a_time(most: int | None) -> int:
    """How many tasks of a stream run at once. Raises ValueError where it would be none."""
    if most is None:
        return os.cpu_count() or 1
    if most < 1:
        raise ValueError(f"max_concurrency: {most}? at least 1 must run for the others to follow")
    return most


class Answer(Protocol):
    """What was asked: `settled` when there is a reply, or an error."""

    settled: bool
    reply: Any
    error: Exception | None


class Desk(Protocol):
    """Where tasks are started from: a server, or a program that holds a node."""

    def owner(self) -> str:
        """The pid whose end is the end of linked tasks."""

    def ask(self, to: str, request: Any, seconds: float) -> Answer:
        """Send a request, and go on; `pump` sees to the answer."""

    def pump(self, deadline: float, arrived: Callable[[], bool]) -> None:
        """Wait until something has arrived, or the deadline (monotonic) has; not at all if
        what is waited for has `arrived` meanwhile, in another thread's turn."""

    def call(self, to: str, request: Any) -> Any:
        """Ask a supervisor, and wait."""

    def cast(self, to: str, message: Any) -> None:
        """Send without waiting."""


class Task(Generic[T]):
    """A function that runs, or has run, in a process of its own; see `otp.task`."""

    def __init__(self, desk: Desk, name: str, pid: Pid, supervisor: str) -> None:
        self.name, self.pid = name, pid
        self._desk, self._supervisor = desk, supervisor
        self._value: Any = None
        self._error: Exception | None = None
        self._settled = False
        self._answer = desk.ask(pid, Run(), TASK_SECONDS_MAX)

    def __repr__(self) -> str:
        return f"Task({self.name!r}, {self.pid!r})"

    @property
    def done(self) -> bool:
        """The result, or a failure, has arrived."""
        if not self._settled and self._answer.settled:
            self._settle(self._answer.reply, self._answer.error)
        return self._settled

    def arrived(self) -> bool:
        """There is something for `done` to look at."""
        return self._settled or self._answer.settled

    def result(self, timeout: float = 5.0) -> T:
        """What the function returned; ask again as often as you like.

        Raises TaskFailed where it raised or was killed, CallTimeout where it is not done in time;
        then it goes on, and can be asked again or cancelled.
        """
        deadline = time.monotonic() + timeout
        while not self.done:
            if time.monotonic() >= deadline:
                raise CallTimeout(what=f"task {self.name}", to=self.pid, seconds=timeout)
            self._desk.pump(deadline, self.arrived)
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]

    def cancel(self) -> None:
        """Kill it, if it is not done; `result` then raises TaskFailed."""
        if not self.done:
            _insist(self._desk, self._supervisor, TerminateChild(self.pid))

    def _settle(self, value: Any, error: Exception | None) -> None:
        try:
            if isinstance(error, Disconnected):
                # The mailroom died: the task lives, and keeps its result for a while.
                self._answer = self._desk.ask(self.pid, Run(), TASK_SECONDS_MAX)
                return
            if error is None:
                self._desk.cast(self.pid, Release())
            else:
                error = failure(self.name, error)
        except OtpError as problem:  # there is no way to it any more
            error = problem
        self._settled, self._value, self._error = True, value, error


def _insist(desk: Desk, to: str, request: Any) -> Any:
    for _ in range(ASK_TIMES_MAX - 1):
        with contextlib.suppress(Disconnected):
            return desk.call(to, request)
    return desk.call(to, request)


class StartsTasks:
    """What a server and a node have in common: they start tasks."""

    @cached_property
    def _otp_desk(self) -> Desk:
        raise NotImplementedError

    def start_task(
        self,
        function: Callable[..., T],
        *arguments: Any,
        supervisor: str = SUPERVISOR,
        link: bool = True,
    ) -> Task[T]:
        """Run this function with these arguments in a process below the supervisor of tasks.

        It is killed when we end, unless `link` is False. Raises NoProcess where there is no such
        supervisor (`otp.task_supervisor`), and what pickling the function may raise.
        """
        desk = self._otp_desk
        request = start_request(function, arguments, desk.owner() if link else "")
        info = _insist(desk, supervisor, request)
        return Task(desk, named(function), info.process, supervisor)

    def async_stream(
        self,
        function: Callable[[Any], T],
        items: Iterable[Any],
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float = STREAM_TASK_SECONDS,
        return_exceptions: bool = False,
        supervisor: str = SUPERVISOR,
    ) -> Iterator[Any]:
        """`function(item)` for each item, each in a task: the results in the order of the items.

        `max_concurrency` of them run at a time (None: one for each processor), each at most
        `timeout` seconds, then it is killed. `ordered=False` yields what is done first. What fails
        is raised, which ends the stream and its tasks; with `return_exceptions` it is yielded.
        """
        return _stream(
            lambda item: self.start_task(function, item, supervisor=supervisor),
            items,
            self._otp_desk.pump,
            most=at_a_time(max_concurrency),
            ordered=ordered,
            timeout=timeout,
            return_exceptions=return_exceptions,
        )


def _stream(
    begin: Callable[[Any], Task[T]],
    items: Iterable[Any],
    pump: Callable[[float, Callable[[], bool]], None],
    *,
    most: int,
    ordered: bool,
    timeout: float,
    return_exceptions: bool,
) -> Iterator[Any]:
    """At its end, whatever that is, no task of it is left."""
    todo, end = iter(items), object()
    tasks: dict[Task[T], float] = {}
    more = True
    try:
        while more or tasks:
            while more and _room(tasks, most):
                more = (item := next(todo, end)) is not end
                if more:
                    tasks[begin(item)] = time.monotonic() + timeout
            candidates = list(tasks)[:1] if ordered else list(tasks)
            ready = _first_over(candidates, tasks)
            if ready is not None:
                del tasks[ready]
                yield _value(ready, timeout, return_exceptions)
            elif tasks:
                deadline = min(tasks[task] for task in candidates)
                pump(deadline, functools.partial(_any_arrived, candidates))
    finally:
        for task in tasks:
            with contextlib.suppress(OtpError):  # it ends by itself, or with us
                task.cancel()


def _any_arrived(tasks: list[Task[T]]) -> bool:
    return any(task.arrived() for task in tasks)


def _room(tasks: dict[Task[T], float], most: int) -> bool:
    running = sum(not task.done for task in tasks)
    return running < most and len(tasks) < AHEAD_MAX * most


def _first_over(candidates: list[Task[T]], deadlines: dict[Task[T], float]) -> Task[T] | None:
    """One that is done, or that has had its time."""
    now = time.monotonic()
    return next((t for t in candidates if t.done or deadlines[t] <= now), None)


def _value(task: Task[Any], seconds: float, return_exceptions: bool) -> Any:
    try:
        if task.done:
            return task.result(0)
        task.cancel()
        raise CallTimeout(what=f"task {task.name}", to=task.pid, seconds=seconds)
    except OtpError as error:
        if return_exceptions:
            return error
        raise


class ServerDesk:
    """Tasks that a server starts: it waits for them as for the reply to a call."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.ask, self.cast = process.ask, process.cast

    def pump(self, deadline: float, arrived: Callable[[], bool]) -> None:
        self._process.pump(deadline)

    def owner(self) -> str:
        return self._process.pid

    def call(self, to: str, request: Any) -> Any:
        return self._process.call(to, request, SUPERVISOR_SECONDS_MAX)
