"""Commands that look into a running node, or kill in it: `otp tree`, `otp ps`, `otp kill`."""

from __future__ import annotations

import argparse
import time

from otp.command import view
from otp.command.base import (
    OK,
    Command,
    UsageError,
    ask,
    node_arguments,
    paint,
    print_json,
    print_lines,
    run_dir,
    signal_number,
    tree_lines,
)
from otp.errors import NoProcess, OtpError
from otp.messages import KillProcess, NodeInfo, ProcessInfo
from otp.words import did_you_mean


def _show_tree(arguments: argparse.Namespace) -> int:
    rows: list[ProcessInfo] = ask(arguments, NodeInfo())
    if arguments.json:
        print_json(view.nested(view.grow(rows)))
    else:
        print_lines(*view.tree(rows, time.time(), paint(), tree_lines()))
    return OK


def _show_table(arguments: argparse.Namespace) -> int:
    rows: list[ProcessInfo] = ask(arguments, NodeInfo())
    if arguments.json:
        print_json(rows)
    else:
        print_lines(*view.table(rows, time.time(), paint()))
    return OK


# ---------------------------------------------------------------- otp kill


def _kill(arguments: argparse.Namespace) -> int:
    path, number = arguments.path, arguments.signal
    if not path:
        raise UsageError("PATH is empty; `otp ps` lists them")
    arguments.run_dir = run_dir(arguments)
    try:
        pid: int = ask(arguments, KillProcess(path, number))
    except NoProcess:
        process = _shown_as(path, ask(arguments, NodeInfo()))
        pid = ask(arguments, KillProcess(process, number))
    if arguments.json:
        print_json({"path": path, "pid": pid, "signal": number})
    else:
        print_lines(str(pid))
    return OK


def _shown_as(path: str, rows: list[ProcessInfo]) -> str:
    """The process that `otp tree` shows under this path, its root's id first."""
    row = next((row for row in rows if path in (row.path, row.path.partition("/")[2])), None)
    if row is None:
        known = [name for row in rows for name in (row.path, row.path.partition("/")[2])]
        guess = did_you_mean(path, known)
        raise OtpError(f"there is no process {path!r}{guess} (`otp ps` lists them)")
    if row.type == "supervisor":
        raise OtpError(f"{path!r} is a supervisor, which is no process; kill one of its children")
    if row.type == "node":
        raise OtpError(f"{path!r} is the node itself: stop it with `kill {row.pid}`")
    if not row.pid:
        raise OtpError(f"{path!r} has no process at the moment; `otp ps` says why")
    return row.process


def _kill_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="pool/w1, or root/pool/w1 as in `otp tree`")
    number = "a number or a name such as TERM (default: KILL)"
    parser.add_argument("--signal", metavar="N", type=signal_number, default=9, help=number)
    node_arguments(parser)


TREE = Command(
    name="tree",
    about="draw the tree of a running node",
    arguments=node_arguments,
    run=_show_tree,
    json="one object on one line: the node, with `children`",
    examples="""\
examples:
  otp tree
  otp tree --name a
  watch -c otp tree""",
)
PS = Command(
    name="ps",
    about="list the processes of a running node",
    arguments=node_arguments,
    run=_show_table,
    json="one array on one line, an object for each process",
    examples="""\
examples:
  otp ps
  otp ps --json | jq '.[] | select(.restarts > 0)'""",
)
KILL = Command(
    name="kill",
    about="kill -9 one process of a running node, and print its pid",
    arguments=_kill_arguments,
    run=_kill,
    json="one object on one line: path, pid, signal",
    examples="""\
examples:
  otp kill counter                by its address: the path below the root
  otp kill pool/w1 --signal TERM
  otp kill mailroom               the node's own parts come back, too""",
)
