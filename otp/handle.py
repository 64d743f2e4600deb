"""What a host holds of a node: control requests, reports, and calls to its processes."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import msgspec

from otp import pickling, wire
from otp.client import Channel, Client, envelope, outcome, socket_in
from otp.codec import decode_envelope
from otp.errors import Disconnected, OtpError
from otp.frames import CALL, ERROR, INFO, REPLY
from otp.messages import (
    AnyReport,
    ChildCounts,
    ChildInfo,
    CountChildren,
    DeleteChild,
    KillProcess,
    NodeInfo,
    ProcessInfo,
    Report,
    RestartChild,
    StartDynamic,
    StopNode,
    Subscribe,
    TerminateChild,
    WhichChildren,
)
from otp.spec import ChildSpec, Supervisor

T = TypeVar("T", bound=Report)

CONTROL_SECONDS_MAX = 30.0
"""How long a control request may take; stopping a tree takes as long as its children do."""
EXPECT_SECONDS = 15.0
"""How long `expect` waits before it says what it saw instead."""

_decode_report = msgspec.msgpack.Decoder(AnyReport).decode


class Control:
    """Requests to a node itself, over its control socket."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @classmethod
    def of(cls, run_dir: str) -> Control:
        """Connect to the node that runs there. Raises NotRunning."""
        return cls(Channel.connect(socket_in(run_dir, "control.sock")))

    def ask(self, request: Any, *, to: str = "node", timeout: float | None = None) -> Any:
        """Ask and wait; raises what the node refuses with, or Disconnected."""
        ref = next(self._channel.refs)
        deadline = time.monotonic() + (timeout or CONTROL_SECONDS_MAX)
        try:
            self._channel.send(envelope(CALL, to, "", ref, request))
            while (frame := self._channel.receive(deadline)) is not None:
                answer = decode_envelope(frame)
                if answer.kind in (REPLY, ERROR) and answer.ref == ref:
                    return outcome(request, to, answer)
        except EOFError as error:
            raise Disconnected(what=type(request).__name__, to=to) from error
        raise OtpError(f"{type(request).__name__}: the node does not answer; is it stopped?")

    def report(self, deadline: float | None = None) -> Any:
        """The next report after `Subscribe`, or None at the deadline. Raises EOFError."""
        while (frame := self._channel.receive(deadline)) is not None:
            answer = decode_envelope(frame)
            if answer.kind == INFO:
                return _decode_report(answer.body)
        return None

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


class Expected(Generic[T]):
    """Waits, at the end of its `with` block, for a report that came since its beginning."""

    report: T

    def __init__(self, control: Control, kind: type[T], path: str | None, seconds: float) -> None:
        self._control, self._kind, self._path = control, kind, path
        self._seconds = seconds
        self._seen: list[Any] = []

    def __enter__(self) -> Expected[T]:
        self._control.ask(Subscribe())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self._control.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + self._seconds
        while (report := self._control.report(deadline)) is not None:
            if isinstance(report, self._kind) and self._path in (None, report.path):
                self.report = report
                return
            self._seen.append(report)
        where = f" of {self._path}" if self._path else ""
        raise TimeoutError(
            f"no {self._kind.__name__}{where} within {self._seconds:g} s; seen: {self._seen}"
        )


class Node:
    """A running node: call its processes, ask its supervisors, hear its reports.

    Use it as a context manager: at its end the tree is stopped in reverse order.
    """

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.client = Client(socket_in(run_dir, "mailroom.sock"))
        self._control: Control | None = None
        self.call = self.client.call
        self.cast = self.client.cast
        self.send = self.client.send

    @property
    def control(self) -> Control:
        """The control connection, made when first needed."""
        if self._control is None:
            self._control = Control.of(self.run_dir)
        return self._control

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the node goes on."""
        self.client.close()
        if self._control is not None:
            self._control.close()
            self._control = None

    # ------------------------------------------------------------ the node

    def processes(self) -> list[ProcessInfo]:
        """Every process of the node, in tree order."""
        return cast(list[ProcessInfo], self.control.ask(NodeInfo()))

    def kill(self, path: str, *, signal: int = 9) -> int:
        """kill -9 the process at this address (also `mailroom`, `zygote`); its OS pid."""
        return cast(int, self.control.ask(KillProcess(path, signal)))

    def expect(
        self, kind: type[T], path: str | None = None, *, timeout: float = EXPECT_SECONDS
    ) -> Expected[T]:
        """`with node.expect(ChildStarted, "root/a") as started:` act; then `started.report`."""
        return Expected(Control.of(self.run_dir), kind, path, timeout)

    def stop(self) -> None:
        """Stop the tree in reverse order, then the node; returns when nothing is left."""
        self.control.ask(StopNode())

    # ------------------------------------------------------------ supervisors

    def start_child(self, supervisor: str, spec: ChildSpec | Supervisor) -> ChildInfo:
        """Add a child and start it. Raises SupervisorError (`reason` is OTP's word), SpecError."""
        return cast(ChildInfo, self.control.ask(wire.start_child(spec), to=supervisor))

    def start_dynamic(self, supervisor: str, label: str, **args: Any) -> ChildInfo:
        """One more child of a simple_one_for_one supervisor, with these further arguments."""
        request = StartDynamic(label, pickling.dumps(args))
        return cast(ChildInfo, self.control.ask(request, to=supervisor))

    def terminate_child(self, supervisor: str, id: str) -> None:
        """Stop a child (simple_one_for_one: by its pid). Raises SupervisorError."""
        self.control.ask(TerminateChild(id), to=supervisor)

    def restart_child(self, supervisor: str, id: str) -> ChildInfo:
        """Start a stopped child again. Raises SupervisorError."""
        return cast(ChildInfo, self.control.ask(RestartChild(id), to=supervisor))

    def delete_child(self, supervisor: str, id: str) -> None:
        """Forget a stopped child. Raises SupervisorError."""
        self.control.ask(DeleteChild(id), to=supervisor)

    def which_children(self, supervisor: str = "/") -> list[ChildInfo]:
        """The children in start order; `/` is the root."""
        return cast(list[ChildInfo], self.control.ask(WhichChildren(), to=supervisor))

    def count_children(self, supervisor: str = "/") -> ChildCounts:
        """How many specs, active children, supervisors, workers."""
        return cast(ChildCounts, self.control.ask(CountChildren(), to=supervisor))
