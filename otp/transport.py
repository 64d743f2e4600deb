"""Frames over sockets: multiprocessing.connection's framing and handshake, without blocking.

Any Python program with `multiprocessing.connection.Client` can talk to a mailroom: a frame is a
4-byte big-endian length and that many bytes; the handshake is the library's HMAC challenge, run
here as a state machine so that a silent stranger blocks nobody.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""The longest frame that anyone may announce: beyond it the connection is closed at once."""
CONTROL_FRAME_BYTES_MAX = FRAME_BYTES_MAX + 1024 * 1024
"""The same between a node and its own processes, where a frame may be wrapped in another."""
READ_BYTES = 32 * 1024
"""How much one read takes: enough to batch, little enough that the stages of a pipeline work at
the same time (256 KiB moved all that was in flight as one wave; measured, a fifth slower)."""
JOIN_BYTES = 256 * 1024
"""How much is joined into one write."""
HANDSHAKE_FRAME_BYTES_MAX = 256
"""The library's own limit for a frame of the handshake."""
FDS_MAX = 8
"""How many descriptors one frame may carry."""

_LENGTH = struct.Struct("!i")
_pack, _length = _LENGTH.pack, _LENGTH.unpack_from
_FDS_SPACE = socket.CMSG_SPACE(FDS_MAX * 4)


class ProtocolError(ConnectionError):
    """The other side sent what this protocol does not allow; the connection must be closed."""


