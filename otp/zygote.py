"""The zygote: imports what workers need, forks everything, reaps, and leaves no orphan.

Started fresh (`python -m otp.zygote FD`) before any thread exists; the descriptor leads to the
node. Wait statuses are the truth about deaths. Zygote and workers are child subreapers: what a
dead worker leaves behind arrives here and is killed before its death is reported. When the node
is gone (end of file), all is killed and the zygote leaves.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import time

import msgspec

from otp.child import become
from otp.frames import Control, Forked, Kill, Preload, Reaped, Restarted, Spawn, Unforkable, Warm
from otp.reactor import Reactor
from otp.transport import FrameSocket

STRAYS_SECONDS_MAX = 2.0
"""How long to chase what a dead child left behind before its death is reported all the same."""
STRAYS_PAUSE_SECONDS = 0.005
"""Between two looks at /proc while strays are dying."""

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Preload | Spawn | Kill).decode
_PR_SET_CHILD_SUBREAPER = 36


def subreaper() -> None:
    """Make orphaned descendants of this process its children. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def children(pid: int) -> set[int]:
    """The living children of a process, by /proc (zombies of other parents are not seen here)."""
    found: set[int] = set()
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found.update(map(int, file.read().split()))
    except FileNotFoundError:
        return found
    return found


def kill_quietly(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process that may be gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def thread_count() -> int:
    """How many threads this process has."""
    return len(os.listdir("/proc/self/task"))


class Zygote:
    """One loop around two sources: the node, and SIGCHLD."""

    def __init__(self, node: socket.socket) -> None:
        self._reactor = Reactor()
        self._node = FrameSocket(node, fds=True)
        self._pids: dict[int, int] = {}
        self._serials: dict[int, int] = {}
        self._held: list[tuple[float, Reaped]] = []
        self._excluded = set(filter(None, os.environ.pop("OTP_ZYGOTE_EXCLUDED", "").split(",")))
        self._child_read, self._child_write = os.pipe()
        for fd in (self._child_read, self._child_write):
            os.set_blocking(fd, False)

    def run(self) -> None:
        """Serve until the node is gone."""
        subreaper()
        signal.set_wakeup_fd(self._child_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._reactor.read(self._node, self._read_node)
        self._reactor.read(_Fd(self._child_read), self._on_child)
        self._reactor.run()

    # ------------------------------------------------------------ from the node

    def _read_node(self) -> None:
        try:
            frames = self._node.receive()
        except EOFError:
            self._leave()
            return
        for frame in frames:
            match _decode(frame):
                case Preload(modules, path):
                    self._preload(modules, path)
                case Spawn() as spawn:
                    self._spawn(spawn)
                case Kill(serial, number):
                    self._signal(serial, number)

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
            except Exception as error:  # a child that needs it will fail, and say so itself
                self._tell(Unforkable(name, f"import failed: {type(error).__name__}: {error}"))
                continue
            if thread_count() > 1:
                self._start_over_without(name)
        gc.collect()
        gc.freeze()
        self._tell(Warm())

    def _start_over_without(self, module: str) -> None:
        """Forking with threads can deadlock, and a thread cannot be undone: be a new process."""
        self._tell(Unforkable(module, "starts threads when it is imported"))
        self._tell(Restarted())
        self._flush()
        excluded = ",".join(sorted(self._excluded | {module}))
        os.environ["OTP_ZYGOTE_EXCLUDED"] = excluded
        self._node.sock.set_inheritable(True)
        os.execv(sys.executable, [sys.executable, "-m", "otp.zygote", str(self._node.fileno())])

    def _spawn(self, spawn: Spawn) -> None:
        fds = [self._node.fds.popleft() for _ in range(spawn.fds)]
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(Forked(spawn.serial, 0, f"fork failed: {error}"))
        else:
            if pid == 0:
                self._in_child(spawn, fds)
            self._pids[spawn.serial] = pid
            self._serials[pid] = spawn.serial
            self._tell(Forked(spawn.serial, pid))
        for fd in fds:
            os.close(fd)

    def _in_child(self, spawn: Spawn, fds: list[int]) -> None:
        zygote = os.getppid()
        signal.set_wakeup_fd(-1)
        self._reactor.close()
        self._node.close()
        os.close(self._child_read)
        os.close(self._child_write)
        become(spawn, fds, parent=zygote)

    def _signal(self, serial: int, number: int) -> None:
        pid = self._pids.get(serial)
        if pid is not None:  # not reaped yet, so the pid is still this child's
            kill_quietly(pid, number)

    # ------------------------------------------------------------ deaths

    def _on_child(self) -> None:
        try:
            os.read(self._child_read, 4096)
        except BlockingIOError:
            return
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            serial = self._serials.pop(pid, None)
            if serial is not None:
                del self._pids[serial]
                deadline = self._reactor.now() + STRAYS_SECONDS_MAX
                self._held.append((deadline, Reaped(serial, status)))
        self._release()

    def _release(self) -> None:
        """Report deaths, once nothing is left of the dead; a stray is a child that we never forked."""
        if not self._held:
            return
        strays = children(os.getpid()) - self._serials.keys()
        for pid in strays:
            kill_quietly(pid)
        now = self._reactor.now()
        if strays and any(deadline > now for deadline, _ in self._held):
            self._reactor.after(STRAYS_PAUSE_SECONDS, self._on_strays)
            return
        for _, reaped in self._held:
            self._tell(reaped)
        self._held.clear()

    def _on_strays(self) -> None:
        self._reap_strays()
        self._release()

    def _reap_strays(self) -> None:
        for pid in children(os.getpid()) - self._serials.keys():
            os.waitpid(pid, os.WNOHANG)

    def _leave(self) -> None:
        """The node is gone: kill everything below, until nothing is left, and go."""
        deadline = time.monotonic() + STRAYS_SECONDS_MAX
        while (alive := children(os.getpid())) and time.monotonic() < deadline:
            for pid in alive:
                kill_quietly(pid)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                break
            time.sleep(STRAYS_PAUSE_SECONDS)
        os._exit(0)


class _Fd:
    """A bare descriptor as something with a fileno."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


def main() -> None:
    """`python -m otp.zygote FD`: started by a node, never by hand."""
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit("otp.zygote is started by a node; see `otp run --help`")
    Zygote(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
