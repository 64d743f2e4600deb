"""Tasks for programs with an asyncio loop: `await node.start_task(...)`; see `task`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from otp.errors import CallTimeout, Disconnected, NoProcess, OtpError, ServerDown
from otp.messages import Pid, TerminateChild
from otp.task import (
    AHEAD_MAX,
    ASK_TIMES_MAX,
    STREAM_TASK_SECONDS,
    SUPERVISOR,
    SUPERVISOR_SECONDS_MAX,
    TASK_SECONDS_MAX,
    Release,
    Run,
    at_a_time,
    failure,
    named,
    start_request,
)

T = TypeVar("T")


class Caller(Protocol):
    """What a task needs of an AsyncClient."""

    async def call(self, to: Any, request: Any, *, timeout: float = 5.0) -> Any: ...
    async def cast(self, to: Any, message: Any) -> None: ...


class AsyncTask(Generic[T]):
    """A function that runs, or has run, in a process of its own."""

    def __init__(self, client: Caller, name: str, pid: Pid, supervisor: str) -> None:
        self.name, self.pid = name, pid
        self._client, self._supervisor = client, supervisor
        self._answer = asyncio.ensure_future(self._run())
        self._answer.add_done_callback(_seen)

    def __repr__(self) -> str:
        return f"AsyncTask({self.name!r}, {self.pid!r})"

    @property
    def done(self) -> bool:
        """The result, or a failure, has arrived."""
        return self._answer.done()

    async def result(self, timeout: float = 5.0) -> T:
        """What the function returned; raises as `otp.Task.result` does."""
        await asyncio.wait({self._answer}, timeout=timeout)
        if not self._answer.done():
            raise CallTimeout(what=f"task {self.name}", to=self.pid, seconds=timeout)
        return self._answer.result()

    async def cancel(self) -> None:
        """Kill it, if it is not done; `result` then raises TaskFailed."""
        if not self.done:
            await _insist(self._client, self._supervisor, TerminateChild(self.pid))

    def forget(self) -> None:
        """Nobody waits for it any more."""
        self._answer.cancel()

    async def _run(self) -> T:
        while True:
            try:
                value: T = await self._client.call(self.pid, Run(), timeout=TASK_SECONDS_MAX)
            except Disconnected:
                continue  # the mailroom died: the task lives, and keeps its result for a while
            except (ServerDown, NoProcess) as error:
                raise failure(self.name, error) from None
            with contextlib.suppress(OtpError):  # it goes by itself
                await self._client.cast(self.pid, Release())
            return value


async def _insist(client: Caller, to: str, request: Any) -> Any:
    for _ in range(ASK_TIMES_MAX - 1):
        with contextlib.suppress(Disconnected):
            return await client.call(to, request, timeout=SUPERVISOR_SECONDS_MAX)
    return await client.call(to, request, timeout=SUPERVISOR_SECONDS_MAX)


def _seen(answer: asyncio.Future[Any]) -> None:
    """A failure that nobody asks for is no warning: the report stream has it."""
    if not answer.cancelled():
        answer.exception()


class AsyncTasks:
    """The tasks of one asyncio loop. `owner` gives the pid whose end is theirs."""

    def __init__(self, client: Caller, owner: Callable[[], Awaitable[str]]) -> None:
        self._client, self._owner = client, owner
        self._tasks: set[AsyncTask[Any]] = set()

    async def start(
        self,
        function: Callable[..., T],
        *arguments: Any,
        supervisor: str = SUPERVISOR,
        link: bool = True,
    ) -> AsyncTask[T]:
        """`start_task` of a node."""
        request = start_request(function, arguments, await self._owner() if link else "")
        info = await _insist(self._client, supervisor, request)
        task: AsyncTask[T] = AsyncTask(self._client, named(function), info.process, supervisor)
        self._tasks = {known for known in self._tasks if not known.done} | {task}
        return task

    async def stream(
        self,
        function: Callable[[Any], T],
        items: Iterable[Any],
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float = STREAM_TASK_SECONDS,
        return_exceptions: bool = False,
        supervisor: str = SUPERVISOR,
    ) -> AsyncIterator[Any]:
        """`async_stream` of a node."""
        most, todo, end = at_a_time(max_concurrency), iter(items), object()
        tasks: dict[AsyncTask[T], float] = {}
        more = True
        try:
            while more or tasks:
                while more and _room(tasks, most):
                    more = (item := next(todo, end)) is not end
                    if more:
                        task = await self.start(function, item, supervisor=supervisor)
                        tasks[task] = time.monotonic() + timeout
                candidates = list(tasks)[:1] if ordered else list(tasks)
                ready = await _first_over(candidates, tasks)
                if ready is not None:
                    left = max(0.0, tasks.pop(ready) - time.monotonic())
                    yield await _value(ready, left, timeout, return_exceptions)
        finally:
            for task in tasks:
                with contextlib.suppress(OtpError):  # it ends by itself, or with us
                    await task.cancel()

    def close(self) -> None:
        """Nobody waits for them any more."""
        for task in self._tasks:
            task.forget()


def _room(tasks: dict[AsyncTask[T], float], most: int) -> bool:
    running = sum(not task.done for task in tasks)
    return running < most and len(tasks) < AHEAD_MAX * most


async def _first_over(
    candidates: list[AsyncTask[T]], deadlines: dict[AsyncTask[T], float]
) -> AsyncTask[T] | None:
    """One that is done, or that has had its time; None where there is nothing to wait for."""
    if not candidates:
        return None
    first = min(deadlines[task] for task in candidates)
    waiting = {task._answer for task in candidates}
    seconds = max(0.0, first - time.monotonic())
    await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    done = [task for task in candidates if task.done]
    return done[0] if done else next(t for t in candidates if deadlines[t] <= first)


async def _value(task: AsyncTask[Any], left: float, seconds: float, return_exceptions: bool) -> Any:
    try:
        if not task.done and left <= 0:
            await task.cancel()
            raise CallTimeout(what=f"task {task.name}", to=task.pid, seconds=seconds)
        return await task.result(left)
    except OtpError as error:
        if return_exceptions:
            return error
        raise
