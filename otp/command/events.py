"""`otp events`: what has happened in a running node, and what happens."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from otp.command.base import (
    ANSWER_SECONDS_MAX,
    OK,
    Command,
    node_arguments,
    paint,
    print_lines,
    run_dir,
)
from otp.command.view import Paint, one_line
from otp.errors import OtpError
from otp.handle import Control
from otp.messages import (
    ChildExited,
    ChildStartFailed,
    GaveUp,
    NodeFault,
    NodeInfo,
    ProcessInfo,
    RecentReports,
    Report,
)
from otp.words import did_you_mean

REPORTS_SHOWN = 20
"""How many past reports are shown, unless told otherwise."""


def _events(arguments: argparse.Namespace) -> int:
    control = Control.of(run_dir(arguments))
    try:
        rows: list[ProcessInfo] = control.ask(NodeInfo(), timeout=ANSWER_SECONDS_MAX)
        node = rows[0].path
        request = RecentReports(_EVERY if arguments.path else arguments.count, arguments.follow)
        known = control.ask(request, timeout=ANSWER_SECONDS_MAX)
        shown = _Shown(node, arguments)
        shown.refuse_nobody([row.path for row in rows] + [report.path for report in known])
        of_path = [report for report in known if shown.is_meant(report.path)]
        for report in of_path[len(of_path) - min(arguments.count, len(of_path)) :]:
            shown.show(report)
        while arguments.follow and (report := control.report()) is not None:
            if shown.is_meant(report.path):
                shown.show(report)
    except EOFError:
        print(f"otp events: node {node} has ended", file=sys.stderr)
    finally:
        control.close()
    return OK


_EVERY = 2**31


class _Shown:
    def __init__(self, node: str, arguments: argparse.Namespace) -> None:
        self._node, self._style = node, "json" if arguments.json else "text"
        self._path: str | None = arguments.path
        self._paint: Paint = paint()

    def is_meant(self, path: str) -> bool:
        """Is it at or below what was asked for, as a tree shows it or as an address?"""
        if self._path is None:
            return True
        named = (path, path.partition("/")[2])
        return any(name == self._path or name.startswith(f"{self._path}/") for name in named)

    def refuse_nobody(self, paths: Sequence[str]) -> None:
        """Raises OtpError where none of these is meant: it is a slip of the pen."""
        if self._path is not None and not any(map(self.is_meant, paths)):
            known = {name for path in paths for name in (path, path.partition("/")[2])}
            guess = did_you_mean(self._path, sorted(known))
            raise OtpError(f"nothing is known of {self._path!r}{guess} (`otp ps` lists what runs)")

    def show(self, report: Report) -> None:
        """One line."""
        from otp.node_view import format_report

        line = format_report(report, self._node, self._style)
        if self._style == "text":
            line = one_line(line, None)
            style = _style(report)
            line = self._paint(line, style) if style else line
        print_lines(line)


def _style(report: Report) -> str:
    match report:
        case ChildStartFailed() | GaveUp() | NodeFault():
            return "bad"
        case ChildExited(reason=reason) if reason.kind not in ("normal", "shutdown"):
            return "busy"
    return ""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="?", help="only of this, and all below it")
    parser.add_argument("-f", "--follow", action="store_true", help="go on, until Ctrl-C")
    text = f"how many of those that the node still knows (default {REPORTS_SHOWN})"
    parser.add_argument(
        "-n", dest="count", metavar="N", type=_count, default=REPORTS_SHOWN, help=text
    )
    node_arguments(parser)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return min(int(text), _EVERY)


EVENTS = Command(
    name="events",
    about="tell what has happened in a node: starts, exits, restarts, who gave up",
    arguments=_arguments,
    run=_events,
    json="reports as JSON, one object on a line",
    examples="""\
examples:
  otp events                      the last ones; a node keeps 1,000
  otp events -f pool              those of pool and its children, as they come
  otp events -f --json | jq 'select(.type == "GaveUp")'""",
)
