"""All that is raised.

Each error names who, what, how long and what may still happen, keeps these as fields, is also the
builtin that one would expect, and survives pickling, since errors cross process boundaries.
`what` is the deed as a person would say it: "call Add", "cast Add", "monitor".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec


def _restore(cls: type[OtpError], args: tuple[Any, ...], state: dict[str, Any]) -> OtpError:
    error = cls.__new__(cls, *args)
    error.args = args  # OSError.__new__ leaves them empty where __init__ is overridden
    error.__dict__.update(state)
    return error


class OtpError(Exception):
    """Base of all errors of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the constructor with the message, which ours do not take.
        return _restore, (type(self), self.args, dict(self.__dict__))


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong in a tree: where, and what would be right.

    Trees from YAML have `file`, `line` and `column` (both from 1); trees from Python have `path`
    ("root/counter.restart").
    """

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    path: str | None = None

    def __str__(self) -> str:
        if self.file is None:
            return f"{self.path}: {self.message}" if self.path else self.message
        if self.line is None:
            return f"{self.file}: {self.message}"
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class SpecError(OtpError, ValueError):
    """A tree cannot be started as it is written; nothing was started. One line per problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


class CallTimeout(OtpError, TimeoutError):
    """No reply came in time; the call may still be carried out."""

    def __init__(self, *, what: str, to: str, seconds: float) -> None:
        self.what, self.to, self.seconds = what, to, seconds
        super().__init__(f"{what} to {to}: no reply in {seconds:g} s; it may still happen")


class NoProcess(OtpError, LookupError):
    """Nobody is registered there; nothing happened."""

    def __init__(self, *, what: str, to: str) -> None:
        self.what, self.to = what, to
        super().__init__(f"{what} to {to}: there is no such process; it did not happen")


class ServerDown(OtpError, ConnectionError):
    """The server ended, for `reason`, before it replied; the call may have happened."""

    def __init__(self, *, what: str, to: str, reason: Any) -> None:
        self.what, self.to, self.reason = what, to, reason
        super().__init__(
            f"{what} to {to}: the server ended before it replied ({reason}); it may have happened"
        )


class NodeDown(OtpError, ConnectionError):
    """The node of the receiver is not connected, or was lost before the reply.

    `sent` is False where there was no connection to send it by: then it did not happen.
    """

    def __init__(self, *, what: str, to: str, node: str, sent: bool = True) -> None:
        self.what, self.to, self.node, self.sent = what, to, node, sent
        how = "was lost before the reply; it may have happened"
        how = how if sent else "is not connected; it did not happen"
        super().__init__(f"{what} to {to}: node {node} {how}")


class Disconnected(OtpError, ConnectionError):
    """The way to the receiver was lost before the reply; it is never sent again by itself."""

    def __init__(self, *, what: str, to: str) -> None:
        self.what, self.to = what, to
        super().__init__(
            f"{what} to {to}: the connection was lost before the reply; it may have happened "
            "and is not sent again"
        )


class Overloaded(OtpError):
    """A bounded queue on the way is full (`limit` says which bound); nothing happened."""

    def __init__(self, *, what: str, to: str, limit: str) -> None:
        self.what, self.to, self.limit = what, to, limit
        super().__init__(
            f"{what} to {to}: the queue is full ({limit}); it did not happen; try again later"
        )


class Undecodable(OtpError, ValueError):
    """The receiver does not accept this message; `problem` says why; nothing happened."""

    def __init__(self, *, what: str, to: str, problem: str) -> None:
        self.what, self.to, self.problem = what, to, problem
        super().__init__(f"{what} to {to}: {problem}; it did not happen")


class TaskFailed(OtpError, RuntimeError):
    """The function of `task` raised, or its process was killed, for `reason`."""

    def __init__(self, *, task: str, reason: Any) -> None:
        self.task, self.reason = task, reason
        super().__init__(f"task {task} failed: {reason}")


class AlreadyRegistered(OtpError, LookupError):
    """Another process, `holder`, has this unique key."""

    def __init__(self, *, registry: str, key: str, holder: str) -> None:
        self.registry, self.key, self.holder = registry, key, holder
        text = f"register {key!r} in {registry!r}: {holder} has it; keys are unique there"
        super().__init__(text)


class StartError(OtpError, RuntimeError):
    """`who` (a child's path, or a node) did not start, for `reason`."""

    def __init__(self, *, who: str, reason: Any) -> None:
        self.who, self.reason = who, reason
        super().__init__(f"{who} did not start: {reason}")


# What a supervisor answers when it refuses, in OTP's words.
REFUSALS = {
    "already_started": "a child with this id is running",
    "already_present": "a child with this id is there but not running; restart or delete it",
    "not_found": "it has no such child",
    "running": "the child is running; terminate it first",
    "restarting": "the child is being restarted; terminate it first",
    "simple_one_for_one": "its children have no ids; name them by pid",
    "bad_spec": "the child spec is not valid",
}


class SupervisorError(OtpError):
    """A supervisor refused a request; `reason` is one word of REFUSALS (or another, unexplained).

    `request` is the name of the request ("delete_child"), `child` the id or pid that it named,
    `detail` more about it, such as the error of a child that did not start.
    """

    def __init__(
        self, *, request: str, supervisor: str, child: str, reason: str, detail: str = ""
    ) -> None:
        self.request, self.supervisor, self.child = request, supervisor, child
        self.reason, self.detail = reason, detail
        text = detail or REFUSALS.get(reason, "")
        tail = f"{reason}: {text}" if text else reason
        super().__init__(f"{request} {child} at {supervisor}: {tail}")


class Unexpected(OtpError, AssertionError):
    """A report came that `expect` was told must not come (`seen`)."""

    def __init__(self, *, what: str, seen: Any) -> None:
        self.what, self.seen = what, seen
        super().__init__(f"{what} was not to be: {seen}")


class InjectedCrash(Exception):
    """What the pytest plugin's `crash` raises in a worker, as if its own code had."""


class Ignore(Exception):
    """Raise it in `__init__` of a GenServer: the child counts as started, without a process."""


class Stop(Exception):
    """Raise it in a handler: the server ends with `reason` after `terminate`.

    "normal", "shutdown" and what begins with "shutdown:" are ends as wished; a transient child is
    then not restarted. Any other reason is a failure.
    """

    def __init__(self, reason: str = "normal") -> None:
        self.reason = reason
        super().__init__(reason)


class NotRunning(OtpError, ConnectionError):
    """No node answers at `where`; `ended` says why the node that was there has ended, if known."""

    def __init__(self, *, where: str, problem: str, ended: str = "") -> None:
        self.where, self.problem, self.ended = where, problem, ended
        known = f"the node at {where} has ended: {ended}"
        super().__init__(
            known if ended else f"no node answers at {where} ({problem}); is it running?"
        )

    def because(self, ended: str) -> NotRunning:
        """The same, with what is known of the node's end."""
        return NotRunning(where=self.where, problem=self.problem, ended=ended)
