"""Starting a node from a program: `with otp.start(tree) as node:`.

The node is a process of its own, executed fresh; the program holds only a socket. When the
program dies, the node sees end of file, stops its tree and ends: also while it starts, and also
where the program has forked others that go on.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from otp import wire
from otp.checks import check
from otp.client import Channel, socket_in
from otp.codec import decode_envelope
from otp.ending import NodeEnd
from otp.errors import NotRunning, OtpError, StartError
from otp.exporting import Exporting
from otp.frames import Boot, BootResult
from otp.handle import Control, Node
from otp.log_files import remove_logs
from otp.spec import MetricsSpec, NodeOptions, Supervisor
from otp.tls_files import read_tls

if TYPE_CHECKING:
    from otp.log_reports import LogThread

BOOT_SECONDS_MAX = 120.0
"""How long a tree may take to start."""
STOP_SECONDS_MAX = 60.0
"""How long the node process may take to leave once its tree is down."""
UNIX_PATH_BYTES_MAX = 107
"""The kernel's limit for the path of a Unix socket."""
AUTHKEY_BYTES = 32
NODE_COMMAND = (sys.executable, "-P", "-m", "otp.node")
"""-P: a file in the current folder that is named like a module of Python's must not replace it."""
LOGS = ("none", "text", "json")
"""What a node itself may do with reports, besides giving them to those who ask."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_decode_result = msgspec.msgpack.Decoder(BootResult).decode


class StartedNode(Node):
    """A node that this program started, and stops when its `with` block ends."""

    def __init__(
        self,
        run_dir: str,
        process: subprocess.Popen[bytes],
        lifeline: Channel,
        log: LogThread | None = None,
    ) -> None:
        super().__init__(run_dir)
        self.process = process
        self.end = NodeEnd(process, lifeline)
        self.client.ended = self.end.why
        self._log = log
        self._ours = True

    def __repr__(self) -> str:
        return f"<otp node at {self.run_dir}, pid {self.pid}>"

    @property
    def pid(self) -> int:
        """The node's OS pid."""
        return self.process.pid

    def close(self) -> None:
        """Stop the tree in reverse order and the node; returns when no process is left."""
        self.hang_up()
        if not self._ours:
            return
        stopped = _wait_for_end(self.process, self.run_dir)
        self._ours = False
        if self._log is not None:
            self._log.join()
        if not stopped:
            raise OtpError(f"node {self.pid} did not stop in {STOP_SECONDS_MAX:g} s; killed")
        if failure := self.end.failure():
            _log_end(self.run_dir, failure)

    @property
    def control(self) -> Control:
        """The control connection. Raises NotRunning, with why, where the node has ended."""
        if ended := self.end.why():
            raise NotRunning(where=self.run_dir, problem="it has ended", ended=ended)
        return super().control

    def hang_up(self) -> None:
        """Begin to stop, as if this program had ended; `close` waits for the end."""
        super().close()
        if self._log is not None:
            self._log.stopping = True
        self.end.hang_up()

    def after_fork(self) -> None:
        """In a forked child: node and tree are the parent's, whose end must be seen by the node."""
        super().after_fork()
        self.end.after_fork()
        if self._log is not None:
            self._log.close()
        self._ours = False
        self.process.returncode = 0  # it is no child of ours, so there is nothing to wait for

    def stop(self) -> None:
        """The same as `close`."""
        self.close()

    def __del__(self) -> None:
        end = getattr(self, "end", None)
        if end is not None and end.open:
            self.hang_up()  # the node sees that, stops its tree and ends
            text = f"node {self.pid} was not closed; use `with`"
            warnings.warn(text, ResourceWarning, stacklevel=2)


def _log_end(run_dir: str, why: str) -> None:
    """Also where reports go nowhere: that a tree has ended by itself must not stay unsaid."""
    import logging  # who starts nodes that end well does not pay for it

    logging.getLogger("otp").error("the node at %s has ended: %s", run_dir, why)


N = TypeVar("N", bound=StartedNode)


def start(
    tree: Supervisor,
    *,
    log: str = "none",
    environ: Mapping[str, str] = os.environ,
    **options: Any,
) -> StartedNode:
    """Start a node that runs this tree; returns when the tree is up.

    `options` are the fields of NodeOptions; they go before those of `tree.node`. `log` says where
    reports go besides those who ask for them: "none", stderr as "text" or "json", or "logging", the
    stdlib's (see `otp.log_reports`). `environ` is what the node and its children find in their
    environment.
    Raises SpecError for a tree that cannot be right, StartError where a child does not start.
    """
    return launch(StartedNode, tree, log=log, environ=environ, **options)


