"""What is asked on the control socket, without a node."""

from __future__ import annotations

from typing import Any, cast

from otp.frames import CALL, MSGPACK, Envelope
from otp.messages import Subscribe
from otp.node_requests import Requests


class Owner:
    """A node and its mailroom, and whoever asks: what happens to them, in order."""

    def __init__(self) -> None:
        self.mailroom = self
        self.log: list[str] = []

    def hear(self) -> None:
        self.log.append("heard")

    def reply(self, value: object) -> None:
        self.log.append("replied")


def test_what_the_mailroom_has_said_comes_before_what_is_asked_now() -> None:
    """A monitor set by a call, then a stop of the process: the monitor tells why it ended."""
    owner: Any = Owner()
    nothing = cast(Any, None)
    requests = Requests(owner, nothing, nothing, nothing)
    requests.handle(Envelope(CALL, "", "", 1, 0, 0, MSGPACK, "", b""), Subscribe(), owner)
    assert owner.log == ["heard", "replied"]
