"""What a node and its logger say to each other."""

from __future__ import annotations

from otp.frames import Began, Control, Ended, Finish, Ignored, Ping, Pong
from otp.logs_wire import Logs


class Logging(Control, frozen=True):
    """Node to logger: what to do with what it reads."""

    node: str
    logs: Logs


class Capture(Control, frozen=True):
    """Node to logger, with the reading ends of its stdout and stderr: a child has begun.

    `pattern`: tell when a line matches this regular expression. `aloud` is False for lines that go
    on as they are to the streams that the child would have inherited.
    """

    serial: int
    path: str
    pattern: str = ""
    aloud: bool = True


class Release(Control, frozen=True):
    """Node to logger: that child and all that it left behind are gone; what is left is read."""

    serial: int


class Released(Control, frozen=True):
    """Logger to node: all that this child has written is where it belongs."""

    serial: int


class Matched(Control, frozen=True):
    """Logger to node: a line of this child matched its pattern."""

    serial: int
    line: str


class Say(Control, frozen=True):
    """Node to logger: a report about `path`; `line` for stderr (or nothing), `sentence` to keep."""

    serial: int
    path: str
    at: float
    line: str
    sentence: str


class Said(Control, frozen=True):
    """Logger to node: reports up to this serial number are said."""

    serial: int


class Trouble(Control, frozen=True):
    """Logger to node: something is wrong with files or streams; it goes on without them."""

    text: str


ToLogger = Logging | Capture | Release | Say | Finish | Ping
FromLogger = Began | Ended | Ignored | Released | Matched | Said | Trouble | Pong
