from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.lines import CUT, Splitter


@pytest.mark.parametrize(
    ("reads", "lines", "rest"),
    [
        ([b"a\nb\n"], [b"a", b"b"], []),
        ([b"a", b"b\nc"], [b"ab"], [b"c"]),
        ([b"a\r\n\n"], [b"a", b""], []),
        ([b"\xff\x00\n"], [b"\xff\x00"], []),
        ([b""], [], []),
        ([b"1234567890123\n"], [b"1234567890" + CUT, b"123"], []),
        ([b"1234567", b"890123"], [b"1234567890" + CUT], [b"123"]),
        (["12345678äö\n".encode()], ["12345678ä".encode() + CUT, "ö".encode()], []),
        (["123456789ä\n".encode()], [b"123456789" + CUT, "ä".encode()], []),
        ([b"\x80" * 12 + b"\n"], [b"\x80" * 10 + CUT, b"\x80" * 2], []),
    ],
)
def test_bytes_become_lines(reads: list[bytes], lines: list[bytes], rest: list[bytes]) -> None:
    splitter = Splitter(10)
    assert [line for data in reads for line in splitter.feed(data)] == lines
    assert splitter.end() == rest
    assert splitter.end() == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40)))
def test_nothing_is_lost_and_no_line_is_longer_than_may_be(reads: list[bytes]) -> None:
    splitter = Splitter(7)
    lines = [line for data in reads for line in splitter.feed(data)]
    assert all(len(line) <= 7 + len(CUT) for line in lines)
    joined = b"".join(
        line.removesuffix(CUT) if len(line) > 7 else line + b"\n" for line in lines
    ) + b"".join(splitter.end())
    assert joined == b"".join(reads).replace(b"\r\n", b"\n")
