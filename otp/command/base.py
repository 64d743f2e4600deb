"""What every command of `otp` is made of: its entry in the table, its output, its errors.

A command is one `Command`, and one line in the table of `cli`. Exit codes: 0 all is well, 1 it
went wrong, 2 it was asked in a way that cannot go right (usage, or a tree that cannot be started as
it is written), 3 there are changes (`otp diff`). Problems go to stderr, one line each.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import msgspec

from otp import rules
from otp.command import runs, view
from otp.command.settle import SETTLED_SECONDS, settle
from otp.durations import seconds
from otp.errors import Disconnected, OtpError
from otp.handle import Control
from otp.words import did_you_mean

OK, FAILURE, USAGE, CHANGES, INTERRUPTED = 0, 1, 2, 3, 130
ANSWER_SECONDS_MAX = 10.0
"""How long a node may take to answer; a stopped one (SIGSTOP) never does."""
WAIT_SECONDS = 120.0
"""How long a command waits, unless told otherwise, for what it starts or stops."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command: `otp NAME`. `about` goes on with "otp NAME: ", `json` says what --json prints.

    `arguments` adds to the parser, `run` does it and gives the exit code, `examples` ends --help.
    """

    name: str
    about: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    json: str
    examples: str


class UsageError(Exception):
    """The arguments do not go together."""


# ---------------------------------------------------------------- output


def complain(code: int, *problems: str) -> int:
    """Problems to stderr, one line each; the exit code."""
    for problem in problems:
        print(view.one_line(problem, None), file=sys.stderr)
    return code


def print_lines(*lines: str) -> None:
    """Whole lines, now: an error in writing them is ours and not that of the interpreter's end."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """A value as JSON on one line."""
    print_lines(msgspec.json.encode(value).decode())


def paint() -> view.Paint:
    """How to colour what goes to stdout: not at all, unless it is a terminal that wants it."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return view.coloured if wanted and sys.stdout.isatty() else view.plain


def tree_lines() -> Sequence[str]:
    """What stdout can show of the lines of a tree."""
    try:
        "".join(view.UNICODE_LINES).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return view.ASCII_LINES
    return view.UNICODE_LINES


# ---------------------------------------------------------------- a node to ask


def node_arguments(parser: argparse.ArgumentParser) -> None:
    """Which node: --name or --run-dir, or the only one that runs."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--name", help="the node's name (default: the only one that runs)")
    which.add_argument("--run-dir", metavar="DIR", help="the folder of the node's sockets")


def run_dir(arguments: argparse.Namespace) -> str:
    """The folder of the node that is meant. Raises OtpError."""
    found: str = arguments.run_dir or runs.choose(arguments.name).run_dir
    return found


def ask(
    arguments: argparse.Namespace, request: Any, *, to: str = "node", timeout: float | None = None
) -> Any:
    """The node's answer, or that of the supervisor `to`. Raises OtpError."""
    control = Control.of(run_dir(arguments))
    try:
        return control.ask(request, to=to, timeout=timeout or ANSWER_SECONDS_MAX)
    finally:
        control.close()


def wait_arguments(parser: argparse.ArgumentParser, also: str = "") -> None:
    """--wait and --timeout, which mean the same wherever something is started or stopped."""
    about = f"{also} wait until all has run for {SETTLED_SECONDS:g} s at a stretch".lstrip()
    parser.add_argument("--wait", action="store_true", help=about)
    timeout_argument(parser)


def timeout_argument(parser: argparse.ArgumentParser) -> None:
    """--timeout, in seconds once parsed."""
    text = f"how long it may take: 90, 90s, 5m, .. (default {WAIT_SECONDS:g}s)"
    parser.add_argument("--timeout", metavar="TIME", type=duration, default=WAIT_SECONDS, help=text)


def settle_all(run_dir: str, path: str, seconds: float) -> None:
    """Wait until all below the path has stayed up; "" is the whole node. Raises OtpError."""
    control = Control.of(run_dir)
    try:
        settle(control, path, seconds)
    except (EOFError, Disconnected) as error:
        raise OtpError("the node ended meanwhile; `otp run` in the foreground says why") from error
    finally:
        control.close()


# ---------------------------------------------------------------- arguments


_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """One line for a wrong argument, and examples as they are written."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        if wrong := _CHOICE.search(message):
            guess = did_you_mean(wrong[1], re.findall(r"[\w-]+", wrong[2]))
            message = f"{message[: wrong.end(1) + 1]}{guess}" if guess else message
        print(f"{self.prog}: {message}; see `{self.prog} --help`", file=sys.stderr)
        sys.exit(USAGE)


def by(rule: rules.Rule) -> Callable[[str], str]:
    """An argument's type by the rule that the field of the same meaning has in a tree."""

    def convert(text: str) -> str:
        if message := rule(text):
            raise argparse.ArgumentTypeError(message)
        return text

    return convert


def duration(text: str) -> float:
    """An argument's type: seconds, or text with a unit."""
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def signal_number(text: str) -> int:
    """An argument's type: a signal by number or name."""
    names = {s.name: s.value for s in signal.Signals}
    number = int(text) if text.isdecimal() else names.get(f"SIG{text.upper().removeprefix('SIG')}")
    if number not in signal.valid_signals():
        raise argparse.ArgumentTypeError(f"{text!r} is not a signal: use 9, KILL, TERM, HUP, ...")
    return int(number)
