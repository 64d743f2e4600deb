from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp import sys as otp_sys
from otp.codec import describe, dump
from otp.command.spoken import request_of
from otp.frames import MSGPACK, SYSTEM


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["Get"], {"type": "Get"}),
        (["Add", "n=5"], {"type": "Add", "n": 5}),
        (['{"type": "Add", "n": 5}'], {"type": "Add", "n": 5}),
        (
            ["Put", "key=a b", 'text="5"', "of={}"],
            {"type": "Put", "key": "a b", "text": "5", "of": {}},
        ),
        (["otp.WhichChildren"], {"type": "otp.WhichChildren"}),
        (["Put", "equation=a=b"], {"type": "Put", "equation": "a=b"}),
    ],
)
def test_it_is_sent_as_the_tagged_struct_that_a_program_would_send(
    words: list[str], sent: dict[str, Any]
) -> None:
    how, body = dump(request_of(words))
    assert (how, msgspec.msgpack.decode(body)) == (MSGPACK, sent)


def test_what_any_server_answers_is_sent_as_what_it_is() -> None:
    assert request_of(["otp.sys.GetState"]) == otp_sys.GetState()
    assert request_of(["otp.sys.Trace", "messages=5"]) == otp_sys.Trace(5)
    assert dump(request_of(['{"type": "otp.sys.Resume"}']))[0] == SYSTEM


def test_errors_call_it_by_its_name() -> None:
    assert describe(request_of(["Add", "n=5"])) == "Add"


@pytest.mark.parametrize("word", ["5", '"text"', "null", "[1, 2]", '{"n": 1}'])
def test_json_without_a_type_is_sent_as_it_is(word: str) -> None:
    assert request_of([word]) == msgspec.json.decode(word)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Add", "n"], "'n' is not of the form field=value"),
        (["Add", "=5"], "'=5' is not of the form"),
        (["Add", "a b=5"], "'a b=5' is not of the form"),
        (["Add", "type=5"], "'type=5' is not of the form"),
        (["otp.sys.Trace", "n=5"], "Trace has no field 'n'; it has messages, to"),
        (["otp.sys.Trace", "messages=x"], "Trace: Expected `int`, got `str`"),
        (["otp.sys.ReplaceState"], "ReplaceState: .*missing required field `state`"),
        (["{"], "'{' is neither JSON nor a request such as: Add n=5"),
        (['{"type": 5}'], "`type` is 5; it is the name of a request"),
        (['{"type": "Add", "a b": 5}'], "'a b' is not the name of a field"),
        (['{"type": "Add", "__class__": 5}'], "'__class__' is not the name of a field"),
    ],
)
def test_what_cannot_be_meant(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("{", r"\{")):
        request_of(words)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text() | st.sampled_from(["Add", "n=5", "{}", "a=", '{"type":']), min_size=1))
def test_anything_else_is_told_as_a_value_error(words: list[str]) -> None:
    try:
        request_of(words)
    except ValueError as error:
        assert str(error)
