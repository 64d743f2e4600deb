"""Bodies of frames: tagged msgpack for declared messages, pickle for the rest (one node only).

Requests and messages are Structs and say which they are by their tag; a receiver learns what it
may get from the annotations of its handlers. A call's reply needs no tag: the request names its
type. Everything else travels as pickle, which a mailroom refuses from the network.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from otp import pickling
from otp.errors import (
    CallTimeout,
    Disconnected,
    NodeDown,
    NoProcess,
    OtpError,
    Overloaded,
    ServerDown,
    SupervisorError,
    Undecodable,
)
from otp.frames import (
    CALL,
    CAST,
    ERROR,
    INFO,
    MSGPACK,
    PICKLE,
    REPLY,
    SYSTEM,
    Envelope,
    Failure,
)
from otp.messages import NOPROC, Address, Down, Exit, Message, Request, Via
from otp.node_messages import NodeLost, NodeUp
from otp.sys import SYSTEM_REQUESTS
from otp.transport import FRAME_BYTES_MAX

encode = msgspec.msgpack.Encoder().encode
decode_envelope = msgspec.msgpack.Decoder(Envelope).decode
decode_failure = msgspec.msgpack.Decoder(Failure).decode
decode_exit = msgspec.msgpack.Decoder(Exit).decode
_decode_any = msgspec.msgpack.Decoder().decode
_DECLARED = (Request, Message)
_SCALARS = frozenset({int, float, str, bytes, bool, type(None)})
MESSAGE_BYTES_MAX = FRAME_BYTES_MAX - 64 * 1024
"""The longest body; the rest of a frame is for its header."""
TTL_SECONDS_MAX = 365 * 24 * 3600.0
"""The longest time limit that a frame names; who waits for ever waits for longer."""
_REPLY_DECODERS: dict[type, Callable[[bytes], Any]] = {}
"""One for each class of requests that was ever used."""
KINDS = {CALL: "call", CAST: "cast", INFO: "send", REPLY: "reply", ERROR: "error"}


def dump(value: Any) -> tuple[int, bytes]:
    """The codec and the bytes for a message or a value of no declared type.

    Raises ValueError for one that is too long for a frame.
    """
    if isinstance(value, _DECLARED):
        how = SYSTEM if type(value) in SYSTEM_REQUESTS else MSGPACK
        return how, _bounded(encode(value))
    return _dump_value(value, declared=type(value) in _SCALARS)


def _dump_value(value: Any, *, declared: bool) -> tuple[int, bytes]:
    if not declared:
        return PICKLE, _bounded(pickling.dumps(value))
    try:
        body = encode(value)  # the receiver knows the type
    except (TypeError, OverflowError):  # a number that is too large, say
        return PICKLE, _bounded(pickling.dumps(value))
    return MSGPACK, _bounded(body)


def _bounded(body: bytes) -> bytes:
    if len(body) > MESSAGE_BYTES_MAX:
        raise ValueError(
            f"a message of {len(body)} bytes; at most {MESSAGE_BYTES_MAX} go into one: "
            "send it in parts"
        )
    return body


def dump_reply(request: type | None, value: Any) -> tuple[int, bytes]:
    """The codec and the bytes for a reply to a request of this type."""
    declared = request is not None and reply_type(request) is not Any
    return _dump_value(value, declared=declared or type(value) in _SCALARS)


def load_reply(request: Any, codec: int, body: bytes) -> Any:
    """What the server replied to `request`, in the type that the request declares.

    Raises OtpError where it is not of that type.
    """
    try:
        return pickling.loads(body) if codec == PICKLE else _reply_decoder(type(request))(body)
    except Exception as error:  # what a pickle raises is up to the classes in it
        text = f"{type(error).__name__}: {error}"
        text = f"call {describe(request)}: the reply is not what it declares ({text})"
        raise OtpError(text) from error


def _reply_decoder(request: type) -> Callable[[bytes], Any]:
    decoder = _REPLY_DECODERS.get(request)
    if decoder is None:
        kind = reply_type(request)
        decoder = _decode_any if kind is Any else msgspec.msgpack.Decoder(kind).decode
        _REPLY_DECODERS[request] = decoder
    return decoder


@functools.cache
def reply_type(request: type) -> Any:
    """R of the `Request[R]` that a request class derives from; Any where it names none."""
    for base in request.__mro__:
        for generic in base.__dict__.get("__orig_bases__", ()):
            origin, arguments = typing.get_origin(generic), typing.get_args(generic)
            if origin is Request and not isinstance(arguments[0], typing.TypeVar):
                return arguments[0]
    return Any


# ---------------------------------------------------------------- what a handler accepts


def handler_types(cls: type) -> dict[str, Any]:
    """What each `handle_*` of a GenServer says it accepts: handler -> annotation (Any: not said).

    Raises TypeError where an annotation cannot be resolved: it is looked up where the class is
    defined, so a class of `__main__` is asked in the host.
    """
    handlers = ("handle_call", "handle_cast", "handle_info")
    return {name: annotated(cls, *_states_of(cls, name)) for name in handlers}


def _states_of(cls: type, name: str) -> tuple[str, ...]:
    """The methods that get what comes to a handler: those of its states, in a state machine."""
    function = inspect.unwrap(getattr(cls, name))
    return getattr(cls, "states", (name,)) if _is_ours(function, "state_machine") else (name,)


def _is_ours(function: Any, module: str) -> bool:
    return bool(function.__module__ == f"otp.{module}")


def annotated(cls: type, *names: str) -> Any:
    """What these methods of a class accept together. Raises TypeError as `handler_types` does."""
    found = [_first_annotation(cls, name) for name in names]
    if Any in found or not found:
        return Any
    return functools.reduce(operator.or_, found)


def _first_annotation(cls: type, name: str) -> Any:
    function = inspect.unwrap(getattr(cls, name))
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) < 2 or _is_ours(function, "gen_server"):
        return Any
    if _is_ours(function, "event_manager") and function.__qualname__.startswith("EventHandler."):
        return Any
    if parameters[1] not in function.__annotations__:
        raise TypeError(
            f"{cls.__qualname__}.{name}: annotate {parameters[1]!r} with what it accepts, such as "
            f"`{parameters[1]}: Get | Add`"
        )
    try:
        return typing.get_type_hints(function)[parameters[1]]
    except NameError as error:
        text = f"{cls.__qualname__}.{name}: its annotation cannot be resolved: {error}"
        raise TypeError(text) from error


class Decoder:
    """Decodes the bodies that one handler accepts."""

    def __init__(self, annotation: Any, *always: type) -> None:
        structs = [t for t in members(annotation) if isinstance(t, type)]
        accepted = [*structs, *(t for t in always if t not in structs)]
        union: Any = functools.reduce(operator.or_, accepted) if accepted else Any
        if annotation is Any:
            union = Any if not always else union
        self._decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(union).decode

    def __call__(self, codec: int, body: bytes) -> Any:
        """The message. Raises msgspec.ValidationError where it is none that is accepted."""
        return pickling.loads(body) if codec == PICKLE else self._decode(body)


def members(annotation: Any) -> tuple[Any, ...]:
    """The classes that an annotation names; none for Any."""
    if annotation is Any:
        return ()
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (typing.get_origin(annotation) or annotation,)


def decoders(annotations: dict[str, Any]) -> dict[int, Decoder]:
    """One decoder for each kind of frame. Raises TypeError for two types with one tag."""
    try:
        return {
            CALL: Decoder(annotations["handle_call"]),
            CAST: Decoder(annotations["handle_cast"]),
            INFO: Decoder(annotations["handle_info"], Down, Exit, NodeUp, NodeLost),
        }
    except TypeError as error:
        raise TypeError(f"a server's messages must be told apart by their tags: {error}") from error


# ---------------------------------------------------------------- addresses and failures


def wire_address(to: Address) -> str:
    """How an address is written in a frame."""
    return f"via:{to.group}:{to.key}" if isinstance(to, Via) else to


def parse_via(address: str) -> Via | None:
    """The Via that was written in a frame, if it is one."""
    if not address.startswith("via:"):
        return None
    _, group, key = [*address.split(":", 2), ""][:3]
    return Via(group, key)


def describe(value: Any) -> str:
    """What a call or cast is called in an error."""
    return type(value).__name__


def refusal(error: Exception) -> Failure:
    """An exception that the server refuses with, so that the caller can raise it again.

    Its class travels by name and its arguments as plain data: nothing is unpickled at the caller.
    """
    cls = type(error)
    try:
        raised = encode((cls.__module__, cls.__qualname__, list(error.args)))
    except (TypeError, OverflowError):
        raised = encode((cls.__module__, cls.__qualname__, [str(error)]))
    return Failure("refused", f"{cls.__name__}: {error}", raised=raised)


def raised(failure: Failure, *, what: str, to: str) -> Exception:
    """The exception that a caller gets for an ERROR frame."""
    match failure.kind:
        case "noproc":
            return NoProcess(what=what, to=to)
        case "serverdown":
            return ServerDown(what=what, to=to, reason=failure.reason)
        case "nodedown":
            return NodeDown(what=what, to=to, node=failure.text, sent=failure.reason != NOPROC)
        case "overloaded":
            return Overloaded(what=what, to=to, limit=failure.text)
        case "disconnected":
            return Disconnected(what=what, to=to)
        case "supervisor":
            word, _, detail = failure.text.partition(": ")
            return SupervisorError(
                request=what, supervisor=to, child="", reason=word, detail=detail
            )
        case "refused":
            return _refused(failure)
        case "undecodable":
            return Undecodable(what=what, to=to, problem=failure.text)


def _refused(failure: Failure) -> Exception:
    """The exception by its name, if that class is known here; its text otherwise."""
    try:
        module, qualname, arguments = _decode_any(failure.raised)
        found: Any = sys.modules.get(module)
        for part in qualname.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, Exception):
            return found(*arguments)
    except Exception as error:  # a constructor of the caller's may raise anything
        return OtpError(f"{failure.text} (and it cannot be made here: {error!r})")
    return OtpError(failure.text)


def ttl_ms(timeout: float) -> int:
    """A call's time limit as its frame has it, in ms: at least 1, since 0 stands for none.

    Raises ValueError for what is no number.
    """
    return max(1, int(min(timeout, TTL_SECONDS_MAX) * 1000))


def timed_out(request: Any, to: Address, seconds: float) -> CallTimeout:
    """The error of a call that got no reply in time."""
    return CallTimeout(what=f"call {describe(request)}", to=wire_address(to), seconds=seconds)
