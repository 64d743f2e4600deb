"""The care for one process, without a process: a spawner that only counts."""

from __future__ import annotations

from typing import Any

from otp.frames import Control
from otp.messages import Reason
from otp.reactor import Reactor
from otp.running import Running
from otp.watch import Watch
from otp.wire_tree import WireCare, WireChild, WireProbe

PAUSE_SECONDS = 0.005


class Spawner:
    """Runs no command; the test says what came of each."""

    def __init__(self) -> None:
        self.owners: list[Any] = []
        self.ready = 0

    def is_ready(self, running: Running) -> None:
        self.ready += 1

    def condemn(self, running: Running, reason: Reason) -> None:
        raise AssertionError(f"condemned: {reason}")

    def tell(self, running: Running, message: Control) -> None:
        raise AssertionError(f"told: {message}")

    def kill(self, running: Running) -> None:
        """Nothing runs."""

    def execute(self, child: WireChild, owner: Any) -> Running:
        self.owners.append(owner)
        return Running(2, "", "", child, owner)


class Nobody:
    """The supervisor, who is not to hear of anything."""

    def began(self, running: Running) -> None:
        raise AssertionError("it began")

    def ignored(self, running: Running) -> None:
        raise AssertionError("it was ignored")

    def ended(self, running: Running, reason: Reason) -> None:
        raise AssertionError("it ended")


def turn(reactor: Reactor, seconds: float) -> None:
    over: list[bool] = []
    reactor.after(seconds, lambda: over.append(True))
    while not over:
        reactor.run_once()


def test_of_a_program_that_dies_before_it_was_ready_nothing_is_asked_any_more() -> None:
    """Its end is where its socket is found closed again. An answer that came later, from whoever
    has taken over its port, would be a start of a process that is gone."""
    reactor, spawner = Reactor(), Spawner()
    probe = WireProbe("exec", command=("check",), interval=PAUSE_SECONDS)
    child = WireChild("x", "program", command=("server",), care=WireCare(ready=probe))
    running = Running(1, "", "root/x", child, Nobody())
    watch = Watch(running, WireCare(ready=probe), spawner, reactor, "")
    watch.forked()
    watch.initialised()
    turn(reactor, 0)
    assert len(spawner.owners) == 1
    spawner.owners[0].ended(running, Reason("crash", "exit code 1"))
    watch.initialised()
    watch.stop()
    turn(reactor, 4 * PAUSE_SECONDS)
    assert (len(spawner.owners), spawner.ready) == (1, 0)
    reactor.close()
