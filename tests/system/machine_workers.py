"""Event handlers and state machines of the tests."""

from __future__ import annotations

import threading
from typing import Any

import otp


class Alarm(otp.Message, frozen=True):
    text: str


class OtherAlarm(otp.Message, frozen=True, tag="Alarm"):
    """What somebody else takes for an alarm."""

    text: int


class Calm(otp.Message, frozen=True):
    text: str


class Told(otp.Request[list[str]], frozen=True):
    """What has been heard so far."""


class Add(otp.Request[None], frozen=True):
    """Add a handler to the manager at this address."""

    manager: str
    id: str


class Keeper(otp.EventHandler):
    def __init__(self, fails_at: str = "never") -> None:
        self.kept: list[str] = []
        self.fails_at = fails_at

    def handle_event(self, event: Alarm) -> None:
        if event.text == self.fails_at:
            raise ValueError(event.text)
        self.kept.append(event.text)

    def handle_call(self, request: str) -> list[str]:
        if request == self.fails_at:
            raise ValueError(request)
        return self.kept


class Listener(otp.EventHandler):
    """Accepts several kinds of events, and what is no message at all."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def handle_event(self, event: Alarm | Calm) -> None:
        self.kept.append(type(event).__name__)

    def handle_call(self, request: Any) -> Any:
        return threading.Lock() if request == "what cannot travel" else self.kept


class Undeclared(otp.EventHandler):
    def handle_event(self, event) -> None:  # type: ignore[no-untyped-def]
        """Does not say what it accepts."""


class Adder(otp.GenServer):
    """Adds handlers, and hears of their ends."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def handle_call(self, request: Add | Told, sender: otp.From[Any]) -> Any:
        if isinstance(request, Told):
            return self.heard
        return self.call(request.manager, otp.add_handler(request.id, Keeper, fails_at="boom"))

    def handle_info(self, message: otp.HandlerFailed) -> None:
        self.heard.append(f"{message.manager} {message.id} {message.text}")


# ---------------------------------------------------------------- a state machine


class Go(otp.Request[str], frozen=True):
    """Go on in this state."""

    state: str
    timeout: float | None = None


class Again(otp.Request[None], frozen=True):
    """Begin the time of a state again at the very moment at which it is over."""


class Item(otp.Message, frozen=True):
    n: int


class Refused(Exception):
    pass


class Pick(otp.Request[int], frozen=True):
    n: int


class Shop(otp.StateMachine):
    """Takes items when it is open, one when it is busy, none when it is closed."""

    states = ("closed", "open", "busy")
    refuses = (Refused,)

    def __init__(self) -> None:
        self.taken: list[str] = []

    def common(self, event: Any) -> Any:
        match event:
            case Go(state, timeout):
                self.next_state(state, timeout=timeout)
                return state
            case Again():
                self.send_after(-1, Go("open", timeout=60))
                self.next_state("open", timeout=0)
                return None
            case Told():
                return self.taken
            case otp.StateTimeout(state):
                self.taken.append(f"{state} is over")
                self.next_state("closed")
        return otp.Postpone

    def closed(self, event: Event, sender: otp.From[Any] | None) -> Any:
        return self.common(event)

    def open(self, event: Event, sender: otp.From[Any] | None) -> Any:
        match event:
            case Item(n):
                self.taken.append(f"{n}")
                return None
            case Pick(n):
                if n < 0:
                    raise Refused(n)
                self.taken.append(f"pick {n}")
                return n
        return self.common(event)

    def busy(self, event: Event, sender: otp.From[Any] | None) -> Any:
        if isinstance(event, Item):
            self.taken.append(f"{event.n}")
            self.next_state("closed")
            return None
        return self.common(event)


Event = Go | Again | Item | Told | Pick | otp.StateTimeout
