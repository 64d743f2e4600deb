"""Commands about a tree that is written down: `otp run`, `otp check`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from typing import Any, NoReturn

from otp import host, rules, starts
from otp.checks import check
from otp.command import runs
from otp.command.base import (
    OK,
    USAGE,
    Command,
    UsageError,
    by,
    print_json,
    print_lines,
    settle_all,
    wait_arguments,
)
from otp.command.detach import detach
from otp.errors import Problem, SpecError
from otp.spec import LogOptions, NodeOptions, Supervisor, paths
from otp.yaml_tree import load


def tree_of(arguments: argparse.Namespace) -> Supervisor:
    """The tree that FILE names; what it imports is found here, or in the folder of the file."""
    file: str = arguments.file
    module, colon, attribute = file.partition(":")
    from_python = bool(colon) and os.sep not in module and not os.path.exists(file)
    if module.endswith(".py"):
        name = os.path.splitext(os.path.normpath(module))[0].replace(os.sep, ".").lstrip(".")
        raise UsageError(
            f"{file} is Python: name the Supervisor in it, as {name}:{attribute or 'tree'}"
        )
    folder = os.getcwd() if from_python else os.path.dirname(os.path.abspath(file))
    sys.path[:] = dict.fromkeys((folder, os.getcwd(), *sys.path))
    if not from_python:
        return load(file, tree=arguments.tree)
    if arguments.tree is not None:
        raise UsageError(f"--tree chooses in a YAML file; {file} names one tree already")
    try:
        found = starts.look_up(file)
    except LookupError as error:
        raise SpecError([Problem(str(error), path=file)]) from None
    if not isinstance(found, Supervisor):
        kind = "class" if isinstance(found, type) else type(found).__name__
        raise SpecError([Problem(f"is a {kind}; it must be an otp.Supervisor", path=file)])
    check(found)
    return found


def file_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, and which of its trees."""
    parser.add_argument("file", metavar="FILE", help="a YAML file, or module:attribute in Python")
    parser.add_argument("--tree", metavar="ID", help="the root to take, where FILE holds several")


# ---------------------------------------------------------------- otp run


def _run(arguments: argparse.Namespace) -> int:
    # A shell has it ignored for what it runs in the background: a Ctrl-C would be lost until the
    # node has its own handlers.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tree = tree_of(arguments)
    options: dict[str, Any] = {
        "name": arguments.name,
        "listen": arguments.listen,
        "peers": dict(arguments.peer) or None,
        "authkey_file": arguments.authkey_file,
    }
    chosen = host.merge(tree.node or NodeOptions(), options)
    options["logs"] = chosen.logs or LogOptions()
    if chosen.listen and not (chosen.authkey_file or chosen.tls):
        raise UsageError(
            f"node {chosen.name} is to listen on {chosen.listen} and has no key that other nodes "
            "must know: give --authkey-file FILE (authkey_file: in the tree's node:)"
        )
    detached = arguments.detach or arguments.wait
    if arguments.log is not None and not detached:
        raise UsageError("--log goes with --detach; in the foreground, use 2> FILE")
    runs.refuse_twice(chosen.name)
    return (_detached if detached else _foreground)(arguments, tree, chosen.name, options)


def _foreground(
    arguments: argparse.Namespace, tree: Supervisor, name: str, options: dict[str, Any]
) -> NoReturn:
    if sys.stderr.isatty() and not arguments.json:
        print(f"otp: node {name}: Ctrl-C stops it, `otp tree` shows it", file=sys.stderr)
    host.become(tree, log="json" if arguments.json else "text", **options)


def _detached(
    arguments: argparse.Namespace, tree: Supervisor, name: str, options: dict[str, Any]
) -> int:
    ends = time.monotonic() + arguments.timeout
    style = "json" if arguments.json else "text"
    node = detach(tree, output=arguments.log, log=style, timeout=arguments.timeout, **options)
    if arguments.json:
        print_json(node)
    else:
        print_lines(f"{node.name} {node.pid}")
    if arguments.wait:
        settle_all(node.run_dir, "", ends - time.monotonic())
    return OK


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    file_arguments(parser)
    add = parser.add_argument
    background = "run it in the background; returns when the tree is up"
    add("-d", "--detach", action="store_true", help=background)
    wait_arguments(parser, "as -d, and")
    add("--log", metavar="FILE", help="what a detached node and its children write (default: none)")
    add("--name", type=by(rules.ID), help="the node's name (default: local)")
    add("--listen", metavar="HOST:PORT", type=by(rules.HOST_PORT), help="for other nodes")
    peer = "another node; may be repeated"
    add("--peer", metavar="NAME=HOST:PORT", type=_peer, action="append", default=[], help=peer)
    add("--authkey-file", metavar="FILE", help="the key of all nodes (chmod 600)")


def _peer(text: str) -> tuple[str, str]:
    name, equals, address = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=HOST:PORT")
    return by(rules.ID)(name), by(rules.HOST_PORT)(address)


# ---------------------------------------------------------------- otp check


def _check(arguments: argparse.Namespace) -> int:
    problems: list[Problem] = []
    count = 0
    try:
        count = len(list(paths(tree_of(arguments))))
    except SpecError as error:
        if not arguments.json:
            raise
        problems = error.problems
    if arguments.json:
        print_json({"ok": not problems, "children": count, "problems": problems})
    else:
        print_lines(f"ok: {count} {'child' if count == 1 else 'children'}")
    return USAGE if problems else OK


RUN = Command(
    name="run",
    about="run a tree, in the foreground or (-d) in the background",
    arguments=_run_arguments,
    run=_run,
    json="reports as JSON, one object on a line; with -d: name, pid, run_dir",
    examples="""\
examples:
  otp run supervisors.yaml
  otp run supervisors.yaml --tree workers --json
  otp run -d supervisors.yaml --log run.log     prints its name and pid; `otp stop` stops it
  otp run shop.trees:root                       the Supervisor `root` of shop/trees.py
  otp run a.yaml --name a --listen 127.0.0.1:7001 --peer b=127.0.0.1:7002 --authkey-file key

`start: "counter:Counter"` is looked for here and next to the file. Ctrl-C stops the children in
reverse order; pressed again, at once. Exit code 0: it was stopped, in order. 1: it did not start,
the root gave up, or Ctrl-C was pressed twice. Of a child that is `essential`: its own. With -d:
0 when all has started (with --wait: and has stayed up), 1 if it did not; then nothing runs, unless
it was only --wait that ran out of time.""",
)
CHECK = Command(
    name="check",
    about="say what is wrong with a tree, or that nothing is",
    arguments=file_arguments,
    run=_check,
    json="one object on one line: ok, children, problems",
    examples="""\
examples:
  otp check supervisors.yaml
  otp check supervisors.yaml --json | jq .problems

All problems of what is written are told, as file:line:column: also a `start` that cannot be
imported or whose `args` do not fit, a `user` or an `env_file` that is not there. Not looked at:
whether programs, a `cwd` and the files of `tls` are there, and whether you may switch to a `user`.
Nothing is started.""",
)
