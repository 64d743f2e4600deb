"""What a person sees of the demonstration: progress while it runs, then the result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ballot.account import Account
from ballot.cluster import Cluster
from ballot.dataset import Dataset
from ballot.kills import Killed
from ballot.load import Load
from ballot.tally import Round

REFRESH_SECONDS = 0.1
"""How often the progress line is drawn anew; a terminal shows no more."""


class View:
    """Prints on standard output; `quiet` prints nothing (the caller prints JSON)."""

    def __init__(self, data: Dataset, *, quiet: bool) -> None:
        self._data = data
        self._console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self._begun = time.perf_counter()
        self._names = {c.id: c.name for c in data.definition.contest.candidates}
        for note in data.notes:
            self._console.print(f"[yellow]note[/]: {note}")

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Show that the cluster is being started."""
        with self._console.status("starting eight nodes, each a process with processes of its own"):
            yield

    def cluster_up(self, cluster: Cluster) -> None:
        """The cluster answers."""
        seconds = time.perf_counter() - self._begun
        title = self._data.definition.title
        self._console.print(f"[bold]{title}[/]: {self._data.count:,} ballots")
        self._console.print(
            f"{len(cluster.nodes)} nodes up in {seconds:.1f} s: {' '.join(cluster.nodes)}"
        )

    @contextmanager
    def casting(self, load: Load) -> Iterator[None]:
        """Show how far the casting is."""
        progress = Progress(
            TextColumn("ballots acknowledged"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TimeElapsedColumn(),
            console=self._console,
            auto_refresh=False,
            disable=not self._console.is_terminal,
        )
        task = progress.add_task("", total=load.total, rate=0)
        begun = drawn = time.perf_counter()

        def draw() -> None:
            nonlocal drawn
            now = time.perf_counter()
            if now - drawn >= REFRESH_SECONDS or load.acknowledged == load.total:
                drawn = now
                rate = load.acknowledged / (now - begun)
                progress.update(task, completed=load.acknowledged, rate=rate, refresh=True)

        load.on_progress = draw
        with progress:
            yield
        seconds = time.perf_counter() - begun
        self._console.print(
            f"{load.acknowledged:,} ballots acknowledged in {seconds:.1f} s, "
            f"{load.acknowledged / seconds:,.0f}/s"
        )

    def killed(self, killed: Killed) -> None:
        """A death, and how long it took."""
        back = "[red]did not come back[/]"
        if killed.back_ms is not None:
            back = f"back after [green]{killed.back_ms:,.1f} ms[/]"
        what = "a whole node" if killed.what == "node" else killed.what
        where = killed.name.rpartition("@")[2]
        self._console.print(f"  [red]kill -9[/] {what:<12} on {where} (pid {killed.pid}): {back}")

    def account(self, account: Account) -> None:
        """The result and the accounting."""
        console = self._console
        for round_ in account.rounds:
            console.print(self._round(round_))
        if account.tally is not None:
            console.print(self._tally(account.tally))
        console.print(f"winner: [bold]{self._named(account.winners)}[/]")
        if account.expected_winners is not None:
            agrees = "[red]the count differs[/]" if account.differences else "as in result.json"
            console.print(f"expected: {self._named(account.expected_winners)}, {agrees}")
        for difference in account.differences:
            console.print(f"  [red]{difference}[/]")
        console.print(self._heads(account))
        console.print(
            f"submitted {account.submitted:,} = acknowledged {account.acknowledged:,} = "
            f"counted {account.counted:,}; lost {account.lost}, doubled {account.doubled}; "
            f"{account.retries:,} attempts were sent again, with the same ids; "
            f"{account.nodes} nodes, {account.processes} processes"
        )
        for refused in account.refused:
            console.print(f"[red]refused[/]: {refused}")
        console.print("[bold green]ok[/]" if account.ok else "[bold red]NOT OK[/]")

    def _named(self, winners: tuple[str, ...]) -> str:
        return ", ".join(self._names.get(winner, winner) for winner in winners) or "nobody"

    def _round(self, round_: Round) -> Table:
        table = Table(title=f"round {round_.round}", title_justify="left", box=None, pad_edge=False)
        table.show_header = False
        table.add_column(style="bold", min_width=32)
        table.add_column(justify="right")
        table.add_column()
        for id, votes in sorted(round_.tally.items(), key=lambda item: -item[1]):
            fate = "[red]eliminated[/]" if id in round_.eliminated else ""
            fate = "[green]elected[/]" if id in round_.elected else fate
            table.add_row(self._names.get(id, id), f"{votes:,}", fate)
        table.add_row("[dim]exhausted[/]", f"[dim]{round_.exhausted:,}[/]", "")
        return table

    def _tally(self, tally: dict[str, int]) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        for id, votes in sorted(tally.items(), key=lambda item: -item[1]):
            table.add_row(self._names.get(id, id), f"{votes:,}")
        return table

    def _heads(self, account: Account) -> Table:
        word = "[green]equal[/]" if account.heads_equal else "[red]DIFFERENT[/]"
        table = Table(
            title=f"the five copies: {word}", title_justify="left", box=None, pad_edge=False
        )
        for column in ("copy", "node", "position", "committed", "head"):
            table.add_column(column)
        for copy in account.heads:
            table.add_row(
                copy.role, copy.node, f"{copy.position:,}", f"{copy.commit:,}", copy.head[:16]
            )
        return table
