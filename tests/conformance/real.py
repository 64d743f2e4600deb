"""A world of OS processes: the production `Shell` and `Spawner`, a real zygote, forked workers.

The runner stands where a node would: it owns the event loop, feeds requests to the supervisors, and
hears of each start and each reaping in the moment it happens. Attempt numbers and events are kept
here, by path, since they outlive everything. It is also the mailroom of its workers.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, Self

from otp import codec
from otp import messages as m
from otp import signals as s
from otp.codec import decode_envelope, encode
from otp.frames import INFO, MSGPACK, REPLY, Envelope
from otp.messages import Reason, Report
from otp.reactor import Reactor
from otp.requests import to_op, to_reply
from otp.running import Running
from otp.spawner import Spawner
from otp.supervisor import Unit
from otp.transport import FrameSocket
from tests.conformance import words
from tests.conformance.actor import FAILS, Ask, Leave
from tests.conformance.scenario import Node, Observation, Step
from tests.conformance.watched import Nobody, Watched
from tests.conformance.wire import SupervisorOf, dynamic, request_of, supervisor_of, typed_op

REST_SECONDS_MAX = 30.0
"""How long a tree may take to come to rest; the slowest children take 5 s to be killed."""
PRELOADED = ("otp.gen_server", "tests.conformance.actor")

_decode_ask = codec.Decoder(Ask)


class Stuck(Exception):
    """The tree did not come to rest, or something happened that no scenario asks for."""


class Processes:
    """Acts out scenarios, one after the other, on one zygote. Use it as a context manager."""

    def __init__(self) -> None:
        self._reactor = Reactor()
        self._folder = tempfile.TemporaryDirectory(prefix="otp")
        self._warm = False
        self._fault = ""
        self._spawner = Spawner(
            self._reactor,
            node="here",
            creation="c",
            run_dir=self._folder.name,
            heartbeat=REST_SECONDS_MAX,
            lost=lambda gone: self._failed("the zygote died"),
            warm=self._is_warm,
            fault=self._failed,
        )
        self._clear()

    def _clear(self) -> None:
        self._shell = Watched(self, self._reactor, self._spawner)
        self._attempts: Counter[str] = Counter()
        self._incs: dict[str, int] = {}
        self._processes: dict[str, str] = {}
        self._latest: dict[str, Running] = {}
        self._units: dict[str, Unit] = {}
        self._mail: dict[int, FrameSocket] = {}
        self._doomed: set[int] = set()
        self._events: list[list[Any]] = []
        self._answers: dict[Hashable, Any] = {}
        self._asked: dict[Hashable, Any] = {}
        self._serial = itertools.count(1)
        self._root: Unit | None = None
        self._root_result = ""
        self._gate = ""
        self._open_gate: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        self._spawner.start(PRELOADED, tuple(sys.path))
        self._until(lambda: self._warm, "the zygote is ready")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        with contextlib.suppress(Stuck):  # what still runs then ends with the zygote
            self._abandon()
        self._spawner.stop_zygote()
        self._spawner.zygote.wait()
        self._reactor.close()
        self._folder.cleanup()

    @property
    def zygote_pid(self) -> int:
        """Who forks all processes of this world."""
        return self._spawner.zygote.pid

    def _is_warm(self) -> None:
        self._warm = True

    def _failed(self, text: str) -> None:
        self._fault = self._fault or text

    # ------------------------------------------------------------ a scenario

    def begin(self, tree: Node) -> Observation:
        """Start the tree and wait until it is at rest."""
        self._abandon()
        spec = supervisor_of({**tree, "id": "root"})
        outcome = self.outcome_of(spec, "root")
        if outcome == "ok":
            self._root = self._shell.begin(spec)
        else:
            self.start_failed("root", outcome)
            self._root_result = "ok:undefined" if outcome == "ignore" else "error:start_failed"
        return self._at_rest(lambda: self._root_result)

    def do(self, step: Step) -> Observation:
        """Do one step and wait until the tree is at rest."""
        return self._at_rest(self._act(step))

    def _abandon(self) -> None:
        """End what the scenario before this left running, and start from nothing."""
        self._fault = ""
        self._shell.forget()
        for running in self._spawner.running.values():
            running.owner = Nobody()
            self._spawner.kill(running)
        self._until(lambda: not self._spawner.running, "the processes of the last scenario end")
        for mail in self._mail.values():
            self._hang_up(mail)
        self._clear()

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        late = self._reactor.after(REST_SECONDS_MAX, lambda: self._failed(f"waited for: {what}"))
        try:
            while not holds():
                self._reactor.run_once()
                if self._fault:
                    raise Stuck(f"{self._fault}; events so far: {self._events}")
        finally:
            late.cancel()

    def _at_rest(self, result: Callable[[], Any]) -> Observation:
        self._until(self._rests, "the tree is at rest")
        if self._open_gate is not None:
            raise Stuck(f"nobody opens the gate at {self._gate}")
        events, self._events = self._events, []
        state = {path: self._state(unit) for path, unit in list(self._units.items())}
        return Observation(result(), events, state)

    def _rests(self) -> bool:
        if self._open_gate is not None:
            return True
        settled = all(r.began and r.serial not in self._doomed for r in self._running())
        machines = all(unit.machine.idle for unit in self._units.values())
        rests = settled and machines and self._shell.quiet and not self._asked
        if rests and self._root_result:
            owned = {r.serial for unit in self._units.values() for r in unit.processes.values()}
            if strays := self._spawner.running.keys() - owned:
                self._failed(f"alive without a supervisor: {strays}")
        return rests and bool(self._root_result)

    def _all_else_rests(self) -> bool:
        """Nothing starts or stops but what waits at the gate."""
        others = [r for r in self._running() if r.shown != self._gate or r.began]
        calm = all(r.began and not r.told and r.serial not in self._doomed for r in others)
        return calm and self._shell.quiet

    def _running(self) -> list[Running]:
        return list(self._spawner.running.values())

    def _state(self, unit: Unit) -> dict[str, Any]:
        children = self._ask(unit, m.WhichChildren())
        counts = self._ask(unit, m.CountChildren())
        return {"children": children(), "counts": counts()}

    # ------------------------------------------------------------ steps

    def _act(self, step: Step) -> Callable[[], Any]:
        match step["op"]:
            case "sleep":
                passed: list[bool] = []
                self._reactor.after(step["ms"] / 1000, lambda: passed.append(True))
                self._until(lambda: bool(passed), f"{step['ms']} ms pass")
                return lambda: "ok"
            case "exit":
                return self._act_exit(step)
            case "exit_many":
                return self._act_exit_many(step)
            case "stop":
                return self._act_stop(step)
        unit = self._units.get(step["sup"])
        if unit is None:
            return lambda: "noproc"
        return self._ask(unit, request_of(step, self._processes))

    def _act_exit(self, step: Step) -> Callable[[], Any]:
        running = self._alive(step["path"])
        if running is None:
            return lambda: "noproc"
        if "gate" not in step:
            self._end(running, step["reason"])
            return lambda: "ok"
        self._gate = step["gate"]
        self._end(running, step["reason"])
        self._until(lambda: self._open_gate is not None, f"a start blocks at {self._gate}")
        results = [self._act_at_gate(call) for call in step["calls"]]
        self._until(self._all_else_rests, "all rests that does not wait for the gate")
        release, self._open_gate = self._open_gate, None
        assert release is not None
        release()
        return lambda: [result() for result in results]

    def _act_at_gate(self, step: Step) -> Callable[[], Any]:
        result = self._act(step)
        if step["op"] == "exit" and result() == "ok":
            # Its death takes its place among the calls, so it is reaped before the next is sent.
            self._until_reaped(step["path"])
        return result

    def _act_exit_many(self, step: Step) -> Callable[[], Any]:
        if step["sup"] not in self._units:
            return lambda: "noproc"
        self._shell.held = []
        for path in step["paths"]:
            if (running := self._alive(path)) is not None:
                self._end(running, step["reason"])
                self._until_reaped(path)
        self._shell.release()
        return lambda: "ok"

    def _act_stop(self, step: Step) -> Callable[[], Any]:
        unit = self._units.get(step["path"])
        if unit is None:
            return lambda: "noproc"
        self._shell.feed(unit, s.Shutdown(words.reason_of(step["reason"])))
        return lambda: "ok"

    def _ask(self, unit: Unit, request: Any) -> Callable[[], Any]:
        number = next(self._serial)
        self._asked[number] = request
        op = typed_op(to_op(request, self._shell.alive))
        self._shell.call(unit, number, op)
        return lambda: self._answers[number]

    def _alive(self, path: str) -> Running | None:
        running = self._latest.get(path)
        return running if running and running.serial in self._spawner.running else None

    def _until_reaped(self, path: str) -> None:
        self._until(lambda: self._alive(path) is None, f"{path} is reaped")

    def _end(self, running: Running, reason: str) -> None:
        self._doomed.add(running.serial)
        if reason == "kill":
            os.kill(running.os_pid, 9)  # from outside: nobody of ours has a hand in it
            return
        body = codec.dump(Leave(reason))[1]
        self._send(running, Envelope(INFO, running.path, "", 0, 0, 0, MSGPACK, "", body))

    # ------------------------------------------------------------ the mailroom of the workers

    def _send(self, running: Running, envelope: Envelope) -> None:
        mail = self._mail[running.serial]
        mail.send(encode(envelope))
        assert mail.flush(), "a worker does not read its mail"

    def _read_mail(self, running: Running) -> None:
        mail = self._mail[running.serial]
        try:
            frames = mail.receive()
        except EOFError:
            self._hang_up(mail)
            return
        for envelope in map(decode_envelope, frames):
            self._answer(running, envelope)

    def _answer(self, running: Running, envelope: Envelope) -> None:
        ask = _decode_ask(envelope.codec, envelope.body)
        if ask.what == "gate":
            self.block(running.shown, lambda: self._reply(running, envelope))
            return
        if ask.what == "doomed":
            self._doomed.add(running.serial)
        self._reply(running, envelope)

    def _reply(self, running: Running, to: Envelope) -> None:
        body = encode(self._incs[running.process])
        answer = Envelope(REPLY, running.process, to.to, to.ref, 0, 0, MSGPACK, "", body)
        self._send(running, answer)

    def _hang_up(self, mail: FrameSocket) -> None:
        if mail.fileno() >= 0:
            self._reactor.forget(mail)
            mail.close()

    # ------------------------------------------------------------ what the shell tells us

    def outcome_of(self, spec: SupervisorOf, path: str) -> str:
        """One more attempt to start a supervisor; how it ends."""
        self._attempts[path] += 1
        return str(words.nth(spec.behaviour, "init", self._attempts[path], "ok"))

    def block(self, path: str, release: Callable[[], None]) -> None:
        """A start waits at the gate."""
        if path != self._gate:
            self._failed(f"no step waits for the gate at {path}")
        self._open_gate = release

    def start_failed(self, path: str, how: str) -> None:
        """An attempt left no process."""
        self._events.append(["start_failed", path, self._attempts[path], how])

    def worker_began(self, running: Running) -> None:
        self._latest[running.shown] = running
        self._processes[running.shown] = running.process
        self._events.append(["start", running.shown, self._incs[running.process]])

    def worker_ignored(self, running: Running) -> None:
        self.start_failed(running.shown, "ignore")

    def worker_ended(self, running: Running, reason: Reason) -> None:
        self._doomed.discard(running.serial)
        if running.began:
            inc = self._incs[running.process]
            self._events.append(["exit", running.shown, inc, words.said(reason)])
        elif not running.settled:
            self.start_failed(running.shown, "error" if reason.text == FAILS else "crash")
        if mail := self._mail.pop(running.serial, None):
            self._hang_up(mail)

    def unit_made(self, unit: Unit) -> None:
        inc = self._attempts[unit.path]
        self._units[unit.path] = unit
        self._incs[unit.process] = inc
        self._processes[unit.path] = unit.process
        self._events.append(["start", unit.path, inc])

    def unit_gone(self, unit: Unit, reason: Reason) -> None:
        del self._units[unit.path]
        self._events.append(["exit", unit.path, self._incs[unit.process], words.said(reason)])

    def root_ready(self, unit: Unit) -> None:
        self._root_result = "ok"

    def root_gone(self, unit: Unit, reason: Reason, error: str) -> None:
        if error.startswith("bad_spec:"):
            self._events.clear()  # what such a root did was not observed
            self._root_result = f"error:{error}"
        elif error:
            self._root_result = f"error:start_failed:{error}"

    def spawned(self, running: Running, mail: socket.socket | None) -> None:
        if mail is None:
            self._failed(f"{running.shown} could not be spawned")
            return
        self._attempts[running.shown] += 1
        self._incs[running.process] = self._attempts[running.shown]
        self._mail[running.serial] = FrameSocket(mail)
        self._reactor.read(self._mail[running.serial], lambda: self._read_mail(running))

    def ended(self, running: Running, reason: Reason) -> None:
        """The shell has more to say; see `worker_ended`."""

    def answered(self, unit: Unit, request_id: Hashable, result: s.Result) -> None:
        reply = to_reply(self._asked.pop(request_id), result, unit)
        self._answers[request_id] = words.reply(reply, self._incs, dynamic=dynamic(unit))

    def report(self, report: Report) -> None:
        """What an operator sees was not recorded."""
