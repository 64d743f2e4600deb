"""The embedded cluster: eight nodes on this machine, as supervisors.yaml declares them.

A run has two folders: one on disk (the authkey, the record store) and one in RAM (the copies).
Both hold a lock as long as the run lives, so the leftovers of a killed run are known and swept.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import otp
from ballot.coordination import IN_RAM, file_system_of
from ballot.node import BASE_PORT, addresses, declaration
from ballot.topology import embedded

RAM = Path("/dev/shm")
ROOM_BYTES = 32 << 20
"""What must be free in RAM before anything starts: five copies of the sample, and a reserve."""
LOCK = "lock"
UNNAMED = ".new-"
"""How the name of a run's folder begins until it is locked."""
SOCKET_DIR_BYTES_MAX = 107 - len("/CA-A-1/mailroom.sock") - 8
"""A Unix socket's path has at most 107 bytes; some are left for longer names of nodes."""


class ClusterError(Exception):
    """The cluster cannot start here: one line that says what is wrong and what to do."""


class Cluster:
    """A running embedded cluster; use it as a context manager."""

    def __init__(
        self,
        *,
        base_port: int = BASE_PORT,
        run_dir: Path | None = None,
        data_dir: Path | None = None,
        log: str = "none",
        room: int = ROOM_BYTES,
    ) -> None:
        self.nodes = list(embedded().nodes)
        self.base_port = base_port
        self.id = secrets.token_hex(4)
        runs, ram = run_dir or state_home(), data_dir or RAM / f"ballot-{os.getuid()}"
        _check_ports(addresses(self.nodes, base_port))
        self._locks: list[int] = []
        sweep(runs)
        sweep(ram)
        _check_room(ram, room)
        _check_disk(runs)
        self._made: list[Path] = []
        try:
            self.run_dir, self.data_dir = self._make(runs), self._make(ram)
            self.sockets = self._make_sockets()
        except BaseException:
            self._clean()
            raise
        self._log = log
        self.host: otp.StartedNode

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            self.host.close()
        finally:
            self._clean()

    def environ(self) -> dict[str, str]:
        """What supervisors.yaml and the nodes read from their environment."""
        return {
            **os.environ,
            "BALLOT_BASE_PORT": str(self.base_port),
            "BALLOT_LOG": self._log,
            "BALLOT_DATA": str(self.data_dir),
            "BALLOT_NODES": ",".join(self.nodes),
            "BALLOT_PYTHON": sys.executable,
            "BALLOT_RUN": str(self.run_dir),
            "BALLOT_SOCKETS": str(self.sockets),
        }

    def socket_dir(self, node: str) -> str:
        """Where a node's sockets are."""
        return str(self.sockets / node)

    def node(self, name: str) -> otp.Node:
        """A handle on one node."""
        return otp.Node(self.socket_dir(name))

    def _start(self) -> None:
        key = self.run_dir / "authkey"
        key.touch(mode=0o600)
        key.write_text(secrets.token_hex(32))
        environ = self.environ()
        tree = otp.load(declaration(), tree="ballot", environ=environ)
        # Nodes are programs: what they are told goes with the environment of the host node.
        self.host = otp.start(tree, log=self._log, environ=environ)

    def _make(self, home: Path) -> Path:
        path, unnamed = home / self.id, home / f"{UNNAMED}{self.id}"
        try:
            unnamed.mkdir(mode=0o700, parents=True)
            self._made += [path, unnamed]
            lock = os.open(unnamed / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._locks.append(lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            unnamed.rename(path)  # locked before it has its name: no sweep can take it
        except OSError as error:
            raise ClusterError(f"{path}: {error.strerror}; name another folder") from error
        return path

    def _make_sockets(self) -> Path:
        """In the run's folder; since paths of sockets must be short, else in a temporary one."""
        path = self.run_dir / "s"
        if len(bytes(path)) > SOCKET_DIR_BYTES_MAX:
            path = Path(tempfile.mkdtemp(prefix=f"ballot-{self.id}-"))
            self._made.append(path)
        else:
            path.mkdir(mode=0o700)
        return path

    def _clean(self) -> None:
        for path in self._made:
            shutil.rmtree(path, ignore_errors=True)
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()


def state_home() -> Path:
    """The folder on disk for the runs of this user."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "ballot" / "runs"


def sweep(home: Path) -> list[Path]:
    """Remove what killed runs left behind: folders whose lock nobody holds. Returns them."""
    swept = []
    for path in home.iterdir() if home.is_dir() else ():
        if path.name.startswith(UNNAMED):
            continue
        try:
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # not a run, or one that is just being made
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
            swept.append(path)
        except BlockingIOError:
            continue  # it lives
        finally:
            os.close(lock)
    return swept


def _check_ports(wanted: dict[str, str]) -> None:
    for name, address in wanted.items():
        host, _, port = address.rpartition(":")
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((host, int(port)))
            except (OSError, OverflowError) as error:
                problem = getattr(error, "strerror", None) or str(error)
                raise ClusterError(
                    f"{address} (for {name}): {problem}; choose other ports with --base-port"
                ) from error


def _check_disk(runs: Path) -> None:
    kind = file_system_of(str(runs))
    if kind in IN_RAM:
        raise ClusterError(
            f"{runs}: lies in RAM ({kind}), and the record of who writes which election must not; "
            "name a folder on a disk with --run-dir"
        )


def _check_room(ram: Path, room: int) -> None:
    path = ram
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    if free < room:
        raise ClusterError(
            f"{path}: {free >> 20} MiB are free, {room >> 20} MiB are needed for the copies in "
            "RAM; make room, enlarge it (`mount -o remount,size=1g /dev/shm`, "
            "`docker run --shm-size=1g`), or name another folder with --data-dir"
        )
