from __future__ import annotations

import asyncio
import math
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import otp
from otp import aio, host
from otp.testing import Start, eventually
from tests.otp import programs


class Add(otp.Request[int], frozen=True):
    n: int


class Wait(otp.Request[None], frozen=True):
    """Answered by the next Answer."""


class Answer(otp.Message, frozen=True):
    pass


class Counter(otp.GenServer):
    def __init__(self, start: int = 0) -> None:
        self.count = start
        self.waiting: list[otp.From[None]] = []

    def handle_call(self, request: Add | Wait, sender: otp.From[Any]) -> Any:
        if isinstance(request, Wait):
            self.waiting.append(sender)
            return otp.NoReply
        self.count += request.n
        return self.count

    def handle_cast(self, message: Answer) -> None:
        for sender in self.waiting:
            sender.reply(None)
        self.waiting.clear()

    def handle_info(self, message: Add) -> None:
        self.count += message.n


TREE = otp.Supervisor("root", children=[otp.ChildSpec("counter", Counter, args={"start": 10})])
SECONDS_MAX = 60.0


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(SECONDS_MAX):
            await work()

    asyncio.run(bounded())


def test_a_node_in_an_asyncio_program(home: Path) -> None:
    async def work() -> None:
        async with otp.aio.start(TREE) as node:
            assert await node.call("counter", Add(5)) == 15
            await node.send("counter", Add(1))
            assert await node.call("counter", Add(0)) == 16
            waiting = asyncio.create_task(node.call("counter", Wait()))
            assert await node.call("counter", Add(0)) == 16
            await node.cast("counter", Answer())
            await waiting
            paths = [row.path for row in await node.processes()]
            assert paths[-2:] == ["root", "root/counter"]
            assert psutil.pid_exists(node.pid)
            assert Path(node.run_dir).parent == home
            pid = node.pid
        assert not psutil.pid_exists(pid)

    run(work)


def test_calls_go_together_and_each_gets_its_own_reply(home: Path) -> None:
    async def work() -> None:
        async with aio.start(TREE) as node:
            calls = [node.call("counter", Add(1)) for _ in range(500)]
            assert await asyncio.gather(*calls) == list(range(11, 511))

    run(work)


def test_what_ends_a_call(home: Path) -> None:
    async def work() -> None:
        async with aio.start(TREE) as node:
            with pytest.raises(otp.NoProcess, match="call Add to nobody"):
                await node.call("nobody", Add(1))
            with pytest.raises(otp.CallTimeout, match=r"no reply in 0\.02 s"):
                await node.call("counter", Wait(), timeout=0.02)
            waiting = asyncio.create_task(node.call("counter", Wait()))
            await node.call("counter", Add(0))
            await node.kill("counter")
            with pytest.raises(otp.ServerDown, match="killed"):
                await waiting

    run(work)


def test_a_lost_mailroom_ends_calls_and_the_next_one_connects_again(home: Path) -> None:
    async def work() -> None:
        async with aio.start(TREE) as node:
            waiting = asyncio.create_task(node.call("counter", Wait()))
            await node.call("counter", Add(0))
            await node.kill("mailroom")
            with pytest.raises(otp.Disconnected):
                await waiting
            while True:
                try:
                    assert await node.call("counter", Add(1)) >= 11
                    return
                except (otp.Disconnected, otp.NotRunning):
                    continue  # bounded by the timeout around all

    run(work)


def test_reports_are_awaited_and_children_come_and_go(home: Path) -> None:
    async def work() -> None:
        async with aio.start(TREE) as node:
            async with node.expect(otp.ChildStarted, "root/counter", never=[otp.GaveUp]) as started:
                killed = await node.kill("counter")
            assert started.report.pid != killed
            await node.start_child("/", otp.ChildSpec("more", Counter))
            assert await node.call("more", Add(1)) == 1
            await node.terminate_child("/", "more")
            with pytest.raises(otp.SupervisorError, match="running"):
                await node.restart_child("/", "counter")
            await node.restart_child("/", "more")
            await node.terminate_child("/", "more")
            await node.delete_child("/", "more")
            assert [child.id for child in await node.which_children()] == ["counter"]

    run(work)


def test_who_waits_for_a_report_can_be_cancelled_and_can_wait_too_long(home: Path) -> None:
    async def wait(node: aio.AsyncNode, seconds: float) -> None:
        async with node.expect(otp.GaveUp, timeout=seconds):
            assert await node.call("counter", Add(0)) == 10

    async def work() -> None:
        async with aio.start(TREE) as node:
            with pytest.raises(TimeoutError, match=r"no GaveUp within 0\.05 s"):
                await wait(node, 0.05)
            begun = time.monotonic()
            waiting = asyncio.create_task(wait(node, SECONDS_MAX))
            await asyncio.wait({waiting}, timeout=0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert time.monotonic() - begun < SECONDS_MAX / 2

    run(work)


def test_stop_ends_the_node_before_the_block_does(home: Path) -> None:
    async def work() -> None:
        async with aio.start(TREE) as node:
            assert await node.call("counter", Add(0)) == 10
            waiting = asyncio.create_task(node.call("counter", Wait()))
            await asyncio.wait({waiting}, timeout=0)
            await node.stop()
            assert not psutil.pid_exists(node.pid)
            with pytest.raises(otp.Disconnected):
                await waiting
            with pytest.raises(otp.NotRunning):
                await node.call("counter", Add(0))
            await node.stop()

    run(work)


def test_an_error_in_the_block_stops_the_node_and_goes_on(home: Path) -> None:
    pids = []

    async def work() -> None:
        async with aio.start(TREE) as node:
            pids.append(node.pid)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        run(work)
    assert not psutil.pid_exists(pids[0])


def test_a_tree_that_cannot_be_right_is_refused(home: Path) -> None:
    async def work() -> None:
        async with aio.start(otp.Supervisor("no good")):
            raise AssertionError("it must not start")

    with pytest.raises(otp.SpecError, match="'no good' is not an id"):
        run(work)


def test_who_is_cancelled_while_it_starts_leaves_nothing_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, pids = threading.Event(), []
    real = host.start

    def start(*args: Any, **options: Any) -> Any:
        begun.set()
        node = real(*args, **options)
        pids.append(node.pid)
        return node

    monkeypatch.setattr(host, "start", start)

    async def block() -> None:
        async with aio.start(TREE):
            raise AssertionError("cancelled before that")

    async def work() -> None:
        task = asyncio.create_task(block())
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work)
    assert len(pids) == 1
    assert not psutil.pid_exists(pids[0])


