"""Servers of the tests about what a server can do: continue, idle, end others, be looked at."""

from __future__ import annotations

from typing import Any

import otp
from tests.system.workers import wait_for_ever


class Tell(otp.Request[list[str]], frozen=True):
    """What has happened so far."""


class Do(otp.Request[str], frozen=True):
    """Do this by the name of a method, with these texts."""

    what: str
    words: tuple[str, ...] = ()


class Note(otp.Message, frozen=True):
    text: str


class Diary(otp.GenServer):
    """Writes down all that it hears, and does what it is told to do."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.timer = 0
        self.continue_with("born")

    def handle_continue(self, message: str) -> None:
        self.diary.append(f"continue {message}")
        if message == "twice":
            self.continue_with("again")

    def handle_call(self, request: Tell | Do, sender: otp.From[Any]) -> Any:
        if isinstance(request, Tell):
            return self.diary
        return str(getattr(self, request.what)(*request.words))

    def handle_cast(self, message: Note) -> None:
        self.diary.append(f"cast {message.text}")

    def handle_info(self, message: Heard) -> None:
        match message:
            case Note(text):
                self.diary.append(f"info {text}")
            case otp.Timeout():
                self.diary.append("timeout")
            case otp.Down(_, process, reason):
                self.diary.append(f"down {process} {reason}")
            case otp.Exit(process, reason):
                self.diary.append(f"exit {process} {reason}")
            case otp.sys.Traced(path, way, kind, _, text):
                self.diary.append(f"{path} {way} {kind} {text}")

    def both(self, text: str) -> None:
        self.cast(self.path, Note("after"))
        self.continue_with(text)
        self.diary.append("handled")

    def idle(self, seconds: str) -> None:
        self.idle_timeout = float(seconds) if seconds else None

    def tick(self, seconds: str) -> None:
        self.timer = self.send_interval(float(seconds), Note("tick"))

    def later(self, seconds: str) -> None:
        self.timer = self.send_after(float(seconds), Note("late"))

    def end_timer(self) -> float | None:
        return self.cancel_timer(self.timer)

    def grow(self, megabytes: str) -> None:
        self.ballast = [bytes(1024) for _ in range(1024 * int(megabytes))]

    def shrink(self) -> None:
        del self.ballast
        self.hibernate()

    def tie(self, to: str) -> None:
        self.link(to)

    def ask(self, to: str) -> str:
        """Ask one that never answers; what we say of it at our end, if we are still there."""
        return str(self.call(to, Tell(), timeout=30))


class Trapper(Diary):
    trap_exit = True


class Mute(otp.GenServer):
    """Answers no call."""

    def __init__(self) -> None:
        self.asked = 0

    def handle_call(self, request: Tell, sender: otp.From[Any]) -> Any:
        self.asked += 1
        return otp.NoReply


class Secretive(otp.GenServer):
    """Shows what it wants to be seen."""

    def __init__(self) -> None:
        self.password, self.shown, self.odd = "secret", 1, object()

    def inspect_state(self) -> Any:
        if self.shown < 0:
            raise RuntimeError("not now")
        return {"shown": self.shown, "odd": self.odd}


Heard = Note | otp.Timeout | otp.Down | otp.Exit | otp.sys.Traced


def idles() -> None:
    wait_for_ever()
