"""`otp completion`: the script that has a shell complete `otp`, and what that script asks for."""

from __future__ import annotations

import argparse

from otp.command import places, runs
from otp.command.base import OK, Command, ask, print_json, print_lines
from otp.command.completion_scripts import SHELLS, completed
from otp.errors import OtpError
from otp.messages import NodeInfo, ProcessInfo


def _completion(arguments: argparse.Namespace) -> int:
    what: str = arguments.what
    if what in SHELLS:
        script = SHELLS[what](completed(arguments.commands))
        if arguments.json:
            print_json({"shell": what, "script": script})
        else:
            print_lines(*script.splitlines())
        return OK
    words = _nodes() if what == "nodes" else _paths(arguments)
    if arguments.json:
        print_json(words)
    else:
        print_lines(*words)
    return OK


def _nodes() -> list[str]:
    return list(dict.fromkeys(run.name for run in runs.running()))


def _paths(arguments: argparse.Namespace) -> list[str]:
    """The addresses of a node's tree; none where it is not clear which node is meant."""
    try:
        rows: list[ProcessInfo] = ask(arguments, NodeInfo(), timeout=ANSWER_SECONDS_MAX)
    except OtpError:
        return []
    found = [places.find(rows, row.path) for row in rows]
    return [place.address for place in found if place.supervisor is not None]


ANSWER_SECONDS_MAX = 1.0
"""Who has pressed the tab key does not wait for a node that is busy."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    text = "whose script; or paths, nodes: what the scripts ask for"
    choices = (*SHELLS, "paths", "nodes")
    parser.add_argument("what", metavar="SHELL", choices=choices, help=text)
    parser.set_defaults(name=None, run_dir=None)


COMPLETION = Command(
    name="completion",
    about="print the script that completes commands, options, files and paths in a shell",
    arguments=_arguments,
    run=_completion,
    json="the script or the words as JSON on one line",
    examples="""\
examples:
  otp completion fish > ~/.config/fish/completions/otp.fish
  eval "$(otp completion bash)"                                   in ~/.bashrc
  eval "$(otp completion zsh)"                                    in ~/.zshrc, after compinit""",
)