def test_the_loop_goes_on_while_a_node_starts_and_stops(home: Path) -> None:
    gaps: list[float] = []

    async def watch() -> None:
        last = time.monotonic()
        while True:
            await asyncio.wait({asyncio.ensure_future(asyncio.to_thread(int))})
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    async def work() -> None:
        watching = asyncio.create_task(watch())
        async with aio.start(TREE) as node:
            await node.processes()
        watching.cancel()

    run(work)
    assert len(gaps) > 5


def test_a_client_alone(home: Path, otp_start: Start) -> None:
    node = otp_start(TREE)
    path = os.path.join(node.run_dir, "mailroom.sock")

    async def work() -> None:
        async with otp.AsyncClient(path) as client:
            assert await client.call("counter", Add(2)) == 12
        async with otp.AsyncClient(path) as client:
            await client.send("counter", Add(3))  # written before it is closed
        eventually(lambda: node.call("counter", Add(0)) == 15)

    run(work)


def test_whose_tree_gave_up_is_told_why() -> None:
    children = [otp.ChildSpec("a", programs.Idle)]

    async def work() -> None:
        async with aio.start(otp.Supervisor("root", children, max_restarts=0)) as node:
            await node.kill("a")
            await asyncio.to_thread(node._node.process.wait)
            with pytest.raises(otp.NotRunning, match="root gave up: root/a: killed"):
                await node.call("a", None)

    run(work)


def test_nobody_listens(tmp_path: Path) -> None:
    async def work() -> None:
        async with otp.AsyncClient(str(tmp_path / "nobody")) as client:
            with pytest.raises(otp.NotRunning, match="No such file"):
                await client.call("counter", Add(1))

    run(work)


@pytest.mark.parametrize(
    ("accepts", "problem"), [(True, "closed before hello"), (False, "no hello in time")]
)
def test_somebody_else_listens(
    accepts: bool, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "CONNECT_SECONDS_MAX", 5.0 if accepts else 0.05)
    path = str(tmp_path / "s")

    async def work() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            async with otp.AsyncClient(path) as client:
                calling = asyncio.create_task(client.call("counter", Add(1)))
                if accepts:
                    (await asyncio.to_thread(listener.accept))[0].close()
                with pytest.raises(otp.NotRunning, match=problem):
                    await calling

    run(work)


def test_who_is_cancelled_while_it_connects_leaves_no_connection(tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    async def work() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            async with otp.AsyncClient(path) as client:
                calling = asyncio.create_task(client.call("counter", Add(1), timeout=math.inf))
                other, _ = await asyncio.to_thread(listener.accept)
                with other:
                    other.settimeout(SECONDS_MAX)
                    calling.cancel()
                    await asyncio.wait({calling})
                    assert calling.cancelled()
                    assert await asyncio.to_thread(other.recv, 1) == b""

    run(work)


def test_senders_wait_for_a_mailroom_that_does_not_read(home: Path, otp_start: Start) -> None:
    """What is unsent is bounded: a loop of casts is as fast as the mailroom, and not faster."""
    node = otp_start(TREE)
    mailroom = next(row.pid for row in node.processes() if row.type == "mailroom")
    sent = 0

    async def flood(client: otp.AsyncClient) -> None:
        nonlocal sent
        while True:
            await client.send("nobody", Text("x" * 100_000))
            sent += 1

    async def work() -> None:
        async with otp.AsyncClient(os.path.join(node.run_dir, "mailroom.sock")) as client:
            assert await client.call("counter", Add(0)) == 10
            psutil.Process(mailroom).suspend()
            flooding = asyncio.create_task(flood(client))
            done, _ = await asyncio.wait({flooding}, timeout=0.3)
            assert not done
            psutil.Process(mailroom).resume()
            before = sent
            assert before * 100_000 < 4 * aio.OUTGOING_BYTES_MAX
            while sent < before + 100:
                await asyncio.wait({flooding}, timeout=0.01)
            flooding.cancel()

    run(work)


class Text(otp.Message, frozen=True):
    text: str


def test_who_does_not_ask_for_asyncio_does_not_get_it() -> None:
    code = "import sys, otp, otp.node, otp.child; print('asyncio' in sys.modules)"
    assert programs.run_python("-c", code).stdout == "False\n"
    code = "import otp; otp.aio.start; otp.AsyncClient; from otp import AsyncClient, aio; print(1)"
    assert programs.run_python("-c", code).stdout == "1\n"
    with pytest.raises(AttributeError, match="module 'otp' has no attribute 'nothing'"):
        otp.nothing  # noqa: B018
