"""Floors: what the machine itself takes for the bare deed, measured in the same run as ours.

Machines are noisy and differ, so every target is a ratio to one of these. Each function measures
one floor; `python -m benchmarks.floors` prints them all. They fork from the process that calls
them, so call them before it has threads.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import selectors
import shutil
import signal
import socket
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from multiprocessing.connection import Connection
from struct import Struct
from time import perf_counter
from typing import Final

import lmdb
import msgspec

from benchmarks.report import Found, percentile, run

RAM: Final = "/dev/shm"
FOLLOWERS: Final = 4
ACKS_NEEDED: Final = 2  # with the writer's own copy: three of five
CONNECTIONS_MAX: Final = 8  # of the client; commands in flight are spread over them
COMMANDS_MAX: Final = 400_000  # encoded beforehand, about 90 MB; a run that needs more ends early
PAYLOAD_BYTES: Final = 130
READ_BYTES: Final = 1 << 18
MAP_BYTES: Final = 1 << 30  # of each copy; it takes only what is written
ROOM_BYTES: Final = 1 << 30  # five copies of all commands
SILENCE_S: Final = 10.0  # a child that says nothing for so long is stuck: the floor fails

_LENGTH: Final = Struct("<I")
_POSITION: Final = Struct("<Q")
_ANSWER: Final = Struct("<I16s")


# ---------------------------------------------------------------- processes


def _fork(body: Callable[[], None]) -> int:
    """Run `body` in a child, which ends with it; return the child's pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        body()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def fork_and_byte(times: int = 200) -> float:
    """Return the median milliseconds from before a fork until the child's one byte is here."""
    taken: list[float] = []
    for _ in range(times):
        reading, writing = os.pipe()
        start = perf_counter()
        pid = os.fork()
        if pid == 0:
            os.write(writing, b"x")
            os._exit(0)
        os.read(reading, 1)
        taken.append(perf_counter() - start)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
    return percentile(taken, 0.5) * 1e3


def _echo(connection: Connection) -> None:
    while (message := connection.recv()) is not None:
        connection.send(message)


def pipe_ping_pong(times: int = 10_000) -> float:
    """Return the median microseconds of a round trip over multiprocessing.Pipe, with its pickle."""
    here, there = multiprocessing.Pipe()
    pid = _fork(lambda: _echo(there))
    there.close()
    taken: list[float] = []
    for i in range(times):
        start = perf_counter()
        here.send(("add", i))
        here.recv()
        taken.append(perf_counter() - start)
    here.send(None)
    os.waitpid(pid, 0)
    here.close()
    return percentile(taken, 0.5) * 1e6


# ---------------------------------------------------------------- the replicated write path


class Command(msgspec.Struct, array_like=True):
    """A ballot as it travels, about 180 bytes."""

    id: bytes
    kind: str
    voter: str
    choice: int
    payload: bytes


class WritePath(msgspec.Struct, frozen=True):
    """The floor of one election: acknowledged commands per second, and the median of one."""

    inflight: int
    ops_s: int
    p50_ms: float
    p99_ms: float
    commands: int


