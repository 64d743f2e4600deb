"""The node's side of the zygote: starts, stops and deaths of OS processes.

Each process is a `Running` from its spawn to its reaping. What the worker itself said of its end
counts as the reason; the wait status, which only the zygote has, decides that it has ended.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Callable

import msgspec

from otp import isolation
from otp.codec import encode
from otp.frames import (
    Answered,
    Began,
    Control,
    Ended,
    Finish,
    Forked,
    FromWorker,
    FromZygote,
    Ignored,
    Kill,
    Ping,
    Pong,
    Preload,
    Reaped,
    Restarted,
    Rewire,
    Spawn,
    Unforkable,
    Warm,
)
from otp.heartbeat import Heartbeat
from otp.messages import Reason, WireChild
from otp.proc import children
from otp.reactor import Reactor
from otp.running import Owner, Running, end_reason, role_of
from otp.transport import CONTROL_FRAME_BYTES_MAX, FrameSocket, ProtocolError
from otp.watch import Watch
from otp.zygote import command, kill_quietly

OPEN_FILES_MAX = 1_048_576
"""As many descriptors as a node takes where it may have any number."""
ZYGOTE_SILENT_MAX = 3
"""Heartbeats that a zygote may leave unanswered: until then it is told to go on, then killed."""

_from_worker = msgspec.msgpack.Decoder(FromWorker).decode
_from_zygote = msgspec.msgpack.Decoder(FromZygote).decode


class Spawner:
    """Starts the zygote, and through it everything else."""

    def __init__(
        self,
        reactor: Reactor,
        *,
        node: str,
        creation: str,
        run_dir: str,
        heartbeat: float,
        lost: Callable[[list[Running]], None],
        warm: Callable[[], None],
        fault: Callable[[str], None],
        isolated: bool = False,
    ) -> None:
        self._reactor = reactor
        self._node, self._creation, self._run_dir = node, creation, run_dir
        self._lost, self._warm, self._fault = lost, warm, fault
        self._heartbeat = heartbeat
        self._isolated = isolated
        self._serial = 0
        self._open_files = _raise_open_files()
        self._preload: Preload
        self._channel: FrameSocket
        self._beating: Heartbeat
        self._closing = False
        self.outputs: Callable[[Running], tuple[int, ...]] | None = None
        self._dirty: dict[FrameSocket, None] = {}
        self.running: dict[int, Running] = {}
        self.zygote: subprocess.Popen[bytes]

    # ------------------------------------------------------------ the zygote

    def start(self, modules: tuple[str, ...], path: tuple[str, ...]) -> None:
        """Execute a fresh zygote; `warm` is called when it is ready to fork."""
        ours, theirs = socket.socketpair()
        self._preload = Preload(modules, path, self._open_files)
        fd = theirs.fileno()
        self.zygote = subprocess.Popen(
            isolation.command(fd) if self._isolated else command(fd),
            pass_fds=[fd],
            process_group=0,  # a kill of the node's group must not take both: it cleans up after it
            stdin=subprocess.DEVNULL,  # several readers of one terminal would steal from each other
        )
        theirs.close()
        self._beating = Heartbeat(
            self._reactor,
            self._heartbeat,
            ask=lambda serial: self._tell_zygote(Ping(serial)),
            silent=self._zygote_silent,
        )
        self._channel = FrameSocket(ours, frame_bytes_max=CONTROL_FRAME_BYTES_MAX)
        self._reactor.read(self._channel, self._read_zygote)
        self._tell_zygote(self._preload)

    def wake_zygote(self) -> None:
        """Without it nothing can be stopped: it goes on if somebody has stopped it (SIGSTOP)."""
        kill_quietly(self.zygote_pid, signal.SIGCONT)

    @property
    def zygote_pid(self) -> int:
        """The process that forks, which is not our child where a keeper stands between."""
        below = children(self.zygote.pid) if self._isolated else None
        return min(below) if below else self.zygote.pid

    def stop_zygote(self) -> None:
        """Everything below ends: the zygote kills what is left when we hang up."""
        self._closing = True
        self._beating.stop()
        self._reactor.forget(self._channel)
        self._channel.close()

    def _tell_zygote(self, message: Control, fds: tuple[int, ...] = ()) -> None:
        self._channel.send(encode(message), fds)
        self._soon(self._channel)

    def _soon(self, channel: FrameSocket) -> None:
        """Write at the end of the round: a death and the restart that it causes go together, so
        that a mailroom has no moment between them in which a name leads nowhere."""
        self._dirty[channel] = None
        self._reactor.at_end_of_round(self.flush)

    def flush(self) -> None:
        """Write what can be written of all that processes are told."""
        dirty, self._dirty = self._dirty, {}
        if dirty.pop(self._channel, self) is None:
            self._flush(self._channel)  # first: a fork takes longest
        for channel in dirty:
            self._flush(channel)

    def _flush(self, channel: FrameSocket) -> None:
        if channel.fileno() < 0:
            return  # closed meanwhile
        try:
            done = channel.flush()
        except EOFError:
            return  # its reader hears of it
        self._reactor.write(channel, None if done else lambda: self._flush(channel))

    def _read_zygote(self) -> None:
        try:
            frames = self._channel.receive()
        except EOFError:
            self._zygote_died()
            return
        for frame in frames:
            match _from_zygote(frame):
                case Warm():
                    self._beating.start()
                    self._warm()
                case Pong(serial):
                    self._beating.heard(serial)
                case Restarted():
                    self._tell_zygote(self._preload)
                case Forked(serial, pid, text):
                    self._forked(self.running[serial], pid, text)
                case Reaped(serial, status):
                    self._reaped(self.running.pop(serial), status)
                case Unforkable(module, text):
                    self._fault(f"module {module}: {text}; it is imported after the fork")

    def _zygote_silent(self, missed: int) -> None:
        text = f"the zygote does not answer, for {missed * self._heartbeat:g} s now"
        if missed < ZYGOTE_SILENT_MAX:
            self._fault(f"{text}; it is told to go on (SIGCONT)")
            self.wake_zygote()
        else:
            self._fault(f"{text}; it is killed")
            kill_quietly(self.zygote.pid)

    def _zygote_died(self) -> None:
        self._beating.stop()
        self._reactor.forget(self._channel)
        self._channel.close()
        gone = [running for running in self.running.values() if running.child.kind != "probe"]
        for running in self.running.values():
            self._release(running)
        self.running.clear()
        if not self._closing:
            self._lost(gone)

    # ------------------------------------------------------------ one process

    def spawn(
        self, child: WireChild, path: str, owner: Owner, *, extra: bytes = b""
    ) -> tuple[Running, socket.socket | None]:
        """Start a process; the owner hears the rest. The socket is its mailroom's end."""
        self._serial += 1
        process = f"<{self._creation}.{self._serial}@{self._node}>"
        running = Running(self._serial, process, path, child, owner)
        self.running[running.serial] = running
        try:
            return running, self._spawn(running, extra)
        except (OSError, ValueError) as error:  # out of descriptors, say: this child's trouble only
            text = f"it could not be started: {error}"
            self._reactor.after(0, lambda: self._forked(running, 0, text))
            return running, None

    def _spawn(self, running: Running, extra: bytes) -> socket.socket | None:
        with contextlib.ExitStack() as opened:
            ours, theirs = socket.socketpair()
            fds, mail = [opened.enter_context(theirs)], None
            # A mailroom hands connections over; from anybody else descriptors are not taken. What
            # it brings from a worker comes after what the worker itself has told us before.
            post = running.child.kind == "mailroom"
            control = FrameSocket(ours, fds=post, frame_bytes_max=CONTROL_FRAME_BYTES_MAX)
            running.control = control
            self._reactor.read(control, lambda: self._hear(running), turn=int(post))
            if running.has_mail:
                mail, inner = socket.socketpair()
                fds.append(opened.enter_context(inner))
            if running.child.care is not None:
                care = running.child.care
                running.watch = Watch(running, care, self, self._reactor, self._run_dir)
            outputs = self.outputs(running) if self.outputs is not None else ()
            for fd in outputs:
                opened.callback(os.close, fd)
            spawn = Spawn(
                running.serial,
                running.process,
                running.path,
                running.child,
                role=role_of(running.child),
                notify=running.watch.notify_path if running.watch is not None else "",
                node=self._node,
                fds=len(fds) + len(outputs),
                extra=extra,
                captured=bool(outputs),
            )
            self._tell_zygote(spawn, (*(sock.fileno() for sock in fds), *outputs))
        return mail

    def tell(self, running: Running, message: Control, fds: tuple[int, ...] = ()) -> None:
        """Send a worker a control message."""
        if running.control is not None:
            running.control.send(encode(message), fds)
            self._soon(running.control)

    def stop(self, running: Running, shutdown: float | str) -> None:
        """Ask it to end and see to it that it does; the owner hears `ended`."""
        running.told = True
        if running.watch is not None:
            running.watch.stop()
        if shutdown == "brutal_kill":
            self.kill(running)
            return
        if running.child.kind in ("server", "mailroom", "logger"):
            self.tell(running, Finish())
        else:
            self.kill(running, running.child.stop_signal)
        self._clear_timer(running)  # the one of a start that was to be cut short, say
        if isinstance(shutdown, (int, float)):
            self._set_timer(running, float(shutdown), lambda: self.kill(running))
        else:
            self.kill(running, signal.SIGCONT)  # nobody kills it: standing still it would not end

    def kill(self, running: Running, number: int = signal.SIGKILL) -> None:
        """Signal it, by its parent, who knows that it still is who it was."""
        self._tell_zygote(Kill(running.serial, number))

    def rewire(self, running: Running) -> socket.socket:
        """Give a live worker a new way to the mailroom; the socket is the mailroom's end."""
        mail, inner = socket.socketpair()
        self.tell(running, Rewire(), (inner.fileno(),))
        inner.close()
        return mail

    def _forked(self, running: Running, pid: int, text: str) -> None:
        running.os_pid = pid
        if running.watch is not None:
            running.watch.forked()
        if running.ready:
            self.is_ready(running)
        if text and self.running.pop(running.serial, None) is not None:
            self._release(running)
            running.owner.ended(running, Reason("crash", text))

    def _hear(self, running: Running) -> None:
        """Take what a process says of itself."""
        assert running.control is not None
        try:
            self._take(running, running.control.receive())
        except EOFError:
            self._reactor.forget(running.control)
            self._hung_up(running)
        except (ProtocolError, ValueError, RecursionError) as error:
            self._fault(f"{running.shown} is killed: it sent its node no message ({error})")
            self._reactor.forget(running.control)
            self.kill(running)

    def _take(self, running: Running, frames: list[bytes]) -> None:
        for frame in frames:
            if running.reader is not None and running.reader(frame):
                continue
            match _from_worker(frame):
                case Began():
                    self._initialised(running)
                case Pong() | Answered() as answer:
                    if running.watch is not None:
                        running.watch.heard(answer)
                case Ignored():
                    running.settled = True
                    running.owner.ignored(running)
                case Ended(reason):
                    running.said = reason

    def _initialised(self, running: Running) -> None:
        if running.watch is None:
            self.is_ready(running)
        elif not running.told and running.verdict is None:
            running.watch.initialised()

    def is_ready(self, running: Running) -> None:
        """It counts as started."""
        running.ready = True  # a quick child may say so before the zygote has told its pid
        if running.os_pid and not running.began and not running.settled:
            running.began = True
            if running.watch is not None:
                running.watch.began()
            running.owner.began(running)

    def condemn(self, running: Running, reason: Reason) -> None:
        """Kill it; its supervisor hears this reason."""
        running.verdict = reason
        self.kill(running)

    def execute(self, child: WireChild, owner: Owner) -> Running:
        """Run a command once, beside the tree; the owner hears of its end."""
        return self.spawn(child, "", owner)[0]

    def _reaped(self, running: Running, status: int) -> None:
        running.status = status
        self._drain(running)
        self._release(running)
        running.owner.ended(running, end_reason(running, status))

    def _drain(self, running: Running) -> None:
        """What it said before it died was sent before we hear that it did."""
        assert running.control is not None
        try:
            running.control.dry = False
            while not running.control.dry:
                self._take(running, running.control.receive())
        except EOFError:
            self._hung_up(running)
        except (ProtocolError, ValueError, RecursionError):
            return  # it is dead; nothing worse can happen to it for what it says

    def _release(self, running: Running) -> None:
        self._clear_timer(running)
        if running.control is not None:
            self._reactor.forget(running.control)
            running.control.close()
        if running.watch is not None:
            running.watch.stop()

    def _set_timer(self, running: Running, seconds: float, then: Callable[[], None]) -> None:
        self._clear_timer(running)
        running.timer = self._reactor.after(seconds, then)

    def _clear_timer(self, running: Running) -> None:
        if running.timer is not None:
            running.timer.cancel()
            running.timer = None

    def _hung_up(self, running: Running) -> None:
        """A program's control socket closes when it is executed (a failure is said first)."""
        if running.child.kind == "program" and running.said is None:
            self._initialised(running)


def _raise_open_files() -> int:
    """Each child costs the node descriptors: take what may be had; the soft limit until now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if 0 <= soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return soft
