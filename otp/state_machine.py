"""StateMachine: a server whose state decides what it does with a message, as OTP's `gen_statem`.

    import otp

    class Enter(otp.Request[str], frozen=True):
        code: str

    class Push(otp.Request[str], frozen=True):
        pass

    class Door(otp.StateMachine):
        states = ("locked", "unlocked")

        def __init__(self, code: str) -> None:
            self.code = code

        def locked(self, event: Enter | Push, sender: otp.From[str]) -> str:
            match event:
                case Enter(code) if code == self.code:
                    self.next_state("unlocked", timeout=10.0)
                    return "welcome"
                case Enter():
                    return "wrong"
            return otp.Postpone                           # pushed too early: it waits

        def unlocked(self, event: Push | otp.StateTimeout, sender: otp.From[str]) -> str:
            self.next_state("locked")
            return "open"

    tree = otp.Supervisor("root", children=[otp.ChildSpec("door", Door, args={"code": "42"})])

    if __name__ == "__main__":
        with otp.start(tree) as node:
            assert node.call("door", Enter("41")) == "wrong"
            assert node.call("door", Enter("42")) == "welcome"
            assert node.call("door", Push()) == "open"

`states` names the methods, the first one is where it begins. Calls (with their sender), casts and
info messages (`sender` is None) all go to the method of the current state. What it postpones comes
again, in order, when the state has changed.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Any, ClassVar

from otp.callers import From, NoReply
from otp.gen_server import GenServer
from otp.messages import Message

POSTPONED_MAX = 10_000
"""Messages that may wait for another state; one more call is refused, one more cast dropped."""


class _Postpone:
    """Return it from a state's method: the message comes again when the state has changed."""

    def __repr__(self) -> str:
        return "Postpone"


Postpone: Any = _Postpone()


class StateTimeout(Message, frozen=True, tag="otp.StateTimeout"):
    """The state has lasted as long as `next_state` allowed; an event like any other."""

    state: str


class _Replay(Message, frozen=True, tag="otp.state_machine.Replay"):
    """The state has changed: what was postponed comes again."""


class StateMachine(GenServer):
    """Base of a state machine; see `otp.state_machine`."""

    states: ClassVar[tuple[str, ...]] = ()
    """The names of the states, which are the names of their methods."""

    _otp_state = ""
    _otp_timer = 0
    _otp_timeout: StateTimeout | None = None
    _otp_replays = False

    @property
    def state(self) -> str:
        """The name of the current state."""
        return self._otp_state or self.states[0]

    @property
    def _otp_postponed(self) -> deque[tuple[Any, From[Any] | None]]:
        waiting: deque[tuple[Any, From[Any] | None]]
        waiting = self.__dict__.setdefault("_otp_waiting", deque())
        return waiting

    def next_state(self, state: str, *, timeout: float | None = None) -> None:
        """Go on in this state; when it has lasted `timeout` seconds, a StateTimeout comes.

        Going on in the same state starts its time again, but nothing that was postponed.
        """
        if state not in self.states:
            raise ValueError(f"{type(self).__name__} has no state {state!r}: {self.states}")
        changed = state != self.state
        self.cancel_timer(self._otp_timer)
        self._otp_state = state
        self._otp_timeout = None
        if timeout is not None:
            self._otp_timeout = StateTimeout(state)
            self._otp_timer = self.send_after(timeout, self._otp_timeout)
        if changed and not self._otp_replays:
            self._otp_replays = True
            self.continue_with(_Replay())

    def handle_call(self, request: Any, sender: From[Any]) -> Any:
        return self._otp_event(request, sender)

    def handle_cast(self, message: Any) -> None:
        self._otp_event(message, None)

    def handle_info(self, message: Any) -> None:
        self._otp_event(message, None)

    def handle_continue(self, message: Any) -> None:
        """Yours too, for `continue_with`: then pass on to this one what you do not know."""
        if not isinstance(message, _Replay):
            super().handle_continue(message)
        waiting, state = self._otp_postponed, self.state
        todo = list(waiting)
        waiting.clear()
        for number, (event, sender) in enumerate(todo, 1):
            self._otp_again(event, sender)
            if self.state != state:  # the oldest one first again
                waiting.extend(todo[number:])
                self.continue_with(_Replay())
                return
        self._otp_replays = False

    def inspect_state(self) -> Any:
        shown = {n: v for n, v in super().inspect_state().items() if not n.startswith("_otp_")}
        return {"state": self.state, "postponed": len(self._otp_postponed), **shown}

    def _otp_again(self, event: Any, sender: From[Any] | None) -> None:
        try:
            reply = self._otp_event(event, sender)
        except self.refuses as error:
            if sender is not None:
                sender.refuse(error)
            return
        if sender is not None and reply is not NoReply:
            sender.reply(reply)

    def _otp_event(self, event: Any, sender: From[Any] | None) -> Any:
        if isinstance(event, StateTimeout) and event is not self._otp_timeout:
            return NoReply  # it was under way when the state changed, or began its time again
        reply = getattr(self, self.state)(event, sender)
        if reply is not Postpone:
            return reply
        if len(self._otp_postponed) < POSTPONED_MAX:
            self._otp_postponed.append((event, sender))
        elif sender is not None:
            sender.overloaded(f"{POSTPONED_MAX} messages are postponed")
        else:
            print(f"{self.path}: dropped a message: too many are postponed", file=sys.stderr)
        return NoReply