def launch(
    kind: type[N],
    tree: Supervisor,
    *,
    log: str = "none",
    environ: Mapping[str, str] = os.environ,
    **options: Any,
) -> N:
    """As `start`, with a handle of a class of your own."""
    if log != "logging":
        boot = make_boot(tree, log=log, **options)
        process, lifeline = execute(boot, environ)
        await_boot(boot, process, lifeline)
        return kind(boot.run_dir, process, lifeline)
    from otp.log_reports import LogThread

    boot = make_boot(tree, **options)
    ours, theirs = socket.socketpair()
    with theirs:
        process, lifeline = execute(boot, environ, theirs)
    log_thread = LogThread(ours, boot.name)
    await_boot(boot, process, lifeline)
    return kind(boot.run_dir, process, lifeline, log_thread)


def execute(
    boot: Boot, environ: Mapping[str, str] = os.environ, *more: socket.socket, **streams: Any
) -> tuple[subprocess.Popen[bytes], Channel]:
    """Execute a node, in a session of its own, and the socket by which it says that it is up.

    `more` may be a second socket, which every report is written to. `streams` (stdin, stdout,
    stderr) are those of `subprocess.Popen`.
    """
    ours, theirs = socket.socketpair()
    fd = boot_file(boot)
    try:
        with theirs:
            fds = [fd, *(sock.fileno() for sock in (theirs, *more))]
            process = subprocess.Popen(
                [*NODE_COMMAND, *map(str, fds)],
                pass_fds=fds,
                start_new_session=True,
                env=environment(environ),
                **streams,
            )
    except BaseException:
        ours.close()
        _tidy(boot.run_dir)
        raise
    finally:
        os.close(fd)
    return process, Channel(ours)


def await_boot(
    boot: Boot,
    process: subprocess.Popen[bytes],
    lifeline: Channel,
    seconds: float = BOOT_SECONDS_MAX,
) -> None:
    """Wait until the tree is up; where it does not come up the node is ended. Raises StartError."""
    try:
        if problem := _wait_for_boot(lifeline, seconds):
            raise StartError(who=f"node {boot.name}", reason=problem)
    except BaseException:  # Ctrl-C as well: nothing that was started is left
        lifeline.close()
        _wait_for_end(process, boot.run_dir)
        raise


def become(tree: Supervisor, *, log: str = "text", **options: Any) -> NoReturn:
    """Turn this process into the node that runs the tree: `otp run`, and programs like it.

    The process is executed anew, so nothing that was imported here is in the node. Raises as
    `start` does for what can be seen beforehand; later failures are the node's exit code 1.
    """
    fd = boot_file(make_boot(tree, log=log, **options))
    # Until the node has its handlers: a Ctrl-C meanwhile waits for them, and is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    os.execve(sys.executable, [*NODE_COMMAND, str(fd)], environment())


def _wait_for_boot(lifeline: Channel, seconds: float) -> str:
    """What kept the tree from starting, or nothing."""
    try:
        frame = lifeline.receive(time.monotonic() + seconds)
    except EOFError:
        return "the node process ended"
    if frame is None:
        return f"the tree was not up after {seconds:g} s"
    return _decode_result(decode_envelope(frame).body).text


def _wait_for_end(process: subprocess.Popen[bytes], run_dir: str) -> bool:
    """Wait for the node's end; False if it had to be killed. Then its folder is left to us."""
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()  # its zygote sees that and kills all below
        process.wait()
        return False
    finally:
        _tidy(run_dir)
    return True


def _tidy(run_dir: str) -> None:
    """Remove what a killed node leaves; its folder, too, unless that holds other things."""
    with contextlib.suppress(OSError):  # it is gone, as it should be
        _remove_sockets(run_dir)
        os.rmdir(run_dir)


