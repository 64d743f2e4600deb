"""Waiting for what must be reported, and looking out for what must not.

    with node.expect(otp.ChildStarted, "root/counter") as started:
        node.kill("counter")
    print(started.report.pid)

The block acts; reports count from its beginning on, and its end waits for them, with a deadline.
So nothing is missed that comes quickly, and nobody sleeps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from otp.errors import Disconnected, Unexpected
from otp.messages import Report, Subscribe

T = TypeVar("T", bound=Report)
Wanted: TypeAlias = "type[Report] | tuple[type[Report], str | None]"
"""A kind of report, of anybody's or (with a path) of one child's."""

EXPECT_SECONDS = 15.0
"""How long `expect` waits before it says what it saw instead."""


class Reports(Protocol):
    """A connection to a node by which its reports come."""

    def ask(self, request: Any, *, to: str = "node", timeout: float | None = None) -> Any: ...
    def report(self, deadline: float | None = None) -> Any: ...
    def close(self) -> None: ...


class _Watch:
    """Sorts reports: those waited for, in the order in which they were named, and the others."""

    def __init__(self, wanted: Sequence[Wanted], never: Sequence[Wanted]) -> None:
        self._wanted, self._never = [_pair(w) for w in wanted], [_pair(n) for n in never]
        self._found: dict[int, Report] = {}
        self.seen: list[Report] = []

    def add(self, report: Report) -> None:
        """Take one in. Raises Unexpected."""
        self.seen.append(report)
        for kind, path in self._never:
            if _matches(report, kind, path):
                raise Unexpected(what=_words(kind, path), seen=report)
        for index, (kind, path) in enumerate(self._wanted):
            if index not in self._found and _matches(report, kind, path):
                self._found[index] = report
                return

    @property
    def complete(self) -> bool:
        return len(self._found) == len(self._wanted)

    @property
    def found(self) -> list[Report]:
        """Those that came, in the order in which they were named."""
        return [self._found[index] for index in sorted(self._found)]

    def missing(self) -> str:
        left = [_words(*w) for i, w in enumerate(self._wanted) if i not in self._found]
        return ", ".join(left)


class Expected(Generic[T]):
    """Waits, at the end of its `with` block, for reports that came since its beginning.

    Then `reports` holds them in the order in which they were named, and `report` the first. Raises
    TimeoutError with what came instead, and Unexpected at the first that must never come.
    """

    def __init__(
        self,
        source: Reports,
        wanted: Sequence[Wanted],
        *,
        never: Sequence[Wanted] = (),
        timeout: float = EXPECT_SECONDS,
    ) -> None:
        self._source, self._seconds = source, timeout
        self._watch = _Watch(wanted, never)

    @property
    def report(self) -> T:
        """The first of those waited for."""
        return self.reports[0]

    @property
    def reports(self) -> list[T]:
        """All that were waited for."""
        return self._watch.found  # type: ignore[return-value]

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self.close()

    def begin(self) -> None:
        """From now on reports count."""
        try:
            self._source.ask(Subscribe())
        except BaseException:
            self.close()
            raise

    def wait(self) -> None:
        """Wait for what is still missing. Raises TimeoutError, Unexpected."""
        if not self.came(time.monotonic() + self._seconds):
            raise self.too_late()

    def came(self, deadline: float) -> bool:
        """Whether all came until then (monotonic). Raises Unexpected."""
        watch = self._watch
        while not watch.complete:
            report = _next(self._source, deadline, watch)
            if report is None:
                return False
            watch.add(report)
        return True

    def too_late(self) -> TimeoutError:
        """What there is to say where they did not come in time."""
        text = f"no {self._watch.missing()} within {self._seconds:g} s"
        return TimeoutError(f"{text}; seen: {self._watch.seen}")

    def close(self) -> None:
        """Listen no more."""
        self._source.close()


class ExpectedNone(Expected[Report]):
    """At the end of its `with` block: Unexpected if such a report has come since its beginning.

    All counts that the node has reported by then; what comes in the `within` seconds after, too.
    """

    def __init__(self, source: Reports, never: Sequence[Wanted], *, within: float = 0.0) -> None:
        super().__init__(source, (), never=never, timeout=within)

    def wait(self) -> None:
        """Look at all that was reported so far, and for `within` seconds at what still comes."""
        deadline = time.monotonic() + self._seconds
        while (report := _next(self._source, deadline, self._watch)) is not None:
            self._watch.add(report)
        self._source.ask(Subscribe())  # the answer comes after all that was reported before it
        while (report := self._source.report(time.monotonic())) is not None:
            self._watch.add(report)


def _next(source: Reports, deadline: float, watch: _Watch) -> Any:
    try:
        return source.report(deadline)
    except EOFError as error:
        what = f"waiting for {watch.missing() or 'reports'} (seen: {watch.seen})"
        raise Disconnected(what=what, to="node") from error


def _pair(wanted: Wanted) -> tuple[type[Report], str | None]:
    return wanted if isinstance(wanted, tuple) else (wanted, None)


def _matches(report: Report, kind: type[Report], path: str | None) -> bool:
    return isinstance(report, kind) and path in (None, report.path)


def _words(kind: type[Report], path: str | None) -> str:
    return f"{kind.__name__} of {path}" if path else kind.__name__
