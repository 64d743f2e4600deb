"""Whatever is killed or frozen in the middle of calls: each call ends, in time, with a word.

Many callers at once, from a program, from a worker and from another node; one process after the
other is killed with -9 or stands still. Nobody may wait longer than the timeout of the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import otp
from otp.testing import Start, eventually
from tests.system import workers as w
from tests.system.help import freeze
from tests.system.test_two_nodes import Cluster

CALL_SECONDS = 1.0
LATE_SECONDS_MAX = 10.0
"""Two very busy cores: how much later than its timeout a call may end."""
WORDS = {
    "CallTimeout", "Disconnected", "NoProcess", "NodeDown", "NotRunning", "ServerDown",
}  # fmt: skip


class Callers:
    """Threads that call until they are told to stop."""

    def __init__(self, a: otp.Node) -> None:
        self._a = a
        self._stop = threading.Event()
        self.words: dict[str, int] = {}
        self.slowest = 0.0
        self._threads = [
            threading.Thread(target=self._run, args=(to, through))
            for to, through in (("counter@b", False), ("counter@b", True), ("counter", False))
        ]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(CALL_SECONDS + 2 * LATE_SECONDS_MAX)
            assert not thread.is_alive(), "a call hangs"

    def go_on(self, *, noticed: bool) -> None:
        """Wait for one that ended in an error; or for some more, where none need to."""
        before = self.count
        eventually(lambda: self.noticed or (not noticed and self.count > before + 30))

    @property
    def noticed(self) -> bool:
        """A call has ended in an error."""
        return bool(self.words.keys() - {"ok"})

    @property
    def count(self) -> int:
        return sum(self.words.values())

    def _run(self, to: str, through: bool) -> None:
        client = otp.Client(os.path.join(self._a.run_dir, "mailroom.sock"))
        request = w.Ask(to, 0, CALL_SECONDS) if through else w.Add(0)
        while not self._stop.wait(0.001):
            began = time.monotonic()
            try:
                said = client.call("watcher" if through else to, request, timeout=CALL_SECONDS)
                word = "ok" if str(said).isdigit() else str(said)
            except otp.OtpError as error:
                word = type(error).__name__
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.words[word] = self.words.get(word, 0) + 1
        client.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_every_call_ends_in_time(otp_start: Start, tmp_path: Path, number: signal.Signals) -> None:
    cluster = Cluster(otp_start, tmp_path, "ab")
    nodes = {name: cluster.start(name) for name in "ab"}
    assert nodes["a"].call("counter@b", w.Add(0)) == 10
    places = [("b", "counter"), ("b", "mailroom"), ("a", "mailroom"), ("b", "node")]
    if number == signal.SIGSTOP:
        places.pop()  # where a node itself stands still is in test_frozen_nodes
    for name, path in places:
        with Callers(nodes["a"]) as callers:
            eventually(lambda: callers.words.get("ok", 0) > 20)
            while not callers.noticed:  # a kill between two calls is felt by none
                with hurt(nodes[name], path, number):
                    callers.go_on(noticed=number == signal.SIGSTOP)
        assert callers.words.keys() <= WORDS | {"ok"}, callers.words
        assert callers.slowest < CALL_SECONDS + LATE_SECONDS_MAX, (name, path, callers.words)
        if path == "node":
            return
        again = (otp.OtpError,)
        assert eventually(lambda: nodes["a"].call("counter@b", w.Add(0)), ignoring=again) == 10


@contextlib.contextmanager
def hurt(node: otp.StartedNode, path: str, number: signal.Signals) -> Iterator[None]:
    """Killed for good; one that stands still goes on at the end."""
    if path == "node":
        os.kill(node.pid, number)
        pid = node.pid
    elif number == signal.SIGSTOP:
        pid = freeze(node, path)
    else:
        pid = eventually(lambda: node.kill(path), ignoring=(otp.NoProcess,))
    try:
        yield
    finally:
        if number == signal.SIGSTOP:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            eventually(lambda: not psutil.pid_exists(pid) or going(pid))


def going(pid: int) -> bool:
    return psutil.Process(pid).status() != psutil.STATUS_STOPPED


async def large(node: otp.Node) -> str:
    client = otp.AsyncClient(os.path.join(node.run_dir, "mailroom.sock"))
    assert await client.call("counter", w.Add(0)) == 0
    freeze(node, "mailroom")
    began, words = time.monotonic(), set()
    try:
        for _ in range(3):
            try:
                await client.call("counter", w.Echo(bytes(3_000_000)), timeout=0.2)
            except otp.OtpError as error:
                words.add(type(error).__name__)
    finally:
        node.kill("mailroom", signal=signal.SIGCONT)
        client.close()
        await client.wait_closed()
    assert time.monotonic() - began < LATE_SECONDS_MAX
    return ",".join(words)


def test_an_asynchronous_call_does_not_hang_on_a_frozen_mailroom(otp_start: Start) -> None:
    node = otp_start(otp.Supervisor("root", [otp.ChildSpec("counter", w.Counter)]))
    assert asyncio.run(large(node)) == "CallTimeout"
