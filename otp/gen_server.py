"""GenServer: a server in an OS process of its own, and the loop that runs it.

    class Counter(otp.GenServer):
        def __init__(self, start: int = 0) -> None:
            self.count = start

        def handle_call(self, request: Add, sender: otp.From[int]) -> int:
            self.count += request.n
            return self.count

`__init__` runs in the new process; the child is started when it returns. A handler that raises
crashes the server: its caller gets `ServerDown`, its supervisor decides what happens next. When
*not* to use one: for a function that runs once (give the function as `start`), and for state that
nobody else talks to.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from otp import codec
from otp.errors import Ignore, Stop, Undecodable
from otp.frames import CALL, CAST, DOWN, ERROR, EXIT, INFO, PICKLE, REPLY, Envelope, Failure
from otp.messages import NORMAL, SHUTDOWN, Address, Exit, Pid, Reason, Via
from otp.process import Continuation, Process, ShutDown

R = TypeVar("R")

REASON_CHARS_MAX = 2_000
"""How much of an exception's text goes into a reason; a report is not a dump."""


class _NoReply:
    """The type of NoReply."""

    def __repr__(self) -> str:
        return "NoReply"


NoReply: Any = _NoReply()
"""Return it from `handle_call` to reply later, with `sender.reply`."""


class From(Generic[R]):
    """Who called: reply to it now by returning, or later with `reply`."""

    __slots__ = ("_process", "_ref", "_request", "pid")

    def __init__(self, process: Process, envelope: Envelope, request: type) -> None:
        self.pid = Pid(envelope.frm)
        self._ref = envelope.ref
        self._process = process
        self._request = request

    def reply(self, value: R) -> None:
        """Answer the call; at most once. Nothing happens if the caller waits no more."""
        self._process.reply(self.pid, self._ref, self._request, value)


class Forwarded:
    """A message sent to a key (`otp.Via`) that reached the manager of that key's group.

    Settle it once: pass it on, reply to it, or refuse it; its sender waits for one of the three.
    """

    __slots__ = ("_decode", "_envelope", "_process", "via")

    def __init__(self, process: Process, envelope: Envelope, decode: codec.Decoder) -> None:
        via = codec.parse_via(envelope.via)
        assert via is not None, "a message is forwarded because it was sent to a key"
        self.via: Via = via
        self._process, self._envelope, self._decode = process, envelope, decode

    def request(self) -> Any:
        """What was asked, in the types that handle_call accepts. Raises Undecodable for others."""
        try:
            return self._decode(self._envelope.codec, self._envelope.body)
        except Exception as error:  # what a pickle raises is up to the classes in it
            to = codec.wire_address(self.via)
            raise Undecodable(what="message", to=to, problem=str(error)) from error

    def pass_on(self, to: str) -> None:
        """Send it there as if its sender had; the sender goes straight there next time."""
        envelope = self._envelope
        passed = msgspec.structs.replace(envelope, to=to, hops=envelope.hops + 1)
        self._process.post_raw(codec.encode(passed), to)

    def reply(self, value: Any) -> None:
        """Answer a call in the place of whoever should have got it."""
        if self._envelope.kind == CALL:
            envelope = self._envelope
            self._process.post(REPLY, envelope.frm, envelope.ref, codec.encode(value))

    def overloaded(self, limit: str) -> None:
        """Refuse a call, since the queue that it should wait in is full."""
        if self._envelope.kind == CALL:
            failure = Failure("overloaded", limit)
            self._process.fail(self._envelope.frm, self._envelope.ref, failure)