class FrameSocket:
    """A non-blocking stream socket that speaks in frames, and may carry descriptors with them.

    `receive()` gives the frames that have arrived; `send()` only queues, `flush()` writes. The
    owner watches `waiting` (bytes not yet written) and keeps it below a bound of its own. `dry`
    says that the last `receive` found nothing more to read.
    """

    __slots__ = ("_fds_expected", "_in", "_out", "dry", "fds", "frame_bytes_max", "sock", "waiting")

    def __init__(
        self, sock: socket.socket, *, fds: bool = False, frame_bytes_max: int = FRAME_BYTES_MAX
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fds: deque[int] = deque()
        self.frame_bytes_max = frame_bytes_max
        self.waiting = 0
        self.dry = False
        self._fds_expected = fds
        self._in = bytearray()
        self._out: deque[tuple[bytes | memoryview, tuple[int, ...]]] = deque()

    def fileno(self) -> int:
        return self.sock.fileno()

    def receive(self, most: int | None = None) -> list[bytes]:
        """The frames that have arrived (at most so many; the rest stay), perhaps none.

        Raises EOFError when the other side is gone, ProtocolError for a frame over the bound.
        """
        try:
            data = self._read() if self._fds_expected else self.sock.recv(READ_BYTES)
        except BlockingIOError:
            self.dry = True
            return self._split(most) if self._in else []
        except OSError as error:
            raise EOFError(str(error)) from error
        self.dry = False
        if data:
            # One whole frame and nothing else, as in a ping-pong, need not be taken apart.
            size = len(data) - _LENGTH.size
            if 0 <= size <= self.frame_bytes_max and not self._in and _length(data)[0] == size:
                return [data[_LENGTH.size :]]
            self._in += data
            return self._split(most)
        # What was sent before the end counts, so the end comes after it.
        if frames := self._split(most):
            return frames
        raise EOFError("closed by the other side")

    @property
    def buffered(self) -> bool:
        """Something has been read that `receive` has not given yet; no poll will tell of it."""
        return bool(self._in)

    def _read(self) -> bytes:
        data, fds = receive_fds(self.sock, READ_BYTES)
        self.fds.extend(fds)
        return data

    def _split(self, most: int | None) -> list[bytes]:
        frames: list[bytes] = []
        buffer, offset, end = self._in, 0, len(self._in)
        while end - offset >= _LENGTH.size and len(frames) != most:
            (length,) = _LENGTH.unpack_from(buffer, offset)
            if not 0 <= length <= self.frame_bytes_max:
                raise ProtocolError(
                    f"a frame of {length} bytes; at most {self.frame_bytes_max} are accepted"
                )
            if end - offset - _LENGTH.size < length:
                break
            offset += _LENGTH.size
            frames.append(bytes(buffer[offset : offset + length]))
            offset += length
        if offset:
            del buffer[:offset]
        return frames

    def send(self, frame: bytes, fds: Sequence[int] = ()) -> None:
        """Queue a frame. Descriptors are duplicated into the queue, the caller keeps its own.

        Raises ValueError for a frame that the other side would not accept.
        """
        if len(frame) > self.frame_bytes_max:
            raise ValueError(f"a frame of {len(frame)} bytes; at most {self.frame_bytes_max}")
        data = _pack(len(frame)) + frame
        self.waiting += len(data)
        self._out.append((data, tuple(map(os.dup, fds)) if fds else ()))

    def send_now(self, frame: bytes) -> None:
        """Write a frame at once, where nothing waits and there is room; else queue it.

        Raises ValueError as `send` does, EOFError.
        """
        if self._out or len(frame) > self.frame_bytes_max:
            self.send(frame)
            return
        data: bytes | memoryview = _LENGTH.pack(len(frame)) + frame
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise EOFError(str(error)) from error
        if sent < len(data):
            self._out.append((memoryview(data)[sent:], ()))
            self.waiting += len(data) - sent

    def flush(self) -> bool:
        """Write what can be written now; True when nothing waits. Raises EOFError if it is gone."""
        out = self._out
        if not out:
            return True
        try:
            while out:
                chunk, fds = out[0] if len(out) == 1 else self._next_chunk()
                if fds:
                    sent = socket.send_fds(self.sock, [chunk], list(fds))
                    for fd in fds:
                        os.close(fd)
                else:
                    sent = self.sock.send(chunk)
                self.waiting -= sent
                if sent < len(chunk):
                    out[0] = (memoryview(chunk)[sent:], ())
                else:
                    out.popleft()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                return False  # too many descriptors on their way; it passes when they are read
            raise EOFError(str(error)) from error
        return True

    def _next_chunk(self) -> tuple[bytes | memoryview, tuple[int, ...]]:
        """The head of the queue; small frames are joined, up to one that carries descriptors.

        So a death and the start that follows it, queued together, also arrive together.
        """
        out = self._out
        if out[0][1]:
            return out[0]
        parts: list[bytes | memoryview] = []
        fds: tuple[int, ...] = ()
        size = 0
        while out and not fds and size < JOIN_BYTES:
            part, fds = out.popleft()
            parts.append(part)
            size += len(part)
        out.appendleft((b"".join(parts), fds))
        return out[0]

    def close(self) -> None:
        """Close the socket and every descriptor that waits in either direction."""
        for _, fds in self._out:
            for fd in fds:
                os.close(fd)
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()
        self._out.clear()
        self.waiting = 0
        self.sock.close()


def receive_fds(sock: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """Read bytes and the descriptors that come with them. Raises EOFError where some were lost."""
    # Without CLOEXEC a program would inherit the descriptors of whoever executes it.
    data, ancillary, flags, _ = sock.recvmsg(size, _FDS_SPACE, socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.extend(struct.unpack(f"{len(payload) // 4}i", payload))
    if flags & socket.MSG_CTRUNC:
        for fd in fds:
            os.close(fd)
        raise EOFError("descriptors were lost: too many open files")
    return data, fds


def split(address: str) -> tuple[str, int]:
    """Host and port of "host:port" ("[::1]:7000" too). Raises ValueError for what is neither."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def listen(address: str, backlog: int) -> socket.socket:
    """A listening TCP socket at "host:port". OSErrors say where."""
    host, port = split(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise OSError(
            f"cannot listen on {address}: {error.strerror}; "
            "stop what uses the port, or choose another (listen:)"
        ) from error
    return sock


def peer_uid(sock: socket.socket) -> int:
    """Who is at the other end of a Unix socket."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


# ---------------------------------------------------------------- the handshake

_CHALLENGE, _WELCOME = b"#CHALLENGE#", b"#WELCOME#"
REJECTED = b"#FAILURE#"
"""What one who fails the handshake is told before the connection is closed."""
_DIGESTS = {b"{md5}": "md5", b"{sha256}": "sha256", b"{sha384}": "sha384"}
_CHALLENGE_BYTES = 40
_MD5_BYTES = 16


class AuthenticationError(ProtocolError):
    """The other side does not know the cluster's authkey, or does not speak the handshake."""


class Handshake:
    """multiprocessing.connection's mutual challenge as a state machine: frames in, frames out.

    The accepting side challenges first. Understands both the old form (bare HMAC-MD5, Python
    before 3.12) and the new one (`{sha256}`), as the library itself does.
    """

    def __init__(self, authkey: bytes, *, accepting: bool, random: bytes) -> None:
        if len(random) != _CHALLENGE_BYTES:
            raise ValueError(f"a challenge has {_CHALLENGE_BYTES} random bytes, got {len(random)}")
        self._key = authkey
        self._message = b"{sha256}" + random
        self._steps = deque(
            ("verify", "welcomed_and_answer", "finish")
            if accepting
            else ("answer", "welcomed_and_challenge", "verify")
        )
        self.accepting = accepting
        self.done = False

    def opening(self) -> list[bytes]:
        """What to send before anything has arrived."""
        return [_CHALLENGE + self._message] if self.accepting else []

    def feed(self, frame: bytes) -> list[bytes]:
        """One frame in, the frames to send out; sets `done`. Raises AuthenticationError."""
        if self.done:
            raise AuthenticationError("the handshake is over")
        step = self._steps.popleft()
        reply = getattr(self, f"_{step}")(frame)
        self.done = not self._steps
        return list(reply)

    def _answer(self, frame: bytes) -> list[bytes]:
        if not frame.startswith(_CHALLENGE):
            raise AuthenticationError("expected a challenge; is this a mailroom's port?")
        return [_response(self._key, frame[len(_CHALLENGE) :])]

    def _verify(self, frame: bytes) -> list[bytes]:
        if not _verified(self._key, self._message, frame):
            raise AuthenticationError("wrong authkey")
        return [_WELCOME]

    def _welcomed_and_answer(self, frame: bytes) -> list[bytes]:
        return self._answer(frame)

    def _finish(self, frame: bytes) -> list[bytes]:
        if frame != _WELCOME:
            raise AuthenticationError("the other side did not accept our authkey")
        return []

    def _welcomed_and_challenge(self, frame: bytes) -> list[bytes]:
        self._finish(frame)
        return [_CHALLENGE + self._message]


def _response(key: bytes, message: bytes) -> bytes:
    import hmac

    for prefix, name in _DIGESTS.items():
        if message.startswith(prefix):
            return prefix + hmac.new(key, message, name).digest()
    return hmac.new(key, message, "md5").digest()


def _verified(key: bytes, message: bytes, response: bytes) -> bool:
    import hmac  # and so OpenSSL, which no worker needs

    if len(response) == _MD5_BYTES:
        return hmac.compare_digest(hmac.new(key, message, "md5").digest(), response)
    prefix = response[: response.find(b"}") + 1]
    if prefix not in _DIGESTS:
        return False
    expected = hmac.new(key, message, _DIGESTS[prefix]).digest()
    return hmac.compare_digest(expected, response[len(prefix) :])
