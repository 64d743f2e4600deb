"""Commands that stop and start parts of a running node: `otp stop`, `otp start`, `otp restart`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from otp.command.base import (
    OK,
    Command,
    UsageError,
    node_arguments,
    print_json,
    print_lines,
    run_dir,
    settle_all,
    timeout_argument,
    wait_arguments,
)
from otp.command.lifecycle import Lifecycle
from otp.command.places import Place
from otp.handle import Control
from otp.messages import ChildInfo

Said = Callable[[str, ChildInfo | None], None]


def _stop(arguments: argparse.Namespace) -> int:
    with _lifecycle(arguments) as life:
        if arguments.path is not None:
            life.stop(life.find(arguments.path))
            return OK
        pid = life.stop_node()
    if arguments.json:
        print_json({"path": "", "state": "stopped", "pid": pid})
    else:
        print_lines(f"stopped, pid {pid}")
    return OK


def _start(arguments: argparse.Namespace) -> int:
    return _bring_up(arguments, Lifecycle.start)


def _restart(arguments: argparse.Namespace) -> int:
    return _bring_up(arguments, Lifecycle.roll if arguments.rolling else Lifecycle.restart)


def _bring_up(arguments: argparse.Namespace, deed: Callable[[Lifecycle, Place], object]) -> int:
    with _lifecycle(arguments) as life:
        place = life.find(arguments.path)
        deed(life, place)
    if arguments.wait:
        settle_all(arguments.run_dir, place.row.path, arguments.timeout)
    return OK


@contextmanager
def _lifecycle(arguments: argparse.Namespace) -> Iterator[Lifecycle]:
    if arguments.path == "":
        raise UsageError("PATH is empty; `otp ps` lists them")
    arguments.run_dir = run_dir(arguments)
    control = Control.of(arguments.run_dir)
    try:
        yield Lifecycle(control, arguments.timeout, _as_json if arguments.json else _as_text)
    finally:
        control.close()


def _as_text(path: str, info: ChildInfo | None) -> None:
    started = f"started{f', pid {info.pid}' if info.pid else ''}" if info else "stopped"
    print_lines(f"{path}: {started}")


def _as_json(path: str, info: ChildInfo | None) -> None:
    if info is None:
        print_json({"path": path, "state": "stopped", "pid": None})
    else:
        print_json({"path": path, "state": "started", "pid": info.pid})


_PATH = "pool/w1, or root/pool/w1 as in `otp tree`"


def _stop_arguments(parser: argparse.ArgumentParser) -> None:
    text = f"{_PATH}; without it, the whole node"
    parser.add_argument("path", metavar="PATH", nargs="?", help=text)
    timeout_argument(parser)
    node_arguments(parser)


def _start_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help=_PATH)
    wait_arguments(parser)
    node_arguments(parser)


def _restart_arguments(parser: argparse.ArgumentParser) -> None:
    _start_arguments(parser)
    rolling = "the children of a supervisor one after the other, until one does not come back"
    parser.add_argument("--rolling", action="store_true", help=rolling)


_JSON = "an object on a line for each that was stopped or started: path, state, pid"
STOP = Command(
    name="stop",
    about="stop a node in order, or (PATH) one child and all below it",
    arguments=_stop_arguments,
    run=_stop,
    json=_JSON,
    examples="""\
examples:
  otp stop                        the whole node; returns when nothing is left of it
  otp stop --name shop            that node, where several run
  otp stop pool/w1                it stays stopped until `otp start pool/w1`
  otp stop pool                   a supervisor, with its children, the last one first

Without --name or --run-dir the only node that runs is meant, also one that a program of yours has
started; where several run, the error lists them.

Children get the time that their `shutdown` says, then they are killed. Exit code 1 also when it is
not done within --timeout; it then goes on.""",
)
START = Command(
    name="start",
    about="start a child that is stopped, and all below it",
    arguments=_start_arguments,
    run=_start,
    json=_JSON,
    examples="""\
examples:
  otp start pool/w1
  otp start pool --wait           and wait until it has stayed up

It returns when the child has started (is ready). Exit code 1: it did not; it is then stopped.""",
)
RESTART = Command(
    name="restart",
    about="stop a child in order and start it again",
    arguments=_restart_arguments,
    run=_restart,
    json=_JSON,
    examples="""\
examples:
  otp restart counter
  otp restart pool                the supervisor, and so all of its children
  otp restart pool --rolling      its children, one after the other, each once the last is ready
  otp restart root                all children of the root

No strategy is asked, no other child is touched, and it costs no restart of the budget. What was
stopped by hand is left alone by --rolling. Python code that was loaded before stays as it was.""",
)
