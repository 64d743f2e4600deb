"""Commands that change what a running node runs: `otp diff`, `otp reload`."""

from __future__ import annotations

import argparse
import sys

import msgspec

from otp import host, wire
from otp.command import difference_view
from otp.command.aligned import align
from otp.command.base import (
    ANSWER_SECONDS_MAX,
    CHANGES,
    FAILURE,
    OK,
    Command,
    complain,
    node_arguments,
    paint,
    print_json,
    print_lines,
    run_dir,
    timeout_argument,
)
from otp.command.difference_view import Line
from otp.command.file import file_arguments, tree_of
from otp.difference import plan
from otp.errors import Disconnected, OtpError, Problem, SpecError
from otp.handle import Control
from otp.messages import Declared, GetDeclared, Reload, Reloaded, WireSupervisor
from otp.reload import digest
from otp.replicas import expanded
from otp.spec import NodeOptions, Supervisor


class _Difference(msgspec.Struct):
    """What a node was told to run, what it is to run, and what lies between."""

    declared: WireSupervisor
    new: WireSupervisor
    lines: list[Line]
    notes: list[str]

    @property
    def changes(self) -> list[Line]:
        return [line for line in self.lines if line.change != "unchanged"]


def _diff(arguments: argparse.Namespace) -> int:
    tree = tree_of(arguments)
    control = _node_of(arguments, tree)
    try:
        found = _difference(control, tree)
    finally:
        control.close()
    _show(arguments, found)
    if arguments.json:
        print_json(_as_json(found))
    return CHANGES if found.changes else OK


def _reload(arguments: argparse.Namespace) -> int:
    tree = tree_of(arguments)
    control = _node_of(arguments, tree)
    try:
        found = _difference(control, tree)
        _show(arguments, found)
        wanted = found.changes
        done = _reloaded(control, found, arguments.timeout) if wanted else Reloaded(0, 0)
    finally:
        control.close()
    if arguments.json:
        print_json(_as_json(found) | msgspec.to_builtins(done))
    elif not done.problem:
        print_lines(f"done: {done.changes} changes" if done.changes else "nothing to do")
    if done.problem:
        text = f"{done.problem}; {done.done} of {done.changes} changes are done"
        return complain(FAILURE, f"otp reload: {text}; `otp diff` shows what is left")
    return OK


def _reloaded(control: Control, found: _Difference, seconds: float) -> Reloaded:
    try:
        done: Reloaded = control.ask(Reload(found.new, digest(found.declared)), timeout=seconds)
        return done
    except Disconnected as error:
        raise OtpError("the node ended meanwhile") from error
    except OtpError as error:
        text = f"not done after {seconds:g} s; it goes on, `otp diff` shows what is left"
        raise OtpError(text) from error


def _node_of(arguments: argparse.Namespace, tree: Supervisor) -> Control:
    """The node that was named, or that the file names, or the only one."""
    if arguments.name is None and arguments.run_dir is None and tree.node is not None:
        written = tree.node.name
        arguments.name = written if written != NodeOptions().name else None
    return Control.of(run_dir(arguments))


def _difference(control: Control, tree: Supervisor) -> _Difference:
    declared: Declared = control.ask(GetDeclared(), timeout=ANSWER_SECONDS_MAX)
    old = expanded(declared.tree)
    new = align(old, expanded(wire.tree(tree)))
    try:
        changes = plan(old, new)
    except ValueError as error:
        text = f"{error}; `otp stop` the node and `otp run` the file"
        raise SpecError([Problem(text)]) from None
    shown = difference_view.lines(old, new, changes)
    return _Difference(declared.tree, new, shown, _notes(declared, tree.node))


def _notes(declared: Declared, written: NodeOptions | None) -> list[str]:
    """What the file says of the node itself, which no reload changes."""
    options = host.merge(written or NodeOptions(), {})
    runs = {"listen": declared.listen, "peers": declared.peers, "preload": declared.preload}
    wanted = {"listen": options.listen, "peers": options.peers, "preload": tuple(options.preload)}
    return [
        f"node.{field} is another in the file: it takes effect when the node is started again"
        for field, value in wanted.items()
        if value and value != runs[field]
    ]


def _show(arguments: argparse.Namespace, found: _Difference) -> None:
    for note in found.notes:
        print(f"otp {arguments.command}: {note}", file=sys.stderr)
    if not arguments.json:
        print_lines(*difference_view.drawn(found.lines, paint()))


def _as_json(found: _Difference) -> dict[str, object]:
    unchanged = [line.path for line in found.lines if line.change == "unchanged"]
    return {"changes": found.changes, "unchanged": unchanged, "notes": found.notes}


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    file_arguments(parser)
    node_arguments(parser)


def _reload_arguments(parser: argparse.ArgumentParser) -> None:
    file_arguments(parser)
    timeout_argument(parser)
    node_arguments(parser)


DIFF = Command(
    name="diff",
    about="show what `otp reload` would change in a running node",
    arguments=_diff_arguments,
    run=_diff,
    json="one object on one line: changes, unchanged, notes",
    examples="""\
examples:
  otp diff supervisors.yaml
  otp diff supervisors.yaml --json | jq '.changes[].path'

Compared is what is declared: children that programs have added are neither shown nor touched.
Exit codes: 0 nothing to do, 3 there are changes, 1 and 2 as ever.""",
)
RELOAD = Command(
    name="reload",
    about="bring a running node in line with a file, touching only what has changed",
    arguments=_reload_arguments,
    run=_reload,
    json="one object on one line: changes, unchanged, notes, done, problem",
    examples="""\
examples:
  otp reload supervisors.yaml

Removed children are stopped, the last one first; added ones are started at their place; changed
ones are restarted, in start order. How a supervisor treats its children (strategy, max_restarts,
restart, shutdown, ..) changes in place. A file that is wrong changes nothing (exit code 2). A start
that fails ends it (exit code 1): what was done stays, that child is stopped, the rest is as it was.
Python code that was loaded before stays as it was.""",
)
