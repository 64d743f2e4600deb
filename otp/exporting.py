"""What a node's exporter of metrics is told, at its birth."""

from __future__ import annotations

import msgspec


class Exporting(msgspec.Struct, frozen=True):
    """What an exporter of metrics is told: of which node, by which socket, and where they go.

    `uses`: memory and CPU as well. Not in a PID namespace, where it would take one process for
    another: rows have the pids outside.
    """

    node: str
    control: str
    listen: str = ""
    textfile: str = ""
    interval: float = 15.0
    uses: bool = True
