"""The demonstration: a whole election on real processes, while some of them are killed."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from pathlib import Path
from typing import Any

import msgspec

import otp
from ballot import dataset
from ballot.audit import Audit, audit, heads, same
from ballot.client import Elections, new_id
from ballot.cluster import ROOM_BYTES, Cluster
from ballot.dataset import Dataset, DatasetError
from ballot.demo_view import View
from ballot.kills import Killed, Killer
from ballot.load import Load
from ballot.messages import CloseElection, Command, CreateElection, OpenElection, Recorded
from ballot.queries import CopyStatus, Outcome
from ballot.tally import Result, Round
from ballot.topology import Cluster as Ring
from ballot.topology import place

KILLS = ("writer", "follower", "mailroom", "node")
BYTES_PER_BALLOT = 2_000
"""Room in RAM for one ballot in five copies, with LMDB's pages around it; generous."""
OFFICER = "officer"


class DemoError(Exception):
    """The demonstration could not be carried out."""


class Plan(msgspec.Struct, frozen=True):
    """What to do; `ballots` None is all of them."""

    election: Path
    clients: int
    ballots: int | None
    kills: tuple[str, ...]
    base_port: int
    run_dir: Path | None = None
    data_dir: Path | None = None


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


def run_demo(plan: Plan, *, json: bool) -> bool:
    """Carry it out and print it; whether everything held. Raises what keeps it from being done."""
    data = dataset.load(plan.election)
    total = plan.ballots or data.count
    if total > data.count:
        raise DatasetError(
            data.directory, None, f"has {data.count} ballots; --ballots asks for {total}"
        )
    view = View(data, quiet=json)
    with Cluster(
        base_port=plan.base_port,
        run_dir=plan.run_dir,
        data_dir=plan.data_dir,
        room=ROOM_BYTES + total * BYTES_PER_BALLOT,
    ) as cluster:
        view.cluster_up(cluster)
        account = asyncio.run(Demo(plan, data, total, cluster, view).run())
    if json:
        print(msgspec.json.encode(account).decode())
    else:
        view.account(account)
    return account.ok


class Demo:
    """One run against a cluster that is up."""

    def __init__(self, plan: Plan, data: Dataset, total: int, cluster: Cluster, view: View) -> None:
        self._plan, self._data, self._total = plan, data, total
        self._cluster, self._view = cluster, view
        self._key = "demo/" + re.sub(r"[^A-Za-z0-9._-]", "-", data.id)[:60].lstrip("._-")
        self._members = place(Ring(tuple(cluster.nodes), 1), self._key).members

    async def run(self) -> Account:
        """Create, open, cast under fire, close, count, account."""
        begun = time.perf_counter()
        nodes = [self._cluster.socket_dir(name) for name in self._cluster.nodes]
        async with Elections(nodes) as elections:
            await self._must(elections, CreateElection(**self._head(), definition=self._data.definition))
            opening = OpenElection(**self._head())
            await self._must(elections, opening)
            load, kills, casting = await self._cast(elections, opening)
            await self._must(elections, CloseElection(**self._head()))
            outcome = await elections.outcome(self._key, count=True)
            if not isinstance(outcome, Outcome) or outcome.result is None:
                raise DemoError(f"{self._key}: no result ({outcome})")
            audited = await audit(elections, self._key, self._members[1], load.answers)
            copies = await heads(elections, self._key, self._members)
            retries = elections.retries
        return self._account(
            load, kills, outcome.result, audited, copies, retries, casting, time.perf_counter() - begun
        )

    def _head(self) -> dict[str, Any]:
        return {"command_id": new_id(), "key": self._key, "actor": OFFICER}

    async def _must(self, elections: Elections, command: Command) -> None:
        answer = await elections.command(command)
        if not isinstance(answer, Recorded):
            raise DemoError(f"{type(command).__name__} was refused: {answer.text}")

    async def _cast(
        self, elections: Elections, opening: OpenElection
    ) -> tuple[Load, list[Killed], float]:
        ballots = itertools.islice(dataset.ballots(self._data), self._total)
        load = Load(elections, self._key, ballots, self._total, self._plan.clients)
        killer = Killer(self._cluster, elections, load, self._members, opening)
        kills: list[Killed] = []
        begun = time.perf_counter()
        with self._view.casting(load):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(load.run())
                tasks.create_task(self._kill(load, killer, kills))
        return load, kills, time.perf_counter() - begun

    async def _kill(self, load: Load, killer: Killer, kills: list[Killed]) -> None:
        """Spread the kills over the casting. Ballots beyond the next kill wait for it, so that
        each comes upon commands in flight and the load goes on until what was killed is back."""
        count = len(self._plan.kills)
        share = [load.total * (i + 1) // (count + 1) for i in range(count + 1)]
        marks = [load.milestone(share[i]) for i in range(count)]
        for i, what in enumerate(self._plan.kills):
            load.allow(share[i + 1])
            await marks[i].wait()
            self._view.killing(what)
            killed = await killer.kill(what)
            kills.append(killed)
            self._view.killed(killed)
        load.allow(load.total)

    def _account(
        self,
        load: Load,
        kills: list[Killed],
        result: Result,
        audited: Audit,
        copies: list[CopyStatus],
        retries: int,
        casting: float,
        seconds: float,
    ) -> Account:
        expected = self._data.expected if self._total == self._data.count else None
        differences = dataset.compare(result, expected) if expected is not None else []
        equal = len(copies) == len(self._members) and same(copies)
        counts = {load.submitted, load.acknowledged, result.ballots, audited.in_log, self._total}
        back = all(killed.back_ms is not None for killed in kills)
        clean = len(counts) == 1 and not audited.lost and not audited.doubled
        return Account(
            ok=clean and equal and back and not differences and not load.refused,
            election=self._data.id,
            submitted=load.submitted,
            acknowledged=load.acknowledged,
            counted=result.ballots,
            lost=audited.lost,
            doubled=audited.doubled,
            winners=result.winners,
            expected_winners=None if expected is None else expected.winners,
            rounds=result.rounds,
            tally=result.tally,
            differences=differences,
            refused=[f"{refused.reason}: {refused.text}" for refused in load.refused[:10]],
            heads_equal=equal,
            heads=copies,
            kills=kills,
            retries=retries,
            commands_per_s=round(load.acknowledged / casting, 1),
            seconds=round(seconds, 3),
            nodes=len(self._cluster.nodes),
            processes=self._processes(),
        )

    def _processes(self) -> int:
        """All OS processes of the cluster, the host's included."""
        count = 0
        for name in ("host", *self._cluster.nodes):
            handle: otp.Node = self._cluster.node(name)
            with handle:
                rows = handle.processes()
            # A node is a program of the host's tree and the first row of its own: counted once.
            count += sum(1 for row in rows if row.pid and row.type != "program")
        return count
