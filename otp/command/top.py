"""`otp top`: the live view of a node, or one look at it for programs and pipes."""

from __future__ import annotations

import argparse
import os
import sys
import time

import msgspec

from otp.command.base import (
    OK,
    Command,
    node_arguments,
    print_json,
    print_lines,
    run_dir,
    tree_lines,
)
from otp.handle import Control
from otp.messages import NodeInfo, RecentReports


def _top(arguments: argparse.Namespace) -> int:
    folder = run_dir(arguments)
    if arguments.json or arguments.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _once(folder, arguments.json)
    from otp.command.top_live import Top

    Top(folder, tree_lines(), lambda path: _log(folder, path)).run()
    return OK


def _once(folder: str, as_json: bool) -> int:
    from otp.command import top_live, top_state, top_view

    found = top_live.snapshot(folder)
    if as_json:
        rows = [
            msgspec.to_builtins(row)
            | msgspec.to_builtins(found.usage.get(row.pid) or {"cpu": None, "memory": None})
            for row in found.rows
        ]
        print_json({"at": found.at, "processes": rows})
        return OK
    state = top_state.State(tuple(tree_lines()), found)
    lines = top_view.picture(state, 160, len(found.rows) + 4, time.time())
    print_lines(*("".join(text for text, _ in line).rstrip() for line in lines[:-2]))
    return OK


def _log(folder: str, path: str) -> list[str]:
    """What a path and those below it have written, and what has happened to them."""
    from otp import log_reader
    from otp.command.top_state import TAIL_LINES

    logs = os.path.join(folder, "logs")
    if not os.path.isdir(logs):
        return _reports(folder, path)
    known = log_reader.paths(logs)
    files = [file for one, file in known.items() if log_reader.is_of(one, path)]
    lines = log_reader.last(logs, files, TAIL_LINES)
    single = len({line.path for line in lines}) < 2
    return [f"{_clock(line.at)} {'' if single else f'{line.path}: '}{line.line}" for line in lines]


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _reports(folder: str, path: str) -> list[str]:
    """What has happened to a path, one line each."""
    from otp.node_view import format_report

    control = Control.of(folder)
    try:
        node = control.ask(NodeInfo(), timeout=1.0)[0].path
        reports = control.ask(RecentReports(1000), timeout=1.0)
    finally:
        control.close()
    of_path = [one for one in reports if one.path == path or one.path.startswith(f"{path}/")]
    lines = [format_report(report, node, "text") for report in of_path]
    return [line.replace(f" [{node}] {path}", " ", 1).replace(" : ", " ", 1) for line in lines]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="one look, as text, and leave")
    node_arguments(parser)


TOP = Command(
    name="top",
    about="watch a node: state, CPU, memory and restarts of each process, live",
    arguments=_arguments,
    run=_top,
    json="one look: one object on a line with `processes`, as `otp ps`, and cpu and memory",
    examples="""\
examples:
  otp top
  otp top --once                  one look, also where the output is no terminal
  otp top --json | jq '.processes[] | select(.memory > 100000000) | .path'

CPU is in percent of one core; memory that several processes share is divided among them; both count
what a process has started. Keys: arrows select, r restarts, s stops (asks), S starts, k kills
(asks), l shows the log, / filters, escape shows all again, q leaves.""",
)
