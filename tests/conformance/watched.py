"""The production shell of a tree, and a witness who sees what goes through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from otp import messages as m
from otp import signals as s
from otp.messages import Reason
from otp.reactor import Reactor
from otp.running import Running
from otp.spawner import Spawner
from otp.supervisor import Owner, Shell, Unit
from tests.conformance import words
from tests.conformance.wire import SupervisorOf, typed


class Witness(Owner, Protocol):
    """Who hears of each start and each end in the moment it is known."""

    def worker_began(self, running: Running) -> None: ...
    def worker_ignored(self, running: Running) -> None: ...
    def worker_ended(self, running: Running, reason: Reason) -> None: ...
    def outcome_of(self, spec: SupervisorOf, path: str) -> str: ...
    def block(self, path: str, release: Callable[[], None]) -> None: ...
    def start_failed(self, path: str, how: str) -> None: ...


class Watched(Shell):
    """The production shell, and who sees all that goes through it."""

    def __init__(self, world: Witness, reactor: Reactor, spawner: Spawner) -> None:
        super().__init__(reactor, spawner, world, "c", "here")
        self._world = world
        self.held: list[tuple[Running, Reason]] | None = None

    @property
    def quiet(self) -> bool:
        """Nothing waits for any machine."""
        return not self._inbox

    def began(self, running: Running) -> None:
        self._world.worker_began(running)
        super().began(running)

    def ignored(self, running: Running) -> None:
        self._world.worker_ignored(running)
        super().ignored(running)

    def ended(self, running: Running, reason: Reason) -> None:
        """It is reaped; while deaths are held, no supervisor hears of it."""
        self._world.worker_ended(running, reason)
        if self.held is None:
            super().ended(running, reason)
        else:
            self.held.append((running, reason))

    def release(self) -> None:
        """Hand on the deaths that were held, all before anyone handles the first."""
        held, self.held = self.held or [], None
        self._pumping = True
        for running, reason in held:
            super().ended(running, reason)
        self._pumping = False
        if self._inbox:
            self.feed(*self._inbox.pop())

    def _new_unit(self, spec: m.WireSupervisor, path: str, address: str) -> Unit:
        unit = super()._new_unit(spec, path, address)
        typed(unit)
        return unit

    def _start(self, unit: Unit, start: s.Start) -> None:
        spec = start.child.payload
        if isinstance(spec, SupervisorOf):
            path = unit.below(start.label or start.child.id)[0]
            outcome = self._world.outcome_of(spec, path)
            if outcome == "gate_error":
                self._world.block(path, lambda: self._fail(unit, start.key, path, "error"))
                return
            if outcome != "ok":
                self._fail(unit, start.key, path, outcome)
                return
        super()._start(unit, start)

    def _fail(self, unit: Unit, key: int, path: str, how: str) -> None:
        """No supervisor of ours can fail by itself; that of the scenario just did."""
        self._world.start_failed(path, how)
        failed = s.Ignored(key) if how == "ignore" else s.StartFailed(key, words.CRASH)
        self.feed(unit, failed)


class Nobody:
    """Who hears of processes of a scenario that is over."""

    def began(self, running: Running) -> None: ...
    def ignored(self, running: Running) -> None: ...
    def ended(self, running: Running, reason: Reason) -> None: ...
