"""Bodies of frames: what a reply and a handler accept, and how errors travel."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp import codec, errors
from otp.callers import From
from otp.codec import Decoder, decoders, dump, dump_reply, handler_types, load_reply, reply_type
from otp.frames import CALL, CAST, INFO, MSGPACK, PICKLE, Failure
from otp.gen_server import GenServer
from otp.messages import KILLED, NOCONNECTION, NORMAL, Down, Exit, Message, Request, Via

T = TypeVar("T")


class Point(msgspec.Struct, frozen=True):
    x: int


class Add(Request[int], frozen=True):
    n: int


class AddMore(Add, frozen=True, tag="AddMore"):
    pass


class Get(Request[list[Point]], frozen=True):
    pass


class Clear(Request[None], frozen=True):
    pass


class Untyped(Request, frozen=True):  # type: ignore[type-arg]
    pass


class Wrapped(Request[T], Generic[T], frozen=True):
    pass


class Poke(Message, frozen=True):
    n: int = 0


class Prod(Message, frozen=True, tag="Poke"):
    """Says that it is a Poke."""


# ---------------------------------------------------------------- replies


@pytest.mark.parametrize(
    ("request_type", "expected"),
    [
        (Add, int),
        (AddMore, int),
        (Get, list[Point]),
        (Untyped, Any),
        (Wrapped, Any),
        (Poke, Any),
        (int, Any),
    ],
)
def test_the_type_of_a_reply_rides_on_the_request(request_type: type, expected: Any) -> None:
    assert reply_type(request_type) == expected


@pytest.mark.parametrize(
    ("request_", "reply", "kind"),
    [
        (Add(1), 3, MSGPACK),
        (Get(), [Point(1), Point(2)], MSGPACK),
        (Clear(), None, MSGPACK),
        (Untyped(), "text", MSGPACK),
        (Untyped(), -(2**70), PICKLE),
        (Untyped(), {"a": Point(1)}, PICKLE),
        (Untyped(), (1, 2), PICKLE),
        (Untyped(), Down(1, "x", KILLED), PICKLE),
        ("any value", Add(1), PICKLE),
        ("any value", {1, 2}, PICKLE),
        (Get(), range(3), PICKLE),
        (Add(1), 2**70, PICKLE),
    ],
)
def test_a_reply_comes_back_as_it_was(request_: Any, reply: Any, kind: int) -> None:
    codec_, body = dump_reply(type(request_), reply)
    assert codec_ == kind
    assert load_reply(request_, codec_, body) == reply


def test_a_reply_that_is_not_what_was_declared_is_an_error_that_says_so() -> None:
    for codec_, body in ((MSGPACK, codec.encode("three")), (MSGPACK, b""), (PICKLE, b"\x80")):
        with pytest.raises(errors.OtpError, match="call Add: the reply is not what it declares"):
            load_reply(Add(1), codec_, body)


# ---------------------------------------------------------------- messages


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text()))
def test_plain_values_and_declared_messages_are_not_pickled(value: Any) -> None:
    kind, body = dump(value)
    assert kind == MSGPACK and Decoder(Any)(kind, body) == value
    assert dump(Add(1)) == (MSGPACK, codec.encode(Add(1)))


def test_what_is_not_declared_is_pickled() -> None:
    for value in (Point(1), {"a": 1}, [1], (1,), 2**70):
        kind, body = dump(value)
        assert kind == PICKLE and Decoder(Any)(kind, body) == value


def test_a_message_that_fits_no_frame_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MESSAGE_BYTES_MAX", 100)
    dump(bytes(98))
    for value in (bytes(101), [bytes(101)]):
        with pytest.raises(ValueError, match="at most 100 go into one: send it in parts"):
            dump(value)
    with pytest.raises(ValueError, match="send it in parts"):
        dump_reply(Get, [Point(1)] * 100)


# ---------------------------------------------------------------- handlers


class Server(GenServer):
    def handle_call(self, request: Add | Get, sender: From[Any]) -> Any: ...

    def handle_cast(self, message: Poke) -> None: ...


class Bare(GenServer):
    def handle_call(self, request, sender):  # type: ignore[no-untyped-def]
        """No word of what it accepts."""


class Lost(GenServer):
    def handle_cast(self, message: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def test_a_handler_accepts_what_its_annotation_says() -> None:
    types = handler_types(Server)
    assert types == {"handle_call": Add | Get, "handle_cast": Poke, "handle_info": Any}
    assert set(handler_types(GenServer).values()) == {Any}, "what is not overridden"
    with pytest.raises(TypeError, match=r"Bare.handle_call: annotate 'request' with what it acc"):
        handler_types(Bare)
    with pytest.raises(TypeError, match=r"Lost.handle_cast: its annotation cannot be resolved"):
        handler_types(Lost)


def test_each_kind_of_frame_is_decoded_as_its_handler_says() -> None:
    decode = decoders(handler_types(Server))
    assert decode[CALL](*dump(Add(2))) == Add(2)
    assert decode[CAST](*dump(Poke(3))) == Poke(3)
    assert decode[INFO](*dump(Down(1, "x", KILLED))) == Down(1, "x", KILLED)
    assert decode[INFO](*dump(Exit("x", NORMAL))) == Exit("x", NORMAL)
    for kind, value in ((CALL, Poke(1)), (CALL, 7), (CAST, Add(1))):
        with pytest.raises(msgspec.ValidationError):
            decode[kind](*dump(value))


def test_a_handler_of_one_plain_type_or_of_generic_ones() -> None:
    assert Decoder(int)(*dump(7)) == 7
    assert Decoder(int | None)(*dump(None)) is None
    assert Decoder(Wrapped[int] | Add)(*dump(Add(1))) == Add(1)
    assert Decoder(Down | Exit | Poke, Down, Exit)(*dump(Poke())) == Poke()


def test_two_types_with_one_tag_cannot_be_told_apart() -> None:
    types = {"handle_call": Any, "handle_cast": Poke | Prod, "handle_info": Any}
    with pytest.raises(TypeError, match="must be told apart by their tags"):
        decoders(types)


# ---------------------------------------------------------------- addresses


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab/@<>.", max_size=8), st.text(max_size=12))
def test_a_key_may_be_any_text(group: str, key: str) -> None:
    assert codec.parse_via(codec.wire_address(Via(group, key))) == Via(group, key)


@pytest.mark.parametrize("address", ["counter", "counter@a", "<c.1@a>", "", "via"])
def test_an_address_that_is_no_key(address: str) -> None:
    assert codec.wire_address(address) == address and codec.parse_via(address) is None


def test_a_key_that_a_stranger_wrote_badly_is_still_a_key() -> None:
    assert codec.parse_via("via:group") == Via("group", "")
    assert codec.parse_via("via:") == Via("", "")


# ---------------------------------------------------------------- errors


class NoFunds(Exception):
    """Refused with two arguments, as an application may."""

    def __init__(self, account: str, missing: int) -> None:
        self.account, self.missing = account, missing
        super().__init__(account, missing)


class Shouted(Exception):
    """Cannot be made from its arguments."""

    def __init__(self, text: str) -> None:
        super().__init__(text.upper(), 2)


def test_a_refusal_is_raised_again_by_its_name() -> None:
    failure = codec.refusal(NoFunds("alice", 3))
    assert failure.text.startswith("NoFunds: ")
    again = codec.raised(failure, what="call Pay", to="bank")
    assert isinstance(again, NoFunds) and (again.account, again.missing) == ("alice", 3)
    key = codec.raised(codec.refusal(KeyError("x")), what="call Pay", to="bank")
    assert isinstance(key, KeyError) and key.args == ("x",)


def test_arguments_that_do_not_travel_become_text() -> None:
    again = codec.raised(codec.refusal(KeyError(object)), what="call Pay", to="bank")
    assert isinstance(again, KeyError) and "object" in again.args[0]


def test_a_class_that_is_not_known_here_or_cannot_be_made_leaves_its_text() -> None:
    class Local(Exception):
        pass

    for error in (Local("no"), Shouted("no")):
        again = codec.raised(codec.refusal(error), what="call Pay", to="bank")
        assert type(again) is errors.OtpError and type(error).__name__ in str(again)


@pytest.mark.parametrize(
    "name", [("os", "system", ["true"]), ("otp.codec", "Decoder", [int]), ("builtins", "int", [])]
)
def test_only_exceptions_are_made_from_what_a_stranger_names(name: tuple[str, str, Any]) -> None:
    raised = codec.encode([name[0], name[1], [str(argument) for argument in name[2]]])
    again = codec.raised(Failure("refused", "text", raised=raised), what="call A", to="b")
    assert type(again) is errors.OtpError and str(again) == "text"


def test_a_refusal_that_is_garbage_leaves_its_text() -> None:
    for garbage in (b"", b"\xc1", codec.encode(7), codec.encode(["a", 1, 2])):
        again = codec.raised(Failure("refused", "E: x", raised=garbage), what="call A", to="b")
        assert type(again) is errors.OtpError and str(again).startswith("E: x")


@pytest.mark.parametrize(
    ("failure", "cls", "text"),
    [
        (Failure("noproc", ""), errors.NoProcess, "there is no such process; it did not happen"),
        (Failure("serverdown", "", KILLED), errors.ServerDown, "replied (killed); it may have"),
        (Failure("nodedown", "b"), errors.NodeDown, "node b is not connected"),
        (Failure("nodedown", "b", NOCONNECTION), errors.NodeDown, "lost before the reply; it may"),
        (Failure("overloaded", "9 wait"), errors.Overloaded, "the queue is full (9 wait)"),
        (Failure("disconnected", ""), errors.Disconnected, "and is not sent again"),
        (Failure("undecodable", "odd"), errors.Undecodable, "odd; it did not happen"),
        (Failure("supervisor", "running"), errors.SupervisorError, "terminate it first"),
        (Failure("supervisor", "bad_spec: no id"), errors.SupervisorError, "bad_spec: no id"),
    ],
)
def test_every_failure_is_an_exception_that_says_who_and_what(
    failure: Failure, cls: type[Exception], text: str
) -> None:
    error = codec.raised(failure, what="call Add", to="bank")
    assert type(error) is cls and text in str(error)
    assert "call Add" in str(error) and "bank" in str(error)


def test_a_call_that_got_no_reply_in_time() -> None:
    error = codec.timed_out(Add(1), Via("elections", "7"), 5.0)
    assert str(error).startswith("call Add to via:elections:7: no reply in 5 s")
