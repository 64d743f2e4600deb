"""Writer and Follower: the processes around the pure parts, one of them per copy of an election.

All that can be subtly wrong is in `replication`, `election` and `dedupe`; here their effects are
carried out, in order, on the store and the mailroom. What the writer sends goes through one seam,
`_send`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import time
from typing import Any, NoReturn

import msgspec

import otp
from ballot import replication as r
from ballot import wire
from ballot.commands import Commands
from ballot.messages import Command, EpochStarted
from ballot.names import COORDINATION, MANAGER, copy_address, slug
from ballot.queries import (
    CopyStatus,
    CopyUp,
    GetCopy,
    GetLog,
    GetOutcome,
    LogPart,
    Role,
    Wake,
)
from ballot.readable import Readable
from ballot.records import CasRecord, ReadRecord
from ballot.replication_copy import Follower as FollowerMachine
from ballot.replication_writer import Writer as WriterMachine
from ballot.store import Fenced, Store, StoreCorrupt, StoreFull
from ballot.wire import Record, Replica, ToCopy, ToWriter

TICK_SECONDS = 0.02
"""While something is under way: resends are due after several of these."""
IDLE_SECONDS = 0.5
"""While nothing is: a process that has nothing to do should cost nothing."""
RECORD_SECONDS_MAX = 5.0
"""How long the record store may take before it is asked again."""

_encode = msgspec.msgpack.encode


def open_store(data_dir: str, node: str, key: str) -> Store:
    """The copy of `key` on this node. One that is damaged counts as lost: it is begun anew (R8)."""
    path = os.path.join(data_dir, node, slug(key))
    try:
        return Store(path, key=key, incarnation=secrets.token_bytes(16))
    except StoreCorrupt as error:
        print(f"{error}", file=sys.stderr)
        shutil.rmtree(path)
        return Store(path, key=key, incarnation=secrets.token_bytes(16))


class Copy(otp.GenServer):
    """What Writer and Follower share: a machine, a store, and the effects between them."""

    role: Role
    machine: Any

    def __init__(self, key: str, data_dir: str) -> None:
        self.key = key
        self.store = open_store(data_dir, self.node, key)
        self.readable = Readable(self.store)
        self.acks = 0
        self._inputs: list[Any] = []
        self._ticking = False

    def begin(self) -> None:
        """Called at the end of `__init__`: from here on the copy can be asked."""
        self._inputs.append(r.Tick())
        self.cast(f"{MANAGER}@{self.node}", CopyUp(self.key, self.role))
        self._ticking = True
        self.send_after(0, Wake())

    def handle_drained(self) -> None:
        """All that arrived goes through the machine at once: one save, one frame to each."""
        self.step()
        if self.collect():
            self.step()
        if not self._ticking:
            self._ticking = True
            self.send_after(TICK_SECONDS if self.busy() else IDLE_SECONDS, Wake())

    def handle_info(self, message: Wake) -> None:
        self._ticking = False
        self._inputs.append(r.Tick())

    def step(self) -> None:
        """Put the inputs through the machine and carry out what it wants."""
        inputs, self._inputs = self._inputs, []
        if not inputs:
            return
        try:
            for effect in self.machine.step_many(inputs, time.monotonic()):
                self.perform(effect)
        except StoreCorrupt as error:
            self.damaged(error)

    def damaged(self, error: StoreCorrupt) -> NoReturn:
        """R8: a damaged copy is a lost one. The next process begins it anew and is refilled."""
        self.store.close()
        shutil.rmtree(self.store.path)
        self.end(error)

    def end(self, error: Exception) -> NoReturn:
        """No bug of ours, so no traceback: one line that says what to do, then the end."""
        print(f"{self.path} on {self.node}: {error}", file=sys.stderr)
        self.stopped(str(error))
        raise otp.Stop(str(error)) from error

    def collect(self) -> bool:
        """Add to the inputs what has been gathered meanwhile; False if there was nothing."""
        return False

    def busy(self) -> bool:
        """Whether the machine waits for anything."""
        raise NotImplementedError

    def perform(self, effect: r.Effect) -> None:
        """Carry out one effect."""
        match effect:
            case r.Save():
                self._save(effect)
            case r.Send(to, message):
                self._send(to, message)
            case r.ReadRecord():
                self.send_request(
                    COORDINATION, ReadRecord(self.key), self._record, timeout=RECORD_SECONDS_MAX
                )
            case r.Compare(expected, record):
                cas = CasRecord(self.key, expected, record)
                self.send_request(COORDINATION, cas, self._swapped, timeout=RECORD_SECONDS_MAX)
            case r.Stopped(reason):
                self.stopped(reason)
                raise otp.Stop(f"stopped: {reason}")
            case r.Alarm(text):
                print(f"ALARM {self.key} on {self.node}: {text}", file=sys.stderr)
                self.stopped(text)
                raise otp.Stop(f"alarm: {text}")
            case _:
                self.advance(effect)

    def _save(self, save: r.Save) -> None:
        try:
            self.store.apply(save)
        except (StoreFull, Fenced) as error:
            self.end(error)

    def advance(self, effect: r.Effect) -> None:
        """Carry out an effect that is not the same for both."""
        raise NotImplementedError

    def stopped(self, reason: str) -> None:
        """The machine is done; tell whoever waits."""

    def _send(self, to: tuple[str, ...], message: Replica) -> None:
        """The seam between the protocol and the way its messages travel."""
        raise NotImplementedError

    def _record(self, record: Record | None, error: Exception | None) -> None:
        if error is None:
            self._inputs.append(r.RecordRead(record))

    def _swapped(self, answer: tuple[bool, Record | None], error: Exception | None) -> None:
        # Done or not, what counts is the record as it is; an answer that got lost is asked again.
        if error is None:
            self._inputs.append(r.RecordRead(answer[1]))

    def status(self, phase: str, epoch: int) -> CopyStatus:
        """This copy, as `GetCopy` shows it."""
        state = self.store.state()
        last = state.last
        return CopyStatus(
            self.role,
            self.node,
            phase,
            epoch,
            last.position,
            state.commit,
            last.hash.hex(),
            self.acks,
        )

    def terminate(self, reason: otp.Reason) -> None:
        self.store.close()


class Follower(Copy):
    """One of four read-only copies: acknowledges what it holds, shows what is committed."""

    role: Role = "follower"

    def __init__(self, key: str, data_dir: str) -> None:
        super().__init__(key, data_dir)
        self.machine = FollowerMachine(key=key, node=self.node, log=self.store)
        self.begin()

    def busy(self) -> bool:
        return not self.machine.copy.voter

    def handle_cast(self, message: ToCopy) -> None:
        self._inputs.append(message)

    def handle_call(self, request: GetCopy | GetLog, sender: otp.From[Any]) -> Any:
        if isinstance(request, GetLog):
            return self._log(request)
        phase = "voter" if self.machine.copy.voter else "joining"
        return self.status(phase, self.machine.copy.promised)

    def advance(self, effect: r.Effect) -> None:
        # What is shown to readers is asked of the machine when they ask: `visible`.
        assert isinstance(effect, r.Committed), f"a follower's machine does not want {effect}"

    def _log(self, request: GetLog) -> LogPart:
        if not self.machine.copy.voter:
            return LogPart((), False)
        try:
            return self.readable.part(request.after, self.machine.visible)
        except StoreCorrupt as error:
            self.damaged(error)

    def _send(self, to: tuple[str, ...], message: Replica) -> None:
        self.acks += isinstance(message, wire.Ack | wire.HeartbeatOk)
        for node in to:
            self.cast(copy_address(self.key, "writer", node), message)


class Writer(Copy):
    """The one process that decides: commands in, batches to the log, answers when committed."""

    role: Role = "writer"

    def __init__(self, key: str, data_dir: str) -> None:
        super().__init__(key, data_dir)
        self.machine = WriterMachine(
            key=key,
            node=self.node,
            owner=f"{self.pid}:{secrets.token_hex(8)}",
            log=self.store,
            barrier=self._barrier,
        )
        self.commands = Commands(key, self.store)
        self.begin()

    def _barrier(self, epoch: int) -> wire.Batch:
        return wire.batch([_encode(EpochStarted(epoch, self.node, _now_ms()))])

    def busy(self) -> bool:
        machine = self.machine
        if machine.phase != "serve" or self.commands.waits:
            return True
        end = machine.last.position
        return any(p.commit < machine.commit or p.acked < end for p in machine.peers.values())

    def handle_cast(self, message: ToWriter | wire.Prepare) -> None:
        self._inputs.append(message)

    def handle_call(self, request: Command | GetCopy | GetOutcome, sender: otp.From[Any]) -> Any:
        if isinstance(request, GetCopy):
            return self.status(self.machine.phase, self.machine.epoch)
        try:
            if isinstance(request, GetOutcome):
                self.commands.ask(request, sender)
            else:
                self.commands.take(request, sender, _now_ms())
        except StoreCorrupt as error:
            self.damaged(error)
        return otp.NoReply

    def collect(self) -> bool:
        # After the first step: what followers said may have made room for a batch.
        if self.machine.phase != "serve":
            return False
        self._inputs += self.commands.inputs(self.machine)
        return bool(self._inputs)

    def advance(self, effect: r.Effect) -> None:
        match effect:
            case r.Committed(upto):
                self.commands.committed(upto)
            case r.Serving():
                self.commands.serve(_now_ms())
            case r.ReadConfirmed(read):
                self.commands.confirmed(read)
            case r.LostQuorum(without):
                gone = ", ".join(without)
                print(
                    f"LOST QUORUM {self.key}: no log that counts on {gone}; the election stands "
                    "still until three of its five copies are back",
                    file=sys.stderr,
                )

    def stopped(self, reason: str) -> None:
        self.commands.abandon(reason)

    def _send(self, to: tuple[str, ...], message: Replica) -> None:
        self.abcast([copy_address(self.key, "follower", node) for node in to], message)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
