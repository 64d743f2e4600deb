"""A world without processes: supervisors are the pure state machine, workers and time simulated.

It is the second shell around `otp.strategy`, beside the one that runs real processes. Everything
that happens is an entry of one agenda, ordered by virtual time and then by arrival, so a scenario
always takes the same course and hours pass in no time.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from otp.messages import KILLED, SHUTDOWN, Reason
from otp.signals import (
    Begin,
    ByPid,
    Call,
    CountChildren,
    DeleteChild,
    Effect,
    Exited,
    GetChildSpec,
    Gone,
    Ignored,
    Input,
    Kill,
    Op,
    Orphan,
    Ready,
    Reply,
    Report,
    Requeue,
    RestartChild,
    Result,
    Shutdown,
    ShutdownTime,
    Start,
    StartChild,
    StartDynamic,
    Started,
    StartFailed,
    Stop,
    StopMany,
    TerminateChild,
    WhichChildren,
)
from otp.strategy import Supervision
from tests.conformance import words
from tests.conformance.scenario import Node, Observation, Step, child_of, flags_of

REQUESTS: dict[str, Callable[[Any], Op]] = {
    "terminate_child": TerminateChild,
    "restart_child": RestartChild,
    "delete_child": DeleteChild,
    "get_childspec": GetChildSpec,
}


class Process:
    """One attempt to start the child at `path`: a worker, or (with a machine) a supervisor."""

    def __init__(self, pid: int, path: str, inc: int, parent: Process | None, key: int) -> None:
        self.pid = pid
        self.path = path
        self.inc = inc
        self.parent = parent
        self.key = key
        self.alive = True
        self.ready = False
        self.stop: Any = "obey"
        self.machine: Supervision | None = None


class Virtual:
    """Acts out one scenario."""

    def __init__(self) -> None:
        self._now = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count(1)
        self._attempts: Counter[str] = Counter()
        self._processes: dict[int, Process] = {}
        self._latest: dict[str, Process] = {}
        self._events: list[list[Any]] = []
        self._results: dict[int, Any] = {}
        self._root_result = "ok"
        self._gate = ""
        self._release: Callable[[], None] | None = None

    def begin(self, tree: Node) -> Observation:
        """Start the tree and let it come to rest."""
        self._start_process(None, Start(0, child_of(tree)))
        return self._at_rest(lambda: self._root_result)

    def do(self, step: Step) -> Observation:
        """Do one step and let the tree come to rest."""
        return self._at_rest(self._act(step))

    def _at_rest(self, result: Callable[[], Any]) -> Observation:
        self._settle()
        assert self._release is None, f"nobody opens the gate at {self._gate}"
        events, self._events = self._events, []
        return Observation(result(), events, dict(self._state()))

    # ------------------------------------------------------------ steps

    def _act(self, step: Step) -> Callable[[], Any]:
        match step["op"]:
            case "sleep":
                self._settle()
                self._now += step["ms"] / 1000
                return lambda: "ok"
            case "exit":
                return self._act_exit(step)
            case "exit_many":
                return self._act_exit_many(step)
            case "stop":
                return self._act_stop(step)
        return self._ask(step["sup"], self._op(step))

    def _act_exit(self, step: Step) -> Callable[[], Any]:
        process = self._running(step["path"])
        if process is None:
            return lambda: "noproc"
        self._gate = step.get("gate", "")
        self._end(process, words.reason_of(step["reason"]))
        if not self._gate:
            return lambda: "ok"
        self._settle()
        results = [self._act(call) for call in step["calls"]]
        self._settle()
        release, self._release = self._release, None
        assert release is not None, f"no start blocks at {self._gate}"
        release()
        return lambda: [result() for result in results]

    def _act_exit_many(self, step: Step) -> Callable[[], Any]:
        if self._running(step["sup"]) is None:
            return lambda: "noproc"
        for path in step["paths"]:
            if (process := self._running(path)) is not None:
                self._end(process, words.reason_of(step["reason"]))
        return lambda: "ok"

    def _act_stop(self, step: Step) -> Callable[[], Any]:
        process = self._running(step["path"])
        if process is None:
            return lambda: "noproc"
        self._deliver(process, Shutdown(words.reason_of(step["reason"])))
        return lambda: "ok"

    def _ask(self, path: str, op: Op) -> Callable[[], Any]:
        process = self._running(path)
        if process is None:
            return lambda: "noproc"
        request = next(self._serial)
        self._deliver(process, Call(request, op))
        return lambda: self._results[request]

    def _op(self, step: Step) -> Op:
        match step["op"]:
            case "which_children":
                return WhichChildren()
            case "count_children":
                return CountChildren()
            case "start_child" if "label" in step:
                return StartDynamic(step["label"], step.get("behaviour", {}))
            case "start_child":
                return StartChild(child_of(step["child"]))
        name = step["id"] if "id" in step else self._by_pid(step["pid_of"])
        return REQUESTS[step["op"]](name)

    def _by_pid(self, path: str) -> ByPid:
        process = self._latest.get(path)
        return ByPid(None) if process is None else ByPid(process.pid, process.alive)

    # ------------------------------------------------------------ time and messages

    def _at(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self._now + seconds, next(self._serial), action))

    def _settle(self) -> None:
        while self._agenda:
            self._now, _, action = heapq.heappop(self._agenda)
            action()

    def _deliver(self, supervisor: Process | None, message: Input) -> None:
        if supervisor is not None:
            self._at(0, lambda: self._step(supervisor, message))

    def _step(self, supervisor: Process, message: Input) -> None:
        assert supervisor.machine is not None
        for effect in supervisor.machine.step(message, self._now):
            self._perform(supervisor, effect)

    def _perform(self, supervisor: Process, effect: Effect) -> None:
        match effect:
            case Start():
                self._start_process(supervisor, effect)
            case Stop(_, pid, shutdown):
                self._stop(self._process(pid), shutdown)
            case StopMany(stops, shutdown):
                for stop in stops:
                    self._stop(self._process(stop.pid), shutdown)
            case Orphan(key, pid):
                self._abandon(supervisor, key, pid)
            case Reply(request_id, result):
                assert isinstance(request_id, int)
                self._results[request_id] = self._said(supervisor, result)
            case Requeue(message):
                self._deliver(supervisor, message)
            case Ready():
                supervisor.ready = True
                self._deliver(supervisor.parent, Started(supervisor.key, supervisor.pid))
            case Gone(reason, error):
                self._gone(supervisor, reason, error)
            case Report():
                pass  # what an operator sees was not recorded

    # ------------------------------------------------------------ processes

    def _running(self, path: str) -> Process | None:
        process = self._latest.get(path)
        return process if process is not None and process.alive else None

    def _process(self, pid: object) -> Process:
        assert isinstance(pid, int)
        return self._processes[pid]

    def _start_process(self, parent: Process | None, start: Start) -> None:
        node = start.child.payload
        assert isinstance(node, dict)
        path = f"{parent.path}/{start.label or start.child.id}" if parent else "root"
        self._attempts[path] += 1
        inc = self._attempts[path]
        behaviour = {**node.get("behaviour", {}), **(start.args or {})}  # type: ignore[dict-item]
        outcome = words.nth(behaviour, "init", inc, "ok")
        if outcome == "ok":
            process = Process(next(self._serial), path, inc, parent, start.key)
            self._processes[process.pid] = self._latest[path] = process
            self._events.append(["start", path, inc])
            self._run(process, node, behaviour)
        elif outcome == "gate_error":
            assert path == self._gate, f"no step waits for the gate at {path}"
            self._release = lambda: self._fail(parent, start.key, path, inc, "error")
        else:
            self._fail(parent, start.key, path, inc, outcome)

    def _run(self, process: Process, node: Node, behaviour: dict[str, Any]) -> None:
        if "children" in node:
            children = [child_of(child) for child in node["children"]]
            process.machine = Supervision(flags_of(node), children)
            self._deliver(process, Begin())
            return
        process.ready = True
        process.stop = behaviour.get("stop", "obey")
        self._deliver(process.parent, Started(process.key, process.pid))
        if (reason := words.nth(behaviour, "run", process.inc, None)) is not None:
            self._at(0, lambda: self._end(process, words.reason_of(reason)))

    def _fail(self, parent: Process | None, key: int, path: str, inc: int, how: str) -> None:
        self._events.append(["start_failed", path, inc, how])
        if parent is None:
            self._root_result = "ok:undefined" if how == "ignore" else "error:start_failed"
        self._deliver(parent, Ignored(key) if how == "ignore" else StartFailed(key, words.CRASH))

    def _stop(self, process: Process, shutdown: ShutdownTime) -> None:
        if shutdown == "brutal_kill":
            self._end(process, KILLED)
            return
        if isinstance(shutdown, float):
            self._at(shutdown, lambda: self._end(process, KILLED))
        if process.machine is not None:
            self._deliver(process, Shutdown(SHUTDOWN))
            return
        match process.stop:
            case "obey":
                self._end(process, SHUTDOWN)
            case {"exit_with": reason}:
                self._end(process, words.reason_of(reason))
            case {"delay_ms": delay}:
                self._at(delay / 1000, lambda: self._end(process, SHUTDOWN))

    def _end(self, process: Process, reason: Reason) -> None:
        if not process.alive:
            return
        if process.machine is not None:
            self._step(process, Kill())  # nothing else ends a supervisor from outside at once
            return
        process.alive = False
        self._events.append(["exit", process.path, process.inc, words.said(reason)])
        self._deliver(process.parent, Exited(process.key, process.pid, reason))

    def _gone(self, supervisor: Process, reason: Reason, error: str) -> None:
        supervisor.alive = False
        self._events.append(["exit", supervisor.path, supervisor.inc, words.said(reason)])
        if supervisor.ready:
            self._deliver(supervisor.parent, Exited(supervisor.key, supervisor.pid, reason))
        elif supervisor.parent is not None:
            self._deliver(supervisor.parent, StartFailed(supervisor.key, reason, error))
        elif error.startswith("bad_spec:"):
            self._events.clear()  # what such a root did was not observed
            self._root_result = f"error:{error}"
        else:
            self._root_result = f"error:start_failed:{error}"

    def _abandon(self, supervisor: Process, key: int, pid: object) -> None:
        # A worker dies through its link; a supervisor notices, stops its children, and leaves.
        for process in list(self._processes.values()):
            if process.parent is supervisor and process.key == key and process.alive:
                if process.machine is None:
                    self._end(process, KILLED)
                else:
                    self._deliver(process, Shutdown(KILLED))

    # ------------------------------------------------------------ what is seen

    def _state(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for process in list(self._processes.values()):
            if process.alive and process.machine is not None:
                children = self._answer(process, WhichChildren())
                counts = self._answer(process, CountChildren())
                yield process.path, {"children": children, "counts": counts}

    def _answer(self, supervisor: Process, op: Op) -> Any:
        assert supervisor.machine is not None
        effects = supervisor.machine.step(Call(0, op), self._now)
        replies = [effect.result for effect in effects if isinstance(effect, Reply)]
        assert len(replies) == 1, f"{supervisor.path} is at rest but does not answer at once"
        return self._said(supervisor, replies[0])

    def _said(self, supervisor: Process, result: Result) -> Any:
        machine = supervisor.machine
        assert machine is not None
        if not isinstance(result, tuple):
            return words.answer(result)
        dynamic = machine.flags.strategy == "simple_one_for_one"
        incs = {e.key: self._process(e.pid).inc for e in result if e.pid is not None}
        return words.children(result, incs, dynamic=dynamic)