def _frame(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body


def _take_frames(buffer: bytearray) -> list[bytes]:
    """Take the complete frames out of what has arrived."""
    frames: list[bytes] = []
    at, end = 0, len(buffer)
    while end - at >= _LENGTH.size:
        (size,) = _LENGTH.unpack_from(buffer, at)
        if end - at - _LENGTH.size < size:
            break
        at += _LENGTH.size
        frames.append(bytes(buffer[at : at + size]))
        at += size
    del buffer[:at]
    return frames


class _Copy:
    """One copy's log: an LMDB environment in RAM, one transaction for what has arrived."""

    def __init__(self, folder: str) -> None:
        self._log = lmdb.open(folder, map_size=MAP_BYTES, sync=False, metasync=False, lock=False)

    def append(self, first: int, batches: list[bytes]) -> None:
        with self._log.begin(write=True) as transaction:
            for position, batch in enumerate(batches, first):
                transaction.put(position.to_bytes(8, "big"), batch, append=True)


def _follow(writer: socket.socket, folder: str) -> None:
    """Store what the writer sends and acknowledge its last position, until it closes."""
    copy, buffer, stored = _Copy(folder), bytearray(), 0
    while data := writer.recv(READ_BYTES):
        buffer += data
        batches = _take_frames(buffer)
        if batches:
            copy.append(stored + 1, batches)
            stored += len(batches)
            writer.sendall(_POSITION.pack(stored))


class _Writer:
    """Batches what has arrived, appends, sends, commits at two acknowledgements, answers."""

    def __init__(self, listener: socket.socket, followers: list[socket.socket], log: str) -> None:
        self._copy = _Copy(log)
        self._followers = followers
        self._acked = dict.fromkeys(followers, 0)
        self._waiting: deque[list[tuple[socket.socket, bytes]]] = deque()
        self._position = self._committed = 0
        self._head = bytes(32)
        self._seen: dict[bytes, int] = {}
        self._buffers: dict[socket.socket, bytearray] = {}
        self._arrived: list[tuple[socket.socket, bytes]] = []
        self._decode = msgspec.msgpack.Decoder(Command).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        for follower in followers:
            self._watch(follower, self._acknowledged)

    def serve(self) -> None:
        """Serve until killed."""
        while True:
            for key, _ in self._selector.select():
                key.data(key.fileobj)
            if self._arrived:
                self._record()

    def _watch(self, sock: socket.socket, ready: Callable[[socket.socket], None]) -> None:
        self._buffers[sock] = bytearray()
        self._selector.register(sock, selectors.EVENT_READ, ready)

    def _accept(self, listener: socket.socket) -> None:
        self._watch(listener.accept()[0], self._read)

    def _read(self, client: socket.socket) -> None:
        data = client.recv(READ_BYTES)
        if not data:
            self._selector.unregister(client)
            return
        buffer = self._buffers[client]
        buffer += data
        self._arrived.extend((client, frame) for frame in _take_frames(buffer))

    def _record(self) -> None:
        """Make one batch of what has arrived: hash each command, append, send to the followers."""
        events: list[tuple[Command, bytes]] = []
        senders: list[tuple[socket.socket, bytes]] = []
        head = self._head
        for client, frame in self._arrived:
            command = self._decode(frame)
            if command.id in self._seen:
                raise ValueError("write path: a command came twice")
            self._seen[command.id] = self._position
            head = sha256(head + frame).digest()
            events.append((command, head))
            senders.append((client, command.id))
        self._head, self._arrived = head, []
        batch = self._encode(events)
        self._position += 1
        self._copy.append(self._position, [batch])
        self._waiting.append(senders)
        framed = _frame(batch)
        for follower in self._followers:
            follower.sendall(framed)

    def _acknowledged(self, follower: socket.socket) -> None:
        buffer = self._buffers[follower]
        buffer += follower.recv(READ_BYTES)
        whole = len(buffer) // _POSITION.size * _POSITION.size
        if whole:
            (self._acked[follower],) = _POSITION.unpack_from(buffer, whole - _POSITION.size)
            del buffer[:whole]
            self._commit(sorted(self._acked.values())[-ACKS_NEEDED])

    def _commit(self, upto: int) -> None:
        answers: dict[socket.socket, list[bytes]] = {}
        for _ in range(upto - self._committed):
            for client, command_id in self._waiting.popleft():
                answers.setdefault(client, []).append(_ANSWER.pack(16, command_id))
        self._committed = upto
        for client, parts in answers.items():
            client.sendall(b"".join(parts))


class _Client:
    """Keeps `inflight` commands on their way and measures each one's time."""

    def __init__(self, address: str, inflight: int, commands: list[bytes]) -> None:
        self._commands = commands
        self._sent = 0
        self.latencies_s: list[float] = []
        self._selector = selectors.DefaultSelector()
        self._pending: dict[socket.socket, deque[float]] = {}
        self._partial: dict[socket.socket, int] = {}
        connections = min(CONNECTIONS_MAX, inflight)
        for i in range(connections):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(address)
            self._selector.register(sock, selectors.EVENT_READ)
            self._pending[sock], self._partial[sock] = deque(), 0
            self._send(sock, inflight // connections + (i < inflight % connections))

    def run(self, seconds: float) -> float:
        """Go on for `seconds`, or until the commands are used up; return the seconds it took."""
        start = perf_counter()
        end = start + seconds
        while perf_counter() < end and self._sent < len(self._commands):
            ready = self._selector.select(SILENCE_S)
            if not ready:
                raise RuntimeError(f"write path: no answer in {SILENCE_S:g} s")
            try:
                for key, _ in ready:
                    assert isinstance(key.fileobj, socket.socket)
                    self._send(key.fileobj, self._receive(key.fileobj))
            except OSError as error:
                raise RuntimeError(f"write path: the writer has died ({error})") from error
        return perf_counter() - start

    def close(self) -> None:
        for sock in self._pending:
            sock.close()
        self._selector.close()

    def _send(self, sock: socket.socket, count: int) -> None:
        part = self._commands[self._sent : self._sent + count]
        self._sent += len(part)
        now = perf_counter()
        self._pending[sock].extend([now] * len(part))
        sock.sendall(b"".join(part))

    def _receive(self, sock: socket.socket) -> int:
        data = sock.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError("end of file")
        now = perf_counter()
        whole, self._partial[sock] = divmod(self._partial[sock] + len(data), _ANSWER.size)
        pending = self._pending[sock]
        self.latencies_s.extend([now - pending.popleft() for _ in range(whole)])
        return whole


def _commands(count: int) -> list[bytes]:
    payload, encode = b"x" * PAYLOAD_BYTES, msgspec.msgpack.Encoder().encode
    return [
        _frame(encode(Command(b"%016d" % i, "cast", f"voter-{i:010}", i % 7, payload)))
        for i in range(count)
    ]


@contextmanager
def _five_copies(folder: str) -> Iterator[str]:
    """Run a writer and its four followers; gives the writer's address. None is left afterwards."""
    address = os.path.join(folder, "writer")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(CONNECTIONS_MAX)
    pids: list[int] = []
    ends: list[socket.socket] = []
    try:
        for i in range(FOLLOWERS):
            ours, theirs = socket.socketpair()
            pids.append(_fork(partial(_follow, theirs, os.path.join(folder, f"f{i}"))))
            theirs.close()
            ends.append(ours)
        pids.append(_fork(lambda: _Writer(listener, ends, os.path.join(folder, "w")).serve()))
        yield address
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for sock in (*ends, listener):
            sock.close()


def write_path(inflight: int, seconds: float = 2.0) -> WritePath:
    """Measure the direct write path: a client, a writer and four followers over Unix sockets.

    Each command is decoded and hashed into a chain; what has arrived is one batch, one LMDB
    transaction (in RAM, without writemap) and one frame to each follower; a batch is acknowledged
    when two followers have stored it. No mailroom, no election rules, no recovery.
    """
    room = shutil.disk_usage(RAM).free
    if room < ROOM_BYTES:
        raise RuntimeError(
            f"write path: {RAM} has {room >> 20} MiB free and the five copies may need "
            f"{ROOM_BYTES >> 20}; free some, or mount it larger (docker: --shm-size)"
        )
    commands = _commands(COMMANDS_MAX)
    with tempfile.TemporaryDirectory(prefix="ballot-floor-", dir=RAM) as folder:
        gc.collect()
        gc.freeze()  # the children must not walk, and so copy, all the commands
        try:
            with _five_copies(folder) as address:
                client = _Client(address, inflight, commands)
                taken = client.run(seconds)
                client.close()
        finally:
            gc.unfreeze()
    done = client.latencies_s
    p50, p99 = (round(percentile(done, share) * 1e3, 3) for share in (0.5, 0.99))
    return WritePath(inflight, round(len(done) / taken), p50, p99, len(done))


def measure(_: bool) -> Found:
    """Every floor once; they are quick."""
    figures = {
        "fork_and_byte_p50_ms": round(fork_and_byte(), 3),
        "pipe_ping_pong_p50_us": round(pipe_ping_pong(), 1),
        "write_path": [write_path(inflight) for inflight in (1, 256)],
    }
    return figures, []


def main() -> None:
    """Measure every floor and print them."""
    run("floors", __doc__, measure)


if __name__ == "__main__":
    main()
