"""One Ballot node: the tree `node` of supervisors.yaml, with the addresses of its cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import otp
from ballot.names import HOST
from ballot.topology import parse_node

DECLARATION = "supervisors.yaml"
REQUIRED = ("BALLOT_NODE", "BALLOT_NODES", "BALLOT_RUN", "BALLOT_SOCKETS", "BALLOT_DATA")
"""What a node must be told; its cluster does, when it starts it."""
BASE_PORT = 7400
"""The first of the ports, the host's; the nodes' follow in the order of their names."""


def declaration() -> Path:
    """The file that declares all trees: in the package, or at the top of a checkout."""
    package = Path(__file__).parent
    checkout = package.parent / DECLARATION
    return checkout if checkout.exists() else package / DECLARATION


def addresses(nodes: list[str], base_port: int) -> dict[str, str]:
    """Where the host and each node of an embedded cluster listen."""
    names = [HOST, *sorted(nodes)]
    return {name: f"127.0.0.1:{base_port + i}" for i, name in enumerate(names)}


def run(environ: Mapping[str, str] = os.environ) -> NoReturn:
    """Become the node that the environment describes.

    Raises KeyError for a missing variable, otp.SpecError and otp.StartError as `otp.become` does.
    """
    nodes = environ["BALLOT_NODES"].split(",")
    name = str(parse_node(environ["BALLOT_NODE"]))
    peers = addresses(nodes, int(environ.get("BALLOT_BASE_PORT", BASE_PORT)))
    tree = otp.load(declaration(), tree="node", environ=environ)
    log = environ.get("BALLOT_LOG", "none")
    otp.become(tree, log=log, listen=peers[name], peers=peers)