def make_boot(tree: Supervisor, *, log: str = "none", **options: Any) -> Boot:
    """Check a tree and put together all that a node is told. Raises SpecError, StartError."""
    if log not in LOGS:
        raise ValueError(f"log is {log!r}; use {', '.join(LOGS)} or, in otp.start, logging")
    check(tree)
    chosen = merge(tree.node or NodeOptions(), options)
    check(msgspec.structs.replace(tree, node=chosen), imports=False)
    boot = Boot(
        name=chosen.name,
        run_dir="",
        root=wire.tree(tree),
        authkey=read_authkey(chosen),
        listen=chosen.listen or "",
        peers=chosen.peers,
        topologies={group: wire.topology(spec) for group, spec in chosen.topologies.items()},
        preload=tuple(chosen.preload),
        isolation=chosen.isolation,
        sys_path=tuple(sys.path),
        log=log,  # type: ignore[arg-type]
        tls=read_tls(chosen),
        heartbeat=float(chosen.heartbeat),
        logs=wire.logs(chosen.logs),
    )
    # The folder is made last, so that nothing is left of a start that went wrong before.
    run_dir = make_run_dir(chosen)
    return msgspec.structs.replace(boot, run_dir=run_dir, metrics=_exporting(chosen, run_dir))


def _exporting(options: NodeOptions, run_dir: str) -> Exporting | None:
    """What the exporter of the node's metrics is told; nothing where there is to be none."""
    metrics = options.metrics
    if metrics is None:
        return None
    assert isinstance(metrics, MetricsSpec), "checked, and text is made into one"
    return Exporting(
        node=options.name,
        control=socket_in(run_dir, "control.sock"),
        listen=metrics.listen or "",
        textfile=os.path.abspath(metrics.textfile) if metrics.textfile else "",
        interval=float(metrics.interval),
        uses=options.isolation == "none",
    )


def merge(options: NodeOptions, more: dict[str, Any]) -> NodeOptions:
    """The options with some replaced. Raises TypeError for one that there is not."""
    return msgspec.structs.replace(options, **{k: v for k, v in more.items() if v is not None})


def boot_file(boot: Boot) -> int:
    """The boot record in a memory file: no argument and no environment ever shows the authkey."""
    fd = os.memfd_create("otp-boot")
    os.write(fd, msgspec.msgpack.encode(boot))
    os.set_inheritable(fd, True)
    return fd


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a node: the given one, and a path on which it finds this very package."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    known = environ.get("PYTHONPATH", "")
    paths = [package, *filter(None, known.split(os.pathsep))]
    return {**environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def runs_home() -> str:
    """The folder of all run directories of this user, 0700."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    home = os.path.join(base, f"otp-{os.getuid()}")
    os.makedirs(home, mode=0o700, exist_ok=True)
    status = os.stat(home)
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise StartError(who=home, reason="it must belong to you with mode 0700; remove it")
    return home


def make_run_dir(options: NodeOptions) -> str:
    """A folder, 0700, for the sockets of one node; what a dead node left in it is removed."""
    name = f"{options.name}.{os.getpid()}.{secrets.token_hex(3)}"
    path = options.run_dir or os.path.join(runs_home(), name)
    if len(os.path.join(path, "mailroom.sock").encode()) > UNIX_PATH_BYTES_MAX:
        raise StartError(who=path, reason=f"too long for sockets ({UNIX_PATH_BYTES_MAX} bytes)")
    os.makedirs(path, mode=0o700, exist_ok=True)
    _clear(path)
    return path


def _clear(run_dir: str) -> None:
    try:
        Channel.connect(os.path.join(run_dir, "control.sock")).close()
    except NotRunning:
        _remove_sockets(run_dir)
    else:
        raise StartError(who=run_dir, reason="a node runs there; stop it, or name another run_dir")


def _remove_sockets(run_dir: str) -> None:
    remove_logs(os.path.join(run_dir, "logs"))
    for entry in os.scandir(run_dir):
        if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
            os.unlink(entry.path)


def read_authkey(options: NodeOptions) -> bytes:
    """The cluster's key from its file, which only its owner may read; or a key of our own."""
    if options.authkey_file is None:
        if options.listen is not None and options.tls is None:
            raise StartError(
                who=f"node {options.name}", reason="listen: needs authkey_file: or tls:"
            )
        return secrets.token_bytes(AUTHKEY_BYTES)
    try:
        status = os.stat(options.authkey_file)
        with open(options.authkey_file, "rb") as file:
            key = file.read().strip()
    except OSError as error:
        raise StartError(who=options.authkey_file, reason=error.strerror) from error
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise StartError(who=options.authkey_file, reason="others can read it; chmod 600")
    if not key:
        raise StartError(who=options.authkey_file, reason="it is empty")
    return key
