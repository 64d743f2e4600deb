"""The care for one process, from its fork to its end: does it start, is it ready, does it answer.

Made only for a child whose spec asks for any of it. It decides nothing about restarts: a process
that fails is condemned (killed, for a reason that its supervisor hears).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from otp import probes
from otp.frames import Answered, Ask, Control, Ping, Pong
from otp.heartbeat import Heartbeat
from otp.messages import Reason, WireChild
from otp.probes import End, Heard, Probe
from otp.reactor import Reactor, Timer
from otp.running import Running
from otp.wire_tree import WireCare


class Spawner(Protocol):
    """What a watch needs of whoever starts and kills processes."""

    def is_ready(self, running: Running) -> None: ...
    def condemn(self, running: Running, reason: Reason) -> None: ...
    def tell(self, running: Running, message: Control) -> None: ...
    def kill(self, running: Running) -> None: ...
    def execute(self, child: WireChild, owner: Command) -> Running: ...


class Watch:
    """The probes and timers of one process."""

    def __init__(
        self, running: Running, care: WireCare, spawner: Spawner, reactor: Reactor, run_dir: str
    ) -> None:
        outfit = running.child.outfit
        self.uid = outfit.user.uid if outfit is not None and outfit.user is not None else None
        self.notify_path = ""
        if care.ready is not None and care.ready.how == "notify":
            # Another user may not look into the folder of the node.
            open_to_all = f"@otp-{secrets.token_hex(8)}"
            own = os.path.join(run_dir, f"notify-{running.serial}")
            self.notify_path = own if self.uid is None else open_to_all
        self.reactor = reactor
        self._running, self._care, self._spawner = running, care, spawner
        self._timer: Timer | None = None
        self._beating: Heartbeat | None = None
        self._alive: Probe | None = None
        self._failures = 0
        self._initialised = self._is_ready = self._stopped = False
        self._questions = 0
        self._asked: dict[int, Heard] = {}
        self._ready: Probe | None = None
        self.line_matched: Callable[[], None] = lambda: None
        if care.ready is not None:
            self._ready = probes.readiness(self, care.ready, self._heard_ready)

    # ------------------------------------------------------------ its life, as the spawner sees it

    def forked(self) -> None:
        """The process exists."""
        seconds = self._care.start_timeout
        if seconds and not self._initialised:
            text = f"__init__ did not return within {seconds:g} s (start_timeout)"
            self._set_timer(seconds, lambda: self._condemn(text))

    def initialised(self) -> None:
        """A worker's __init__ has returned, a program is executed: now it is to become ready.

        Heard again at the end of a program: its closed socket is looked at once more.
        """
        if self._initialised or self._stopped:
            return
        self._initialised = True
        self._set_timer(0, None)
        if self._care.heartbeat:
            self._beating = Heartbeat(
                self.reactor, self._care.heartbeat, ask=self._ping, silent=self._silent
            )
            self._beating.start()
        if self._ready is None or self._is_ready:
            self._spawner.is_ready(self._running)
            return
        assert self._care.ready is not None
        self._set_timer(self._care.ready.timeout, self._not_ready)
        self._ready.start()

    def began(self) -> None:
        """It counts as started: from now on it must stay alive."""
        if self._care.liveness is not None:
            self._alive = probes.liveness(self, self._care.liveness, self._heard_alive)
            self._alive.start()

    def heard(self, message: Pong | Answered) -> None:
        """What the process answered."""
        if isinstance(message, Answered):
            if (heard := self._asked.pop(message.ref, None)) is not None:
                heard(message.problem)
        elif self._beating is not None:
            self._beating.heard(message.serial)

    def stop(self) -> None:
        """Whatever becomes of it, it was asked to end or has ended."""
        self._stopped = True
        self._set_timer(0, None)
        for part in (self._beating, self._ready, self._alive):
            if part is not None:
                part.stop()
        self._beating = self._ready = self._alive = None

    @property
    def waiting(self) -> bool:
        """It runs, and is waited for to be ready."""
        return self._initialised and not self._is_ready and self._ready is not None

    # ------------------------------------------------------------ verdicts

    def _heard_ready(self, problem: str) -> None:
        if problem or self._is_ready:
            return
        self._is_ready = True
        if self._initialised:
            self._set_timer(0, None)
            self._spawner.is_ready(self._running)

    def _not_ready(self) -> None:
        assert self._care.ready is not None and self._ready is not None
        self._condemn(f"not ready after {self._care.ready.timeout:g} s: {self._ready.problem}")

    def _heard_alive(self, problem: str) -> None:
        assert self._care.liveness is not None
        self._failures = self._failures + 1 if problem else 0
        if self._failures >= self._care.liveness.failures:
            self._condemn(f"not alive: {problem} ({self._failures} times in a row)")

    def _silent(self, missed: int) -> None:
        self._condemn(f"hung: its loop did not answer within {self._care.heartbeat:g} s")

    def _condemn(self, text: str) -> None:
        self.stop()
        self._spawner.condemn(self._running, Reason("killed", text))

    def _set_timer(self, seconds: float, then: Callable[[], None] | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if then is None else self.reactor.after(seconds, then)

    # ------------------------------------------------------------ the world of the probes

    def _ping(self, serial: int) -> None:
        self._spawner.tell(self._running, Ping(serial))

    def ask(self, codec: int, request: bytes, heard: Heard) -> End:
        """A call that the worker handles in its turn, whatever its mailroom does meanwhile."""
        self._questions += 1
        ref = self._questions
        self._asked[ref] = heard
        self._spawner.tell(self._running, Ask(ref, codec, request))
        return lambda: self._asked.pop(ref, None)

    def execute(self, command: Sequence[str], heard: Heard) -> End:
        """A command in the surroundings of the child; it leaves nothing running behind it."""
        child = msgspec.structs.replace(
            self._running.child, kind="probe", command=tuple(command), payload=b"", care=None
        )
        return Command(self._spawner, child, heard).stop


class Command:
    """One run of a probe's command."""

    def __init__(self, spawner: Spawner, child: WireChild, heard: Heard) -> None:
        self._spawner = spawner
        self._heard: Heard | None = heard
        self._running = spawner.execute(child, self)

    def began(self, running: Running) -> None:
        """Only its end says anything."""

    def ignored(self, running: Running) -> None:
        """Only its end says anything."""

    def ended(self, running: Running, reason: Reason) -> None:
        """Exit code 0 is a yes."""
        heard, self._heard = self._heard, None
        if heard is not None:
            heard("" if reason.kind == "normal" else reason.text or reason.kind)

    def stop(self) -> None:
        """It has taken too long, or nobody wants to know any more."""
        if self._heard is not None:
            self._heard = None
            self._spawner.kill(self._running)
