"""The node process: the loop that wires supervisors, zygote, mailroom, links and control socket.

Executed fresh (`python -m otp.node BOOT_FD [LIFELINE_FD [REPORTS_FD]]`), never forked from a host.
It runs no user code and touches no payload: the error kernel is small. SIGTERM or SIGINT stops the
tree in reverse order and then the node; a second one stops it now. The end of the host (end of
file on the lifeline) counts as the first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

from otp import isolation
from otp.boot import read_boot, stop_signals
from otp.codec import encode
from otp.control import Connection, ControlServer, Responder
from otp.frames import INFO, MSGPACK, Boot, BootResult, Envelope, Failure, LastWords
from otp.last_words import Memory
from otp.log_link import LogLink
from otp.mailroom_link import MailroomLink
from otp.memory import MemoryGuard
from otp.messages import (
    KILLED,
    ChildExited,
    ChildStartFailed,
    EssentialEnded,
    GaveUp,
    NodeFault,
    PeerDown,
    PeerUp,
    Reason,
    Report,
)
from otp.node_requests import Requests
from otp.notify import VARIABLE, notify_ready
from otp.own_parts import is_own, leave_nothing, outlives, own_parts, preload, unawaited
from otp.reactor import Descriptor, Reactor
from otp.requests import to_op, to_reply
from otp.running import Running
from otp.spawner import Spawner
from otp.supervisor import AUTO_SHUTDOWN, Shell, Unit
from otp.zygote import kill_all_below, reaped, subreaper

ZYGOTE_FAULTS_MAX, ZYGOTE_FAULTS_SECONDS = 5, 60.0
"""So many lost zygotes within so many seconds end the node."""
END_SECONDS_MAX = 4.0
"""How long the node waits at its end for everything below it to be gone."""
FAILED_TO_START_CHILD = "failed_to_start_child"
"""What a supervisor says whose child did not start: why is what the child said."""
STARTING_SECONDS_MAX = 1.0
"""What a child that is still starting gets when the node stops: nobody waits for it any more."""


class Node:
    """One node, from boot to end; `run` returns its exit code."""

    def __init__(
        self, boot: Boot, lifeline: socket.socket | None, reports: socket.socket | None = None
    ) -> None:
        self._boot, self.name, self.declared = boot, boot.name, boot.root
        self._reactor = Reactor()
        self._creation = f"{time.time_ns() // 1_000_000:x}"
        self._control = ControlServer(self._reactor, self._handle)
        self._host: Connection | None = None
        if lifeline is not None:
            self._host = self._control.add(lifeline, closed=self._host_gone)
        if reports is not None:
            self._control.add(reports).subscribed = True
        self._spawner = Spawner(
            self._reactor,
            node=boot.name,
            creation=self._creation,
            run_dir=boot.run_dir,
            heartbeat=boot.heartbeat,
            lost=self._zygote_lost,
            warm=self._warm,
            fault=self.fault,
            isolated=boot.isolation == "pidns",
        )
        self._shell = Shell(self._reactor, self._spawner, self, self._creation, boot.name)
        self._asked = Requests(self, boot, self._spawner, self._shell)
        self.mailroom = MailroomLink(boot, self._creation, self._spawner, self)
        self._control.behind = self.mailroom.behind
        self._memory = MemoryGuard(self._reactor, self._spawner)
        self._logs = LogLink(self._reactor, boot, self._spawner, self)
        self._spawner.outputs = self._logs.pipes
        self._parts = own_parts(boot.heartbeat, boot.metrics, logger=self._logs.capturing)
        self._leaving = False
        self._own: Unit | None = None
        self._root: Unit | None = None
        self._exit_code = 0
        self._essential: EssentialEnded | None = None
        self._stopping = self._asked_by_signal = False
        self._up = False
        self._stop_waiters: list[Responder] = []
        self._last_failure = ""
        self._said = Memory()
        self._notify = os.environ.pop(VARIABLE, "")  # ours alone, not our children's
        self._zygote_faults: list[float] = []
        self._replies: dict[int, tuple[Any, Any]] = {}
        self._requests = 0

    # ------------------------------------------------------------ life

    def run(self) -> int:
        """Boot, serve, end."""
        subreaper()
        try:
            self.mailroom.open()
            self._logs.open()
            self._control.listen(os.path.join(self._boot.run_dir, "control.sock"))
        except OSError as error:
            return self._not_even_begun(str(error))
        if self._boot.isolation == "pidns" and (problem := isolation.problem()):
            return self._not_even_begun(problem)
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (*stop_signals(), signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        # `host.become` has them wait until here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
        self._reactor.read(Descriptor(read), lambda: self._on_signals(read))
        self._spawner.start(self._preload(), self._boot.sys_path)
        self._reactor.run()
        self._end()
        for number in stop_signals():  # one more, when all is done, must not change the exit code
            signal.signal(number, signal.SIG_IGN)
        return self._exit_code if self._essential is None else self._essential.exit_code

    def _not_even_begun(self, text: str) -> int:
        self._boot_failed(text)
        self._leave_run_dir()
        return 1

    def stop(self) -> None:
        """Stop the tree in reverse order, then the node; asked again, nothing more happens."""
        if self._stopping:
            return
        self._stopping = True
        if self._root is None:
            self._reactor.stop()
            return
        self._spawner.wake_zygote()
        self._shell.shutdown(self._root)
        self._cut_starts_short()

    def _cut_starts_short(self) -> None:
        for running in unawaited(self._spawner.running.values(), leaving=self._leaving):
            self._spawner.stop(running, STARTING_SECONDS_MAX)

    def _host_gone(self) -> None:
        self._host = None
        if not (self._boot.detached and self._up):
            self.stop()

    def _stop_now(self) -> None:
        self._exit_code = self._exit_code or 1
        self._reactor.stop()

    def _preload(self) -> tuple[str, ...]:
        return preload(self._parts, self.declared, self._boot.preload)

    def _warm(self) -> None:
        self._own = self._shell.begin(self._parts)

    def _on_signals(self, fd: int) -> None:
        for number in os.read(fd, 4096):
            if number == signal.SIGCHLD:
                self._account(reaped())
            elif self._asked_by_signal:
                self._stop_now()
            else:
                self._asked_by_signal = True
                self.stop()

    def _account(self, ended: Iterable[tuple[int, int]]) -> None:
        """The zygote is our only child; what else has ended was orphaned to us."""
        for pid, status in ended:
            if pid == self._spawner.zygote.pid:
                self._spawner.zygote.returncode = os.waitstatus_to_exitcode(status)

    def _end(self) -> None:
        """Nothing below survives: the zygote kills all, then whatever came to us is killed."""
        self.mailroom.close()
        self._spawner.stop_zygote()
        # A zygote that hangs must go as well; what it leaves behind then comes to us.
        zygote = self._spawner.zygote.pid
        self._account(kill_all_below(END_SECONDS_MAX / 2, spared={zygote}))
        self._account(kill_all_below(END_SECONDS_MAX / 2))
        leave_nothing(self._boot.metrics)
        for waiter in self._stop_waiters:
            waiter.reply(None)
        self._leave_run_dir()

    def _leave_run_dir(self) -> None:
        """Our sockets go; the folder too, unless somebody keeps other things in it."""
        self.mailroom.close()
        self._logs.close()
        self._control.close()
        with contextlib.suppress(OSError):
            os.rmdir(self._boot.run_dir)

    def _boot_failed(self, text: str) -> None:
        self._exit_code = 1
        self._tell_host(BootResult(text or "it did not start"))
        self._control.flush()
        if self._host is None:
            self._logs.say_text(f"otp: node {self._boot.name}: {text}")

    def _tell_host(self, result: BootResult | LastWords) -> None:
        if self._host is not None:
            body = encode(result)
            self._control.send(self._host, Envelope(INFO, "", "boot", 0, 0, 0, MSGPACK, "", body))

    # ------------------------------------------------------------ a lost zygote

    def _zygote_lost(self, gone: list[Running]) -> None:
        """All workers died with it; strays are ours now. Account for all, and begin again."""
        again = not self._stopping
        self.fault(f"the zygote died; the tree {'is started again' if again else 'is gone'}")
        now = self._reactor.now()
        self._zygote_faults = [t for t in self._zygote_faults if now - t < ZYGOTE_FAULTS_SECONDS]
        self._zygote_faults.append(now)
        self._account(kill_all_below(END_SECONDS_MAX))
        for running in gone:
            self.ended(running, KILLED)
            self.report(ChildExited(running.shown, time.time(), running.os_pid, KILLED, again))
        self._shell.forget()
        self.mailroom.lost()
        self.mailroom.forget_supervisors(KILLED)
        self._own = self._root = None
        replies, self._replies = self._replies, {}
        for _, responder in replies.values():
            responder.fail(Failure("disconnected", "the tree was started again"))
        if len(self._zygote_faults) > ZYGOTE_FAULTS_MAX:
            self._give_up("the zygote dies again and again")
        elif self._stopping:
            self._reactor.stop()
        else:
            self._spawner.start(self._preload(), self._boot.sys_path)

    def _give_up(self, text: str) -> None:
        """The node cannot go on; whoever waits for it to come up hears why."""
        self._exit_code = 1
        if self._up:
            self.fault(text)
            self._tell_host(LastWords(self._said.text))
        else:
            self._boot_failed(self._last_failure or text)
        self._reactor.stop()

    # ------------------------------------------------------------ what the shell tells us

    def unit_made(self, unit: Unit) -> None:
        if not is_own(unit.spec, self._parts):
            self.mailroom.add_supervisor(unit)

    def unit_gone(self, unit: Unit, reason: Reason) -> None:
        if not is_own(unit.spec, self._parts):
            self.mailroom.remove_supervisor(unit, reason)

    def root_ready(self, unit: Unit) -> None:
        if unit is self._own:
            self._root = self._shell.begin(self.declared)
            if self._stopping:
                self._shell.shutdown(self._root)
            return
        if not self._up:
            self._up = True
            self._tell_host(BootResult())
            notify_ready(self._notify)

    def root_gone(self, unit: Unit, reason: Reason, error: str) -> None:
        if unit is not self._root:
            if self._leaving:
                self._reactor.stop()
            else:
                self._give_up(f"the node's own parts gave up ({reason})")
            return
        if error and not self._stopping:
            self._boot_failed(self._last_failure or error)
        elif self._up and (self._essential or not self._stopping):
            self._tell_host(LastWords(self._said.text))
        if not (error or self._stopping) and self._exit_code:
            self.fault(f"the root supervisor {unit.path} gave up; the node ends")
        self._leave()

    def _leave(self) -> None:
        """The tree is down: what was said last is written and delivered, and the node ends."""
        self._leaving = self._own is not None
        if self._leaving and self._own is not None:
            self._shell.shutdown(self._own)
            self._cut_starts_short()
        else:
            self._reactor.stop()

    def spawned(self, running: Running, mail: socket.socket | None) -> None:
        if running.control is None:
            return  # it could not even be spawned; we hear of its end in a moment
        if self._stopping and not outlives(running):
            self._spawner.stop(running, STARTING_SECONDS_MAX)
        self._memory.watch(running)
        self._logs.began(running)
        if running.child.kind == "mailroom":
            self.mailroom.spawned(running)
        elif running.child.kind == "logger":
            self._logs.spawned(running)
        elif mail is not None:
            names = (running.path, running.child.name) if running.child.name else (running.path,)
            self.mailroom.attach(running, mail, names)

    def ended(self, running: Running, reason: Reason) -> None:
        self._logs.ended(running)
        if running.child.kind == "mailroom":
            self.mailroom.lost()
        elif running.child.kind == "logger":
            self._logs.lost()
        else:
            self.mailroom.detach(running, reason)

    def report(self, report: Report) -> None:
        """Everything that an operator can see goes through here."""
        if self._leaving:
            return  # the node's own parts end, as a matter of course
        if isinstance(report, ChildStartFailed) and report.reason.text != FAILED_TO_START_CHILD:
            self._last_failure = f"{report.path}: {report.reason}"
        if isinstance(report, GaveUp) and self._root is not None and report.path == self._root.path:
            self._exit_code = 0 if report.reason == AUTO_SHUTDOWN else 1
        self._said.hear(report)
        self._control.publish(report)
        self._logs.say(report)
        if isinstance(report, EssentialEnded) and self._essential is None:
            self._essential = report
            if not self._up:
                self._boot_failed(f"{report.path}, which is essential, has ended: {report.reason}")
            self.stop()

    def fault(self, text: str) -> None:
        self.report(NodeFault(self._boot.name, time.time(), text))

    def link_up(self, node: str) -> None:
        self.report(PeerUp(node, time.time()))

    def link_down(self, node: str, text: str) -> None:
        self.report(PeerDown(node, time.time(), text))

    # ------------------------------------------------------------ requests

    def supervisor_request(self, address: str, request: Any, responder: Any) -> None:
        """A request to a supervisor, from the mailroom or the control socket."""
        unit = self.mailroom.supervisor(address)
        if unit is None:
            responder.fail(Failure("noproc", address))
            return
        self._requests += 1
        self._replies[self._requests] = (request, responder)
        self._shell.call(unit, self._requests, to_op(request, self._shell.alive, unit.spec))

    def unit_at(self, address: str) -> Unit | None:
        """The supervisor that runs at this address; "/" is the root."""
        return self.mailroom.supervisor(address)

    def answered(self, unit: Unit, request_id: Any, result: Any) -> None:
        request, responder = self._replies.pop(request_id)
        answer = to_reply(request, result, unit)
        if isinstance(answer, Failure):
            responder.fail(answer)
        else:
            responder.reply(answer)

    def _handle(self, envelope: Envelope, request: Any, responder: Responder) -> None:
        self._asked.handle(envelope, request, responder)

    def stop_for(self, responder: Responder) -> None:
        """Stop, and answer when the tree is down."""
        self._stop_waiters.append(responder)
        self.stop()


def main() -> None:
    """`python -m otp.node BOOT_FD [LIFELINE_FD [REPORTS_FD]]`: started by a host or `otp run`."""
    numbers = sys.argv[1:]
    if not 1 <= len(numbers) <= 3 or not all(n.isdigit() for n in numbers):
        sys.exit("otp.node is started by a host or by `otp run`; see `otp run --help`")
    boot = read_boot(int(numbers[0]))
    lifeline, reports, *_ = [*(socket.socket(fileno=int(n)) for n in numbers[1:]), None, None]
    sys.exit(Node(boot, lifeline, reports).run())


if __name__ == "__main__":
    main()
