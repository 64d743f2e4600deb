"""The `otp` command: run a supervision tree, look at it, kill in it.

Exit codes: 0 all is well, 1 it went wrong, 2 it was asked in a way that cannot go right (usage, or
a tree that cannot be started as it is written). Problems go to stderr, one line each.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import msgspec

from otp import __version__, cli_view, host, rules, runs, starts
from otp.checks import check
from otp.errors import NoProcess, OtpError, Problem, SpecError
from otp.handle import Control
from otp.messages import KillProcess, NodeInfo, ProcessInfo
from otp.spec import NodeOptions, Supervisor, paths
from otp.words import did_you_mean
from otp.yaml_tree import load

OK, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130
ANSWER_SECONDS_MAX = 10.0
"""How long a node may take to answer; a stopped one (SIGSTOP) never does."""


class UsageError(Exception):
    """The arguments do not go together."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    arguments = _parser().parse_args(argv)
    name = f"otp {arguments.command}"
    try:
        done: int = arguments.run(arguments)
        return done
    except SpecError as error:
        return _complain(USAGE, *map(str, error.problems))
    except UsageError as error:
        return _complain(USAGE, f"{name}: {error}; see `{name} --help`")
    except BrokenPipeError:
        # Nobody reads on: what is still buffered must not fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except (OtpError, OSError) as error:
        return _complain(FAILURE, f"{name}: {error}")
    except KeyboardInterrupt:
        return INTERRUPTED


def _complain(code: int, *problems: str) -> int:
    for problem in problems:
        print(cli_view.one_line(problem, None), file=sys.stderr)
    return code


# ---------------------------------------------------------------- commands about a file


def _run(arguments: argparse.Namespace) -> NoReturn:
    # A shell has it ignored for what it runs in the background: a Ctrl-C would be lost until the
    # node has its own handlers.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tree = _tree(arguments)
    options = {
        "name": arguments.name,
        "listen": arguments.listen,
        "peers": dict(arguments.peer) or None,
        "authkey_file": arguments.authkey_file,
    }
    chosen = host.merge(tree.node or NodeOptions(), options)
    if chosen.listen and not chosen.authkey_file:
        raise UsageError(
            f"node {chosen.name} is to listen on {chosen.listen} and has no key that other nodes "
            "must know: give --authkey-file FILE (authkey_file: in the tree's node:)"
        )
    runs.refuse_twice(chosen.name)
    if sys.stderr.isatty() and not arguments.json:
        print(f"otp: node {chosen.name}: Ctrl-C stops it, `otp tree` shows it", file=sys.stderr)
    host.become(tree, log="json" if arguments.json else "text", **options)


def _check(arguments: argparse.Namespace) -> int:
    problems: list[Problem] = []
    count = 0
    try:
        count = len(list(paths(_tree(arguments))))
    except SpecError as error:
        if not arguments.json:
            raise
        problems = error.problems
    if arguments.json:
        _print_json({"ok": not problems, "children": count, "problems": problems})
    else:
        _print(f"ok: {count} {'child' if count == 1 else 'children'}")
    return USAGE if problems else OK


def _tree(arguments: argparse.Namespace) -> Supervisor:
    """The tree that FILE names; what it imports is found here, or in the folder of the file."""
    file: str = arguments.file
    module, colon, _ = file.partition(":")
    from_python = bool(colon) and os.sep not in module and not os.path.exists(file)
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


# ---------------------------------------------------------------- commands about a node


def _show_tree(arguments: argparse.Namespace) -> int:
    rows: list[ProcessInfo] = _ask(arguments, NodeInfo())
    if arguments.json:
        _print_json(cli_view.nested(cli_view.grow(rows)))
    else:
        _print(*cli_view.tree(rows, time.time(), _paint(), _lines()))
    return OK


def _show_table(arguments: argparse.Namespace) -> int:
    rows: list[ProcessInfo] = _ask(arguments, NodeInfo())
    if arguments.json:
        _print_json(rows)
    else:
        _print(*cli_view.table(rows, time.time(), _paint()))
    return OK


def _kill(arguments: argparse.Namespace) -> int:
    path, number = arguments.path, arguments.signal
    if not path:
        raise UsageError("PATH is empty; `otp ps` lists them")
    arguments.run_dir = _run_dir(arguments)
    try:
        pid: int = _ask(arguments, KillProcess(path, number))
    except NoProcess:
        process = _shown_as(path, _ask(arguments, NodeInfo()))
        pid = _ask(arguments, KillProcess(process, number))
    if arguments.json:
        _print_json({"path": path, "pid": pid, "signal": number})
    else:
        _print(str(pid))
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


def _ask(arguments: argparse.Namespace, request: Any) -> Any:
    control = Control.of(_run_dir(arguments))
    try:
        return control.ask(request, timeout=ANSWER_SECONDS_MAX)
    finally:
        control.close()


def _run_dir(arguments: argparse.Namespace) -> str:
    found: str = arguments.run_dir or runs.choose(arguments.name).run_dir
    return found


# ---------------------------------------------------------------- output