class GenServer:
    """Base of a server. Override what you need; every method runs in the server's own process."""

    trap_exit: ClassVar[bool] = False
    """True: a linked process's end arrives as `otp.Exit` in handle_info instead of ending us."""
    refuses: ClassVar[tuple[type[Exception], ...]] = ()
    """Exceptions that handle_call may raise at its caller without crashing the server."""

    _process: Process

    def handle_call(self, request: Any, sender: From[Any]) -> Any:
        """A call; what is returned is the reply. Annotate `request` with what you accept."""
        raise NotImplementedError(f"{type(self).__name__} takes no calls: got {request!r}")

    def handle_cast(self, message: Any) -> None:
        """A cast: a request that nobody waits for."""
        raise NotImplementedError(f"{type(self).__name__} takes no casts: got {message!r}")

    def handle_info(self, message: Any) -> None:
        """Anything else: `Down`, `Exit`, timers, plain sends. Ignored where not overridden."""

    def handle_drained(self) -> None:
        """Everything that had arrived has been handled; the place to act once for many."""

    def terminate(self, reason: Reason) -> None:
        """Called before the end: at shutdown, after `Stop` and after a crash of a handler."""

    # ------------------------------------------------------------ what a server can do

    @cached_property
    def pid(self) -> Pid:
        """The own process id."""
        return self._process.pid

    @cached_property
    def node(self) -> str:
        """The name of the own node."""
        return self._process.node

    @cached_property
    def path(self) -> str:
        """The own address: the path below the root."""
        return self._process.path

    def call(self, to: Address, request: Any, *, timeout: float = 5.0) -> Any:
        """Ask and wait. Raises CallTimeout, NoProcess, ServerDown, NodeDown, Disconnected,
        Overloaded, or what the other server `refuses` with."""
        return self._process.call(to, request, timeout)

    def send_request(
        self, to: Address, request: Any, then: Continuation, *, timeout: float = 5.0
    ) -> None:
        """Ask and go on; `then(reply, error)` runs later, between two handlers."""
        self._process.send_request(to, request, timeout, then)

    def cast(self, to: Address, message: Any) -> None:
        """Send; it arrives in handle_cast, or nobody hears of it."""
        self._process.cast(to, message)

    def abcast(self, to: Sequence[Address], message: Any) -> None:
        """The same cast to several, encoded once."""
        self._process.abcast(to, message)

    def send(self, to: Address, message: Any) -> None:
        """Send; it arrives in handle_info, or nobody hears of it."""
        self._process.send(to, message)

    def send_after(self, seconds: float, message: Any) -> int:
        """A message to oneself, later, in handle_info."""
        return self._process.send_after(seconds, message)

    def cancel_timer(self, ref: int) -> None:
        """Undo `send_after`."""
        self._process.cancel_timer(ref)

    def monitor(self, to: Address) -> int:
        """Get a `Down` with the returned reference when that process ends, or is not there."""
        return self._process.monitor(to)

    def demonitor(self, ref: int) -> None:
        """Undo `monitor`."""
        self._process.demonitor(ref)

    def link(self, to: Address) -> None:
        """End together with that process, unless one of the two traps exits."""
        self._process.link(to)

    def unlink(self, to: Address) -> None:
        """Undo `link`."""
        self._process.unlink(to)


