"""A node's tree turned into another one while it runs, change by change.

Each change is done on the processes first, by the requests that anybody may make, and is then a
fact: the declared tree is at every moment what the supervisors know. A start that fails ends it:
what was done stays, the child that failed is stopped and is declared as it was, the rest is as it
was. So `otp diff` afterwards shows what is left, and the next reload goes on there.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Protocol

from otp.amendment import Amend
from otp.codec import encode
from otp.difference import Add, AnyChange, Path, Remove, Replace, apply, plan, spec_at
from otp.frames import Failure
from otp.messages import Reloaded, RestartChild, TerminateChild, WireSupervisor
from otp.replicas import expanded
from otp.supervisor import Unit, as_child, as_flags

Answered = Any
"""What a supervisor answers, or the Failure with which it refuses."""
Steps = Generator[tuple[Path, Any], Answered, None]
"""(supervisor, request) out, its answer in."""


class Owner(Protocol):
    """What a reload needs of its node."""

    declared: WireSupervisor

    def supervisor_request(self, address: str, request: Any, responder: Any) -> None: ...
    def unit_at(self, address: str) -> Unit | None: ...


class _Failed(Exception):
    """A change could not be carried out, for this reason."""


class Reloading:
    """One reload, from the plan to `finished`, which is called with how far it came."""

    def __init__(
        self, owner: Owner, new: WireSupervisor, finished: Callable[[Reloaded], None]
    ) -> None:
        self._owner, self._finished = owner, finished
        old = expanded(owner.declared)
        self._changes = plan(old, new)
        owner.declared = old  # the same, with the members of groups, which change one by one
        self._done = 0
        self._steps = self._run()
        self._answers: deque[Answered] = deque()
        self._busy = False

    def begin(self) -> None:
        """Start with the first change."""
        self._go_on(None)

    def _go_on(self, answer: Answered) -> None:
        """An answer may come within the call that asks for it: not one within the other."""
        self._answers.append(answer)
        if self._busy:
            return
        self._busy = True
        while self._answers:
            self._step(self._answers.popleft())
        self._busy = False

    def _step(self, answer: Answered) -> None:
        try:
            path, request = self._steps.send(answer)
        except StopIteration:
            self._finish("")
        except _Failed as error:
            self._finish(str(error))
        else:
            self._owner.supervisor_request("/".join(path) or "/", request, _Once(self._go_on))

    def _finish(self, problem: str) -> None:
        self._finished(Reloaded(len(self._changes), self._done, problem))

    # ------------------------------------------------------------ one change after the other

    def _run(self) -> Steps:
        for change in self._changes:
            yield from self._do(change)
            self._done += 1

    def _do(self, change: AnyChange) -> Steps:
        after = apply(self._owner.declared, change)
        match change:
            case Remove(path, id):
                yield from self._stop(path, id)
                yield from self._declare(path, after)
            case Add(path, _, spec) | Replace(path, spec):
                yield from self._stop(path, spec.id)
                yield from self._start(path, spec.id, after)
            case _:
                yield from self._declare(change.supervisor, after)

    def _stop(self, path: Path, id: str) -> Steps:
        answer = yield path, TerminateChild(id)
        if isinstance(answer, Failure) and _word(answer) not in ("not_found", "noproc"):
            raise _Failed(f"{self._shown(path, id)} could not be stopped: {answer.text}")

    def _start(self, path: Path, id: str, after: WireSupervisor) -> Steps:
        before = self._owner.declared
        yield from self._declare(path, after, fresh=id)
        answer = yield path, RestartChild(id)
        if not isinstance(answer, Failure) or _word(answer) == "noproc":
            return
        self._owner.declared = before  # also if there is nobody left to be told
        was_there = any(child.id == id for child in spec_at(before, path).children)
        yield from self._declare(path, before, fresh=id if was_there else "")
        left = "it is stopped, as it was declared before" if was_there else "nothing is left of it"
        text = answer.text.removeprefix("start_failed: ")
        raise _Failed(f"{self._shown(path, id)} did not start: {text}; {left}")

    def _declare(self, path: Path, tree: WireSupervisor, fresh: str = "") -> Steps:
        """Tell the supervisor at the path, and those above, whose spec of it is another now."""
        for length in range(len(path), -1, -1):
            here = path[:length]
            spec = spec_at(tree, here)
            new = (fresh,) if fresh and here == path else ()
            children = tuple(as_child(child, spec) for child in spec.children)
            answer = yield here, Amend(as_flags(spec), children, new)
            if isinstance(answer, Failure) and not here and _word(answer) == "noproc":
                raise _Failed("the tree has ended, or was started again, meanwhile")
            if isinstance(answer, Failure) and _word(answer) != "noproc":
                raise _Failed(f"{self._shown(here)} does not take it: {answer.text}")
            if (unit := self._owner.unit_at("/".join(here) or "/")) is not None:
                unit.spec = spec
        self._owner.declared = tree

    def _shown(self, path: Path, *id: str) -> str:
        return "/".join((self._owner.declared.id, *path, *id))


class _Once:
    """Where a supervisor's answer goes."""

    def __init__(self, go_on: Callable[[Answered], None]) -> None:
        self._go_on = go_on

    def reply(self, value: Any) -> None:
        self._go_on(value)

    def fail(self, failure: Failure) -> None:
        self._go_on(failure)


def _word(failure: Failure) -> str:
    """OTP's word for why not."""
    return failure.text.partition(":")[0] if failure.kind == "supervisor" else failure.kind


def digest(tree: WireSupervisor) -> bytes:
    """What two trees share only if they are equal."""
    return hashlib.sha256(encode(tree)).digest()
