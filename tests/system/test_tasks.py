"""Functions in processes of their own: results, failures, deaths on either side, streams."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import otp
from otp.task import AHEAD_MAX
from otp.testing import Start, eventually
from tests.system import task_workers as w
from tests.system.help import PATIENCE_SECONDS, assert_gone, restart, row

TREE = otp.Supervisor(
    "root",
    max_restarts=1000,
    children=[otp.ChildSpec("foreman", w.Foreman), otp.task_supervisor("tasks")],
)


@pytest.fixture(scope="module")
def node() -> Iterator[otp.StartedNode]:
    with otp.start(TREE) as node:
        yield node


@pytest.fixture(autouse=True)
def no_task_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "node" in request.fixturenames:
        node: otp.StartedNode = request.getfixturevalue("node")
        eventually(lambda: node.count_children("tasks").active == 0)


def running(file: Path) -> int:
    """The pid of a task that has written it there."""
    return eventually(lambda: int(file.read_text() or 0), ignoring=(FileNotFoundError,))


# ---------------------------------------------------------------- one task


def test_a_result_comes_from_another_process(node: otp.StartedNode) -> None:
    assert node.start_task(os.getpid).result() not in (os.getpid(), node.pid)
    task = node.start_task(lambda a, b: a + b, "by ", "value")
    assert (task.result(), task.result(), task.done) == ("by value", "by value", True)
    assert node.start_task(w.holds, "").result() is open
    with pytest.raises(otp.NoProcess, match="nobody"):
        node.start_task(w.square, 1, supervisor="nobody")


def test_what_ends_a_task_is_raised_where_it_is_awaited(node: otp.StartedNode) -> None:
    with pytest.raises(otp.TaskFailed, match=r"task fails failed: crash: ValueError: no ") as info:
        node.start_task(w.fails, "no").result()
    assert info.value.reason.kind == "crash"
    with pytest.raises(otp.TaskFailed, match="killed"):
        node.start_task(w.dies).result()
    with pytest.raises(otp.TaskFailed, match="pickle"):
        node.start_task(w.odd).result()
    task = node.start_task(w.waits)
    with pytest.raises(TimeoutError):
        task.result(0.02)
    node.kill(task.pid)
    with pytest.raises(otp.TaskFailed, match="killed"):
        task.result()
    cancelled = node.start_task(w.waits)
    cancelled.cancel()
    with pytest.raises(otp.TaskFailed):
        cancelled.result()


def test_threads_wait_for_tasks_of_one_program(node: otp.StartedNode, tmp_path: Path) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    slow, results = node.start_task(w.waits_for, pipe), list[str]()
    waiting = threading.Thread(target=lambda: results.append(slow.result()))
    waiting.start()
    assert [node.start_task(w.square, n).result() for n in range(5)] == [0, 1, 4, 9, 16]
    Path(pipe).write_text("done")
    waiting.join()
    assert results == ["done"]


def test_many_threads_take_turns_in_reading(node: otp.StartedNode) -> None:
    results = list[list[int]]()

    def work() -> None:
        results.append([node.start_task(w.square, n).result() for n in range(6)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[0, 1, 4, 9, 16, 25]] * 4


def test_a_task_outlives_the_mailroom(node: otp.StartedNode, tmp_path: Path) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    task = node.start_task(w.waits_for, pipe)
    # It runs once there is a reader; before, the word to begin might be lost with the mailroom,
    # and nobody would say it again before the result is asked for.
    writer = eventually(lambda: os.open(pipe, os.O_WRONLY | os.O_NONBLOCK), ignoring=(OSError,))
    with os.fdopen(writer, "w") as end, node.expect(otp.ChildStarted, "otp/mailroom"):
        node.kill("mailroom")
        end.write("still here")
    assert task.result() == "still here"


# ---------------------------------------------------------------- who has started it


def test_a_server_starts_tasks(node: otp.StartedNode) -> None:
    assert node.call("foreman", w.Work("square", 7)) == 49
    assert node.call("foreman", w.Work("stream", 7)) == [n * n for n in range(7)]
    with pytest.raises(otp.ServerDown, match="TaskFailed: task fails failed: crash: ValueError"):
        node.call("foreman", w.Work("fails"))
    eventually(lambda: row(node, "root/foreman").state == "running")


def test_linked_tasks_end_with_the_server_that_started_them(
    node: otp.StartedNode, tmp_path: Path
) -> None:
    node.call("foreman", w.Work("leave", file=f"{tmp_path}/"))
    linked, free = running(tmp_path / "linked"), running(tmp_path / "free")
    restart(node, "foreman")
    assert_gone([linked])
    eventually(lambda: node.count_children("tasks").active == 1)
    (left,) = node.which_children("tasks")
    assert left.pid == free and left.process is not None
    node.kill(left.process)


def test_tasks_end_with_the_program_that_started_them(
    node: otp.StartedNode, tmp_path: Path
) -> None:
    other = otp.Node(node.run_dir)
    task = other.start_task(w.waits, str(tmp_path / "task"))
    pid = running(tmp_path / "task")
    waiting, errors = threading.Thread(target=lambda: wait_in_vain(task, errors)), list[str]()
    waiting.start()
    other.close()
    assert_gone([pid])
    waiting.join(PATIENCE_SECONDS)
    assert errors == ["Disconnected"]


def wait_in_vain(task: otp.Task[None], errors: list[str]) -> None:
    try:
        task.result(30)
    except otp.OtpError as error:
        errors.append(type(error).__name__)


# ---------------------------------------------------------------- streams


def test_a_stream_keeps_the_order_of_its_items(node: otp.StartedNode, tmp_path: Path) -> None:
    assert list(node.async_stream(w.square, range(20), max_concurrency=3)) == [
        n * n for n in range(20)
    ]
    assert list(node.async_stream(w.square, [])) == []
    for ordered in (True, False):
        pipe = str(tmp_path / f"pipe {ordered}")
        os.mkfifo(pipe)
        later = functools.partial(w.after, file=pipe)
        results = node.async_stream(later, [1, 2], max_concurrency=2, ordered=ordered)
        assert (list(results) if ordered else sorted(results)) == [1, 2]


def test_a_stream_runs_no_more_at_a_time_than_it_may(node: otp.StartedNode) -> None:
    taken = list[int]()

    def items() -> Iterator[int]:
        for n in range(8):
            taken.append(n)
            yield n

    for seen, _ in enumerate(node.async_stream(w.square, items(), max_concurrency=2), 1):
        assert len(taken) - seen <= 2 * AHEAD_MAX


def test_a_stream_that_fails_or_is_left_leaves_no_task(node: otp.StartedNode) -> None:
    with pytest.raises(otp.TaskFailed, match="ValueError: a"):
        list(node.async_stream(w.fails, "abc", max_concurrency=3))
    kinds = [type(e) for e in node.async_stream(w.fails, "abc", return_exceptions=True)]
    assert kinds == [otp.TaskFailed] * 3
    late = node.async_stream(w.waits, [""] * 3, timeout=0.1, return_exceptions=True)
    assert [type(error) for error in late] == [otp.CallTimeout] * 3
    left = node.async_stream(w.square, range(100), max_concurrency=4)
    assert next(left) == 0
    left.close()  # type: ignore[attr-defined]


def test_a_stream_goes_on_when_the_mailroom_dies_while_a_task_is_started_or_ended(
    node: otp.StartedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, fails = node._otp_desk, [True, False]
    ask = desk.call

    def call(to: str, request: Any) -> Any:
        fails.append(fails.pop(0))
        if fails[0]:
            raise otp.Disconnected(what="call", to=to)
        return ask(to, request)

    monkeypatch.setattr(desk, "call", call)
    assert list(node.async_stream(w.square, range(5), max_concurrency=2)) == [0, 1, 4, 9, 16]
    task = node.start_task(w.waits)
    task.cancel()
    with pytest.raises(otp.TaskFailed):
        task.result()


@pytest.mark.parametrize("most", [0, -1])
def test_a_stream_in_which_none_may_run_is_refused(node: otp.StartedNode, most: int) -> None:
    with pytest.raises(ValueError, match=f"max_concurrency: {most}"):
        node.async_stream(w.square, range(3), max_concurrency=most)


# ---------------------------------------------------------------- asyncio


def test_tasks_of_an_asyncio_program(otp_start: Start, tmp_path: Path) -> None:
    async def program() -> int:
        tree = otp.Supervisor("root", children=[otp.task_supervisor()])
        async with otp.aio.start(tree) as node:
            task = await node.start_task(w.square, 7)
            assert (await task.result(), task.done) == (49, True)
            with pytest.raises(otp.TaskFailed, match="ValueError: no"):
                await (await node.start_task(w.fails, "no")).result()
            waits = await node.start_task(w.waits)
            with pytest.raises(otp.CallTimeout):
                await waits.result(0.02)
            await waits.cancel()
            with pytest.raises(otp.TaskFailed):
                await waits.result()
            stream = node.async_stream(w.square, range(10), max_concurrency=3)
            assert [n async for n in stream] == [n * n for n in range(10)]
            free = node.async_stream(w.square, range(10), max_concurrency=3, ordered=False)
            assert sorted([n async for n in free]) == [n * n for n in range(10)]
            late = node.async_stream(w.waits, [""] * 2, timeout=0.05, return_exceptions=True)
            assert [type(e) async for e in late] == [otp.CallTimeout] * 2
            long = await node.start_task(w.waits, str(tmp_path / "task"))
            await node.kill("mailroom")
            with pytest.raises(otp.CallTimeout):
                await long.result(0.05)
            return running(tmp_path / "task")

    assert_gone([asyncio.run(program())])
