"""Carries out the plans of `strategy`: the machines of a tree, put together over real processes.

Supervisors are data, not processes: each is a `Unit` around one state machine. Inputs wait in one
queue, so a machine's effects are all done before the next input reaches any machine.
"""

from __future__ import annotations

import random
import socket
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Protocol

from otp import messages as m
from otp import signals as s
from otp.amendment import Amendable
from otp.backoff import jittered
from otp.messages import Reason, Report, WireChild, WireSupervisor
from otp.reactor import Reactor, Timer
from otp.replicas import group
from otp.running import Running, exit_code
from otp.spawner import Spawner
from otp.strategy import Supervision

Answer = Callable[[s.Result], None]


AUTO_SHUTDOWN = Reason("shutdown", "auto_shutdown")
"""Why a supervisor has ended whose significant children have: as it was told to."""
EXIT_FAILURE = 1
"""The exit code for what has none of its own: a crash, a supervisor that gave up."""
NAMES_MAX = 100
"""How many children that are gone a supervisor remembers besides those that run."""


class Unit:
    """One supervisor: its machine, and what runs under it."""

    def __init__(self, spec: WireSupervisor, path: str, address: str, process: str) -> None:
        self.spec, self.path, self.address, self.process = spec, path, address, process
        children = [as_child(child, spec) for child in spec.children]
        self.machine: Supervision = Amendable(as_flags(spec), children)
        self.parent: Unit | None = None
        self.key = 0
        self.processes: dict[int, Running] = {}
        self.units: dict[int, Unit] = {}
        self.restarts: dict[str, int] = {}
        self.last_exit: dict[str, str] = {}
        self.exit_codes: dict[int, int] = {}
        self.delays: dict[int, float] = {}
        self.cut_off = False
        self.started_at = time.time()

    def forget_strangers(self) -> None:
        """Ids and labels may never come again: a pool must not remember each job that it had."""
        if len(self.restarts) > 2 * len(self.processes) + NAMES_MAX:
            here = {entry.id for entry in self.machine.entries()}
            for known in (self.restarts, self.last_exit):
                for name in known.keys() - here:
                    del known[name]

    def budget(self, id: str) -> str:
        """What was asked for when it gave up, in words."""
        most, seconds = self.spec.max_restarts, self.spec.max_seconds
        times = "restart" if most == 1 else "restarts"
        return f"{id}: more than {most} {times} in {seconds:g} s (max_restarts, max_seconds)"

    def below(self, id: str) -> tuple[str, str]:
        """The report path and the address of a child."""
        return f"{self.path}/{id}", f"{self.address}/{id}" if self.address else id


def as_flags(spec: WireSupervisor) -> s.Flags:
    """What a machine must know of its supervisor."""
    return s.Flags(
        spec.strategy,  # type: ignore[arg-type]
        spec.max_restarts,
        spec.max_seconds,
        spec.auto_shutdown,  # type: ignore[arg-type]
        spec.give_up,
        spec.parallel,
    )


def as_child(spec: WireChild | WireSupervisor, parent: WireSupervisor | None = None) -> s.Child:
    """What a machine must know of a child; the spec itself rides along unseen."""
    own = None if isinstance(spec, WireSupervisor) else spec.backoff
    if isinstance(spec, WireChild) and spec.replicas:
        spec = group(spec, parent)
    return s.Child(
        id=spec.id,
        restart=spec.restart,  # type: ignore[arg-type]
        shutdown=spec.shutdown,  # type: ignore[arg-type]
        significant=spec.significant,
        type="supervisor" if isinstance(spec, WireSupervisor) else "worker",
        payload=spec,
        startable=isinstance(spec, WireSupervisor) or spec.kind != "program" or bool(spec.command),
        backoff=own or (parent.backoff if parent is not None else None),
        essential=spec.essential,
    )


class Owner(Protocol):
    """Who hears of all that happens to the supervisors of a node."""

    def unit_made(self, unit: Unit) -> None: ...
    def unit_gone(self, unit: Unit, reason: Reason) -> None: ...
    def root_ready(self, unit: Unit) -> None: ...
    def root_gone(self, unit: Unit, reason: Reason, error: str) -> None: ...
    def spawned(self, running: Running, mail: socket.socket | None) -> None: ...
    def ended(self, running: Running, reason: Reason) -> None: ...
    def answered(self, unit: Unit, request_id: Hashable, result: s.Result) -> None: ...
    def report(self, report: Report) -> None: ...


