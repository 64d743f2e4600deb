"""The manager of one node: runs the copies that belong here, and holds messages while they start.

A message for a key comes here when nobody knows better. If the election's writer runs here it is
passed on; if another node has it, it goes there; if it does not run, it is started and its
messages wait. Only `create_election` makes a record; anything else for an unknown key is refused
and starts nothing.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import otp
from ballot.election import Election, decide
from ballot.messages import Command, CreateElection, Refused
from ballot.names import COORDINATION, GROUP, MANAGER, copy_address, key_fault, slug
from ballot.queries import CopyUp, GetCopy, GetOutcome, Role, StartCopy, Wake
from ballot.records import CasRecord, ReadRecord, RecordsOf
from ballot.topology import Cluster, place
from ballot.wire import Record

WAITING_MAX = 20_000
"""Messages that wait for one election that starts; beyond it a call is `Overloaded`."""
KEYS_WAITING_MAX = 1_000
"""Keys that are being looked up or started at the same time."""
CREATIONS_PER_SECOND_MAX = 50
"""New elections per second and node; more are told to come again."""
SCAN_SECONDS = 2.0
"""How often the records are looked through for copies that belong here and do not run."""
SCAN_SECONDS_FIRST = 0.1
"""The same while the record store does not answer at our start."""
START_SECONDS_MAX = 30.0
RESTARTS_MAX, RESTARTS_SECONDS = 20, 10.0
"""The restart budget of one copy, its own; when it is used up the next scan tries again."""


class Manager(otp.GenServer):
    """One per node; reached as `manager@NODE`, and by the topology for every key of the ring."""

    def __init__(self, nodes: str, data_dir: str, version: int = 1) -> None:
        self.cluster = Cluster(tuple(nodes.split(",")), version)
        self.data_dir = data_dir
        self.roles: dict[str, Role] = {}
        self.up: dict[str, int] = {}
        self.refs: dict[int, str] = {}
        self.starting: set[str] = set()
        self.revived: dict[str, float] = {}
        self.waiting: dict[str, deque[otp.Forwarded]] = {}
        self.creations = deque[float](maxlen=CREATIONS_PER_SECOND_MAX)
        self.send_after(0, Wake())

    # ------------------------------------------------------------ messages for keys

    def handle_call(self, request: Command | GetOutcome, sender: otp.From[Any]) -> Any:
        return Refused("bad_command", "commands go to an election's key, not to a manager")

    def handle_forward(self, message: otp.Forwarded) -> None:
        """A message for a key: pass it on, or let it wait until we know where to."""
        key = message.via.key
        if key in self.up and self.roles.get(key) == "writer":
            message.pass_on(copy_address(key, "writer", self.node))
            return
        first = key not in self.waiting
        if first and len(self.waiting) >= KEYS_WAITING_MAX:
            message.overloaded(f"{KEYS_WAITING_MAX} elections are being started")
            return
        queue = self.waiting.setdefault(key, deque())
        if len(queue) >= WAITING_MAX:
            message.overloaded(f"{WAITING_MAX} messages wait for {key}")
            return
        queue.append(message)
        if first:
            self._look_up(key)

    def _look_up(self, key: str) -> None:
        def then(record: Record | None, error: Exception | None) -> None:
            if error is not None:
                self._drop(key, f"the record store does not answer ({error})")
            elif record is None:
                self._create_or_refuse(key)
            else:
                self._found(key, record)

        self.send_request(COORDINATION, ReadRecord(key), then)

    def _found(self, key: str, record: Record) -> None:
        if record.writer != self.node:
            for message in self.waiting.pop(key, ()):
                message.pass_on(f"{MANAGER}@{record.writer}")
        elif key in self.up:
            self._pass_waiting(key)
        elif time.monotonic() - self.revived.get(key, float("-inf")) < SCAN_SECONDS:
            self._drop(key, f"its writer gave up; it is tried again every {SCAN_SECONDS:g} s")
        else:
            self._start(key, "writer")

    def _pass_waiting(self, key: str) -> None:
        for message in self.waiting.pop(key, ()):
            message.pass_on(copy_address(key, "writer", self.node))

    def _drop(self, key: str, text: str) -> None:
        """Nothing can be done for these now; their senders ask again, with the same ids."""
        for message in self.waiting.pop(key, ()):
            message.overloaded(text)

    # ------------------------------------------------------------ new elections

    def _create_or_refuse(self, key: str) -> None:
        if (refused := self._why_no_record(key)) is not None:
            self._refuse(key, refused)
        elif not self._may_create():
            self._drop(key, f"{CREATIONS_PER_SECOND_MAX} elections were created in this second")
        else:
            self._create(key)

    def _why_no_record(self, key: str) -> Refused | None:
        """Why what waits for an unknown key makes no election; None: one of them does."""
        text = f"there is no election {key[:80]!r}; only create_election makes one"
        refused = Refused("no_such_election", text)
        for message in self.waiting.get(key, ()):
            try:
                command = message.request()
            except otp.Undecodable:
                continue  # whatever it is, it makes no election
            if not isinstance(command, CreateElection):
                continue
            if fault := key_fault(key):
                refused = Refused("bad_command", fault)
            elif command.key != key:
                refused = Refused("bad_command", f"it was sent to {key}, and is for another key")
            elif isinstance(judged := decide(Election(), command, 0), Refused):
                refused = judged
            else:
                return None
        return refused

    def _refuse(self, key: str, refused: Refused) -> None:
        for message in self.waiting.pop(key, ()):
            message.reply(refused)

    def _may_create(self) -> bool:
        now = time.monotonic()
        full = len(self.creations) == CREATIONS_PER_SECOND_MAX
        if full and now - self.creations[0] < 1.0:
            return False
        self.creations.append(now)
        return True

    def _create(self, key: str) -> None:
        """R13: the record comes first; whoever makes it, all go on from what it says."""
        members = place(self.cluster, key).members
        record = Record(
            epoch=1,
            writer=members[0],
            members=members,
            status="pending",
            prev=None,
            ring_version=self.cluster.version,
            owner=f"{self.pid}:{secrets.token_hex(8)}",
        )

        def then(answer: tuple[bool, Record | None], error: Exception | None) -> None:
            current = None if error is not None else answer[1]
            if current is None:
                self._drop(key, f"the record could not be made ({error})")
                return
            for node in current.members[1:]:
                self.cast(f"{MANAGER}@{node}", StartCopy(key))
            self._found(key, current)

        self.send_request(COORDINATION, CasRecord(key, None, record), then)

    # ------------------------------------------------------------ copies that belong here

    def handle_cast(self, message: StartCopy | CopyUp) -> None:
        match message:
            case StartCopy(key):
                self.send_request(COORDINATION, ReadRecord(key), self._consider(key))
            case CopyUp(key, role):
                self._is_up(key, role)

    def handle_info(self, message: otp.Down | Wake) -> None:
        match message:
            case otp.Down(ref):
                self._is_down(ref)
            case Wake():
                self.send_request(COORDINATION, RecordsOf(self.node), self._scanned)

    def _consider(self, key: str) -> Callable[[Any, Exception | None], None]:
        def then(record: Record | None, error: Exception | None) -> None:
            if error is None and record is not None:
                self._run_what_is_ours(key, record)

        return then

    def _scanned(self, records: list[tuple[str, Record]], error: Exception | None) -> None:
        self.send_after(SCAN_SECONDS_FIRST if error else SCAN_SECONDS, Wake())
        for key, record in records or ():
            self._run_what_is_ours(key, record)

    def _run_what_is_ours(self, key: str, record: Record) -> None:
        if record.writer == self.node:
            self._start(key, "writer")
        elif self.node in record.members:
            self._start(key, "follower")

    def _start(self, key: str, role: Role) -> None:
        if key in self.up or key in self.starting:
            return
        self.starting.add(key)
        self.roles[key] = role
        tree = otp.Supervisor(
            slug(key),
            restart="transient",
            max_restarts=RESTARTS_MAX,
            max_seconds=RESTARTS_SECONDS,
            children=[
                otp.ChildSpec(
                    role,
                    f"ballot.actor:{role.capitalize()}",
                    args={"key": key, "data_dir": self.data_dir},
                )
            ],
        )
        request = otp.start_child(tree)
        self.send_request(GROUP, request, self._started(key), timeout=START_SECONDS_MAX)

    def _started(self, key: str) -> Callable[[Any, Exception | None], None]:
        def then(_: Any, error: Exception | None) -> None:
            self.starting.discard(key)
            if error is None:
                return
            if isinstance(error, otp.SupervisorError) and error.reason == "already_started":
                self._ask_copy(key)
            elif isinstance(error, otp.SupervisorError) and error.reason == "already_present":
                self._revive(key)
            else:
                print(f"{key} does not start on {self.node}: {error}", file=sys.stderr)
                self._drop(key, f"it does not start: {error}")

        return then

    def _ask_copy(self, key: str) -> None:
        """Its supervisor runs. If the copy answers, it is up; if not, it will say so when it is."""
        role = self.roles[key]

        def then(_: Any, error: Exception | None) -> None:
            if error is None and key not in self.up:
                self._is_up(key, role)

        self.send_request(copy_address(key, role, self.node), GetCopy(key), then)

    def _revive(self, key: str) -> None:
        """It had used up its restarts. It is tried again, but not at every message."""
        self.revived[key] = time.monotonic()
        self.starting.add(key)
        self.send_request(GROUP, otp.RestartChild(slug(key)), self._restarted(key))

    def _restarted(self, key: str) -> Callable[[Any, Exception | None], None]:
        def then(_: Any, error: Exception | None) -> None:
            self.starting.discard(key)
            if error is not None:
                self._drop(key, f"it does not start: {error}")

        return then

    def _is_up(self, key: str, role: Role) -> None:
        self.roles[key] = role
        if (old := self.up.pop(key, None)) is not None:
            self.demonitor(old)
            self.refs.pop(old, None)
        ref = self.monitor(copy_address(key, role, self.node))
        self.up[key] = ref
        self.refs[ref] = key
        if role == "writer":
            self._pass_waiting(key)

    def _is_down(self, ref: int) -> None:
        key = self.refs.pop(ref, None)
        if key is not None and self.up.get(key) == ref:
            del self.up[key]