class Server:
    """Runs one GenServer in this process until it ends."""

    def __init__(
        self, process: Process, cls: type[GenServer], decoders: dict[int, codec.Decoder]
    ) -> None:
        self._process = process
        self._cls = cls
        self._decoders = decoders
        self._server: GenServer
        self._forwards = hasattr(cls, "handle_forward")
        self._dispatch: dict[int, Callable[[Envelope], None]] = {
            CALL: self._call,
            CAST: self._cast,
            INFO: self._info,
            DOWN: self._info,
            EXIT: self._exit,
            REPLY: process.settle,
            ERROR: process.settle,
        }

    def run(self, args: dict[str, Any]) -> Reason:
        """Start, serve, end; the reason is what the supervisor hears."""
        self._server = server = self._cls.__new__(self._cls)
        server._process = self._process  # there already in `__init__`, which may call others
        server.__init__(**args)  # type: ignore[misc]
        self._process.began()
        try:
            reason = self._serve()
        except Exception as error:
            reason = crash_reason(error)
        self._terminate(reason)
        self._process.flush()
        return reason

    def _serve(self) -> Reason:
        process, server = self._process, self._server
        try:
            while not process.finishing:
                process.wait()
                self._drain()
                server.handle_drained()
        except Stop as stop:
            return stop_reason(stop)
        except ShutDown:
            return SHUTDOWN
        except _Killed as killed:
            return killed.reason
        return SHUTDOWN

    def _drain(self) -> None:
        process, dispatch = self._process, self._dispatch
        for _ in range(len(process.mailbox)):
            envelope = process.take()
            if self._forwards and codec.parse_via(envelope.via) is not None:
                message = Forwarded(self._process, envelope, self._decoders[CALL])
                self._server.handle_forward(message)  # type: ignore[attr-defined]
            else:
                dispatch[envelope.kind](envelope)
            if process.finishing:
                return
        for message in process.due():
            self._server.handle_info(message)

    def _call(self, envelope: Envelope) -> None:
        request = self._decoded(envelope, CALL)
        if request is None:
            return
        sender: From[Any] = From(self._process, envelope, type(request))
        try:
            reply = self._server.handle_call(request, sender)
        except self._server.refuses as error:
            self._process.fail(envelope.frm, envelope.ref, codec.refusal(error))
            return
        if reply is not NoReply:
            sender.reply(reply)

    def _cast(self, envelope: Envelope) -> None:
        message = self._decoded(envelope, CAST)
        if message is not None:
            self._server.handle_cast(message)

    def _info(self, envelope: Envelope) -> None:
        message = self._decoded(envelope, INFO)
        if message is not None:
            self._server.handle_info(message)

    def _exit(self, envelope: Envelope) -> None:
        message: Exit = codec.decode_exit(envelope.body)  # our own node made it
        if self._server.trap_exit:
            self._server.handle_info(message)
        elif message.reason.kind != "normal":
            raise _Killed(message.reason)

    def _decoded(self, envelope: Envelope, kind: int) -> Any:
        """The message, or None after the sender (of a call) or the log (else) was told why not."""
        try:
            return self._decoders[kind](envelope.codec, envelope.body)
        except Exception as error:  # what a pickle raises is up to the classes in it
            problem = f"{type(self._server).__name__} does not accept it ({error})"
            if envelope.codec == PICKLE:
                problem = f"{type(self._server).__name__} cannot unpickle it ({error})"
            if kind == CALL:
                self._process.fail(envelope.frm, envelope.ref, Failure("undecodable", problem))
            else:
                print(f"{self._process.path}: dropped a message: {problem}", file=sys.stderr)
            return None

    def _terminate(self, reason: Reason) -> None:
        try:
            self._server.terminate(reason)
        except Exception:
            print(f"{self._process.path}: terminate({reason}) raised:", file=sys.stderr)
            traceback.print_exc()


class _Killed(Exception):
    """An exit signal from a link."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(str(reason))


def stop_reason(stop: Stop) -> Reason:
    """What a supervisor hears of a `Stop`."""
    if stop.reason in ("normal", "shutdown"):
        return NORMAL if stop.reason == "normal" else SHUTDOWN
    kind, _, text = stop.reason.partition(":")
    return Reason("shutdown", text) if kind == "shutdown" else Reason("crash", stop.reason)


def crash_reason(error: BaseException) -> Reason:
    """What a report says of an exception: type, text and where; the traceback goes to stderr."""
    traceback.print_exception(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    try:
        text = str(error)
    except Exception:  # its own fault, and not what ended us
        text = "(it cannot say what)"
    text = text[:REASON_CHARS_MAX].encode(errors="replace").decode()
    return Reason("crash", f"{type(error).__name__}: {text}{where}")


def run_child(
    process: Process, start: Any, args: dict[str, Any], decoders: dict[int, codec.Decoder] | None
) -> Reason:
    """Run what a child spec's `start` names: a GenServer class, or a plain function."""
    try:
        if decoders is not None:
            return Server(process, start, decoders).run(args)
    except Ignore:
        process.ignored()
        return NORMAL
    process.began()
    process.flush()
    start(**args)
    return NORMAL
