"""The worker of a scenario: a GenServer whose whole behaviour comes as arguments.

It asks the runner, who plays its mailroom, which attempt it is, and is told by it to exit.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import Any, Literal

import otp
from tests.conformance.words import nth

RUNNER = "runner"
"""The address under which the runner answers."""
ANSWER_SECONDS_MAX = 60.0
"""How long a start may wait for the runner; a gate is open long before."""
FAILS = "error"
"""The reason of a start that fails in order."""
Kill = Literal["brutal_kill", "infinity"]


class Ask(otp.Request[int], frozen=True):
    """`attempt`: which one am I? `gate`: let me through. `doomed`: I shall exit by myself."""

    what: Literal["attempt", "gate", "doomed"]


class Leave(otp.Message, frozen=True):
    """Exit by yourself, for this reason (a scenario's word)."""

    reason: str


class Actor(otp.GenServer):
    """Starts, stays and stops as a scenario's `behaviour` says (section 2 of its format)."""

    def __init__(
        self,
        init: Sequence[str] = (),
        init_rest: str = "ok",
        stop: Any = "obey",
        run: Sequence[str | None] = (),
        run_rest: str | None = None,
    ) -> None:
        self.stop, self.leaving = stop, False
        attempt = self._ask("attempt")
        self._init(nth({"init": init}, "init", attempt, init_rest))
        reason = nth({"run": run}, "run", attempt, run_rest)
        if reason is not None:
            self._ask("doomed")
            self.send_after(0, Leave(reason))

    def _ask(self, what: Literal["attempt", "gate", "doomed"]) -> int:
        return int(self.call(RUNNER, Ask(what), timeout=ANSWER_SECONDS_MAX))

    def _init(self, outcome: str) -> None:
        if outcome == "gate_error":
            self._ask("gate")
        if outcome == "ignore":
            raise otp.Ignore
        if outcome == "crash":
            signal.raise_signal(signal.SIGKILL)
        if outcome != "ok":
            raise otp.Stop(FAILS)

    def handle_info(self, message: Leave) -> None:
        """Exit by oneself: what happens at a stop from outside is not for this."""
        self.leaving = True
        raise otp.Stop(message.reason)

    def terminate(self, reason: otp.Reason) -> None:
        """Told to stop: at once, late, never, or with another reason."""
        if self.leaving:
            return
        match self.stop:
            case "ignore":
                threading.Event().wait()
            case {"delay_ms": delay}:
                threading.Event().wait(delay / 1000)
            case {"exit_with": other}:
                raise otp.Stop(other)
