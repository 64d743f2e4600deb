"""Files of environment variables (`env_file:`): one KEY=VALUE on a line.

    # a comment; `export` before a name is allowed
    PORT=8080
    GREETING="two words\\n"      # double quotes: \\n \\t \\" \\\\ \\$ are escapes
    PATTERN='as $it $is'

Without quotes a value ends at the line's end, or at a `#` with a space before it. Nothing is
expanded. A name that comes twice has its last value, as in a shell.
"""

from __future__ import annotations

import re

from otp.regular import regular_bytes

ENV_FILE_BYTES_MAX = 256 * 1024
"""The kernel takes about 2 MB of arguments and environment together; nobody writes this by hand."""

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[ \t]*(.*)")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class EnvFileError(ValueError):
    """The file cannot be read, or a line of it is none: the text names file and line."""


def read(path: str) -> dict[str, str]:
    """The variables in a file. Raises EnvFileError."""
    try:
        data = regular_bytes(path, ENV_FILE_BYTES_MAX + 1)
        if len(data) > ENV_FILE_BYTES_MAX:
            raise ValueError(f"it is larger than {ENV_FILE_BYTES_MAX:,} bytes")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EnvFileError(f"{path} cannot be read: {reason}") from None
    try:
        return parse(data.decode("utf-8-sig"), path)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise EnvFileError(f"{path}:{line}: is not UTF-8 text") from None


def parse(text: str, file: str) -> dict[str, str]:
    """The variables in a text; `file` is for error messages. Raises EnvFileError."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if "\0" in line or match is None:
            raise EnvFileError(f"{file}:{number}: is not KEY=VALUE, a comment or an empty line")
        value = _value(match[2])
        if value is None:
            text = "the quote is not closed, or something follows it"
            raise EnvFileError(f"{file}:{number}: {match[1]}: {text}")
        found[match[1]] = value
    return found


def _value(text: str) -> str | None:
    """What is meant by the right side of a line; None if its quotes are wrong."""
    if text.startswith('"'):
        quoted = _DOUBLE.fullmatch(text)
        return _ESCAPE.sub(_unescaped, quoted[1]) if quoted else None
    if text.startswith("'"):
        quoted = _SINGLE.fullmatch(text)
        return quoted[1] if quoted else None
    return _COMMENT.sub("", text).strip()


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[1], found[1] if found[1] in '"\\$' else found[0])
