from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp.envfile import ENV_FILE_BYTES_MAX, EnvFileError, parse, read

FILE = r"""
# a comment
   # and one further right
PORT=8080
export HOST = example.org   # the host
EMPTY=
ONLY= # a comment
HASH=a#b
URL=http://x/?a=b#c
DOUBLE="two words\n\"quoted\" \$5 \\ \d"   # a comment
SINGLE='as $it \n is'
SPACES=two words
LAST=1
LAST=2
"""


def test_lines_as_people_write_them() -> None:
    assert parse(FILE, "f") == {
        "PORT": "8080",
        "HOST": "example.org",
        "EMPTY": "",
        "ONLY": "",
        "HASH": "a#b",
        "URL": "http://x/?a=b#c",
        "DOUBLE": 'two words\n"quoted" $5 \\ \\d',
        "SINGLE": "as $it \\n is",
        "SPACES": "two words",
        "LAST": "2",
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A=1\nnonsense", "f:2: is not KEY=VALUE, a comment or an empty line"),
        ("1A=1", "f:1: is not KEY=VALUE"),
        ("=1", "f:1: is not KEY=VALUE"),
        ("A B=1", "f:1: is not KEY=VALUE"),
        ("A=\0", "f:1: is not KEY=VALUE"),
        ('\nA="x', "f:2: A: the quote is not closed, or something follows it"),
        ("A='x' y", "f:1: A: the quote is not closed, or something follows it"),
    ],
)
def test_a_bad_line_is_named(text: str, problem: str) -> None:
    with pytest.raises(EnvFileError) as raised:
        parse(text, "f")
    assert str(raised.value).startswith(problem)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_is_variables_or_one_clear_error(text: str) -> None:
    try:
        found = parse(text, "f")
    except EnvFileError as error:
        assert str(error).startswith("f:")
    else:
        assert all("=" not in name and "\0" not in name + value for name, value in found.items())


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(b"\xef\xbb\xbfA=1\r\nB=2\r\n")
    assert read(str(file)) == {"A": "1", "B": "2"}


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    pipe, big, latin = tmp_path / "pipe", tmp_path / "big", tmp_path / "latin"
    os.mkfifo(pipe)
    big.write_bytes(b"#" * (ENV_FILE_BYTES_MAX + 1))
    latin.write_bytes(b"A=1\nB=\xe4\n")
    for path, problem in [
        (tmp_path / "none", "none cannot be read: No such file or directory"),
        (tmp_path, " cannot be read: it is not a regular file"),
        (pipe, "pipe cannot be read: it is not a regular file"),
        (big, "big cannot be read: it is larger than 262,144 bytes"),
        (latin, "latin:2: is not UTF-8 text"),
    ]:
        with pytest.raises(EnvFileError) as raised:
            read(str(path))
        assert str(raised.value).endswith(problem)
