"""Who sent a message, and how to answer: now, later, or in the place of somebody else."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from otp import codec
from otp.errors import Undecodable
from otp.frames import CALL, REPLY, Envelope, Failure
from otp.messages import Pid, Via
from otp.process import Process

R = TypeVar("R")


class _NoReply:
    """Return it from `handle_call` to reply later, with `sender.reply`."""

    def __repr__(self) -> str:
        return "NoReply"


NoReply: Any = _NoReply()


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

    def refuse(self, error: Exception) -> None:
        """Raise this at the caller, in the place of a reply; its class is best one of `refuses`."""
        self._process.fail(self.pid, self._ref, codec.refusal(error))

    def overloaded(self, limit: str) -> None:
        """Refuse the call, since there is no room for one more: it raises `Overloaded`."""
        self._process.fail(self.pid, self._ref, Failure("overloaded", limit))


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
