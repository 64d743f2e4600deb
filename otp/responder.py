"""A node's answer to one call that came through its mailroom."""

from __future__ import annotations

from typing import Any, Protocol

from otp.codec import encode
from otp.frames import ERROR, MSGPACK, REPLY, Control, Envelope, Failure, Post


class Mailroom(Protocol):
    """The way back."""

    def tell_mailroom(self, message: Control) -> bool: ...


class Responder:
    """Answers one call to a supervisor, or to the node itself, now or later."""

    def __init__(self, mailroom: Mailroom, node: str, envelope: Envelope) -> None:
        self._mailroom, self._node, self._envelope = mailroom, node, envelope

    def give(self, answer: Any) -> None:
        """The reply, or a Failure."""
        if isinstance(answer, Failure):
            self.fail(answer)
        else:
            self.reply(answer)

    def reply(self, value: Any) -> None:
        self._post(REPLY, encode(value))

    def fail(self, failure: Failure) -> None:
        self._post(ERROR, encode(failure))

    def _post(self, kind: int, body: bytes) -> None:
        to = self._envelope
        frame = Envelope(kind, to.frm, self._node, to.ref, 0, 0, MSGPACK, "", body)
        self._mailroom.tell_mailroom(Post(encode(frame)))
