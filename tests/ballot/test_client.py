from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import otp
from ballot import client as module
from ballot.client import PASSING, Elections, Unsettled, new_id
from ballot.messages import COMMAND_ID_BYTES, Recorded, Refused, Retry
from ballot.queries import CopyStatus, GetCopy, GetLog, GetOutcome, LogPart
from tests.ballot.samples import KEY, cast

DONE = Recorded(4, 0, 3)


class Mailrooms:
    """Stands in for the mailrooms of all nodes; answers by the script, then DONE for ever."""

    def __init__(self, *script: Any) -> None:
        self.script: Iterator[Any] = iter(script)
        self.calls: list[tuple[str, Any, Any, float]] = []
        self.closed: list[str] = []

    def client(self, path: str) -> Mailroom:
        return Mailroom(self, path)


class Mailroom:
    """One of them."""

    def __init__(self, all_: Mailrooms, path: str) -> None:
        self.all, self.path = all_, path

    async def call(self, to: Any, request: Any, *, timeout: float) -> Any:
        self.all.calls.append((self.path, to, request, timeout))
        answer = next(self.all.script, DONE)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.all.closed.append(self.path)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.get_running_loop().run_in_executor(None, int)  # others have their turn


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ballot.client.time.monotonic", clock.monotonic)
    monkeypatch.setattr("ballot.client.asyncio.sleep", clock.sleep)
    return clock


Connect = Callable[..., tuple[Mailrooms, Elections]]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Connect:
    def made(*script: Any, nodes: int = 3) -> tuple[Mailrooms, Elections]:
        mailrooms = Mailrooms(*script)
        monkeypatch.setattr("ballot.client.otp.AsyncClient", mailrooms.client)
        return mailrooms, Elections([f"/run/{i}" for i in range(nodes)])

    return made


def passing(kind: Any) -> Any:
    fields: dict[type, dict[str, Any]] = {
        otp.CallTimeout: {"seconds": 2.0},
        otp.NodeDown: {"node": "MI-A-1"},
        otp.Overloaded: {"limit": "20000 messages wait"},
        otp.ServerDown: {"reason": "killed"},
    }
    if kind is otp.NotRunning:
        return otp.NotRunning(where="/run/0/mailroom.sock", problem="no such file")
    return kind(what="call CastBallot", to="via:elections:lake/1", **fields.get(kind, {}))


def test_ids_are_new_and_as_long_as_they_must_be() -> None:
    ids = {new_id() for _ in range(100)}
    assert {len(id) for id in ids} == {COMMAND_ID_BYTES}
    assert len(ids) == 100


@pytest.mark.parametrize("answer", [DONE, Refused("not_open", "it is closed")])
def test_an_answer_is_final(connect: Connect, answer: Any) -> None:
    mailrooms, elections = connect(answer)
    assert asyncio.run(elections.command(cast("ann"))) == answer
    assert (len(mailrooms.calls), elections.retries) == (1, 0)


@pytest.mark.parametrize("trouble", [*PASSING, Retry])
def test_what_passes_is_tried_again_with_the_same_command_at_another_node(
    connect: Connect, trouble: Any
) -> None:
    what = Retry("the writer ended") if trouble is Retry else passing(trouble)
    mailrooms, elections = connect(what, what)
    vote = cast("ann")
    assert asyncio.run(elections.command(vote)) == DONE
    assert [call[2] for call in mailrooms.calls] == [vote] * 3
    assert len({call[0] for call in mailrooms.calls}) == 3
    assert {call[1] for call in mailrooms.calls} == {otp.Via("elections", KEY)}
    assert elections.retries == 2


def test_what_does_not_pass_is_raised_at_once(connect: Connect) -> None:
    error = otp.Undecodable(what="call CastBallot", to="x", problem="not a command")
    mailrooms, elections = connect(error)
    with pytest.raises(otp.Undecodable):
        asyncio.run(elections.command(cast("ann")))
    assert len(mailrooms.calls) == 1


def test_attempts_of_one_command_go_round_whatever_others_ask(connect: Connect) -> None:
    troubles = [Retry("not yet")] * 40
    mailrooms, elections = connect(*troubles, nodes=4)
    votes = [cast("ann"), cast("bob"), cast("cleo")]

    async def all_at_once() -> None:
        await asyncio.gather(*(elections.command(vote) for vote in votes))

    asyncio.run(all_at_once())
    for vote in votes:
        visited = [path for path, _, request, _ in mailrooms.calls if request == vote]
        turns = [int(path.split("/")[2]) for path in visited]
        assert len(turns) > 1
        assert {(b - a) % 4 for a, b in itertools.pairwise(turns)} == {1}


def test_time_is_bounded_and_the_last_trouble_is_told(connect: Connect, clock: Clock) -> None:
    mailrooms, elections = connect(*[Retry("the election stands still")] * 1000)
    with pytest.raises(Unsettled) as raised:
        asyncio.run(elections.command(cast("ann"), timeout=3.0))
    assert 103.0 <= clock.now <= 103.0 + module.PAUSE_SECONDS_MAX
    assert raised.value.key == KEY
    assert "the election stands still" in str(raised.value)
    assert "send it again with the same id" in str(raised.value)
    assert all(0 < call[3] <= module.ATTEMPT_SECONDS for call in mailrooms.calls)
    assert clock.pauses[:3] == [0.002, 0.004, 0.008]
    assert max(clock.pauses) == module.PAUSE_SECONDS_MAX


def test_the_last_attempt_has_only_the_time_that_is_left(connect: Connect) -> None:
    mailrooms, elections = connect()
    asyncio.run(elections.command(cast("ann"), timeout=0.5))
    assert mailrooms.calls[0][3] == 0.5


def test_a_read_goes_the_same_way(connect: Connect) -> None:
    refused = Refused("no_such_election", "there is none")
    mailrooms, elections = connect(Retry("later"), refused)
    assert asyncio.run(elections.outcome(KEY, count=True)) == refused
    assert [call[2] for call in mailrooms.calls] == [GetOutcome(KEY, True)] * 2


def test_one_copy_is_asked_by_its_own_address_and_not_again(connect: Connect) -> None:
    status = CopyStatus("follower", "CA-A-1", "voter", 1, 2, 2, "ab", 1)
    mailrooms, elections = connect(status, LogPart((), True), passing(otp.NoProcess))
    assert asyncio.run(elections.copy(KEY, "follower", "CA-A-1")) == status
    assert asyncio.run(elections.log_part(KEY, "CA-A-1", 7)) == LogPart((), True)
    with pytest.raises(otp.NoProcess):
        asyncio.run(elections.copy(KEY, "writer", "CA-A-1"))
    assert [(call[1], call[2]) for call in mailrooms.calls] == [
        ("elections/lake~1/follower@CA-A-1", GetCopy(KEY)),
        ("elections/lake~1/follower@CA-A-1", GetLog(KEY, 7)),
        ("elections/lake~1/writer@CA-A-1", GetCopy(KEY)),
    ]


def test_the_end_of_the_block_closes_all_connections(connect: Connect) -> None:
    mailrooms, elections = connect()

    async def block() -> None:
        async with elections:
            await elections.command(cast("ann"))

    asyncio.run(block())
    assert mailrooms.closed == [f"/run/{i}/mailroom.sock" for i in range(3)]
