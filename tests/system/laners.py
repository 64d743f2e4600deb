"""Servers that talk by lanes, for the system tests."""

from __future__ import annotations

import os
from typing import Any

import otp
from tests.system import workers as w


class Open(otp.Request[str], frozen=True):
    """Open a lane there; the reply is the pid at its end, or the name of the error."""

    to: str
    seconds: float = 5.0


class Close(otp.Request[None], frozen=True):
    """Close the lane."""


class By(otp.Request[str], frozen=True):
    """Add so much by the lane; the reply is the sum, or the name of the error."""

    n: int
    seconds: float = 5.0


class Many(otp.Request[list[str]], frozen=True):
    """Cast so many notes, and ask for them without waiting; the reply is what came back."""

    count: int


class Hang(otp.Request[str], frozen=True):
    """Ask by the lane for what is never answered, and go on; the reply is the error."""

    block: bool = True


class Large(otp.Request[int], frozen=True):
    """Echo so many bytes by the lane; the reply is how many came back."""

    size: int


class Strange(otp.Request[list[str]], frozen=True):
    """Ask by the lane what only a pickle can hold, and for an answer of that kind."""


class Flood(otp.Request[str], frozen=True):
    """Cast notes of this size until the lane is full; the reply is the error."""

    size: int


class Part(otp.Request[bool], frozen=True):
    """Cast so many notes of this size, and close the lane."""

    count: int
    size: int


class Sums(otp.Request[list[str]], frozen=True):
    """Two lanes at once, a call by each and one by the mailroom."""

    to: str


class Laner(otp.GenServer):
    """Has one lane."""

    def __init__(self) -> None:
        self.lane_: otp.Lane

    def handle_call(self, request: Asked, sender: otp.From[Any]) -> Any:
        try:
            return self.done(request, sender)
        except otp.OtpError as error:
            return type(error).__name__

    def done(self, request: Asked, sender: otp.From[Any]) -> Any:
        match request:
            case Part(count, size):
                for n in range(count):
                    self.lane_.cast(w.Note(f"{n} ".ljust(size)))
                self.lane_.close()
                return self.lane_.open
            case Open(to, seconds):
                self.lane_ = self.lane(to, timeout=seconds)
                return self.lane_.pid
            case Close():
                self.lane_.close()
            case By(n, seconds):
                return str(self.lane_.call(w.Add(n), timeout=seconds))
            case Many(count):
                for number in range(count):
                    self.lane_.cast(w.Note(str(number)))
                self.lane_.send_request(w.Noted(), lambda r, e: sender.reply(r))
                return otp.NoReply
            case Hang(block):
                what = w.Block() if block else w.Later(1e6)
                self.lane_.send_request(
                    what, lambda r, e: sender.reply(type(e).__name__), timeout=60
                )
                return otp.NoReply
            case Large(size):
                return len(self.lane_.call(w.Echo(bytes(size)), timeout=20))
            case Strange():
                return [self.tried(what) for what in ({1, 2}, w.Odd())]
            case Flood(size):
                while True:
                    self.lane_.cast(w.Note("x" * size))
            case Sums(to):
                one, two = self.lane(to), self.lane(to)
                calls = (one.call(w.Add(1)), two.call(w.Add(1)), self.call(to, w.Add(1)))
                return [str(call) for call in calls]
            case w.Pid():
                return os.getpid()
        return None

    def tried(self, what: Any) -> str:
        try:
            return repr(self.lane_.call(what))
        except otp.OtpError as error:
            return str(error)


Asked = Open | Close | By | Many | Hang | Large | Flood | Strange | Part | Sums | w.Pid
TREE = otp.Supervisor(
    "root",
    max_restarts=1000,
    children=[
        otp.ChildSpec("counter", w.Counter, args={"start": 10}),
        otp.ChildSpec("laner", Laner),
        otp.ChildSpec("plain", w.wait_for_ever),
        otp.Supervisor("pool"),
    ],
)
