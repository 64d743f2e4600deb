"""The zygote: imports what workers need, forks everything, reaps, and leaves no orphan.

Started fresh (`python -m otp.zygote FD`) before any thread exists; the descriptor leads to the
node. Wait statuses are the truth about deaths. Zygote and workers are child subreapers: what a
dead worker leaves behind arrives here and is killed before its death is reported. When the node
is gone (end of file), all is killed and the zygote leaves.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec

from otp.child import become
from otp.frames import (
    Control,
    Forked,
    Kill,
    Ping,
    Pong,
    Preload,
    Reaped,
    Restarted,
    Spawn,
    Unforkable,
    Warm,
)
from otp.isolation import OuterPids
from otp.kin import OwnChildren
from otp.prepared import warm
from otp.proc import children
from otp.reactor import Descriptor, Reactor, Timer
from otp.rehearsal import rehearse
from otp.spares import Spares, wait
from otp.transport import CONTROL_FRAME_BYTES_MAX, FrameSocket, ProtocolError

STRAYS_SECONDS_MAX = 2.0
"""How long the report of a death waits for the end of what the dead child left behind."""
LEAVE_SECONDS_MAX = 10.0
"""How long a zygote whose node is gone kills what is below it before it leaves all the same."""
STRAYS_PAUSE_SECONDS = 0.005
"""Between two looks at /proc while strays are dying."""

REHEARSALS = 20
"""So often the interpreter must run a piece of code before it stops noting things in it: what is
written in a child is a page of memory that it has for itself."""

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Preload | Spawn | Kill | Ping).decode
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def subreaper() -> None:
    """Make orphaned descendants of this process its children. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _continue_when_orphaned() -> None:
    """A zygote that is stopped (SIGSTOP) when its node dies must wake up to do its last duty."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)


def kill_quietly(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has become somebody else's
        os.kill(pid, number)


def reaped() -> Iterator[tuple[int, int]]:
    """(pid, wait status) of each child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            yield ended


def kill_all_below(seconds: float, *, spared: Collection[int] = ()) -> list[tuple[int, int]]:
    """Kill all children and all that they leave to us, until none is left or the time is over.

    Those spared are only waited for. The result is (pid, wait status) of all that have ended.
    """
    ended: list[tuple[int, int]] = []
    deadline = time.monotonic() + seconds
    while (alive := children(os.getpid())) and time.monotonic() < deadline:
        for pid in alive.difference(spared):
            kill_quietly(pid)
        ended += reaped()
        time.sleep(STRAYS_PAUSE_SECONDS)
    return ended


def thread_count() -> int:
    """How many threads this process has."""
    return len(os.listdir("/proc/self/task"))


