"""What an application imports: commands to elections, retried with the same id until answered.

A command's id never changes, so sending it again is harmless: whatever happened to the first
attempt, it takes effect once and every answer is the first one.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import otp
from ballot.messages import COMMAND_ID_BYTES, Command, Recorded, Refused, Retry
from ballot.names import GROUP, copy_address
from ballot.queries import CopyStatus, GetCopy, GetLog, GetOutcome, LogPart, Outcome, Role

ATTEMPT_SECONDS = 2.0
"""How long one attempt may take before the same command is sent again by another node."""
COMMAND_SECONDS_MAX = 60.0
"""How long a command is tried before its sender is told that its fate is unknown."""
PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX = 0.002, 0.1
"""Between attempts: doubled each time."""

PASSING = (
    otp.CallTimeout,
    otp.Disconnected,
    otp.NodeDown,
    otp.NoProcess,
    otp.NotRunning,
    otp.Overloaded,
    otp.ServerDown,
)
"""Errors that pass: the process is being restarted, a link is being made, a queue is full."""


class Unsettled(otp.OtpError, TimeoutError):
    """A command got no answer in time: it may or may not have been recorded; send it again."""

    def __init__(self, *, key: str, seconds: float, last: str) -> None:
        self.key, self.seconds, self.last = key, seconds, last
        super().__init__(
            f"{key}: no answer in {seconds:g} s ({last}); it may have been recorded: "
            "send it again with the same id"
        )


def new_id() -> bytes:
    """A command id that nobody has used."""
    return secrets.token_bytes(COMMAND_ID_BYTES)


class Elections:
    """The elections of a cluster, through any of its nodes; many commands at a time.

    `run_dirs` are the socket folders of the nodes; a node that does not answer is passed over.
    """

    def __init__(self, run_dirs: Sequence[str]) -> None:
        self._clients = [otp.AsyncClient(f"{path}/mailroom.sock") for path in run_dirs]
        self._turn = itertools.count()
        self.retries = 0

    async def __aenter__(self) -> Elections:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for client in self._clients:
            client.close()

    async def command(
        self, command: Command, *, timeout: float = COMMAND_SECONDS_MAX
    ) -> Recorded | Refused:
        """Carry out a command, exactly once. Raises Unsettled when no answer came in time."""
        answer = await self._ask(command.key, command, timeout)
        assert isinstance(answer, (Recorded, Refused))
        return answer

    async def outcome(
        self, key: str, *, count: bool = False, timeout: float = COMMAND_SECONDS_MAX
    ) -> Outcome | Refused:
        """Where the election stands, fresh from its writer; with `count` also its result."""
        answer = await self._ask(key, GetOutcome(key, count), timeout)
        assert isinstance(answer, (Outcome, Refused))
        return answer

    async def _ask(self, key: str, request: Any, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        pause, last = PAUSE_SECONDS_FIRST, "not sent"
        # Each attempt goes to the next node, whatever others ask meanwhile.
        turn = itertools.count(next(self._turn))
        while (left := deadline - time.monotonic()) > 0:
            try:
                answer = await self._client(next(turn)).call(
                    otp.Via(GROUP, key), request, timeout=min(left, ATTEMPT_SECONDS)
                )
                if not isinstance(answer, Retry):
                    return answer
                last = answer.text
            except PASSING as error:
                last = str(error)
            self.retries += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_SECONDS_MAX)
        raise Unsettled(key=key, seconds=timeout, last=last)

    async def copy(self, key: str, role: Role, node: str) -> CopyStatus:
        """How far one copy is. Raises as `otp.AsyncClient.call` does."""
        address = copy_address(key, role, node)
        client = self._client(next(self._turn))
        return await client.call(address, GetCopy(key), timeout=ATTEMPT_SECONDS)

    async def log_part(self, key: str, node: str, after: int) -> LogPart:
        """A part of the committed log, from the follower on `node`. Raises like `copy`."""
        address = copy_address(key, "follower", node)
        client = self._client(next(self._turn))
        return await client.call(address, GetLog(key, after), timeout=ATTEMPT_SECONDS)

    def _client(self, turn: int) -> otp.AsyncClient:
        return self._clients[turn % len(self._clients)]
