"""The loop that runs a GenServer in its process, from `__init__` to `terminate`.

Between two handlers it does, in this order: what a handler wants to continue with, messages in the
order of their arrival, timers that are due, the idle timeout. System messages (`otp.sys`) are for
the loop itself, also while the server is suspended.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from otp import codec
from otp.callers import Forwarded, From, NoReply
from otp.endings import Killed, ShutDown
from otp.errors import Ignore, Stop
from otp.frames import (
    CALL,
    CAST,
    DOWN,
    ERROR,
    EXIT,
    INFO,
    PICKLE,
    REPLY,
    SYSTEM,
    Envelope,
    Failure,
)
from otp.gen_server import GenServer
from otp.hibernation import give_back
from otp.inbox import ENVELOPE_BYTES
from otp.messages import NORMAL, SHUTDOWN, Exit, Reason, Timeout, stop_reason
from otp.process import Process
from otp.system import System

REASON_CHARS_MAX = 2_000
"""How much of an exception's text goes into a reason; a report is not a dump."""


class Server:
    """Runs one GenServer in this process until it ends."""

    def __init__(
        self, process: Process, cls: type[GenServer], decoders: dict[int, codec.Decoder]
    ) -> None:
        self._process, self._inbox = process, process.inbox
        self._cls = cls
        self._decoders = decoders
        self._server: GenServer
        self._system: System
        self._forwards = hasattr(cls, "handle_forward")
        self._quiet_since: float | None = None
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
        process = self._process
        process.traps_exits = self._cls.trap_exit
        self._server = server = self._cls.__new__(self._cls)
        server._process = process  # there already in `__init__`, which may call others
        self._system = System(process, server, self._decoders)
        server.__init__(**args)  # type: ignore[misc]
        try:
            process.began()  # from here on it ends as a server does, with `terminate`
            reason = self._serve()
        except Exception as error:
            reason = crash_reason(error)
        process.ending()
        reason = self._terminate(reason)
        process.flush()
        return reason

    def _serve(self) -> Reason:
        try:
            self._serve_until_told()
        except Stop as stop:
            return stop_reason(stop.reason)
        except ShutDown:
            return SHUTDOWN
        except Killed as killed:
            return killed.reason
        return SHUTDOWN

    def _serve_until_told(self) -> None:
        process, server, inbox = self._process, self._server, self._inbox
        self._quiet_since = time.monotonic()
        self._continue()
        while not process.finishing:
            self._wait()
            if inbox.suspended:
                self._drain_system()
                continue
            if self._drain():
                self._quiet_since = time.monotonic()
            elif self._idle_too_long():
                self._quiet_since = None
                server.handle_info(Timeout())
                self._continue()
            server.handle_drained()
            self._continue()

    # ------------------------------------------------------------ waiting

    def _wait(self) -> None:
        server, until = self._server, None
        if server._otp_hibernates and not self._inbox.waiting:
            server._otp_hibernates = False
            self._process.flush()
            give_back()
        if server.idle_timeout is not None and self._quiet_since is not None:
            until = self._quiet_since + server.idle_timeout
        self._process.wait(None if self._inbox.suspended else until)

    def _idle_too_long(self) -> bool:
        """Nothing has come for so long; said once, until something comes again."""
        seconds = self._server.idle_timeout
        if seconds is None or self._quiet_since is None:
            return False
        return time.monotonic() >= self._quiet_since + seconds

    def _continue(self) -> None:
        """What a handler wants to go on with runs before any other message."""
        continuing = self._server._otp_continuing
        while continuing:
            self._server.handle_continue(continuing.popleft())

    # ------------------------------------------------------------ messages

    def _drain(self) -> bool:
        """Handle what has arrived and the timers that are due; True if there was any."""
        process, dispatch, inbox = self._process, self._dispatch, self._inbox
        continuing, some, queue = self._server._otp_continuing, False, inbox.queue
        for _ in range(len(queue)):
            envelope = queue.popleft()  # as `inbox.take` does, without a call for each message
            inbox.bytes -= len(envelope.body) + ENVELOPE_BYTES
            inbox.taken += 1
            if envelope.codec == SYSTEM:
                self._system.handle(envelope)
                if inbox.suspended:
                    return some
                continue
            some = True
            if self._forwards and codec.parse_via(envelope.via) is not None:
                message = Forwarded(process, envelope, self._decoders[CALL])
                self._server.handle_forward(message)  # type: ignore[attr-defined]
            else:
                dispatch[envelope.kind](envelope)
            if continuing:
                self._continue()
            if process.finishing:
                return some
        for item in process.due():
            some = True
            self._system.timer(item)
            self._server.handle_info(item)
            self._continue()
        return some

    def _drain_system(self) -> None:
        """Suspended: whoever looks at us is answered, all else waits in its order."""
        while self._inbox.system and self._inbox.suspended:
            self._system.handle(self._inbox.take())

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
            raise Killed(message.reason)

    def _decoded(self, envelope: Envelope, kind: int) -> Any:
        """The message, or None after the sender (of a call) or the log (else) was told why not."""
        try:
            message = self._decoders[kind](envelope.codec, envelope.body)
        except Exception as error:  # what a pickle raises is up to the classes in it
            self._refuse(envelope, kind, error)
            return None
        if self._process.trace is not None:
            self._system.arrived(envelope, message)
        return message

    def _refuse(self, envelope: Envelope, kind: int, error: Exception) -> None:
        problem = f"{type(self._server).__name__} does not accept it ({error})"
        if envelope.codec == PICKLE:
            problem = f"{type(self._server).__name__} cannot unpickle it ({error})"
        if kind == CALL:
            self._process.fail(envelope.frm, envelope.ref, Failure("undecodable", problem))
        else:
            print(f"{self._process.path}: dropped a message: {problem}", file=sys.stderr)

    # ------------------------------------------------------------ the end

    def _terminate(self, reason: Reason) -> Reason:
        """The last word: as in OTP, a `terminate` that fails is why the server has ended."""
        try:
            self._server.terminate(reason)
        except Stop as stop:
            return stop_reason(stop.reason)
        except Exception as error:
            print(f"{self._process.path}: terminate({reason}) raised:", file=sys.stderr)
            return crash_reason(error)
        return reason


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
