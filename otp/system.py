"""A server's answers to `otp.sys`: its state, its statistics, and a trace of its messages."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from otp import codec, proc
from otp.codec import decode_envelope, encode
from otp.frames import CALL, CAST, DOWN, ERROR, EXIT, INFO, PICKLE, REPLY, Envelope, Failure
from otp.gen_server import GenServer
from otp.process import Process
from otp.sys import (
    TRACED_MAX,
    GetState,
    ReplaceState,
    Resume,
    Snapshot,
    Statistics,
    Suspend,
    SystemRequest,
    Trace,
    Traced,
)

STATE_BYTES_MAX = 1024 * 1024
"""The longest state that is shown as it is; of a longer one the beginning of its repr."""
LINE_CHARS_MAX = 300
"""How much of one message a trace shows."""
_KINDS = {
    CALL: "call",
    CAST: "cast",
    INFO: "send",
    REPLY: "reply",
    ERROR: "error",
    DOWN: "down",
    EXIT: "exit",
}
_decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(SystemRequest).decode
_decode_any = msgspec.msgpack.Decoder().decode


class System:
    """What the loop of a server does for those who look at it."""

    def __init__(
        self, process: Process, server: GenServer, decoders: dict[int, codec.Decoder]
    ) -> None:
        self._process, self._server, self._decoders = process, server, decoders
        self._since, self._began = time.time(), time.monotonic()
        self._left = 0
        self._subscriber = ""
        self._table: dict[type, Callable[[Any], Any]] = {
            GetState: lambda _: shown_state(self._server),
            ReplaceState: lambda request: self._server.replace_state(request.state),
            Suspend: lambda _: process.inbox.suspend(),
            Resume: lambda _: process.inbox.resume(),
            Statistics: lambda _: self._statistics(),
            Trace: self._trace,
        }

    def handle(self, envelope: Envelope) -> None:
        """Answer; a hook of the server's that raises is its caller's trouble, not the server's."""
        if envelope.kind != CALL:
            return
        try:
            request = _decode(envelope.body)
            answer = encode(self._table[type(request)](request))
        except Exception as error:  # the user's hooks may raise anything
            text = f"{type(self._server).__name__}: {type(error).__name__}: {error}"
            self._answer(ERROR, envelope, encode(Failure("undecodable", text)))
            return
        self._answer(REPLY, envelope, answer)

    def _answer(self, kind: int, to: Envelope, body: bytes) -> None:
        """What is said to those who look is not part of what they see."""
        trace, self._process.trace = self._process.trace, None
        self._process.post(kind, to.frm, to.ref, body)
        self._process.trace = trace

    # ------------------------------------------------------------ statistics

    def _statistics(self) -> Snapshot:
        process, inbox, now = self._process, self._process.inbox, time.monotonic()
        return Snapshot(
            path=process.path,
            since=self._since,
            up_seconds=now - self._began,
            busy_seconds=max(0.0, now - self._began - process.idle_seconds),
            cpu_seconds=time.process_time(),
            messages_in=inbox.taken,
            messages_out=process.sent,
            waiting=len(inbox.queue) + len(inbox.system),
            waiting_bytes=inbox.bytes,
            timers=process.timers,
            memory=private_bytes(),
            suspended=inbox.suspended,
            traced=self._left > 0,
        )

    # ------------------------------------------------------------ trace

    def _trace(self, request: Trace) -> None:
        self._left = min(max(request.messages, 0), TRACED_MAX)
        self._subscriber = request.to
        self._process.trace = self._departs if self._left else None

    def arrived(self, envelope: Envelope, message: Any) -> None:
        """A message is about to be handled."""
        self._show("in", _KINDS.get(envelope.kind, "?"), envelope.frm, message)

    def timer(self, message: Any) -> None:
        """So is one of the server's own."""
        if self._process.trace is not None:
            self._show("in", "timer", self._process.pid, message)

    def _departs(self, frame: bytes) -> None:
        envelope = decode_envelope(frame)
        kind = _KINDS.get(envelope.kind, "?")
        pickled = envelope.codec == PICKLE
        body = f"{len(envelope.body)} bytes" if pickled else _decode_any(envelope.body)
        self._show("out", kind, envelope.to, body)

    def _show(self, way: str, kind: str, process: str, message: Any) -> None:
        text = repr(message)[:LINE_CHARS_MAX]
        path, trace, self._process.trace = self._process.path, self._process.trace, None
        try:
            if self._subscriber:
                self._process.send(self._subscriber, Traced(path, way, kind, process, text))
            else:
                arrow = "<-" if way == "in" else "->"
                print(f"{path}: {arrow} {kind} {process} {text}", file=sys.stderr, flush=True)
        finally:
            self._left -= 1
            self._process.trace = trace if self._left > 0 else None


def shown_state(server: GenServer) -> Any:
    """The state in plain types, bounded."""
    state = server.inspect_state()
    try:
        plain = msgspec.to_builtins(state, enc_hook=repr, str_keys=True)
        if len(encode(plain)) <= STATE_BYTES_MAX:
            return plain
    except (TypeError, ValueError, OverflowError, RecursionError):
        return repr(state)[:STATE_BYTES_MAX]
    return repr(state)[:STATE_BYTES_MAX]


def private_bytes() -> int:
    """The memory of this process that it shares with nobody; where that is not known, its peak."""
    try:
        return proc.memory(os.getpid(), "Private_Clean", "Private_Dirty", "Private_Hugetlb")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
