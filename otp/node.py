"""The node process: the loop that wires supervisors, zygote, mailroom, links and control socket.

Executed fresh (`python -m otp.node BOOT_FD [LIFELINE_FD]`), never forked from a host. It runs no
user code and touches no payload: the error kernel is small. SIGTERM or SIGINT stops the tree in
reverse order and then the node; a second one stops it now. The end of the host (end of file on
the lifeline) counts as the first.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from typing import Any

import msgspec

from otp.codec import encode
from otp.control import Connection, ControlServer, Responder
from otp.frames import INFO, MSGPACK, Boot, BootResult, Envelope, Failure
from otp.mailroom_link import MailroomLink
from otp.messages import (
    KILLED,
    ChildExited,
    GaveUp,
    KillProcess,
    NodeFault,
    NodeInfo,
    PeerDown,
    PeerUp,
    Reason,
    Report,
    StopNode,
    Subscribe,
    WireChild,
    WireSupervisor,
)
from otp.node_view import format_report, process_infos
from otp.reactor import Reactor
from otp.requests import to_op, to_reply
from otp.spawner import Running, Spawner
from otp.supervisor import Shell, Unit
from otp.zygote import children, kill_quietly, subreaper

ZYGOTE_FAULTS_MAX, ZYGOTE_FAULTS_SECONDS = 5, 60.0
"""So many lost zygotes within so many seconds end the node."""
END_SECONDS_MAX = 4.0
"""How long the node waits at its end for everything below it to be gone."""
MAILROOM_RESTARTS_MAX, MAILROOM_RESTARTS_SECONDS = 20, 10.0
"""The budget of the node's own parts, apart from the user's tree."""

OWN_PARTS = WireSupervisor(
    "otp",
    (WireChild("mailroom", kind="mailroom"),),
    max_restarts=MAILROOM_RESTARTS_MAX,
    max_seconds=MAILROOM_RESTARTS_SECONDS,
)


class Node:
    """One node, from boot to end; `run` returns its exit code."""

    def __init__(self, boot: Boot, lifeline: socket.socket | None) -> None:
        self._boot = boot
        self._reactor = Reactor()
        self._creation = f"{time.time_ns() // 1_000_000:x}"
        self._control = ControlServer(self._reactor, self._handle)
        self._host: Connection | None = None
        if lifeline is not None:
            self._host = self._control.add(lifeline, closed=self.stop)
        self._spawner = Spawner(
            self._reactor,
            node=boot.name,
            creation=self._creation,
            run_dir=boot.run_dir,
            lost=self._zygote_lost,
            warm=self._warm,
            fault=self._fault,
        )
        self._shell = Shell(self._reactor, self._spawner, self, self._creation, boot.name)
        self.mailroom = MailroomLink(boot, self._creation, self._spawner, self)
        self._own: Unit | None = None
        self._root: Unit | None = None
        self._exit_code = 0
        self._stopping = False
        self._up = False
        self._stop_waiters: list[Responder] = []
        self._zygote_faults: list[float] = []
        self._replies: dict[int, tuple[Any, Any]] = {}
        self._requests = 0

    # ------------------------------------------------------------ life

    def run(self) -> int:
        """Boot, serve, end."""
        subreaper()
        try:
            self.mailroom.open()
            self._control.listen(os.path.join(self._boot.run_dir, "control.sock"))
        except OSError as error:
            self._boot_failed(str(error))
            return 1
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._reactor.read(_Pipe(read), lambda: self._on_signals(read))
        self._spawner.start(self._preload(), self._boot.sys_path)
        self._reactor.run()
        self._end()
        return self._exit_code

    def stop(self) -> None:
        """Stop the tree in reverse order; asked a second time: at once."""
        if self._stopping:
            self._exit_code = self._exit_code or 1
            self._reactor.stop()
            return
        self._stopping = True
        if self._root is None:
            self._reactor.stop()
        else:
            self._shell.shutdown(self._root)

    def _preload(self) -> tuple[str, ...]:
        modules = dict.fromkeys(("otp.gen_server", "otp.mailroom", *self._boot.preload))
        modules.update(dict.fromkeys(_modules(self._boot.root)))
        return tuple(name for name in modules if name)

    def _warm(self) -> None:
        self._own = self._shell.begin(OWN_PARTS)

    def _on_signals(self, fd: int) -> None:
        for number in os.read(fd, 4096):
            if number == signal.SIGCHLD:
                self._reap()
            else:
                self.stop()

    def _reap(self) -> None:
        """The zygote is our only child; anything else was orphaned to us and is reaped here."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._spawner.zygote.pid:
                    self._spawner.zygote.returncode = os.waitstatus_to_exitcode(status)

    def _end(self) -> None:
        """Nothing below survives: the zygote kills all, then whatever came to us is killed."""
        self.mailroom.close()
        self._spawner.stop_zygote()
        deadline = time.monotonic() + END_SECONDS_MAX
        while (alive := children(os.getpid())) and time.monotonic() < deadline:
            for pid in alive - {self._spawner.zygote.pid}:
                kill_quietly(pid)
            if self._exit_code and time.monotonic() > deadline - END_SECONDS_MAX / 2:
                kill_quietly(self._spawner.zygote.pid)
            self._reap()
            time.sleep(0.002)
        for waiter in self._stop_waiters:
            waiter.reply(None)
        self._control.close()
        shutil.rmtree(self._boot.run_dir, ignore_errors=True)

    def _boot_failed(self, text: str) -> None:
        self._exit_code = 1
        self._tell_host(BootResult(text or "it did not start"))
        self._control.flush()
        if self._host is None:
            print(f"otp: node {self._boot.name}: {text}", file=sys.stderr)
        shutil.rmtree(self._boot.run_dir, ignore_errors=True)

    def _tell_host(self, result: BootResult) -> None:
        if self._host is not None:
            body = encode(result)
            self._control.send(self._host, Envelope(INFO, "", "boot", 0, 0, 0, MSGPACK, "", body))

    # ------------------------------------------------------------ a lost zygote

    def _zygote_lost(self, gone: list[Running]) -> None:
        """All workers died with it; strays are ours now. Account for all, and begin again."""
        self._fault("the zygote died; the tree is started again")
        now = self._reactor.now()
        self._zygote_faults = [t for t in self._zygote_faults if now - t < ZYGOTE_FAULTS_SECONDS]
        self._zygote_faults.append(now)
        deadline = time.monotonic() + END_SECONDS_MAX
        while (alive := children(os.getpid())) and time.monotonic() < deadline:
            for pid in alive:
                kill_quietly(pid)
            self._reap()
            time.sleep(0.002)
        for running in gone:
            self.ended(running, KILLED)
            self.report(ChildExited(running.shown, time.time(), running.os_pid, KILLED, True))
        self._shell.forget()
        self.mailroom.lost()
        self._own = self._root = None
        if self._stopping or len(self._zygote_faults) > ZYGOTE_FAULTS_MAX:
            self._exit_code = 1
            self._reactor.stop()
            return
        self._spawner.start(self._preload(), self._boot.sys_path)

    # ------------------------------------------------------------ what the shell tells us

    def unit_made(self, unit: Unit) -> None:
        if unit.path.partition("/")[0] != OWN_PARTS.id or unit.spec is not OWN_PARTS:
            self.mailroom.add_supervisor(unit)

    def unit_gone(self, unit: Unit) -> None:
        self.mailroom.remove_supervisor(unit)

    def root_ready(self, unit: Unit) -> None:
        if unit is self._own:
            self._root = self._shell.begin(self._boot.root)
            if self._stopping:
                self._shell.shutdown(self._root)
            return
        if not self._up:
            self._up = True
            self._tell_host(BootResult())
            _notify_ready()

    def root_gone(self, unit: Unit, reason: Reason, error: str) -> None:
        if unit is not self._root:
            self._fault(f"the node's own parts gave up ({reason})")
            self._exit_code = 1
        elif error:
            self._boot_failed(self._why_not_started(error))
        elif not self._stopping and self._exit_code == 0:
            self._exit_code = 1
            self._fault(f"the root supervisor {unit.path} gave up; the node ends")
        self._reactor.stop()

    def _why_not_started(self, error: str) -> str:
        return self._last_failure or error

    _last_failure = ""

    def spawned(self, running: Running, mail: socket.socket | None) -> None:
        if running.child.kind == "mailroom":
            self.mailroom.spawned(running)
        elif mail is not None:
            names = (running.path, running.child.name) if running.child.name else (running.path,)
            self.mailroom.attach(running, mail, names)

    def ended(self, running: Running, reason: Reason) -> None:
        if running.child.kind == "mailroom":
            self.mailroom.lost()
        else:
            self.mailroom.detach(running, reason)

    def report(self, report: Report) -> None:
        """Everything that an operator can see goes through here."""
        if type(report).__name__ == "ChildStartFailed":
            self._last_failure = f"{report.path}: {report.reason}"  # type: ignore[attr-defined]
        if isinstance(report, GaveUp) and self._root is not None and report.path == self._root.path:
            self._exit_code = 0 if report.reason.text == "auto_shutdown" else 1
        self._control.publish(report)
        if self._boot.log != "none":
            print(format_report(report, self._boot.name, self._boot.log), file=sys.stderr, flush=True)

    def _fault(self, text: str) -> None:
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
        self._shell.call(unit, self._requests, to_op(request))

    def answered(self, unit: Unit, request_id: Any, result: Any) -> None:
        request, responder = self._replies.pop(request_id)
        answer = to_reply(request, result, unit)
        if isinstance(answer, Failure):
            responder.fail(answer)
        else:
            responder.reply(answer)

    def _handle(self, envelope: Envelope, request: Any, responder: Responder) -> None:
        match request:
            case NodeInfo():
                responder.reply(process_infos(self._boot.name, self._spawner, self._shell.roots))
            case Subscribe():
                responder.reply(None)
            case StopNode():
                self._stop_waiters.append(responder)
                self.stop()
            case KillProcess(path, number):
                self._kill(path, number, responder)
            case _:
                self.supervisor_request(envelope.to or "/", request, responder)

    def _kill(self, path: str, number: int, responder: Responder) -> None:
        if path == "zygote":
            pid = self._spawner.zygote.pid
            kill_quietly(pid, number)
            responder.reply(pid)
            return
        for running in self._spawner.running.values():
            if path in (running.path, running.child.name, running.process) and running.os_pid:
                self._spawner.kill(running, number)
                responder.reply(running.os_pid)
                return
        responder.fail(Failure("noproc", path))


def _modules(tree: WireSupervisor) -> list[str]:
    found: list[str] = []
    for child in tree.children:
        found += [child.module] if isinstance(child, WireChild) else _modules(child)
    return found


def _notify_ready() -> None:
    """Tell whoever started this node as a program that it is up (sd_notify)."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)


class _Pipe:
    """The reading end of the wake-up pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


def read_boot(fd: int) -> Boot:
    """The boot record from the descriptor (a memory file) that it came in."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return msgspec.msgpack.decode(file.read(), type=Boot)


def main() -> None:
    """`python -m otp.node BOOT_FD [LIFELINE_FD]`: started by a host or `otp run`."""
    numbers = sys.argv[1:]
    if not 1 <= len(numbers) <= 2 or not all(n.isdigit() for n in numbers):
        sys.exit("otp.node is started by a host or by `otp run`; see `otp run --help`")
    boot = read_boot(int(numbers[0]))
    lifeline = socket.socket(fileno=int(numbers[1])) if len(numbers) == 2 else None
    sys.exit(Node(boot, lifeline).run())


if __name__ == "__main__":
    main()