def _print(*lines: str) -> None:
    """Whole lines, now: an error in writing them is ours and not that of the interpreter's end."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _print_json(value: Any) -> None:
    _print(msgspec.json.encode(value).decode())


def _paint() -> cli_view.Paint:
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return cli_view.coloured if wanted and sys.stdout.isatty() else cli_view.plain


def _lines() -> Sequence[str]:
    try:
        "".join(cli_view.UNICODE_LINES).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return cli_view.ASCII_LINES
    return cli_view.UNICODE_LINES


# ---------------------------------------------------------------- arguments


class _Parser(argparse.ArgumentParser):
    """One line for a wrong argument, and examples as they are written."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see `{self.prog} --help`", file=sys.stderr)
        sys.exit(USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="otp", description=_ABOUT, epilog=_EXAMPLES[""])
    parser.add_argument("--version", action="version", version=f"otp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, run, about in _COMMANDS:
        one = commands.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=_EXAMPLES[name]
        )
        one.set_defaults(run=run)
        _ARGUMENTS[name](one)
        one.add_argument("--json", action="store_true", help=_JSON[name])
    return parser


def _file_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a YAML file, or module:attribute in Python")
    parser.add_argument("--tree", metavar="ID", help="the root to take, where FILE holds several")


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _file_arguments(parser)
    add = parser.add_argument
    add("--name", type=_by(rules.ID), help="the node's name (default: local)")
    add("--listen", metavar="HOST:PORT", type=_by(rules.HOST_PORT), help="for other nodes")
    peer = "another node; may be repeated"
    add("--peer", metavar="NAME=HOST:PORT", type=_peer, action="append", default=[], help=peer)
    add("--authkey-file", metavar="FILE", help="the key of all nodes (chmod 600)")


def _node_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--name", help="the node's name (default: the only one that runs)")
    which.add_argument("--run-dir", metavar="DIR", help="the folder of the node's sockets")


def _kill_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="pool/w1, or root/pool/w1 as in `otp tree`")
    number = "a number or a name such as TERM (default: KILL)"
    parser.add_argument("--signal", metavar="N", type=_signal, default=9, help=number)
    _node_arguments(parser)


def _by(rule: rules.Rule) -> Callable[[str], str]:
    """An argument's type by the rule that the field of the same meaning has in a tree."""

    def convert(text: str) -> str:
        if message := rule(text):
            raise argparse.ArgumentTypeError(message)
        return text

    return convert


def _peer(text: str) -> tuple[str, str]:
    name, equals, address = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=HOST:PORT")
    return _by(rules.ID)(name), _by(rules.HOST_PORT)(address)


def _signal(text: str) -> int:
    names = {s.name: s.value for s in signal.Signals}
    number = int(text) if text.isdecimal() else names.get(f"SIG{text.upper().removeprefix('SIG')}")
    if number not in signal.valid_signals():
        raise argparse.ArgumentTypeError(f"{text!r} is not a signal: use 9, KILL, TERM, HUP, ...")
    return int(number)


_ABOUT = "Supervision trees over operating-system processes."
_JSON = {
    "run": "reports as JSON, one object on a line",
    "check": "one object on one line: ok, children, problems",
    "tree": "one object on one line: the node, with `children`",
    "ps": "one array on one line, an object for each process",
    "kill": "one object on one line: path, pid, signal",
}
_EXAMPLES = {
    "": """\
examples:
  otp check supervisors.yaml      is it right?
  otp run supervisors.yaml        run it, until Ctrl-C
  otp tree                        what runs, in another terminal
  otp kill pool/w1                kill -9; its supervisor restarts it

exit codes: 0 all is well, 1 it went wrong, 2 wrong usage or a wrong file""",
    "run": """\
examples:
  otp run supervisors.yaml
  otp run supervisors.yaml --tree workers --json
  otp run shop.trees:root                       the Supervisor `root` of shop/trees.py
  otp run a.yaml --name a --listen 127.0.0.1:7001 --peer b=127.0.0.1:7002 --authkey-file key

`start: "counter:Counter"` is looked for here and next to the file. Ctrl-C stops the children in
reverse order; pressed again, at once. Exit code 1: it did not start, or the root gave up.""",
    "check": """\
examples:
  otp check supervisors.yaml
  otp check supervisors.yaml --json | jq .problems

All problems are told, as file:line:column. Nothing is started.""",
    "tree": """\
examples:
  otp tree
  otp tree --name a
  watch -c otp tree""",
    "ps": """\
examples:
  otp ps
  otp ps --json | jq '.[] | select(.restarts > 0)'""",
    "kill": """\
examples:
  otp kill counter                by its address: the path below the root
  otp kill pool/w1 --signal TERM
  otp kill mailroom               the node's own parts come back, too""",
}
_COMMANDS: tuple[tuple[str, Callable[[argparse.Namespace], int], str], ...] = (
    ("run", _run, "run a tree in the foreground"),
    ("check", _check, "say what is wrong with a tree, or that nothing is"),
    ("tree", _show_tree, "draw the tree of a running node"),
    ("ps", _show_table, "list the processes of a running node"),
    ("kill", _kill, "kill -9 one process of a running node, and print its pid"),
)
_ARGUMENTS = {
    "run": _run_arguments,
    "check": _file_arguments,
    "tree": _node_arguments,
    "ps": _node_arguments,
    "kill": _kill_arguments,
}


if __name__ == "__main__":
    sys.exit(main())
