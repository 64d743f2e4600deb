"""What a host holds of a node: control requests, reports, and calls to its processes."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import msgspec

from otp import pickling, wire
from otp.client import Channel, Client, envelope, outcome, socket_in
from otp.client_desk import ClientDesk
from otp.codec import decode_envelope
from otp.errors import Disconnected, NoProcess, OtpError
from otp.expect import EXPECT_SECONDS, Expected, ExpectedNone, Wanted
from otp.frames import CALL, ERROR, INFO, REPLY
from otp.groups import GroupView
from otp.messages import (
    Address,
    AnyReport,
    ChildCounts,
    ChildInfo,
    CountChildren,
    DeleteChild,
    GetChildSpec,
    KillProcess,
    NodeInfo,
    ProcessInfo,
    Report,
    RestartChild,
    StartDynamic,
    StopNode,
    TerminateChild,
    WhichChildren,
    WireChild,
    WireSupervisor,
)
from otp.naming import FindsNames
from otp.spec import ChildSpec, Supervisor
from otp.sys import GetState
from otp.task import StartsTasks

T = TypeVar("T", bound=Report)

CONTROL_SECONDS_MAX = 30.0
"""How long a control request may take; stopping a tree takes as long as its children do."""
REPORTS_MAX = 10_000
"""Reports kept that come while a question is asked; of more than that the oldest are forgotten."""

_decode_report = msgspec.msgpack.Decoder(AnyReport).decode


class Control:
    """Requests to a node itself, over its control socket; threads ask one after the other."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._reports: deque[bytes] = deque(maxlen=REPORTS_MAX)
        self._one_at_a_time = threading.Lock()

    @classmethod
    def of(cls, run_dir: str) -> Control:
        """Connect to the node that runs there. Raises NotRunning."""
        return cls(Channel.connect(socket_in(run_dir, "control.sock")))

    def ask(self, request: Any, *, to: str = "node", timeout: float | None = None) -> Any:
        """Ask and wait; raises what the node refuses with, or Disconnected."""
        with self._one_at_a_time:
            return self._ask(request, to, time.monotonic() + (timeout or CONTROL_SECONDS_MAX))

    def _ask(self, request: Any, to: str, deadline: float) -> Any:
        ref = next(self._channel.refs)
        try:
            self._channel.send(envelope(CALL, to, "", ref, request))
            while (frame := self._channel.receive(deadline)) is not None:
                answer = decode_envelope(frame)
                if answer.kind in (REPLY, ERROR) and answer.ref == ref:
                    return outcome(request, to, answer)
                if answer.kind == INFO:
                    self._reports.append(answer.body)
        except EOFError as error:
            raise Disconnected(what=type(request).__name__, to=to) from error
        raise OtpError(f"{type(request).__name__}: the node does not answer; is it stopped?")

    def report(self, deadline: float | None = None) -> Any:
        """The next report after `Subscribe`, or None at the deadline. Raises EOFError."""
        while not self._reports:
            frame = self._channel.receive(deadline)
            if frame is None:
                return None
            answer = decode_envelope(frame)
            if answer.kind == INFO:
                self._reports.append(answer.body)
        return _decode_report(self._reports.popleft())

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