class Zygote:
    """One loop around two sources: the node, and SIGCHLD."""

    def __init__(self, node: socket.socket) -> None:
        self._reactor = Reactor()
        self._node = FrameSocket(node, fds=True, frame_bytes_max=CONTROL_FRAME_BYTES_MAX)
        self._pids: dict[int, int] = {}
        self._serials: dict[int, int] = {}
        self._spares = Spares(self._reactor, self._fork_spare)
        self._kin = OwnChildren(children)
        self._outer = OuterPids()
        self._held: list[tuple[float, Reaped]] = []
        self._chase: Timer | None = None
        self._open_files = 0
        self._excluded = set(filter(None, os.environ.pop("OTP_ZYGOTE_EXCLUDED", "").split(",")))
        self._child_read, self._child_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        fds = [self._child_read, self._child_write, node.fileno(), self._reactor.fileno()]
        self._own_fds = [*fds, *self._kin.fds(), *self._outer.fds()]

    def run(self) -> None:
        """Serve until the node is gone."""
        subreaper()
        if not self._outer.isolated:  # else it dies with its keeper, asleep or not
            _continue_when_orphaned()
        signal.set_wakeup_fd(self._child_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._reactor.read(self._node, self._read_node)
        self._reactor.read(Descriptor(self._child_read), self._on_child)
        self._reactor.run()

    # ------------------------------------------------------------ from the node

    def _read_node(self) -> None:
        try:
            frames = self._node.receive()
        except (EOFError, ProtocolError):
            self._leave()
            return
        for frame in frames:
            match _decode(frame):
                case Preload(modules, path, open_files):
                    self._open_files = open_files
                    self._preload(modules, path)
                case Spawn() as spawn:
                    self._spawn(spawn, frame)
                case Kill(serial, number):
                    self._signal(serial, number)
                case Ping(serial):
                    self._tell(Pong(serial))

    def _tell(self, message: Control) -> None:
        self._node.send(_encode(message))
        self._reactor.at_end_of_round(self._flush)

    def _flush(self) -> None:
        try:
            done = self._node.flush()
        except EOFError:
            self._leave()
            return
        self._reactor.write(self._node, None if done else self._flush)

    def _preload(self, modules: tuple[str, ...], path: tuple[str, ...]) -> None:
        sys.path[:] = path or sys.path
        for name in modules:
            if name in self._excluded:
                continue
            try:
                importlib.import_module(name)
            except (Exception, SystemExit) as error:  # a child that needs it will say so itself
                self._tell(Unforkable(name, f"import failed: {type(error).__name__}: {error}"))
                continue
            if thread_count() > 1:
                self._start_over_without(name)
        rehearse(REHEARSALS)
        gc.collect()
        gc.freeze()
        self._spares.refill()
        self._tell(Warm())

    def _start_over_without(self, module: str) -> None:
        """Forking with threads can deadlock, and a thread cannot be undone: be a new process."""
        self._tell(Unforkable(module, "starts threads when it is imported"))
        self._tell(Restarted())
        self._flush()
        excluded = ",".join(sorted(self._excluded | {module}))
        os.environ["OTP_ZYGOTE_EXCLUDED"] = excluded
        self._node.sock.set_inheritable(True)
        self._outer.hand_on()
        again = command(self._node.fileno())
        os.execv(again[0], again)

    def _spawn(self, spawn: Spawn, frame: bytes) -> None:
        fds = [self._node.fds.popleft() for _ in range(spawn.fds)]
        needs = warm(spawn.child.payload)
        self._spares.made = max(self._spares.made, needs)
        pid = self._spares.give(spawn, frame, fds, needs=needs)
        if pid:
            self._forked(spawn.serial, pid)
        else:
            self._fork(spawn, fds)
        self._spares.refill()

    def _fork(self, spawn: Spawn, fds: list[int]) -> None:
        try:
            pid = self._fork_child(lambda: (spawn, fds))
        except OSError as error:
            self._tell(Forked(spawn.serial, 0, f"fork failed: {error}"))
        else:
            self._forked(spawn.serial, pid)
        for fd in fds:
            os.close(fd)

    def _fork_spare(self, theirs: socket.socket, ours: socket.socket) -> int:
        return self._fork_child(lambda: _next_job(theirs), ours.fileno())

    def _fork_child(self, job: Callable[[], tuple[Spawn, list[int]]], *more: int) -> int:
        """The pid of a new child, which closes what is ours and more. Raises OSError."""
        # All is looked up before the fork: in the child each first look copies a page.
        ours = (*more, *self._own_fds, *self._node.fds, *self._spares.fds())
        zygote, open_files, forget = os.getpid(), self._open_files, signal.set_wakeup_fd
        pid = os.fork()
        if pid == 0:
            forget(-1)
            become(job, parent=zygote, parents_fds=ours, open_files=open_files)
        return pid

    def _forked(self, serial: int, pid: int) -> None:
        self._pids[serial] = pid
        self._serials[pid] = serial
        self._tell(Forked(serial, self._outer.of(pid)))

    def _signal(self, serial: int, number: int) -> None:
        pid = self._pids.get(serial)
        if pid is not None:  # not reaped yet, so the pid is still this child's
            self._spares.signalled(pid)
            kill_quietly(pid, number)

    # ------------------------------------------------------------ deaths

    def _on_child(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._child_read, 4096)
        # Among a thousand children a look for the dead takes as long as a fork's first page: one
        # death, which is the rule, is told before the look that finds no other.
        self._reap(1)
        self._reactor.at_end_of_round(self._reap_all)

    def _reap_all(self) -> None:
        self._reap()

    def _reap(self, most: int | None = None) -> None:
        self._take_note(itertools.islice(reaped(), most))
        if self._held:
            self._kill_strays()

    def _take_note(self, ended: Iterable[tuple[int, int]]) -> None:
        for pid, status in ended:
            job = self._spares.died(pid)
            serial = self._serials.pop(pid, None)
            if serial is not None:
                del self._pids[serial]
                if job is not None:
                    # Said before the next one is there, which may begin before its pid is told.
                    self._tell(Forked(serial, 0))
                    self._flush()
                    self._fork(job.spawn, job.fds)
                    continue
                deadline = self._reactor.now() + STRAYS_SECONDS_MAX
                self._held.append((deadline, Reaped(serial, status)))

    def _kill_strays(self) -> None:
        """Report deaths once nothing is left of the dead; what is, is killed until none is left.

        A stray is a child that we never forked: its parent has died. It may fork while it dies.
        """
        strays = self._kin.strays(self._serials.keys(), self._spares.pids())
        for pid in strays:
            kill_quietly(pid)
        now = self._reactor.now()
        if not strays or any(deadline <= now for deadline, _ in self._held):
            for _, dead in self._held:
                self._tell(dead)
            self._held.clear()
        if strays and self._chase is None:
            self._chase = self._reactor.after(STRAYS_PAUSE_SECONDS, self._chase_on)

    def _chase_on(self) -> None:
        self._chase = None
        self._take_note(reaped())
        self._kill_strays()

    def _leave(self) -> None:
        """The node is gone: kill everything below, until nothing is left, and go."""
        kill_all_below(LEAVE_SECONDS_MAX)
        os._exit(0)


def _next_job(sock: socket.socket) -> tuple[Spawn, list[int]]:
    """In a spare: what it is to become."""
    rehearse()
    frame, fds = wait(sock)
    spawn = _decode(frame)
    assert isinstance(spawn, Spawn), "a spare gets nothing but jobs"
    return spawn, fds


def command(fd: int) -> list[str]:
    """What a node executes; the descriptor leads to it."""
    return [sys.executable, "-P", "-m", "otp.zygote", str(fd)]


def main() -> None:
    """`python -m otp.zygote FD`: started by a node, never by hand."""
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit("otp.zygote is started by a node; see `otp run --help`")
    Zygote(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
