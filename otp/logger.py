"""The logger of a node: reads what children write, line by line, shows it and keeps it.

A supervised process of the node's own, like the mailroom. It gets the reading end of each pipe
from its node, which keeps a duplicate: so a logger that is killed loses what it had read and not
yet written, and nothing else; the next one reads on. Nothing here waits: a child that writes faster
than its lines are taken is slowed by its own pipe, a reader that has stopped is done without.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import socket
import stat
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from otp import log_view
from otp.frames import Began, Finish, Ping, Pong
from otp.lines import Splitter
from otp.log_files import LogFiles
from otp.log_frames import (
    Capture,
    Logging,
    Matched,
    Release,
    Released,
    Said,
    Say,
    ToLogger,
    Trouble,
)
from otp.log_view import Prefixes, Stream
from otp.node_line import NodeLine
from otp.outlet import Outlet, same
from otp.reactor import Descriptor, Reactor, Timer

READ_BYTES = 32 * 1024
"""How much of one pipe is read in its turn: half of what a pipe holds, so its writer goes on."""
STALL_SECONDS_MAX = 2.0
"""How long children are held up by a reader of our stdout that takes nothing at all; from then on
lines go to the files only, until it reads again."""
DISK_PAUSE_SECONDS = 5.0
"""How long after an error of the disk no file is written to."""
BATCH_LINES = 256
"""How many lines are written at a time: as JSON they are longer, and a file must hold them."""
DRAIN_READS_MAX = 64
"""How often a pipe is read whose writers are dead: twice what the kernel keeps in one (1 MiB). If
somebody writes on all the same, there is no end to it."""
END_SECONDS_MAX = 2.0
"""How long at the end a slow reader of our stdout is waited for."""

OWN_PATH = "otp/logger"

_decode = msgspec.msgpack.Decoder(ToLogger).decode


class _Pipe:
    """One stream of one child."""

    __slots__ = ("aloud", "fd", "path", "pattern", "serial", "splitter", "stream")

    def __init__(self, capture: Capture, fd: int, stream: Stream) -> None:
        self.serial, self.path, self.aloud = capture.serial, capture.path, capture.aloud
        self.fd, self.stream = fd, stream
        self.splitter = Splitter()
        self.pattern = re.compile(capture.pattern) if capture.pattern else None


class Logger:
    """The loop: control messages from the node, bytes from pipes."""

    def __init__(self, control: socket.socket) -> None:
        self._reactor = Reactor()
        self._line = NodeLine(self._reactor, control, _decode, self._obey)
        self._tell = self._line.tell
        self._pipes: dict[int, list[_Pipe]] = {}
        self._held: dict[_Pipe, None] = {}
        self._stall: Timer | None = None
        self._deaf = False
        self._out = Outlet(self._reactor, 1, drained=self._drained, missing=self._missing)
        self._err = self._out if same(1, 2) else Outlet(self._reactor, 2)
        self._keeper: Keeper | None = None
        self._view: View = Nothing()
        self._node = ""
        self._last_at = 0.0

    def run(self) -> None:
        """Serve until the node says so, or is gone."""
        self._reactor.run()
        for pipes in list(self._pipes.values()):
            for pipe in pipes:
                self._drain(pipe)
        self._line.flush()
        for outlet in {self._out, self._err}:
            outlet.finish(END_SECONDS_MAX)

    # ------------------------------------------------------------ the node

    def _obey(self, message: ToLogger) -> None:
        match message:
            case Logging():
                self._begin(message)
            case Capture():
                self._capture(message)
            case Release(serial):
                self._release(serial)
            case Say():
                self._say(message)
            case Ping(serial):
                self._tell(Pong(serial))
            case Finish():
                self._reactor.stop()

    def _begin(self, logging: Logging) -> None:
        self._node, logs = logging.node, logging.logs
        if logs.folder:
            files = LogFiles(logs.folder, max_bytes=logs.max_bytes, files=logs.files)
            self._keeper = Keeper(files, self._reactor.now, lambda text: self._tell(Trouble(text)))
        self._view = _VIEWS[_output(logs.output)]()
        self._tell(Began())

    # ------------------------------------------------------------ pipes

    def _capture(self, capture: Capture) -> None:
        fds = self._line.fds.popleft(), self._line.fds.popleft()
        streams: tuple[Stream, Stream] = ("stdout", "stderr")
        pipes = [_Pipe(capture, fd, name) for fd, name in zip(fds, streams, strict=True)]
        self._pipes[capture.serial] = pipes
        self._view.add(capture.path)
        for pipe in pipes:
            os.set_blocking(pipe.fd, False)
            self._listen(pipe)

    def _listen(self, pipe: _Pipe) -> None:
        self._reactor.read(Descriptor(pipe.fd), lambda: self._read(pipe))

    def _read(self, pipe: _Pipe) -> None:
        if self._out.full and not self._deaf and pipe.aloud:
            self._hold(pipe)
        else:
            self._take(pipe)

    def _take(self, pipe: _Pipe) -> bool:
        """What one read gives; False when there is nothing more at the moment, or ever."""
        try:
            data = os.read(pipe.fd, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._write(pipe, pipe.splitter.feed(data))
        else:
            self._write(pipe, pipe.splitter.end())
            self._reactor.forget(Descriptor(pipe.fd))
        return bool(data)

    def _drain(self, pipe: _Pipe) -> None:
        for _ in range(DRAIN_READS_MAX):
            if not self._take(pipe):
                break
        self._write(pipe, pipe.splitter.end())

    def _release(self, serial: int) -> None:
        """Whoever wrote there is dead: read what is left, its last line without an end, too."""
        for pipe in self._pipes.pop(serial, ()):
            self._drain(pipe)
            self._held.pop(pipe, None)
            self._reactor.forget(Descriptor(pipe.fd))
            os.close(pipe.fd)
            if self._keeper is not None:
                self._keeper.close(pipe.path)
        self._tell(Released(serial))

    # ------------------------------------------------------------ a slow reader of ours

    def _hold(self, pipe: _Pipe) -> None:
        """Read no more of it until there is room: so it is its writer who waits."""
        self._held[pipe] = None
        self._reactor.forget(Descriptor(pipe.fd))
        if self._stall is None:
            self._watch_stall()

    def _watch_stall(self) -> None:
        written = self._out.written

        def judge() -> None:
            self._stall = None
            if self._held and self._out.written == written:
                self._deaf = True
                self._resume()
            elif self._held:
                self._watch_stall()

        self._stall = self._reactor.after(STALL_SECONDS_MAX, judge)

    def _drained(self) -> None:
        self._deaf = False
        self._resume()

    def _resume(self) -> None:
        held, self._held = self._held, {}
        for pipe in held:
            self._listen(pipe)

    # ------------------------------------------------------------ lines

    def _write(self, pipe: _Pipe, lines: list[bytes]) -> None:
        for start in range(0, len(lines), BATCH_LINES):
            self._write_batch(pipe, lines[start : start + BATCH_LINES])

    def _write_batch(self, pipe: _Pipe, lines: list[bytes]) -> None:
        texts = [log_view.text_of(line) for line in lines]
        if pipe.pattern is not None:
            self._look_for(pipe, texts)
        if not pipe.aloud:
            outlet = self._out if pipe.stream == "stdout" else self._err
            self._put(outlet, b"".join([line + b"\n" for line in lines]), len(lines))
            return
        self._last_at = time.time()
        head = log_view.head(self._last_at, self._node, pipe.path, pipe.stream)
        objects = log_view.as_json(head, texts)
        if self._keeper is not None:
            self._keeper.append(pipe.path, objects, len(lines))
        self._put(self._out, self._view.show(pipe.path, texts, objects), len(lines))

    def _put(self, outlet: Outlet, data: bytes, lines: int) -> None:
        """Children wait for a slow reader of our stdout, but not for one that has stopped."""
        if outlet is self._out and not self._deaf:
            outlet.put(data)
        else:
            outlet.offer(data, lines)

    def _look_for(self, pipe: _Pipe, texts: list[str]) -> None:
        assert pipe.pattern is not None
        found = next(filter(pipe.pattern.search, texts), None)
        if found is not None:
            pipe.pattern = None
            self._tell(Matched(pipe.serial, found))

    def _say(self, say: Say) -> None:
        """A report, in its place among the lines of the child that it is about."""
        if say.line:
            self._err.offer(say.line.encode(errors="backslashreplace") + b"\n")
        if self._keeper is not None:
            at = max(say.at, self._last_at)  # after the last words, which were read after it died
            head = log_view.head(at, self._node, say.path, "report")
            self._keeper.append(say.path, log_view.as_json(head, [say.sentence]), 1)
            self._keeper.close(say.path)
        self._tell(Said(say.serial))

    def _missing(self, count: int) -> bytes:
        text = f"{count} lines were not shown: nobody read them in time"
        head = log_view.head(time.time(), self._node, OWN_PATH, "report")
        return self._view.show(OWN_PATH, [text], log_view.as_json(head, [text]))


class Keeper:
    """Files as long as the disk takes them; what it does not take is told once, and counted."""

    def __init__(
        self, files: LogFiles, now: Callable[[], float], trouble: Callable[[str], None]
    ) -> None:
        self._files, self._now, self._trouble = files, now, trouble
        self._bad_until = 0.0
        self._missing = 0

    def append(self, path: str, data: bytes, lines: int) -> None:
        """Write lines, unless the disk is in trouble."""
        if self._missing and self._now() < self._bad_until:
            self._missing += lines
            return
        try:
            self._files.append(path, data, self._now())
        except OSError as error:
            if not self._missing:
                why = f"{error.strerror} ({error.filename or path})"
                self._trouble(f"output is not kept, only shown: {why}")
            self._missing += lines
            self._bad_until = self._now() + DISK_PAUSE_SECONDS
            return
        if self._missing:
            self._trouble(f"output is kept again; {self._missing} lines are missing in the files")
            self._missing = 0

    def close(self, path: str) -> None:
        """Nothing more of this path for now."""
        with contextlib.suppress(OSError):  # of a close there is nothing more to save
            self._files.close(path)


# ---------------------------------------------------------------- what is shown, and how


class View(Protocol):
    """How lines look on our stdout."""

    def add(self, path: str) -> None: ...
    def show(self, path: str, texts: list[str], objects: bytes) -> bytes: ...


class Nothing:
    """Nobody looks."""

    def add(self, path: str) -> None:
        """There is a child of this path."""

    def show(self, path: str, texts: list[str], objects: bytes) -> bytes:
        return b""


class Objects(Nothing):
    """An object on each line, for programs."""

    def show(self, path: str, texts: list[str], objects: bytes) -> bytes:
        return objects


class Terminal:
    """`path | line`, for people."""

    def __init__(self) -> None:
        wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._prefixes = Prefixes(colours=wanted and os.isatty(1))

    def add(self, path: str) -> None:
        self._prefixes.add(log_view.short(path))

    def show(self, path: str, texts: list[str], objects: bytes) -> bytes:
        lines = self._prefixes.lines(log_view.short(path), texts)
        return lines.encode(errors="backslashreplace")


_VIEWS: dict[str, Callable[[], View]] = {
    "terminal": Terminal,
    "json": Objects,
    "none": Nothing,
    "inherit": Nothing,
}


def _output(wanted: str) -> str:
    """What "auto" comes to: for a person at a terminal, for a program that reads, or for nobody."""
    if wanted != "auto":
        return wanted
    if os.isatty(1):
        return "terminal"
    try:
        status = os.fstat(1)
    except OSError:
        return "none"
    null = stat.S_ISCHR(status.st_mode) and os.stat(os.devnull).st_rdev == status.st_rdev
    return "none" if null else "json"


def serve(control: socket.socket) -> int:
    """Be the logger of the node at the other end of `control`; the exit code when it ends."""
    gc.enable()
    Logger(control).run()
    return 0
