"""`otp certs`: a test authority, and certificates by which nodes know each other."""

from __future__ import annotations

import argparse
from pathlib import Path

from otp import rules
from otp.command.base import OK, Command, UsageError, print_json, print_lines
from otp.errors import OtpError

DAYS = 90
"""How long certificates are valid where nothing is said."""
DAYS_MAX = 3_650


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="where the files go (made, 0700)")
    parser.add_argument(
        "--node", action="append", required=True, metavar="NAME", help="a node's name; repeatable"
    )
    parser.add_argument("--days", type=int, default=DAYS, help=f"valid so long (default: {DAYS})")
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="HOST",
        help="a host name or IP address for other tools to check (nodes check names of nodes)",
    )


def _run(arguments: argparse.Namespace) -> int:
    nodes = list(dict.fromkeys(arguments.node))
    for node in nodes:
        if problem := rules.ID(node):
            raise UsageError(f"--node: {problem}")
    if "ca" in nodes:
        raise UsageError("--node ca: the authority's own files are called so; choose another name")
    if not 1 <= arguments.days <= DAYS_MAX:
        raise UsageError(f"--days {arguments.days}: from 1 to {DAYS_MAX}")
    try:
        from otp.certs import make
    except ImportError as error:
        text = "it needs the package `cryptography`: pip install 'ballot[certs]'"
        raise OtpError(f"{text} ({error})") from error
    files = make(arguments.folder, nodes, days=arguments.days, hosts=arguments.host)
    if arguments.json:
        print_json([str(file) for file in files])
    else:
        print_lines(*map(str, files))
    return OK


CERTS = Command(
    name="certs",
    about="make a test authority and certificates for nodes",
    arguments=_arguments,
    run=_run,
    json="the files that were written, as a list",
    examples="""\
examples:
  otp certs certs --node a --node b      ca.pem, ca.key, a.pem, a.key, b.pem, b.key
  otp certs certs --node c --days 30     one more, by the same authority

In a tree: node: {name: a, tls: {cert: certs/a.pem, key: certs/a.key, ca: certs/ca.pem}}
Files that are there already are never overwritten. Keep ca.key where no node runs.""",
)
