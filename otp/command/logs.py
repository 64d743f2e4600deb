"""`otp logs`: what the children of a node have written, merged by time, and what they write."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from otp import log_reader
from otp.command.base import OK, Command, node_arguments, paint, print_json, print_lines, run_dir
from otp.command.view import Paint, one_line, plain
from otp.errors import OtpError
from otp.log_view import Line, Prefixes, short
from otp.words import did_you_mean

LINES = 100
"""How many lines are shown, unless told otherwise."""
LINES_MAX = 2**31
LOOK_SECONDS = 0.2
"""How often -f looks for more: a person who reads along does not see the difference."""


def _logs(arguments: argparse.Namespace) -> int:
    folder = arguments.dir or _folder(run_dir(arguments))
    known = _known(folder)
    asked: list[str] = arguments.path
    for path in asked:
        if not any(log_reader.is_of(one, path) for one in known):
            guess = did_you_mean(path, [name for one in known for name in (one, short(one))])
            raise OtpError(f"nothing was written by {path!r}{guess} (`otp ps` lists what runs)")
    wanted = {path: name for path, name in known.items() if _is_wanted(path, asked)}
    shown = _Shown(arguments, wanted)
    follower = None
    if arguments.follow:
        follower = log_reader.Follower(folder, lambda path: _is_wanted(path, asked))
    shown.show(log_reader.last(folder, list(wanted.values()), arguments.count))
    if follower is not None:
        _follow(follower, shown)
    return OK


def _folder(run_dir: str) -> str:
    folder = os.path.join(run_dir, "logs")
    if not os.path.isdir(folder):
        raise OtpError(
            "this node keeps no log files: `otp run` keeps them by default, `otp.start` with "
            "logs=otp.LogOptions()"
        )
    return folder


def _known(folder: str) -> dict[str, str]:
    try:
        return log_reader.paths(folder)
    except OSError as error:
        raise OtpError(f"{folder} cannot be read: {error.strerror}") from None


def _is_wanted(path: str, asked: Sequence[str]) -> bool:
    return not asked or any(log_reader.is_of(path, one) for one in asked)


def _follow(follower: log_reader.Follower, shown: _Shown) -> None:
    try:
        while True:
            shown.show(follower.read())
            time.sleep(LOOK_SECONDS)
    except FileNotFoundError:
        print("otp logs: the node has ended", file=sys.stderr)


class _Shown:
    """Lines as they are asked for."""

    def __init__(
        self, arguments: argparse.Namespace, paths: Sequence[str] | dict[str, str]
    ) -> None:
        self._json, self._times = arguments.json, arguments.times
        self._paint: Paint = paint()
        self._prefixes = Prefixes(colours=self._paint is not plain)
        for path in paths:
            self._prefixes.add(short(path))

    def show(self, lines: list[Line]) -> None:
        """One after the other, at once."""
        for line in lines:
            if self._json:
                print_json(line)
            else:
                print_lines(self._text(line))

    def _text(self, line: Line) -> str:
        text = line.line
        if line.stream == "report":
            text = self._paint(one_line(f"({text})", None), "faint")
        text = self._prefixes.lines(short(line.path), [text]).removesuffix("\n")
        if self._times:
            text = f"{time.strftime('%H:%M:%S', time.localtime(line.at))} {text}"
        return text


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="*", help="only of these, and all below them")
    parser.add_argument("-f", "--follow", action="store_true", help="go on, until Ctrl-C")
    text = f"how many past lines in all (default {LINES})"
    parser.add_argument("-n", dest="count", metavar="N", type=_count, default=LINES, help=text)
    parser.add_argument("-t", "--times", action="store_true", help="when each line was read")
    parser.add_argument(
        "--dir", metavar="DIR", help="a folder of logs (logs: {dir: ..}), node or no node"
    )
    node_arguments(parser)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return min(int(text), LINES_MAX)


LOGS = Command(
    name="logs",
    about="show what children wrote, and what the node has to say of them",
    arguments=_arguments,
    run=_logs,
    json="one object on a line: at, node, path, stream (stdout, stderr, report), line",
    examples="""\
examples:
  otp logs                        the last lines of all, by time
  otp logs -f web pool            of these, and what comes
  otp logs -n 0 -f --json | jq -r 'select(.stream == "stderr") | .line'
  otp logs --dir /var/log/shop    of a node that has ended

`otp run` keeps what children write in the run directory until the node ends; `logs:` of the
tree's `node:` names another folder, and bounds.""",
)
