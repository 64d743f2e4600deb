"""The accounting of a whole demonstration, as `--json` prints it."""

from __future__ import annotations

import msgspec

from ballot.kills import Killed
from ballot.queries import CopyStatus
from ballot.tally import Round


class Account(msgspec.Struct, frozen=True):
    """The whole demonstration in figures; printed by `--json` as it is."""

    ok: bool
    election: str
    submitted: int
    acknowledged: int
    counted: int
    lost: int
    doubled: int
    winners: tuple[str, ...]
    expected_winners: tuple[str, ...] | None
    rounds: tuple[Round, ...]
    tally: dict[str, int] | None
    differences: list[str]
    refused: list[str]
    heads_equal: bool
    heads: list[CopyStatus]
    kills: list[Killed]
    retries: int
    commands_per_s: float
    seconds: float
    nodes: int
    processes: int
