from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from ballot.client import Unsettled
from ballot.load import Acknowledged, Load
from ballot.messages import Ballot, CastBallot, Command, Recorded, Refused
from tests.ballot.samples import KEY, ranked

SECONDS_MAX = 5.0
"""For a test of a few steps of a loop: beyond it something waits for ever."""


class Writer:
    """Records ballots at once, or only when the test lets it."""

    def __init__(self, *, refuse: tuple[str, ...] = (), open_: bool = True) -> None:
        self.ballots: list[CastBallot] = []
        self.in_flight = self.most_in_flight = 0
        self.refuse = refuse
        self.gate = asyncio.Event()
        if open_:
            self.gate.set()

    async def command(self, command: Command) -> Recorded | Refused:
        assert isinstance(command, CastBallot)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await settle(1)
        await self.gate.wait()
        self.in_flight -= 1
        if command.ballot.credential in self.refuse:
            return Refused("already_voted", "has voted")
        self.ballots.append(command)
        return Recorded(2, len(self.ballots) - 1, len(self.ballots))


async def settle(turns: int = 20) -> None:
    """Let all others go on as far as they can."""
    loop = asyncio.get_running_loop()
    for _ in range(turns):
        turn: asyncio.Future[None] = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn


def papers(count: int) -> Iterator[Ballot]:
    return iter([Ballot(f"v{i}", ranked("a")) for i in range(count)])


def in_time(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(SECONDS_MAX):
            await test()

    asyncio.run(bounded())


@pytest.mark.parametrize(("total", "clients"), [(1, 1), (1, 1000), (20, 1), (20, 7), (20, 1000)])
def test_each_ballot_is_cast_once_and_its_place_is_kept(total: int, clients: int) -> None:
    async def test() -> None:
        writer = Writer()
        load = Load(writer, KEY, papers(total), total, clients)
        await load.run()
        assert (load.submitted, load.acknowledged, load.refused) == (total, total, [])
        assert load.told == {
            vote.command_id: Acknowledged(vote.ballot, 2, leaf)
            for leaf, vote in enumerate(writer.ballots)
        }
        assert {vote.actor for vote in writer.ballots} == {f"v{i}" for i in range(total)}
        assert writer.most_in_flight == min(total, clients)

    in_time(test)


def test_a_refused_ballot_is_not_acknowledged() -> None:
    async def test() -> None:
        load = Load(Writer(refuse=("v1", "v3")), KEY, papers(5), 5, 2)
        await load.run()
        assert (load.submitted, load.acknowledged) == (5, 3)
        assert [refused.reason for refused in load.refused] == ["already_voted"] * 2

    in_time(test)


def test_no_more_ballots_than_allowed_are_submitted() -> None:
    async def test() -> None:
        load = Load(Writer(), KEY, papers(10), 10, 4)
        load.allow(3)
        running = asyncio.ensure_future(load.run())
        await settle()
        assert (load.submitted, load.acknowledged, load.held) == (3, 3, True)
        load.allow(5)
        assert not load.held
        await settle()
        assert load.submitted == 5
        load.allow(99)
        await running
        assert (load.submitted, load.acknowledged, load.held) == (10, 10, True)

    in_time(test)


def test_nothing_allowed_at_all_is_waited_out() -> None:
    async def test() -> None:
        load = Load(Writer(), KEY, papers(1), 1, 3)
        load.allow(0)
        running = asyncio.ensure_future(load.run())
        await settle()
        assert (load.submitted, load.held) == (0, True)
        load.allow(1)
        await running

    in_time(test)


def test_milestones_count_what_is_answered_and_may_be_behind_us() -> None:
    async def test() -> None:
        load = Load(Writer(refuse=("v0",)), KEY, papers(6), 6, 1)
        load.allow(3)
        none, two, four = load.milestone(0), load.milestone(2), load.milestone(4)
        assert none.is_set()
        running = asyncio.ensure_future(load.run())
        await two.wait()
        await settle()
        assert not four.is_set()
        load.allow(6)
        await four.wait()
        await running
        assert load.milestone(6).is_set()

    in_time(test)


def test_an_acknowledgement_counts_only_for_what_was_begun_before() -> None:
    async def test() -> None:
        writer = Writer(open_=False)
        load = Load(writer, KEY, papers(4), 4, 2)
        load.allow(2)
        running = asyncio.ensure_future(load.run())
        await settle()
        assert writer.in_flight == 2
        since = time.perf_counter()
        acknowledged = asyncio.ensure_future(load.next_ack(since))
        writer.gate.set()
        await settle()
        assert load.acknowledged == 2 and not acknowledged.done()
        load.allow(4)
        await acknowledged
        await running

    in_time(test)


def test_a_refusal_is_no_acknowledgement() -> None:
    async def test() -> None:
        load = Load(Writer(refuse=("v0",)), KEY, papers(2), 2, 1)
        load.allow(1)
        acknowledged = asyncio.ensure_future(load.next_ack(time.perf_counter()))
        running = asyncio.ensure_future(load.run())
        await settle()
        assert load.refused and not acknowledged.done()
        load.allow(2)
        await acknowledged
        await running

    in_time(test)


def test_a_command_without_an_answer_ends_the_load() -> None:
    class Gone(Writer):
        async def command(self, command: Command) -> Recorded | Refused:
            raise Unsettled(key=KEY, seconds=60, last="no reply")

    async def test() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            await Load(Gone(), KEY, papers(3), 3, 2).run()
        assert all(isinstance(error, Unsettled) for error in raised.value.exceptions)

    in_time(test)


def test_progress_is_told_with_every_answer() -> None:
    async def test() -> None:
        load = Load(Writer(refuse=("v1",)), KEY, papers(3), 3, 1)
        seen: list[int] = []
        load.on_progress = lambda: seen.append(load.acknowledged)
        await load.run()
        assert seen == [1, 1, 2]

    in_time(test)
