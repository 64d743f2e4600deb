"""Which process or supervisor of a node a person means by a path. Pure.

A path is as `otp tree` shows it (`root/pool/w1`), or an address: the path below the root
(`pool/w1`) or a name that it has, or the pid of the runtime (`<...>`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from otp.errors import OtpError
from otp.messages import ProcessInfo
from otp.words import did_you_mean


class Place(msgspec.Struct, frozen=True):
    """One row of a node, whom it belongs to (an address; None for what is not in the tree), and
    what it is called there."""

    row: ProcessInfo
    supervisor: str | None
    id: str

    @property
    def address(self) -> str:
        """Where it is reached; "/" for the root."""
        return self.row.path.partition("/")[2] or "/"


def find(rows: Sequence[ProcessInfo], path: str) -> Place:
    """What is meant. Raises OtpError, with the likely right word, for what is not there."""
    wanted = path.strip("/") or "/"
    root = root_of(rows)
    for row in rows:
        below = row.path.partition("/")[2] if row.path.startswith(f"{root.path}/") else ""
        named = {row.path, row.process, row.name, below} - {""}
        if wanted in named or (wanted == "/" and row is root):
            return _place(rows, row, root)
    known = [name for row in rows for name in (row.path, row.path.partition("/")[2]) if name]
    guess = did_you_mean(path, known)
    raise OtpError(f"there is no {path!r}{guess} (`otp ps` lists all)")


def root_of(rows: Sequence[ProcessInfo]) -> ProcessInfo:
    """The row of the user's tree: the last that is below nothing (before it: the node's parts)."""
    return [row for row in rows if "/" not in row.path][-1]


def _place(rows: Sequence[ProcessInfo], row: ProcessInfo, root: ProcessInfo) -> Place:
    if row is root:
        return Place(row, None, row.path)
    above = [
        other
        for other in rows
        if other.type == "supervisor" and row.path.startswith(f"{other.path}/")
    ]
    if not above or not row.path.startswith(f"{root.path}/"):
        return Place(row, None, row.path)
    parent = above[-1].path
    return Place(row, parent.partition("/")[2] or "/", row.path[len(parent) + 1 :])


def below(rows: Sequence[ProcessInfo], place: Place) -> list[Place]:
    """The children of a supervisor, in start order."""
    found = [find(rows, row.path) for row in rows if row.path.startswith(f"{place.row.path}/")]
    return [child for child in found if child.supervisor == place.address]
