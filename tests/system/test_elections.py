"""Elections on the embedded cluster: eight node processes, kill -9, lost memory, wrong input."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import otp
from ballot.client import Elections, Unsettled, new_id
from ballot.cluster import Cluster
from ballot.messages import (
    Ballot,
    CastBallot,
    CloseElection,
    Command,
    CreateElection,
    OpenElection,
    Recorded,
    Refused,
)
from ballot.queries import GetLog
from tests.ballot.samples import definition, ranked
from tests.ports import ports_in_a_row
from tests.system.polls import Poll

NODES_AND_HOST = 9
BALLOTS = 60
UNDER_FIRE = 500
"""Ballots that are on their way when something dies."""

Test = Callable[[Elections], Awaitable[None]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    runs: Path = tmp_path_factory.mktemp("runs")
    with Cluster(base_port=ports_in_a_row(NODES_AND_HOST), run_dir=runs) as cluster:
        yield cluster
    assert not cluster.data_dir.exists()
    assert list(runs.iterdir()) == []


def run(cluster: Cluster, test: Test) -> None:
    """Run a test against the cluster, through all of its nodes."""

    async def connected() -> None:
        async with Elections([cluster.socket_dir(node) for node in cluster.nodes]) as elections:
            await test(elections)

    asyncio.run(connected())


# --- the whole way -----------------------------------------------------------------------------


def test_a_whole_election(cluster: Cluster) -> None:
    async def test(elections: Elections) -> None:
        poll = await Poll(cluster, elections).opened()
        await poll.vote(BALLOTS)
        await poll.check()

    run(cluster, test)


def test_several_elections_at_once_do_not_disturb_each_other(cluster: Cluster) -> None:
    async def test(elections: Elections) -> None:
        polls = [await Poll(cluster, elections).opened() for _ in range(4)]
        await asyncio.gather(*(poll.vote(BALLOTS) for poll in polls))
        await asyncio.gather(*(poll.check() for poll in polls))

    run(cluster, test)


def test_one_command_at_all_nodes_at_once_is_one_ballot(cluster: Cluster) -> None:
    async def test(elections: Elections) -> None:
        poll = await Poll(cluster, elections).opened()
        vote = poll.ballot("ann")
        answers = await asyncio.gather(*(poll.ask(vote) for _ in range(4 * len(cluster.nodes))))
        assert len(set(answers)) == 1
        assert isinstance(answers[0], Recorded)
        outcome = await elections.outcome(poll.key)
        assert not isinstance(outcome, Refused)
        assert outcome.status.casted_ballots == 1

    run(cluster, test)


# --- deaths ------------------------------------------------------------------------------------

DEATHS: dict[str, Callable[[Poll], tuple[str, str]]] = {
    "writer": lambda poll: (poll.members[0], poll.path(poll.members[0])),
    "follower": lambda poll: (poll.members[2], poll.path(poll.members[2])),
    "manager": lambda poll: (poll.members[0], "manager"),
    "mailroom": lambda poll: (poll.members[0], "mailroom"),
    "zygote": lambda poll: (poll.members[0], "zygote"),
    "node of the writer": lambda poll: ("host", f"nodes/{poll.members[0]}"),
    "node of a follower": lambda poll: ("host", f"nodes/{poll.members[1]}"),
    "coordination": lambda poll: ("host", "coordination"),
}


@pytest.mark.parametrize("what", DEATHS)
def test_nothing_is_lost_or_doubled_when_it_is_killed(cluster: Cluster, what: str) -> None:
    async def test(elections: Elections) -> None:
        poll = await Poll(cluster, elections).opened()
        await poll.vote(BALLOTS)
        casting = asyncio.ensure_future(poll.vote(UNDER_FIRE))
        await asyncio.to_thread(poll.kill, *DEATHS[what](poll))
        await casting
        await poll.vote()
        await poll.through(poll.members[0])
        await poll.check()

    run(cluster, test)


def test_a_writer_that_wakes_after_its_death_was_expected_changes_nothing(
    cluster: Cluster,
) -> None:
    async def test(elections: Elections) -> None:
        poll = await Poll(cluster, elections).opened()
        writer = poll.members[0]
        await asyncio.to_thread(poll.kill, writer, poll.path(writer), signal.SIGSTOP)
        vote = poll.ballot("ann")
        with pytest.raises(Unsettled):
            await elections.command(vote, timeout=0.5)
        await asyncio.to_thread(poll.kill, writer, poll.path(writer), signal.SIGCONT)
        first = await poll.must(vote)
        assert await poll.must(vote) == first
        await poll.five()

    run(cluster, test)


# --- lost memory -------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [(1,), (1, 4), (0,), (0, 2)], ids=str)
def test_one_or_two_copies_that_lose_their_memory_are_refilled(
    cluster: Cluster, who: tuple[int, ...]
) -> None:
    async def test(elections: Elections) -> None:
        poll = await Poll(cluster, elections).opened()
        await poll.vote(BALLOTS)
        casting = asyncio.ensure_future(poll.vote(UNDER_FIRE))
        await asyncio.to_thread(poll.forget, *(poll.members[i] for i in who))
        await casting
        await poll.vote()
        await poll.check()

    run(cluster, test)


def test_an_election_whose_three_copies_are_lost_stands_still(cluster: Cluster) -> None:
    """P5: it never goes on from less than three of the copies that hold what was told."""

    async def test(elections: Elections) -> None:
        poll = await Poll(cluster, elections).opened()
        await poll.vote(BALLOTS)
        await asyncio.to_thread(poll.forget, *poll.members[:3])
        with pytest.raises(Unsettled):
            await elections.command(poll.ballot("late"), timeout=1.5)
        with pytest.raises(Unsettled):
            await elections.outcome(poll.key, timeout=0.5)

    run(cluster, test)


# --- wrong input -------------------------------------------------------------------------------


def test_wrong_commands_are_refused_with_their_reason(cluster: Cluster) -> None:
    async def test(elections: Elections) -> None:
        poll = Poll(cluster, elections)

        async def refused(what: Command) -> str:
            answer = await poll.ask(what)
            assert isinstance(answer, Refused), answer
            return answer.reason

        def vote(credential: str, ranking: str = "a", **other: Any) -> CastBallot:
            ballot = Ballot(credential, ranked(ranking))
            return CastBallot(**{**poll.head(), "ballot": ballot, **other})

        head = poll.head
        creation = CreateElection(**head(), definition=definition())
        await poll.must(creation)
        again = CreateElection(**head(), definition=definition())
        assert await refused(again) == "election_exists"
        assert await refused(vote("ann")) == "not_open"
        assert await refused(CloseElection(**head())) == "bad_state"
        await poll.must(OpenElection(**head()))
        assert await refused(vote("ann", "z")) == "unknown_candidate"
        first = vote("ann")
        await poll.must(first)
        assert await refused(vote("ann", "b")) == "already_voted"
        assert await refused(vote("bob", command_id=first.command_id)) == "id_reused"
        assert await refused(vote("bob", expected_version=1)) == "wrong_version"
        assert await refused(vote("bob", command_id=b"short")) == "bad_command"
        await poll.must(CloseElection(**head()))
        assert await refused(vote("bob")) == "not_open"

    run(cluster, test)


def test_a_command_for_an_election_that_does_not_exist_starts_nothing(cluster: Cluster) -> None:
    async def test(elections: Elections) -> None:
        poll = Poll(cluster, elections)
        before = poll.processes()
        for command in (poll.ballot("ann"), OpenElection(**poll.head())):
            answer = await poll.ask(command)
            assert isinstance(answer, Refused)
            assert (answer.reason, poll.key in answer.text) == ("no_such_election", True)
        read = await elections.outcome(poll.key)
        assert isinstance(read, Refused) and read.reason == "no_such_election"
        for key in ("nokey", "a/../b", "test/" + "x" * 99):
            bad = CreateElection(
                command_id=new_id(), key=key, actor="officer", definition=definition()
            )
            answer = await poll.ask(bad)
            assert isinstance(answer, Refused) and answer.reason == "bad_command"
        assert poll.processes() == before

    run(cluster, test)


def test_nothing_of_an_open_election_is_shown(cluster: Cluster) -> None:
    """I7: neither its log nor a count, at no copy."""

    async def test(elections: Elections) -> None:
        poll = await Poll(cluster, elections).opened()
        await poll.vote(3)
        await poll.five()
        for node in poll.members[1:]:
            part = await elections.log_part(poll.key, node, 0)
            assert part.entries == ()
            assert part.refused is not None and part.refused.reason == "bad_state"
        counted = await elections.outcome(poll.key, count=True)
        assert isinstance(counted, Refused) and counted.reason == "bad_state"
        status = await elections.outcome(poll.key)
        assert not isinstance(status, Refused)
        assert (status.status.casted_ballots, status.result) == (3, None)

    run(cluster, test)


class Junk(otp.Request[int], frozen=True):
    """No copy knows this."""

    x: int


def test_what_a_copy_does_not_understand_harms_nobody(cluster: Cluster) -> None:
    async def test(elections: Elections) -> None:
        poll = await Poll(cluster, elections).opened()
        before = poll.processes()
        writer, follower = (f"{poll.path(n)}@{n}" for n in poll.members[:2])
        async with otp.AsyncClient(f"{cluster.socket_dir(follower[-6:])}/mailroom.sock") as client:
            for to in (writer, follower, otp.Via("elections", poll.key)):
                with pytest.raises(otp.Undecodable):
                    await client.call(to, Junk(1))
            with pytest.raises(otp.Undecodable, match="after"):
                await client.call(follower, GetLog(poll.key, -1))
            await client.cast(writer, Junk(1))
        await poll.vote()
        assert poll.processes() == before

    run(cluster, test)
