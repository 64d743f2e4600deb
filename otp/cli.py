"""The `otp` command: the table of its commands, and what happens when one of them goes wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from otp import __version__
from otp.command import call, certs, completion, events, file, life, logs, node, reload, tools, top
from otp.command.base import FAILURE, INTERRUPTED, USAGE, Command, Parser, UsageError, complain
from otp.errors import OtpError, SpecError

COMMANDS: tuple[Command, ...] = (
    file.RUN,
    file.CHECK,
    tools.SCHEMA,
    tools.IMPORT,
    reload.DIFF,
    reload.RELOAD,
    node.TREE,
    node.PS,
    top.TOP,
    life.STOP,
    life.START,
    life.RESTART,
    events.EVENTS,
    logs.LOGS,
    call.CALL,
    node.KILL,
    call.SHELL,
    certs.CERTS,
    completion.COMPLETION,
)
"""In the order in which `otp --help` lists them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    arguments = parser().parse_args(argv)
    arguments.commands = COMMANDS
    name = f"otp {arguments.command}"
    try:
        done: int = arguments.run(arguments)
        return done
    except SpecError as error:
        return complain(USAGE, *map(str, error.problems))
    except UsageError as error:
        return complain(USAGE, f"{name}: {error}; see `{name} --help`")
    except BrokenPipeError:
        # Nobody reads on: what is still buffered must not fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except (OtpError, OSError) as error:
        return complain(FAILURE, f"{name}: {error}")
    except KeyboardInterrupt:
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """The arguments of all commands."""
    whole = Parser(prog="otp", description=_ABOUT, epilog=_EXAMPLES)
    whole.add_argument("--version", action="version", version=f"otp {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        about = command.about
        one = commands.add_parser(
            command.name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=command.examples,
        )
        one.set_defaults(run=command.run)
        command.arguments(one)
        one.add_argument("--json", action="store_true", help=command.json)
    return whole


_ABOUT = "Supervision trees over operating-system processes."
_EXAMPLES = """\
examples:
  otp check supervisors.yaml      is it right?
  otp run supervisors.yaml        run it, until Ctrl-C
  otp tree                        what runs, in another terminal
  otp restart pool --rolling      its children, one after the other
  otp kill pool/w1                kill -9; its supervisor restarts it

exit codes: 0 all is well, 1 it went wrong, 2 wrong usage or a wrong file,
3 `otp diff` has found changes, 130 Ctrl-C (`otp run`: 0, or 1 if it was pressed twice)"""


if __name__ == "__main__":
    sys.exit(main())
