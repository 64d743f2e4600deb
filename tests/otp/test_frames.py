"""Golden bytes of the frames themselves, and that control messages are told apart."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from otp import frames as f
from otp.messages import NORMAL, WireSupervisor

ENVELOPE = f.Envelope(f.CALL, "counter@b", "<c.1@a>", 7, 5000, 1, f.MSGPACK, "via:e:9", b"\x01")
ENVELOPE_BYTES = b"\x99\x01\xa9counter@b\xa7<c.1@a>\x07\xcd\x13\x88\x01\x00\xa7via:e:9\xc4\x01\x01"


def test_an_envelope_is_an_array_in_this_order() -> None:
    assert msgspec.msgpack.encode(ENVELOPE) == ENVELOPE_BYTES
    assert msgspec.msgpack.decode(ENVELOPE_BYTES, type=f.Envelope) == ENVELOPE
    fields = [1, "counter@b", "<c.1@a>", 7, 5000, 1, 0, "via:e:9", b"\x01"]
    assert msgspec.msgpack.decode(ENVELOPE_BYTES) == fields


def test_the_numbers_of_kinds_and_codecs_stay() -> None:
    assert (f.CALL, f.CAST, f.INFO, f.REPLY, f.ERROR) == (1, 2, 3, 4, 5)
    assert (f.DOWN, f.EXIT, f.MONITOR, f.DEMONITOR, f.LINK, f.UNLINK) == (6, 7, 8, 9, 10, 11)
    assert (f.HELLO, f.MOVED, f.MSGPACK, f.PICKLE) == (12, 13, 0, 1)
    assert (f.EXIT_SIGNAL, f.HEARTBEAT, f.LANE) == (14, 15, 16)
    assert {*range(4, 15), f.GROUPS} == f.SIGNALS, "all but calls, casts and plain sends"


def test_a_failure_says_its_kind_in_words() -> None:
    failure = f.Failure("refused", "E: x", raised=b"r")
    golden = (
        b"\x84\xa4kind\xa7refused\xa4text\xa4E: x"
        b"\xa6reason\x82\xa4kind\xa6noproc\xa4text\xa0\xa6raised\xc4\x01r"
    )
    assert msgspec.msgpack.encode(failure) == golden
    assert msgspec.msgpack.decode(golden, type=f.Failure) == failure


@pytest.mark.parametrize("cut", range(len(ENVELOPE_BYTES)))
def test_half_an_envelope_is_none(cut: int) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.msgpack.decode(ENVELOPE_BYTES[:cut], type=f.Envelope)


UNIONS: list[Any] = [f.FromZygote, f.FromWorker, f.ToWorker, f.ToMailroom, f.FromMailroom]


@pytest.mark.parametrize("union", UNIONS)
def test_control_messages_are_told_apart_by_their_tags(union: Any) -> None:
    decoder = msgspec.msgpack.Decoder(union)
    for cls in get_args(union):
        assert issubclass(cls, f.Control)
        tagged = msgspec.msgpack.encode({"type": cls.__name__})
        if any(field.required for field in msgspec.structs.fields(cls)):
            with pytest.raises(msgspec.ValidationError, match="missing required field"):
                decoder.decode(tagged)
        else:
            assert type(decoder.decode(tagged)) is cls
    with pytest.raises(msgspec.ValidationError, match="Invalid value 'Boot'"):
        decoder.decode(msgspec.msgpack.encode({"type": "Boot"}))


def test_what_a_node_is_told_at_its_birth_travels_whole() -> None:
    boot = f.Boot("a", "/run", WireSupervisor("root"), b"\0key", peers={"b": "127.0.0.1:1"})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(boot), type=f.Boot) == boot
    ended = f.Ended(NORMAL, began=False)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ended), type=f.FromWorker) == ended
