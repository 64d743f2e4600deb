"""Commands that talk to the processes of a running node: `otp call`, `otp shell`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import msgspec

from otp.client import Client, socket_in
from otp.command import places
from otp.command.base import (
    OK,
    Command,
    UsageError,
    ask,
    duration,
    node_arguments,
    print_json,
    print_lines,
    run_dir,
)
from otp.command.spoken import request_of
from otp.errors import NoProcess, OtpError
from otp.messages import NodeInfo

CALL_SECONDS = 5.0
"""How long a call waits for its reply, unless told otherwise: as in a program."""


def _call(arguments: argparse.Namespace) -> int:
    try:
        words = [sys.stdin.read()] if arguments.request == ["-"] else arguments.request
        request = request_of(words)
    except ValueError as error:
        raise UsageError(str(error)) from None
    arguments.run_dir = run_dir(arguments)
    client = Client(socket_in(arguments.run_dir, "mailroom.sock"))
    try:
        answer = _answer(client, arguments, request)
    except OtpError:
        raise
    except Exception as error:  # what the server refuses with is raised here as what it is
        raise OtpError(f"call {arguments.path}: {type(error).__name__}: {error}") from error
    finally:
        client.close()
    print_lines(msgspec.json.encode(answer, enc_hook=repr).decode())
    return OK


def _answer(client: Client, arguments: argparse.Namespace, request: Any) -> Any:
    path, seconds = arguments.path, arguments.timeout
    try:
        return client.call(path, request, timeout=seconds)
    except NoProcess:
        if "@" in path or path.startswith("via:"):
            raise
        place = places.find(ask(arguments, NodeInfo()), path)
        if place.address == path or place.row.type in ("node", "zygote", "mailroom"):
            why = "is no worker" if place.row.type != "worker" else "does not run at the moment"
            raise OtpError(f"{path} {why}, and takes no calls; see `otp ps`") from None
        return client.call(place.address, request, timeout=seconds)


def _wait(text: str) -> float:
    if not (seconds := duration(text)):
        raise argparse.ArgumentTypeError(f"{text!r} leaves no time for an answer")
    return seconds


def _call_arguments(parser: argparse.ArgumentParser) -> None:
    path = "pool/w1 (or root/pool/w1), or a name; of another node: pool/w1@NODE or name@NODE"
    parser.add_argument("path", metavar="PATH", help=path)
    text = "Type field=value .., JSON with its `type`, or - for JSON from stdin"
    parser.add_argument("request", metavar="REQUEST", nargs="+", help=text)
    text = f"how long to wait for the answer: 5, 5s, 1m, .. (default {CALL_SECONDS:g}s)"
    parser.add_argument("--timeout", metavar="TIME", type=_wait, default=CALL_SECONDS, help=text)
    node_arguments(parser)


# ---------------------------------------------------------------- otp shell


def _shell(arguments: argparse.Namespace) -> int:
    if arguments.json and arguments.code is None:
        raise UsageError("--json goes with -c EXPRESSION")
    from otp.command.shell import Shell

    shell = Shell(run_dir(arguments))
    try:
        if arguments.code is None:
            shell.talk()
        elif arguments.json:
            print_json(msgspec.to_builtins(shell.value(arguments.code), enc_hook=repr))
        else:
            shell.run(arguments.code)
    finally:
        shell.close()
    return OK


def _shell_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", dest="code", metavar="CODE", help="run this and leave")
    node_arguments(parser)


CALL = Command(
    name="call",
    about="call a GenServer and print its answer as JSON",
    arguments=_call_arguments,
    run=_call,
    json="the answer on one line, which it is anyway",
    examples="""\
examples:
  otp call counter Add n=5
  otp call pool/w1 '{"type": "Add", "n": 5}' --timeout 1s
  otp call counter - < request.json
  otp call counter otp.sys.GetState     of any server: also Statistics, Suspend, Resume, Trace

Values are JSON or else text: n=5 is a number, n='"5"' is text. The answer to a request that names
no type may be any Python object; what has no JSON is shown as its repr. Exit code 1: no answer.""",
)
SHELL = Command(
    name="shell",
    about="open a Python prompt that is connected to a node",
    arguments=_shell_arguments,
    run=_shell,
    json="with -c: the value of the expression on one line",
    examples="""\
examples:
  otp shell                       IPython, if it is installed
  >>> from counter import Add
  >>> node.call("counter", Add(5))
  >>> ps(); tree(); kill("pool/w1")
  otp shell -c 'node.count_children("pool")' --json""",
)
