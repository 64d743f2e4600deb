"""EventManager: one process, many handlers that come and go, as OTP's `gen_event`.

    import otp

    class Alarm(otp.Message, frozen=True):
        text: str

    class Keeper(otp.EventHandler):
        def __init__(self) -> None:
            self.kept: list[str] = []

        def handle_event(self, event: Alarm) -> None:
            self.kept.append(event.text)

        def handle_call(self, request: str) -> list[str]:
            return self.kept

    keeper = otp.add_handler("keeper", Keeper)
    tree = otp.Supervisor("root", children=[
        otp.ChildSpec("alarms", otp.EventManager, args={"handlers": [keeper]}),
    ])

    if __name__ == "__main__":
        with otp.start(tree) as node:
            node.call("alarms", otp.add_handler("second", Keeper))
            node.cast("alarms", Alarm("fire"))                      # to all who accept it
            assert node.call("alarms", otp.CallHandler("keeper", "what")) == ["fire"]
            assert node.call("alarms", otp.WhichHandlers()) == ["keeper", "second"]
            node.call("alarms", otp.RemoveHandler("second"))

An event is a cast; it goes to the handlers whose `handle_event` accepts it, in the order in which
they were added. One that raises is removed, with its traceback on stderr and a `HandlerFailed` for
whoever added it; the others, and the manager, go on. Handlers travel as pickles, so inside one
node only.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from pyee.base import EventEmitter

from otp import codec, pickling
from otp.callers import From, NoReply
from otp.frames import MSGPACK
from otp.gen_server import GenServer
from otp.messages import Message, Reason, Request, stop_reason
from otp.starts import find

HANDLERS_MAX = 10_000
"""Handlers of one manager: each is asked in turn, so more of them are more than it can serve."""
_EVERY = "*"
"""What a handler listens to that accepts events of all kinds."""


class EventHandler:
    """Base of a handler: annotate `event` with what it accepts."""

    manager: EventManager
    """The server that it runs in, for `send_after`, `cast` and the like."""

    def handle_event(self, event: Any) -> None:
        """An event of a kind that it accepts."""

    def handle_call(self, request: Any) -> Any:
        """What `CallHandler` asked; returns the reply."""
        raise NotImplementedError(f"{type(self).__name__} takes no calls: got {request!r}")

    def terminate(self, reason: Reason) -> None:
        """Called when it is removed, and when the manager ends."""


@dataclasses.dataclass(frozen=True)
class AddHandler:
    """Made by `add_handler`; no Request, since what it carries must not come from a network."""

    id: str
    payload: bytes


class RemoveHandler(Request[bool], frozen=True, tag="otp.RemoveHandler"):
    """Remove a handler; False where there is none of that id."""

    id: str


class WhichHandlers(Request[list[str]], frozen=True, tag="otp.WhichHandlers"):
    """The ids of all handlers, in order."""


class CallHandler(Request[Any], frozen=True, tag="otp.CallHandler"):
    """Ask one handler something in plain types."""

    id: str
    request: Any = None


class HandlerFailed(Message, frozen=True, tag="otp.HandlerFailed"):
    """A handler that you have added has raised, and is removed; an info message."""

    manager: str
    id: str
    text: str


class NoHandler(Exception):
    """The manager has no handler of that id, or has one already."""


def add_handler(id: str, handler: type[EventHandler] | str, **args: Any) -> AddHandler:
    """The request to add `handler(**args)`: for `call`, or for a manager's `handlers`.

    Raises TypeError where it does not say what it accepts.
    """
    accepts = None if isinstance(handler, str) else codec.annotated(handler, "handle_event")
    return AddHandler(id, pickling.dumps((handler, args, accepts)))


class _Slot:
    """One handler, the decoder of what it accepts, and who added it."""

    def __init__(self, id: str, handler: EventHandler, accepts: Any, adder: str) -> None:
        self.id, self.handler, self.adder = id, handler, adder
        self.decode = codec.Decoder(accepts)
        self.kinds = [_EVERY] if accepts is Any else [_kind(t) for t in codec.members(accepts)]
        self.deliver: Callable[[Any], None]


class EventManager(GenServer):
    """Passes events on to its handlers; see `otp.event_manager`."""

    refuses = (NoHandler,)

    def __init__(self, handlers: Sequence[AddHandler] = ()) -> None:
        self.slots: dict[str, _Slot] = {}
        self.emitter = EventEmitter()
        for handler in handlers:
            self._add(handler, "")

    def handle_call(
        self, request: RemoveHandler | WhichHandlers | CallHandler, sender: From[Any]
    ) -> Any:
        asked: Any = request
        match asked:
            case AddHandler():
                return self._try_to_add(asked, sender.pid)
            case RemoveHandler(id):
                slot = self.slots.get(id)
                if slot is not None:
                    self._remove(slot, stop_reason("normal"))
                return slot is not None
            case WhichHandlers():
                return list(self.slots)
            case CallHandler(id, what):
                self._call_one(self._slot(id), what, sender)
                return NoReply

    def handle_cast(self, message: msgspec.Raw) -> None:
        kind = _tag(message) if isinstance(message, msgspec.Raw) else _kind(type(message))
        for name in (kind, _EVERY):
            self.emitter.emit(f"event {name}", message)

    def terminate(self, reason: Reason) -> None:
        for slot in list(self.slots.values()):
            self._remove(slot, reason)

    def inspect_state(self) -> Any:
        return {id: vars(slot.handler) for id, slot in self.slots.items()}

    # ------------------------------------------------------------ handlers

    def _add(self, request: AddHandler, adder: str) -> None:
        if request.id in self.slots or len(self.slots) >= HANDLERS_MAX:
            raise NoHandler(f"{self.path}: handler {request.id!r} is there already, or too many")
        start, args, accepts = pickling.loads(request.payload)
        cls: Any = find(start) if isinstance(start, str) else start
        handler: EventHandler = cls.__new__(cls)
        handler.manager = self
        handler.__init__(**args)  # type: ignore[misc]
        if accepts is None:
            accepts = codec.annotated(cls, "handle_event")
        slot = self.slots[request.id] = _Slot(request.id, handler, accepts, adder)
        slot.deliver = lambda event: self._deliver(slot, event)
        for kind in slot.kinds:
            self.emitter.on(f"event {kind}", slot.deliver)

    def _try_to_add(self, request: AddHandler, adder: str) -> None:
        """One that cannot be made is its adder's trouble: the manager and the others go on."""
        try:
            self._add(request, adder)
        except NoHandler:
            raise
        except Exception as error:
            text = f"{self.path}: handler {request.id!r} cannot be made: {error!r}"
            raise NoHandler(text) from error

    def _slot(self, id: str) -> _Slot:
        if id not in self.slots:
            raise NoHandler(f"{self.path}: there is no handler {id!r}")
        return self.slots[id]

    def _deliver(self, slot: _Slot, event: Any) -> None:
        if slot.id not in self.slots:
            return  # removed by one before it, in the same round
        if isinstance(event, msgspec.Raw):
            try:
                event = slot.decode(MSGPACK, event)
            except msgspec.ValidationError as error:  # its sender's fault, not the handler's
                text = f"handler {slot.id!r} does not accept it ({error})"
                print(f"{self.path}: dropped an event: {text}", file=sys.stderr)
                return
        try:
            slot.handler.handle_event(event)
        except Exception as error:  # its own fault: it goes, the others stay
            self._failed(slot, error)

    def _call_one(self, slot: _Slot, request: Any, sender: From[Any]) -> None:
        try:
            sender.reply(slot.handler.handle_call(request))  # which may be none that can travel
        except Exception as error:
            self._failed(slot, error)
            raise NoHandler(f"{self.path}: handler {slot.id!r} failed: {error!r}") from error

    def _failed(self, slot: _Slot, error: Exception) -> None:
        print(f"{self.path}: handler {slot.id!r} is removed, since it raised:", file=sys.stderr)
        traceback.print_exception(error)
        text = f"{type(error).__name__}: {error}"
        self._remove(slot, stop_reason(text))
        if slot.adder:
            self.send(slot.adder, HandlerFailed(self.path, slot.id, text))

    def _remove(self, slot: _Slot, reason: Reason) -> None:
        del self.slots[slot.id]
        for kind in slot.kinds:
            self.emitter.remove_listener(f"event {kind}", slot.deliver)
        try:
            slot.handler.terminate(reason)
        except Exception as error:
            print(f"{self.path}: terminate of handler {slot.id!r} raised:", file=sys.stderr)
            traceback.print_exception(error)


class _Tagged(msgspec.Struct):
    """The tag of any message."""

    type: str = ""


def _tag(event: msgspec.Raw) -> str:
    """The tag of an encoded event; none for a number, a text and the like."""
    try:
        return msgspec.msgpack.decode(event, type=_Tagged).type
    except msgspec.ValidationError:
        return ""


def _kind(cls: type) -> str:
    """What an event is called: its tag, or its class's name where it travels as a pickle."""
    config = getattr(cls, "__struct_config__", None)
    return str(config.tag) if config is not None and config.tag else cls.__qualname__
