"""Stopping, starting and restarting parts of a running node, as a person asks for it.

Each is a request to the supervisor above, in OTP's way: what is stopped stays stopped, its strategy
is not asked, and it costs no restart of the budget.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import cast

from otp.command import places
from otp.command.places import Place
from otp.errors import Disconnected, NoProcess, OtpError, SupervisorError
from otp.handle import Control
from otp.messages import (
    ChildInfo,
    NodeInfo,
    ProcessInfo,
    RestartChild,
    StopNode,
    TerminateChild,
)

ANSWER_SECONDS_MAX = 10.0
"""How long a node may take for an answer that needs no waiting."""


class Lifecycle:
    """Deeds on one node within `seconds` in all; `said` hears of each that is done."""

    def __init__(
        self, control: Control, seconds: float, said: Callable[[str, ChildInfo | None], None]
    ) -> None:
        self._control, self._said = control, said
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def rows(self) -> list[ProcessInfo]:
        """The node's processes. Raises OtpError for a node that does not answer."""
        rows: list[ProcessInfo] = self._control.ask(NodeInfo(), timeout=ANSWER_SECONDS_MAX)
        return rows

    def find(self, path: str) -> Place:
        """What is meant by the path. Raises OtpError."""
        return places.find(self.rows(), path)

    # ------------------------------------------------------------ deeds

    def stop_node(self) -> int:
        """Stop everything, in reverse order; returns the node's pid when that is gone too."""
        pid = self.rows()[0].pid
        watched = _watch(pid)
        try:
            self._ask(StopNode(), "node", "the node")
        except Disconnected:
            pass  # it ended before it could answer: that is what was asked for
        finally:
            if watched is not None:
                _await_end(watched, self._left())
        return pid

    def stop(self, place: Place) -> None:
        """Stop one child and all below it; it stays stopped. Raises OtpError."""
        supervisor = _above(place)
        try:
            self._ask(TerminateChild(place.id), supervisor, place.row.path)
        except SupervisorError as error:
            if error.reason != "simple_one_for_one" or not place.row.process:
                raise _refused(error, place) from error
            self._ask(TerminateChild(place.row.process), supervisor, place.row.path)
        self._said(place.row.path, None)

    def start(self, place: Place) -> ChildInfo:
        """Start a child that has no process. Raises OtpError."""
        try:
            info: ChildInfo = self._ask(RestartChild(place.id), _above(place), place.row.path)
        except SupervisorError as error:
            raise _refused(error, place) from error
        self._said(place.row.path, info)
        return info

    def restart(self, place: Place) -> None:
        """Stop it and all below it, then start it; the root: all its children, likewise."""
        rows = self.rows()
        if place.row.path == places.root_of(rows).path:
            children = places.below(rows, place)
            for child in children:
                _refuse_what_cannot_come_back(child)
            for child in reversed(children):
                self.stop(child)
            for child in children:
                self.start(child)
            return
        _refuse_what_cannot_come_back(place)
        self.stop(place)
        self.start(place)

    def roll(self, place: Place) -> None:
        """Restart the children of a supervisor one after the other; those that run.

        Stops at the first that does not come back, which `restart` then raises.
        """
        if place.row.type != "supervisor":
            self.restart(place)
            return
        children = places.below(self.rows(), place)
        running = [child for child in children if child.row.state != "undefined"]
        for child in running:
            _refuse_what_cannot_come_back(child)
        for child in running:
            self.restart(child)

    def _ask(self, request: object, to: str, what: str) -> ChildInfo:
        try:
            answer = self._control.ask(request, to=to, timeout=max(self._left(), 0.001))
            return cast(ChildInfo, answer)
        except NoProcess as error:
            raise OtpError(f"the supervisor of {what} does not run: start it first") from error
        except (Disconnected, SupervisorError):
            raise
        except OtpError as error:
            text = f"{what} is not done after {self._seconds:g} s; it goes on, `otp ps` shows it"
            raise OtpError(text) from error

    def _left(self) -> float:
        return self._deadline - time.monotonic()


def _above(place: Place) -> str:
    """The address of the supervisor above. Raises OtpError where there is none."""
    if place.supervisor is not None:
        return place.supervisor
    path, row = place.row.path, place.row
    if row.type == "supervisor" and place.address == "/":
        raise OtpError(f"{path} is the root: `otp stop` without PATH stops the node")
    raise OtpError(f"{path} is a part of the node itself, not of its tree: `otp stop` stops both")


def _refuse_what_cannot_come_back(place: Place) -> None:
    path = place.row.path
    if place.row.dynamic:
        raise OtpError(
            f"{path} is one of many of one template, and would not come back: `otp kill` has its "
            "supervisor restart it, `otp stop` ends it"
        )
    if place.row.restart == "temporary":
        raise OtpError(f"{path} is temporary: once stopped, it is forgotten; `otp stop` ends it")


def _refused(error: SupervisorError, place: Place) -> OtpError:
    """In words for somebody who sees paths, not requests."""
    path = place.row.path
    if error.reason == "start_failed":
        return OtpError(
            f"{path} did not start: {error.detail}; it is stopped, `otp start` tries again"
        )
    texts = {
        "running": f"{path} runs already; `otp restart` restarts it",
        "restarting": f"{path} is being restarted already; `otp stop` ends that",
        "not_found": f"{path} is gone",
        "simple_one_for_one": f"{path} is one of many of one template; only its program starts it",
    }
    return OtpError(texts.get(error.reason) or str(error))


def _watch(pid: int) -> int | None:
    """A descriptor that tells of the end of a process; None if that has come already."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _await_end(watched: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    poll.poll(max(0.0, seconds) * 1000)
    os.close(watched)
