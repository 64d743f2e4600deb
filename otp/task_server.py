"""The process of a task, and the supervisor of such processes; see `task`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otp.callers import From
from otp.errors import Stop
from otp.gen_server import GenServer
from otp.messages import Message
from otp.spec import ChildSpec, Supervisor
from otp.task import SUPERVISOR, Release, Run

UNCLAIMED_SECONDS_MAX = 10.0
"""How long a result is kept for whoever may ask again, since a mailroom has died on the way."""


def task_supervisor(id: str = SUPERVISOR, *, shutdown: float | str = "brutal_kill") -> Supervisor:
    """A supervisor for tasks, to be put into a tree. They are not asked to stop but killed, unless
    `shutdown` gives them time; one that fails is not started again and is nobody's restart."""
    child = ChildSpec("task", "otp.task_server:Runner", restart="temporary", shutdown=shutdown)
    return Supervisor(id, strategy="simple_one_for_one", children=[child])


class _Unclaimed(Message, frozen=True, tag="otp.task.Unclaimed"):
    """A task's message to itself: nobody comes for the result."""


class Runner(GenServer):
    """The process of a task: it runs the function when it is asked for its result."""

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], owner: str
    ) -> None:
        self.function, self.arguments = function, arguments
        self.done, self.result = False, None
        if owner:
            self._process.leash(owner)
        self.timer = self.send_after(UNCLAIMED_SECONDS_MAX, _Unclaimed())

    def handle_call(self, request: Run, sender: From[Any]) -> Any:
        if not self.done:
            self.cancel_timer(self.timer)
            self.result = self.function(*self.arguments)
            self.done = True
            self.send_after(UNCLAIMED_SECONDS_MAX, _Unclaimed())
        return self.result

    def handle_cast(self, message: Release) -> None:
        raise Stop("normal")

    def handle_info(self, message: _Unclaimed) -> None:
        raise Stop("normal")
