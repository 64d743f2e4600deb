"""Completion scripts for bash, zsh and fish, made from the table of commands.

What only a running node knows, paths and names, the scripts ask `otp completion paths|nodes` for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from otp.command.base import Command, Parser

Kind = Literal["flag", "value", "file", "dir", "path", "node", "choice"]
KINDS: dict[str, Kind] = {"FILE": "file", "DIR": "dir", "PATH": "path"}
"""By the word that stands for it in --help."""


class Argument(msgspec.Struct, frozen=True):
    """One option (`flags`) or positional argument (none) of a command, and what may follow it."""

    flags: tuple[str, ...]
    about: str
    kind: Kind
    choices: tuple[str, ...] = ()


class Completed(msgspec.Struct, frozen=True):
    """A command as a shell completes it."""

    name: str
    about: str
    arguments: tuple[Argument, ...]

    def options(self) -> list[Argument]:
        """What begins with a dash."""
        return [argument for argument in self.arguments if argument.flags]

    def positional(self) -> Argument | None:
        """The first argument that does not."""
        return next((argument for argument in self.arguments if not argument.flags), None)


def completed(commands: Iterable[Command]) -> list[Completed]:
    """All that there is to complete."""
    return [Completed(one.name, one.about, tuple(_arguments(one))) for one in commands]


def _arguments(command: Command) -> Iterator[Argument]:
    parser = Parser(prog=command.name)
    command.arguments(parser)
    parser.add_argument("--json", action="store_true", help="JSON")
    for action in parser._actions:
        choices = tuple(map(str, action.choices or ()))
        about = (action.help or "").partition(" (")[0]
        if action.help == argparse.SUPPRESS:
            continue
        yield Argument(tuple(action.option_strings), about, _kind(command, action), choices)


def _kind(command: Command, action: argparse.Action) -> Kind:
    if action.nargs == 0:
        return "flag"
    if action.choices:
        return "choice"
    if action.dest == "name" and command.name != "run":
        return "node"
    return KINDS.get(str(action.metavar), "value")


# ---------------------------------------------------------------- bash

_BASH_ANSWERS: dict[Kind, str] = {
    "file": 'COMPREPLY=($(compgen -f -- "$cur")); compopt -o filenames 2>/dev/null',
    "dir": 'COMPREPLY=($(compgen -d -- "$cur")); compopt -o filenames 2>/dev/null',
    "path": 'COMPREPLY=($(compgen -W "$(otp completion paths 2>/dev/null)" -- "$cur"))',
    "node": 'COMPREPLY=($(compgen -W "$(otp completion nodes 2>/dev/null)" -- "$cur"))',
    "value": "COMPREPLY=()",
}


def bash(commands: Sequence[Completed]) -> str:
    """The script for bash; it needs nothing else."""
    values = [line for command in commands for line in _bash_values(command)]
    rest = [line for command in commands for line in _bash_command(command)]
    names = " ".join(command.name for command in commands)
    return "\n".join(
        [
            "_otp() {",
            "    local IFS=$' \\t\\n' cur prev word command=",
            "    cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}",
            '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            "        case $word in -*) ;; *) command=$word; break ;; esac",
            "    done",
            "    if [[ -z $command ]]; then",
            f'        COMPREPLY=($(compgen -W "{names} --help --version" -- "$cur"))',
            "        return",
            "    fi",
            '    case "$command $prev" in',
            *values,
            "    esac",
            "    case $command in",
            *rest,
            "    esac",
            "}",
            "complete -F _otp otp",
            "",
        ]
    )


def _bash_answer(argument: Argument) -> str:
    if argument.kind == "choice":
        return f'COMPREPLY=($(compgen -W "{" ".join(argument.choices)}" -- "$cur"))'
    return _BASH_ANSWERS[argument.kind]


def _bash_values(command: Completed) -> Iterator[str]:
    for option in command.options():
        if option.kind != "flag":
            patterns = "|".join(f'"{command.name} {flag}"' for flag in option.flags)
            yield f"        {patterns}) {_bash_answer(option)}; return ;;"


def _bash_command(command: Completed) -> Iterator[str]:
    flags = " ".join(flag for option in command.options() for flag in option.flags)
    positional = command.positional()
    yield f"        {command.name})"
    yield "            if [[ $cur == -* ]]; then"
    yield f'                COMPREPLY=($(compgen -W "{flags}" -- "$cur"))'
    if positional is not None:
        yield "            else"
        yield f"                {_bash_answer(positional)}"
    yield "            fi ;;"


# ---------------------------------------------------------------- zsh

_ZSH_ANSWERS: dict[Kind, str] = {
    "file": "_files",
    "dir": "_files -/",
    "path": "_otp_paths",
    "node": "_otp_nodes",
    "value": " ",
}


def zsh(commands: Sequence[Completed]) -> str:
    """The script for zsh: to be sourced, or kept as _otp in a folder of $fpath."""
    named = [f"        {_quoted(f'{one.name}:{_zsh_text(one.about)}')}" for one in commands]
    return "\n".join(
        [
            "#compdef otp",
            '_otp_paths() { local -a found; found=(${(f)"$(otp completion paths 2>/dev/null)"});'
            " compadd -a found }",
            '_otp_nodes() { local -a found; found=(${(f)"$(otp completion nodes 2>/dev/null)"});'
            " compadd -a found }",
            "_otp() {",
            "    local -a commands",
            "    commands=(",
            *named,
            "    )",
            "    if (( CURRENT == 2 )); then",
            "        _describe command commands",
            "        return",
            "    fi",
            "    shift words",
            "    (( CURRENT-- ))",
            "    case $words[1] in",
            *(line for command in commands for line in _zsh_command(command)),
            "    esac",
            "}",
            'if [[ $funcstack[1] == _otp ]]; then _otp "$@"; else compdef _otp otp; fi',
            "",
        ]
    )


def _zsh_text(text: str) -> str:
    for special in "\\:[]":
        text = text.replace(special, f"\\{special}")
    return text


def _zsh_command(command: Completed) -> Iterator[str]:
    yield f"        {command.name}) _arguments -s \\"
    for option in command.options():
        after = "" if option.kind == "flag" else f":value:{_zsh_answer(option)}"
        for flag in option.flags:
            yield f"            {_quoted(f'{flag}[{_zsh_text(option.about)}]{after}')} \\"
    positional = command.positional()
    answer = _zsh_answer(positional) if positional else " "
    yield f"            {_quoted(f'*:argument:{answer}')} ;;"


def _zsh_answer(argument: Argument) -> str:
    if argument.kind == "choice":
        return f"({' '.join(argument.choices)})"
    return _ZSH_ANSWERS[argument.kind]


# ---------------------------------------------------------------- fish

_FISH_ANSWERS: dict[Kind, str] = {
    "flag": "",
    "file": " -r -F",
    "dir": " -x -a '(__fish_complete_directories)'",
    "path": " -x -a '(otp completion paths 2>/dev/null)'",
    "node": " -x -a '(otp completion nodes 2>/dev/null)'",
    "value": " -x",
}


def fish(commands: Sequence[Completed]) -> str:
    """The script for fish."""
    lines = ["complete -c otp -f"]
    for command in commands:
        about = _fish_quoted(command.about)
        lines.append(f"complete -c otp -n __fish_use_subcommand -a {command.name} -d {about}")
    for command in commands:
        when = f"complete -c otp -n '__fish_seen_subcommand_from {command.name}'"
        for argument in command.arguments:
            flags = "".join(map(_fish_flag, argument.flags))
            answer = _fish_answer(argument)
            if not argument.flags:
                answer = answer.replace(" -r", "").replace(" -x", " -f")
            lines.append(f"{when}{flags}{answer} -d {_fish_quoted(argument.about)}")
    return "\n".join([*lines, ""])


def _fish_flag(flag: str) -> str:
    return f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}"


def _fish_answer(argument: Argument) -> str:
    if argument.kind == "choice":
        return f" -x -a {_fish_quoted(' '.join(argument.choices))}"
    return _FISH_ANSWERS[argument.kind]


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS: dict[str, Callable[[Sequence[Completed]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
