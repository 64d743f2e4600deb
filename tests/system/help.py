"""Small helps of the system tests."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import psutil

import otp
from otp.client import socket_in
from otp.codec import decode_envelope, encode
from otp.frames import HELLO, MSGPACK, Envelope
from otp.messages import ProcessInfo
from otp.testing import eventually
from tests.system import workers as w

GONE_SECONDS_MAX = 10.0
"""How long anything may live on after its end was ordered, on a machine that is as busy as can be;
on a quiet one it is two seconds, which `benchmarks/orphans.py` measures."""
PATIENCE_SECONDS = 30.0
"""What ends by itself is waited for so long: only what never ends is a failure."""
AUTHKEY = b"a key of the tests"


def assert_gone(pids: Iterable[int], seconds: float = GONE_SECONDS_MAX) -> None:
    """None of these is alive after a while (a zombie that its parent leaves lying is not)."""
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    eventually(lambda: not any(map(_alive, processes)), within=seconds, what=f"end of {processes}")


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> set[int]:
    """A process and all below it."""
    return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


def strangers(node: otp.StartedNode) -> list[psutil.Process]:
    """What runs below a node and is neither a part of it nor a worker."""
    below = psutil.Process(node.pid).children(recursive=True)
    return [process for process in below if "otp.zygote" not in process.cmdline()]


def spares(node: otp.Node) -> list[psutil.Process]:
    """What the zygote has forked and no child is."""
    zygote = psutil.Process(row(node, "zygote").pid)
    known = {info.pid for info in node.processes()}
    return [child for child in zygote.children() if child.pid not in known]


def row(node: otp.Node, path: str) -> ProcessInfo:
    """What a node says of one of its processes."""
    return next(info for info in node.processes() if info.path == path)


def restart(node: otp.Node, path: str) -> None:
    """Kill it and wait for the next one to run: a test leaves nothing to another.

    What still seems to run may be about to end by itself: the next one is told by its pid.
    """
    killed = eventually(lambda: node.kill(path), ignoring=(otp.NoProcess,))

    def next_one_runs() -> bool:
        found = row(node, f"root/{path}")
        return found.state == "running" and found.pid != killed

    eventually(next_one_runs)


def freeze(node: otp.Node, path: str) -> int:
    """SIGSTOP it, and wait until it stands still; its pid."""
    pid = node.kill(path, signal=signal.SIGSTOP)
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return pid


def open_files(pid: int) -> int:
    """How many descriptors a process has open."""
    return int(psutil.Process(pid).num_fds())


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


def key_file(folder: Path) -> str:
    """The cluster's key, as nodes want it."""
    path = folder / "authkey"
    path.write_bytes(AUTHKEY)
    path.chmod(0o600)
    return str(path)


def lines(path: Path) -> Iterator[str]:
    """The lines of a file that may not be there yet."""
    if path.exists():
        yield from path.read_text(encoding="utf-8").splitlines()


MAILROOM_TREE = otp.Supervisor(
    "root",
    max_restarts=1000,
    children=[
        otp.ChildSpec("counter", w.Counter, args={"start": 10}),
        otp.ChildSpec("victim", w.Counter),
        otp.ChildSpec("watcher", w.Watcher),
        otp.ChildSpec("boss", w.Boss),
        otp.ChildSpec("manager", w.Manager, args={"to": "counter"}),
    ],
)


class Raw:
    """A connection on which anything may be said; frames of a 4-byte length and bytes."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *frames: bytes) -> None:
        self.sock.sendall(b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames))

    def receive(self) -> bytes:
        """The next frame. Raises EOFError."""
        return self._exactly(int.from_bytes(self._exactly(4), "big"))

    def ended(self) -> bool:
        """The other side has closed the connection, whatever it said before."""
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += (chunk := self.sock.recv(size - len(data)))
            if not chunk:
                raise EOFError
        return data


def envelope(
    kind: int,
    to: str = "counter",
    frm: str = "",
    body: bytes = b"",
    *,
    ref: int = 1,
    codec: int = MSGPACK,
    via: str = "",
    hops: int = 0,
    ttl: int = 0,
) -> bytes:
    return encode(Envelope(kind, to, frm, ref, ttl, hops, codec, via, body))


class Local(Raw):
    """A local client; `pid` is who it is to the mailroom."""

    def __init__(self, node: otp.Node) -> None:
        super().__init__(socket_in(node.run_dir, "mailroom.sock"))
        hello = decode_envelope(self.receive())
        assert (hello.kind, hello.frm) == (HELLO, "a")
        self.pid = hello.to
