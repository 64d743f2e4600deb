"""The `ballot` command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import otp
from ballot import node
from ballot.cluster import Cluster, ClusterError
from ballot.coordination import CoordinationError
from ballot.dataset import SAMPLE, DatasetError
from ballot.demo import KILLS, DemoError, Plan, run_demo
from ballot.tally import METHODS
from ballot.topology import BadCluster

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2

EXAMPLES = """examples:
  ballot demo                              the sample election, with a kill of each kind
  ballot demo --kills writer,node --json   one line of JSON
  ballot demo --election DIR --clients 128
  ballot cluster                           eight nodes, until Ctrl-C

exit codes: 0 all is well, 1 something is not, 2 wrong usage or input"""

DEMO = """Cast every ballot of an election one by one, from many clients at a time, while processes
are killed with -9; then close, count, and account for every ballot."""

DEMO_EXAMPLES = """examples:
  ballot demo --kills none                 without any kill
  ballot demo --kills writer,writer,node --clients 128
  ballot demo --election DIR --json        the result must equal DIR/result.json

exit code 0 only if submitted = acknowledged = counted, nothing was lost or doubled, the five copies
are equal, all that was killed came back, and the result is the expected one"""

CLUSTER_EXAMPLES = """examples:
  ballot cluster
  ballot cluster --base-port 9000"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
    except (DatasetError, otp.SpecError, BadCluster) as error:
        return _complain(error, EXIT_USAGE)
    except (ClusterError, CoordinationError, DemoError, otp.OtpError) as error:
        return _complain(error, EXIT_FAILURE)
    except OSError as error:
        if error.filename is None:  # it is about what is written to, not about a file
            _forget_output()
        return _complain(error, EXIT_FAILURE)
    except KeyboardInterrupt:
        return _complain("interrupted; everything was stopped", EXIT_FAILURE)
    return code


def _forget_output() -> None:
    """Where standard output is full or closed, the interpreter must not try once more at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _complain(what: object, code: int) -> int:
    print(f"ballot: {what}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """One line for a wrong usage, and where to read more; argparse prints the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="ballot",
        description="Fault-tolerant elections on real processes.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    parser.add_argument("--version", action="version", version=f"ballot {otp.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="a whole election under kill -9",
        description=DEMO,
        epilog=DEMO_EXAMPLES,
        formatter_class=raw,
    )
    _add_demo(demo)
    _add_places(demo)
    demo.set_defaults(run=_demo)
    about = "run the embedded cluster until Ctrl-C"
    cluster = commands.add_parser(
        "cluster", help=about, description=about, epilog=CLUSTER_EXAMPLES, formatter_class=raw
    )
    _add_places(cluster)
    cluster.set_defaults(run=_cluster)
    one = commands.add_parser("node", help="run one node (a cluster starts it)")
    one.set_defaults(run=_node)
    return parser


def _add_demo(demo: argparse.ArgumentParser) -> None:
    demo.add_argument(
        "--election",
        type=Path,
        default=SAMPLE,
        metavar="DIR",
        help="election.json, ballots.jsonl[.gz] and perhaps result.json; "
        f"methods: {', '.join(METHODS)} (default: a sample of 6,400 ballots)",
    )
    demo.add_argument(
        "--clients", type=_count, default=64, metavar="N", help="commands in flight (default 64)"
    )
    demo.add_argument(
        "--ballots", type=_count, default=None, metavar="N", help="cast only N (default: all)"
    )
    demo.add_argument(
        "--kills",
        type=_kills,
        default=KILLS,
        metavar="a,b,..",
        help=f"any of {', '.join(KILLS)}, in this order, or none (default: each once)",
    )
    demo.add_argument("--json", action="store_true", help="print one object on one line")


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base-port",
        type=_port,
        default=os.environ.get("BALLOT_BASE_PORT", str(node.BASE_PORT)),
        metavar="PORT",
        help=f"the first of nine ports on 127.0.0.1 (default {node.BASE_PORT})",
    )
    parser.add_argument(
        "--run-dir",
        type=Path,
        metavar="DIR",
        help="on disk, for the record store (default: ~/.local/state/ballot/runs)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="in RAM, for the copies (default: /dev/shm/ballot-UID)",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1024 <= int(text) <= 65_500:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1024 to 65500")
    return int(text)


def _kills(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip() not in ("", "none"))
    for name in names:
        if name not in KILLS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(KILLS)}")
    return names


def _demo(arguments: argparse.Namespace) -> int:
    _interruptible()
    plan = Plan(
        election=arguments.election,
        clients=arguments.clients,
        ballots=arguments.ballots,
        kills=arguments.kills,
        base_port=arguments.base_port,
        run_dir=arguments.run_dir,
        data_dir=arguments.data_dir,
    )
    return EXIT_OK if run_demo(plan, json=arguments.json) else EXIT_FAILURE


def _cluster(arguments: argparse.Namespace) -> int:
    _interruptible()
    with Cluster(
        base_port=arguments.base_port,
        run_dir=arguments.run_dir,
        data_dir=arguments.data_dir,
        log="text",
    ) as cluster:
        text = f"{len(cluster.nodes)} nodes are up; sockets in {cluster.sockets}; Ctrl-C stops them"
        print(text, flush=True)
        try:
            code = cluster.host.process.wait()
        except KeyboardInterrupt:
            return EXIT_OK
    return _complain(f"the cluster ended by itself (exit code {code})", EXIT_FAILURE)


def _node(arguments: argparse.Namespace) -> int:
    missing = [name for name in node.REQUIRED if name not in os.environ]
    if missing:
        text = f"{', '.join(missing)} not set; nodes are started by `ballot cluster`"
        return _complain(text, EXIT_USAGE)
    try:
        _port(os.environ.get("BALLOT_BASE_PORT", str(node.BASE_PORT)))
    except argparse.ArgumentTypeError as error:
        return _complain(f"BALLOT_BASE_PORT: {error}", EXIT_USAGE)
    name, nodes = os.environ["BALLOT_NODE"], os.environ["BALLOT_NODES"]
    if name not in nodes.split(","):
        return _complain(f"BALLOT_NODE: {name!r} is none of BALLOT_NODES, {nodes}", EXIT_USAGE)
    node.run()


def _interruptible() -> None:
    """SIGTERM and a closed terminal end like Ctrl-C: everything that was started is stopped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)  # a shell ignores it for what runs in the background
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup it stays ignored
            signal.signal(number, interrupt)
