"""Commands for writing trees: `otp schema`, `otp import`."""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys

from otp.command.base import FAILURE, OK, Command, complain, print_json, print_lines
from otp.command.import_procfile import Imported, from_procfile
from otp.command.import_supervisord import from_supervisord, included, parse
from otp.command.yaml_text import written
from otp.errors import OtpError, SpecError
from otp.yaml_nodes import FILE_BYTES_MAX
from otp.yaml_tree import loads

INCLUDES_MAX = 100
"""So many files may [include] name."""


def _schema(arguments: argparse.Namespace) -> int:
    from otp.command.schema import schema

    if arguments.json:
        print_json(schema())
    else:
        print_lines(json.dumps(schema(), indent=2))
    return OK


# ---------------------------------------------------------------- otp import


def _import(arguments: argparse.Namespace) -> int:
    file: str = arguments.file
    try:
        text = _read(file)
        found = (_procfile if _is_procfile(arguments) else _supervisord)(file, text)
    except (ValueError, UnicodeError) as error:
        raise OtpError(f"{file}: {error}") from None
    yaml = written(found.root)
    problems = _problems(yaml)
    if arguments.json:
        print_json({"yaml": yaml, "warnings": found.warnings, "problems": problems})
    else:
        print_lines(*yaml.splitlines())
        complain(OK, *(f"otp import: {warning}" for warning in found.warnings))
        complain(OK, *(f"otp import: to be put right: {problem}" for problem in problems))
    return FAILURE if problems else OK


def _is_procfile(arguments: argparse.Namespace) -> bool:
    file: str = arguments.file
    by_name = os.path.basename(file).lower().startswith("procfile")
    return by_name if arguments.format is None else str(arguments.format) == "procfile"


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read(FILE_BYTES_MAX)
    with open(file, encoding="utf-8") as stream:
        text = stream.read(FILE_BYTES_MAX + 1)
    if len(text) > FILE_BYTES_MAX:
        raise ValueError(f"is larger than {FILE_BYTES_MAX:,} characters")
    return text


def _procfile(file: str, text: str) -> Imported:
    has_env = file != "-" and os.path.exists(os.path.join(os.path.dirname(file), ".env"))
    return from_procfile(text, has_env=has_env)


def _supervisord(file: str, text: str) -> Imported:
    here = os.path.dirname(os.path.abspath(file)) if file != "-" else os.getcwd()
    texts = [text]
    for pattern in included(parse(texts)):
        wanted = os.path.join(here, pattern.replace("%(here)s", here))
        texts += [_read(one) for one in sorted(glob.glob(wanted))[:INCLUDES_MAX]]
    return from_supervisord(parse(texts), here)


def _problems(yaml: str) -> list[str]:
    """What `otp check` would say, besides variables that only the place of its running knows."""
    try:
        loads(yaml, file="the tree", imports=False, environ=_Any())
    except SpecError as error:
        return list(map(str, error.problems))
    return []


class _Any(dict[str, str]):
    """An environment in which every name has a value."""

    def get(self, key: str, default: object = None) -> str:
        return "0"


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a Procfile or supervisord.conf; - for stdin")
    text = "what it is (default: by its name)"
    parser.add_argument("--format", choices=("procfile", "supervisord"), help=text)


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    pass


SCHEMA = Command(
    name="schema",
    about="print the JSON Schema of supervisors.yaml, for editors",
    arguments=_no_arguments,
    run=_schema,
    json="the schema on one line",
    examples="""\
examples:
  otp schema > supervisors.schema.json

then, as the first line of supervisors.yaml (for editors with the YAML language server):
  # yaml-language-server: $schema=supervisors.schema.json""",
)
IMPORT = Command(
    name="import",
    about="print a Procfile or a supervisord.conf as a tree in YAML",
    arguments=_import_arguments,
    run=_import,
    json="one object on one line: yaml, warnings, problems",
    examples="""\
examples:
  otp import Procfile > supervisors.yaml
  otp import /etc/supervisor/supervisord.conf > supervisors.yaml
  otp check supervisors.yaml

What has no like in a tree is left out, or becomes a comment, with a line on stderr. Exit code 1:
`otp check` will not take all of it.""",
)