class Node(StartsTasks, FindsNames):
    """A running node: call its processes, ask its supervisors, hear its reports.

    Use it as a context manager: at its end the tree is stopped in reverse order. Threads may share
    it. A process forked from this one, or given it by multiprocessing, has a handle of its own.
    """

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self._lock = threading.Lock()
        _nodes.add(self)
        self.client = Client(socket_in(run_dir, "mailroom.sock"))
        self._control: Control | None = None
        self.call = self.client.call
        self.cast = self.client.cast
        self.send = self.client.send
        self.lane = self.client.lane
        self.whereis = self.client.whereis
        self.nodes = self.client.nodes

    @property
    def control(self) -> Control:
        """The control connection, made when first needed."""
        with self._lock:
            if self._control is None:
                self._control = Control.of(self.run_dir)
            return self._control

    def __repr__(self) -> str:
        return f"<otp node at {self.run_dir}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """What travels to another process is the way to the node, and not its end."""
        return Node, (self.run_dir,)

    def after_fork(self) -> None:
        """In a forked child: the connection to the node stays the parent's."""
        self._lock = threading.Lock()
        if self._control is not None:
            self._control.close()
            self._control = None
        if "_otp_desk" in vars(self):
            self._otp_desk.after_fork()
            del self._otp_desk

    @cached_property
    def _otp_desk(self) -> ClientDesk:
        return ClientDesk(self.client, self.run_dir, lambda: Control.of(self.run_dir))

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
        """Close the connections; the node goes on. Tasks that were started here are killed."""
        self.client.close()
        if "_otp_desk" in vars(self):
            self._otp_desk.close()
            del self._otp_desk
        if self._control is not None:
            self._control.close()
            self._control = None

    # ------------------------------------------------------------ the node

    def processes(self) -> list[ProcessInfo]:
        """Every process of the node, in tree order."""
        return cast(list[ProcessInfo], self.control.ask(NodeInfo()))

    def kill(self, path: str, *, signal: int = 9) -> int:
        """kill -9 the process at this address (also `mailroom`, `zygote`); its OS pid.

        `signal`: another one instead, 0 for none. Raises NoProcess.
        """
        try:
            return cast(int, self.control.ask(KillProcess(path, signal)))
        except NoProcess:
            raise NoProcess(what="kill", to=path) from None

    def get_state(self, address: Address, *, timeout: float = 5.0) -> Any:
        """The state of a server as its `inspect_state` shows it; see `otp.sys` for the rest."""
        return self.call(address, GetState(), timeout=timeout)

    @cached_property
    def pg(self) -> GroupView:
        """The process groups of this node; see `otp.groups`."""
        return GroupView(self._otp_ask)

    def _otp_ask(self, to: str, request: Any) -> Any:
        return self.client.call(to, request)

    def _otp_tell(self, to: str, message: Any) -> None:
        self.client.send(to, message)

    def expect(
        self,
        kind: type[T],
        path: str | None = None,
        *,
        count: int = 1,
        never: Sequence[Wanted] = (),
        timeout: float = EXPECT_SECONDS,
    ) -> Expected[T]:
        """`with node.expect(ChildStarted, "root/a") as started:` act; then `started.report`.

        `count` such reports are waited for (`started.reports`). The first of `never` (kinds, or
        pairs of a kind and a path) that comes before them raises Unexpected.
        """
        wanted = [(kind, path)] * count
        return Expected(Control.of(self.run_dir), wanted, never=never, timeout=timeout)

    def expect_each(
        self, *wanted: Wanted, never: Sequence[Wanted] = (), timeout: float = EXPECT_SECONDS
    ) -> Expected[Report]:
        """Wait for several kinds: `node.expect_each((ChildExited, "root/a"), GaveUp)`.

        They may come in any order; `reports` has them in the order in which they are named.
        """
        return Expected(Control.of(self.run_dir), wanted, never=never, timeout=timeout)

    def expect_none(self, *never: Wanted, within: float = 0.0) -> ExpectedNone:
        """`with node.expect_none(GaveUp):` act; Unexpected if there was such a report.

        What the node reports in the `within` seconds after the block counts as well.
        """
        return ExpectedNone(Control.of(self.run_dir), never, within=within)

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

    def get_childspec(self, supervisor: str, id: str) -> WireChild | WireSupervisor:
        """What a child is started from, as the node holds it. Raises SupervisorError (not_found).

        Under simple_one_for_one, `id` is the template's or the pid of any child.
        """
        asked = self.control.ask(GetChildSpec(id), to=supervisor)
        return cast(WireChild | WireSupervisor, asked)


_nodes: weakref.WeakSet[Node] = weakref.WeakSet()


def _after_fork() -> None:
    for node in list(_nodes):
        node.after_fork()


os.register_at_fork(after_in_child=_after_fork)
