"""The demonstration: a whole election on real processes, while some of them are killed."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

import otp
from ballot import dataset, tally
from ballot.account import Account
from ballot.audit import Audit, audit, heads, same
from ballot.client import Elections, new_id
from ballot.cluster import ROOM_BYTES, Cluster
from ballot.dataset import Dataset, DatasetError
from ballot.demo_view import View
from ballot.kills import Killed, Killer
from ballot.load import Load
from ballot.messages import CloseElection, Command, CreateElection, OpenElection, Recorded
from ballot.queries import CopyStatus, Outcome
from ballot.tally import Result
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


def run_demo(plan: Plan, *, json: bool) -> bool:
    """Carry it out and print it; whether everything held. Raises what keeps it from being done."""
    data = dataset.load(plan.election)
    total = plan.ballots or data.count
    if total > data.count:
        raise DatasetError(
            data.directory, None, f"has {data.count} ballots; --ballots asks for {total}"
        )
    view = View(data, quiet=json)
    starting = Cluster(
        base_port=plan.base_port,
        run_dir=plan.run_dir,
        data_dir=plan.data_dir,
        room=ROOM_BYTES + total * BYTES_PER_BALLOT,
    )
    with ExitStack() as running:
        with view.starting():
            cluster = running.enter_context(starting)
        view.cluster_up(cluster)
        account = asyncio.run(Demo(plan, data, total, cluster, view).run())
    if json:
        print(msgspec.json.encode(account).decode())
    else:
        view.account(account)
    return account.ok


class Findings(msgspec.Struct, frozen=True):
    """What was seen besides the clients' answers."""

    result: Result
    kills: list[Killed]
    audit: Audit
    copies: list[CopyStatus]
    retries: int
    casting: float


class Demo:
    """One run against a cluster that is up."""

    def __init__(self, plan: Plan, data: Dataset, total: int, cluster: Cluster, view: View) -> None:
        self._plan, self._data, self._total = plan, data, total
        self._cluster, self._view = cluster, view
        name = re.sub(r"[^A-Za-z0-9._-]", "-", data.id)[:60].lstrip("._-")
        self._key = f"demo/{name or 'election'}"
        self._members = place(Ring(tuple(cluster.nodes), 1), self._key).members

    async def run(self) -> Account:
        """Create, open, cast under fire, close, count, account."""
        begun = time.perf_counter()
        nodes = [self._cluster.socket_dir(name) for name in self._cluster.nodes]
        async with Elections(nodes) as elections:
            definition = self._data.definition
            await self._must(elections, CreateElection(**self._head(), definition=definition))
            opening = OpenElection(**self._head())
            await self._must(elections, opening)
            load, kills, casting = await self._cast(elections, opening)
            closed = await self._must(elections, CloseElection(**self._head()))
            outcome = await elections.outcome(self._key, count=True)
            if not isinstance(outcome, Outcome) or outcome.result is None:
                raise DemoError(f"{self._key}: no result ({outcome})")
            found = Findings(
                result=outcome.result,
                kills=kills,
                audit=await audit(elections, self._key, self._members[1], load.told, closed),
                copies=await heads(elections, self._key, self._members),
                retries=elections.retries,
                casting=casting,
            )
        return self._account(load, found, time.perf_counter() - begun)

    def _head(self) -> dict[str, Any]:
        return {"command_id": new_id(), "key": self._key, "actor": OFFICER}

    async def _must(self, elections: Elections, command: Command) -> Recorded:
        answer = await elections.command(command)
        if not isinstance(answer, Recorded):
            raise DemoError(f"{type(command).__name__} was refused: {answer.text}")
        return answer

    async def _cast(
        self, elections: Elections, opening: OpenElection
    ) -> tuple[Load, list[Killed], float]:
        ballots = itertools.islice(dataset.ballots(self._data), self._total)
        load = Load(elections, self._key, ballots, self._total, self._plan.clients)
        killer = Killer(self._cluster, elections, load, self._members, opening)
        kills: list[Killed] = []
        begun = time.perf_counter()
        with self._view.casting(load):
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(load.run())
                    tasks.create_task(self._kill(load, killer, kills))
            except ExceptionGroup as group:
                raise _first(group) from None
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
            killed = await killer.kill(what)
            kills.append(killed)
            self._view.killed(killed)
        load.allow(load.total)

    def _account(self, load: Load, found: Findings, seconds: float) -> Account:
        expected = self._data.expected if self._total == self._data.count else None
        result, audited = found.result, found.audit
        differences = [*audited.faults, *self._recounted(result, audited)]
        if expected is not None:
            differences += dataset.compare(result, expected)
        equal = len(found.copies) == len(self._members) and same(found.copies)
        counts = {load.submitted, load.acknowledged, result.ballots, audited.in_log, self._total}
        back = all(killed.back_ms is not None for killed in found.kills)
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
            heads=found.copies,
            kills=found.kills,
            retries=found.retries,
            commands_per_s=round(load.acknowledged / found.casting, 1),
            seconds=round(seconds, 3),
            nodes=len(self._cluster.nodes),
            processes=self._processes(),
        )

    def _recounted(self, result: Result, audited: Audit) -> list[str]:
        """The writer counted; here the ballots of the log that was audited are counted again."""
        again = tally.count(self._data.definition, audited.choices, lot_seed=audited.seed)
        if again == result:
            return []
        return [f"the writer's result differs from the count of a follower's log: {again}"]

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


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """One of the errors that ended a group of tasks; the rest are the same or follow from it."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error