class Shell:
    """The supervisors of one node: machines in, processes out."""

    def __init__(
        self, reactor: Reactor, spawner: Spawner, owner: Owner, creation: str, node: str
    ) -> None:
        self._reactor, self._spawner, self._owner = reactor, spawner, owner
        self._inbox: deque[tuple[Unit, s.Input]] = deque()
        self._pumping = False
        self._creation, self._node = creation, node
        self._count = 0
        self._where: dict[int, tuple[Unit, int]] = {}
        self._pids: dict[Hashable, int] = {}
        self._timers: set[Timer] = set()
        self.roots: list[Unit] = []

    # ------------------------------------------------------------ inputs

    def begin(self, spec: WireSupervisor) -> Unit:
        """Start a tree; the owner hears `root_ready` or `root_gone`."""
        root = self._new_unit(spec, spec.id, "")
        self.roots.append(root)
        self.feed(root, s.Begin())
        return root

    def shutdown(self, root: Unit) -> None:
        """Stop a tree in reverse order; the owner hears `root_gone`."""
        self.feed(root, s.Shutdown(m.SHUTDOWN))

    def call(self, unit: Unit, request_id: Hashable, op: s.Op) -> None:
        """A request to a supervisor; the owner hears `answered`."""
        self.feed(unit, s.Call(request_id, op))

    def alive(self, process: str) -> bool:
        """Whether a process of this node runs. Of another node's nobody here knows that it does
        not, so it counts as alive."""
        if process.rstrip(">").rpartition("@")[2] != self._node:
            return True
        runs = (running.process for running in self._spawner.running.values())
        return process in runs or any(unit.process == process for unit in self._units(self.roots))

    def _units(self, units: Iterable[Unit]) -> Iterator[Unit]:
        for unit in units:
            yield unit
            yield from self._units(unit.units.values())

    def forget(self) -> None:
        """Everything is gone at once (the zygote died): no machine is asked."""
        self._inbox.clear()
        self._where.clear()
        self._pids.clear()
        self.roots.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def feed(self, unit: Unit, incoming: s.Input) -> None:
        """Give a machine an input, after those that wait."""
        self._inbox.append((unit, incoming))
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._inbox:
                unit, incoming = self._inbox.popleft()
                for effect in unit.machine.step(incoming, self._reactor.now()):
                    self._perform(unit, effect)
        finally:
            self._pumping = False

    # ------------------------------------------------------------ effects

    def _perform(self, unit: Unit, effect: s.Effect) -> None:
        match effect:
            case s.Start():
                self._start(unit, effect)
            case s.Stop(key, _, shutdown):
                self._stop(unit, key, shutdown)
            case s.StopMany(stops, shutdown):
                for stop in stops:
                    self._stop(unit, stop.key, shutdown)
            case s.Orphan(key, pid):
                self._pids.pop(pid, None)
                self._stop(unit, key, "brutal_kill")
            case s.Reply(request_id, result):
                self._owner.answered(unit, request_id, result)
            case s.Requeue(resume):
                self._inbox.append((unit, resume))
            case s.Delay():
                self._delay(unit, effect)
            case s.Essential():
                self._essential_ended(unit, effect)
            case s.Ready():
                self._ready(unit)
            case s.Gone():
                self._gone(unit, effect)
            case s.Report():
                self._report(unit, effect)

    def _start(self, unit: Unit, start: s.Start) -> None:
        spec = start.child.payload
        path, address = unit.below(start.label or start.child.id)
        if unit.cut_off:
            self._inbox.append((unit, s.StartFailed(start.key, m.KILLED)))
            return
        if isinstance(spec, WireSupervisor):
            inner = self._new_unit(spec, path, address)
            inner.parent, inner.key = unit, start.key
            unit.units[start.key] = inner
            self._inbox.append((inner, s.Begin()))
            return
        assert isinstance(spec, WireChild)
        extra = start.args if isinstance(start.args, bytes) else spec.extra
        running, mail = self._spawner.spawn(spec, address, self, extra=extra)
        running.shown = path
        unit.processes[start.key] = running
        self._where[running.serial] = (unit, start.key)
        self._owner.spawned(running, mail)

    def _stop(self, unit: Unit, key: int, shutdown: float | str) -> None:
        if key in unit.units:
            self._stop_unit(unit.units[key], shutdown)
        elif key in unit.processes:
            self._spawner.stop(unit.processes[key], shutdown)

    def _stop_unit(self, unit: Unit, shutdown: float | str) -> None:
        """A sub-supervisor stops its own children first, by their own shutdown times; what it has
        not stopped by its own is killed with it, as the links of OTP would see to."""
        if shutdown == "brutal_kill":
            self._cut_off(unit)
            return
        self._inbox.append((unit, s.Shutdown(m.SHUTDOWN)))
        if isinstance(shutdown, (int, float)):
            self._later(float(shutdown), lambda: self._cut_off(unit))

    def _cut_off(self, unit: Unit) -> None:
        if unit.machine.gone:
            return
        unit.cut_off = True
        self.feed(unit, s.Shutdown(m.KILLED))
        for running in list(unit.processes.values()):
            self._spawner.stop(running, "brutal_kill")
        for inner in list(unit.units.values()):
            self._cut_off(inner)

    def _delay(self, unit: Unit, delay: s.Delay) -> None:
        seconds = jittered(delay.seconds, delay.jitter, random.random())
        due = time.time() + seconds

        def over() -> None:
            if unit.delays.get(delay.key) == due:
                del unit.delays[delay.key]
            self.feed(unit, delay.input)

        self._later(seconds, over)
        unit.delays[delay.key] = due
        text = unit.budget(delay.id) if delay.gave_up else "backoff"
        path = unit.below(delay.id)[0]
        self._owner.report(m.RestartDelayed(path, time.time(), seconds, text))

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        """Unless everything is gone by then."""

        def due() -> None:
            self._timers.discard(timer)
            then()

        timer = self._reactor.after(seconds, due)
        self._timers.add(timer)

    def _essential_ended(self, unit: Unit, ended: s.Essential) -> None:
        code = unit.exit_codes.pop(ended.key, EXIT_FAILURE)
        reason = unit.last_exit.get(ended.id, "it did not start")
        path = unit.below(ended.id)[0]
        self._owner.report(m.EssentialEnded(path, time.time(), reason, code))

    def _ready(self, unit: Unit) -> None:
        if unit.parent is None:
            self._owner.root_ready(unit)
        else:
            self._inbox.append((unit.parent, s.Started(unit.key, unit.process)))

    def _gone(self, unit: Unit, gone: s.Gone) -> None:
        reason, error = m.KILLED if unit.cut_off else gone.reason, gone.error
        self._owner.unit_gone(unit, reason)
        if unit.parent is None:
            self._owner.root_gone(unit, reason, error)
            return
        parent = unit.parent
        parent.units.pop(unit.key, None)
        if error:
            self._inbox.append((parent, s.StartFailed(unit.key, reason, error)))
        else:
            if unit.spec.essential:
                parent.exit_codes[unit.key] = EXIT_FAILURE if gone.gave_up else 0
            exited = s.Exited(unit.key, unit.process, reason, gone.gave_up)
            self._inbox.append((parent, exited))

    def _new_unit(self, spec: WireSupervisor, path: str, address: str) -> Unit:
        self._count += 1
        process = f"<{self._creation}.s{self._count}@{self._node}>"
        unit = Unit(spec, path, address, process)
        self._owner.unit_made(unit)
        return unit

    # ------------------------------------------------------------ lives of processes

    def began(self, running: Running) -> None:
        unit, key = self._where[running.serial]
        self._pids[running.process] = running.os_pid
        self.feed(unit, s.Started(key, running.process))

    def ignored(self, running: Running) -> None:
        unit, key = self._where[running.serial]
        self.feed(unit, s.Ignored(key))

    def ended(self, running: Running, reason: Reason) -> None:
        """It is reaped: first the owner (names, callers, monitors), then its supervisor."""
        unit, key = self._where.pop(running.serial)
        self._owner.ended(running, reason)
        if unit.processes.get(key) is running:
            del unit.processes[key]
        if running.settled:
            return
        if running.child.essential:
            unit.exit_codes[key] = exit_code(running, reason)
        if running.began:
            self.feed(unit, s.Exited(key, running.process, reason))
        else:
            self.feed(unit, s.StartFailed(key, reason))

    # ------------------------------------------------------------ reports

    def _report(self, unit: Unit, report: s.Report) -> None:
        path = unit.below(report.id)[0]
        at = time.time()
        running = unit.processes.get(report.key)
        pid = running.os_pid if running else 0
        made: Report
        match report.kind:
            case "child_started":
                count = unit.restarts.get(report.id, -1) + 1
                unit.restarts[report.id] = count
                unit.forget_strangers()
                made = m.ChildStarted(path, at, pid, count)
            case "child_exited":
                reason = report.reason or m.NORMAL
                unit.last_exit[report.id] = str(reason)
                pid = self._pids.pop(report.pid, 0)
                made = m.ChildExited(path, at, pid, reason, report.restart)
            case "child_start_failed":
                made = m.ChildStartFailed(path, at, report.reason or m.NORMAL)
            case "gave_up":
                made = m.GaveUp(unit.path, at, Reason("shutdown", unit.budget(report.id)))
            case "auto_shutdown":
                made = m.GaveUp(unit.path, at, AUTO_SHUTDOWN)
        self._owner.report(made)
