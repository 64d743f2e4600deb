"""The node's side of its logger: the pipes that children write to, and reports to be written.

The node makes the pipes and keeps the reading ends, too, until their child is reaped and the logger
has said that it read all: so a logger that is killed loses no line that it had not read, and the
next one goes on. Where nothing is captured there is no logger, and nothing of this costs anything.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import Protocol

import msgspec

from otp.frames import Boot, Control
from otp.log_files import remove_logs
from otp.log_frames import (
    Capture,
    FromLogger,
    Logging,
    Matched,
    Release,
    Released,
    Said,
    Say,
    Trouble,
)
from otp.logs_wire import Logs
from otp.messages import Report, WireChild, WireSupervisor
from otp.node_view import format_report, sentence
from otp.outlet import Outlet
from otp.reactor import Reactor
from otp.running import Running
from otp.spawner import Spawner

LOGGER_BYTES_MAX = 8 * 1024 * 1024
"""What a logger may leave unread of what its node says; then the next one is told."""
UNREAD_MAX = 256
"""Dead children whose last lines a logger may leave unread; then the next one reads them."""
REPORTS_MAX = 10_000
"""Reports that may wait for a logger; older ones are counted instead."""
END_SECONDS_MAX = 0.5
"""How long at the node's end a slow reader of our stderr is waited for."""

_decode = msgspec.msgpack.Decoder(FromLogger).decode


class Owner(Protocol):
    """What the link needs of its node."""

    def fault(self, text: str) -> None: ...


class _Captured:
    """The reading ends of one child's pipes."""

    def __init__(self, running: Running, fds: tuple[int, int]) -> None:
        self.running, self.fds = running, fds
        self.ended = False

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


class LogLink:
    """Everything between a node and its logger, across the logger's deaths."""

    def __init__(self, reactor: Reactor, boot: Boot, spawner: Spawner, owner: Owner) -> None:
        self._boot, self._spawner, self._owner = boot, spawner, owner
        self._logs = boot.logs or Logs("inherit")
        self._all = self._logs.output != "inherit"
        self.capturing = self._all or _reads_lines(boot.root)
        self._logger: Running | None = None
        self._captured: dict[int, _Captured] = {}
        self._err = Outlet(reactor, 2)
        self._unsaid: deque[Say] = deque()
        self._serial = 0
        self._place = os.path.join(boot.run_dir, "logs")

    # ------------------------------------------------------------ the folder

    def open(self) -> None:
        """Make the folder of the log files. OSErrors say which."""
        logs = self._logs
        if not self._all or not logs.files:
            self._logs = msgspec.structs.replace(logs, folder="")
            return
        try:
            os.makedirs(logs.folder or self._place, mode=0o700, exist_ok=True)
            if logs.folder:
                os.symlink(logs.folder, self._place)  # where `otp logs` looks
        except OSError as error:
            text = f"cannot make the folder of the logs {error.filename}: {error.strerror}"
            raise OSError(text) from error
        self._logs = msgspec.structs.replace(logs, folder=logs.folder or self._place)

    def close(self) -> None:
        """Say what is left to say; the files go, unless they lie in a folder that was given."""
        self.without_logger()
        self._err.finish(END_SECONDS_MAX)
        for captured in self._captured.values():
            captured.close()
        self._captured.clear()
        remove_logs(self._place)

    # ------------------------------------------------------------ the logger's life

    def spawned(self, running: Running) -> None:
        """A new logger: tell it all that there is to know, before it is even ready to read."""
        self._logger = running
        running.reader = self._receive
        self._tell(Logging(self._boot.name, self._logs))
        for serial, captured in self._captured.items():
            self._capture(captured)
            if captured.ended:
                self._tell(Release(serial))
        for say in self._unsaid:
            self._tell(say)

    def lost(self) -> None:
        """The logger is dead; what it did not say, the next one says."""
        self._logger = None

    def without_logger(self) -> None:
        """There will be none any more: what is still to be said goes to stderr straight away."""
        self.capturing = False
        self._logger = None
        for say in self._unsaid:
            if say.line:
                self._write(say.line)
        self._unsaid.clear()

    def _tell(self, message: Control, fds: tuple[int, ...] = ()) -> None:
        logger = self._logger
        if logger is None:
            return
        self._spawner.tell(logger, message, fds)
        if logger.control is not None and logger.control.waiting > LOGGER_BYTES_MAX:
            self._replace("it does not listen to its node")

    def _replace(self, why: str) -> None:
        logger, self._logger = self._logger, None
        if logger is not None:
            self._owner.fault(f"the logger is killed: {why}")
            self._spawner.kill(logger)

    def _receive(self, frame: bytes) -> bool:
        """A control message of the logger's; False for those that every worker sends."""
        match _decode(frame):
            case Released(serial):
                if (captured := self._captured.pop(serial, None)) is not None:
                    captured.close()
            case Said(serial):
                while self._unsaid and self._unsaid[0].serial <= serial:
                    self._unsaid.popleft()
            case Trouble(text):
                self._owner.fault(text)
            case Matched(serial):
                captured = self._captured.get(serial)
                if captured is not None and captured.running.watch is not None:
                    captured.running.watch.line_matched()
            case _:
                return False
        return True

    # ------------------------------------------------------------ children

    def pipes(self, running: Running) -> tuple[int, ...]:
        """What a child that is about to be spawned writes to. Raises OSError."""
        pattern = _pattern(running.child)
        if not (self._all or pattern) or running.child.kind in ("logger", "probe"):
            return ()
        if not self.capturing:
            raise OSError("`ready: {log: ..}` needs a node that captures output (`logs:`)")
        out, write_out = os.pipe2(os.O_CLOEXEC)
        try:
            err, write_err = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(out)
            os.close(write_out)
            raise
        self._captured[running.serial] = _Captured(running, (out, err))
        return write_out, write_err

    def began(self, running: Running) -> None:
        """It is spawned: the logger reads from now on."""
        if (captured := self._captured.get(running.serial)) is not None:
            self._capture(captured)

    def _capture(self, captured: _Captured) -> None:
        running = captured.running
        pattern = _pattern(running.child)
        self._tell(Capture(running.serial, running.shown, pattern, self._all), captured.fds)

    def ended(self, running: Running) -> None:
        """It is reaped, so nobody writes there any more: the logger reads what is left."""
        captured = self._captured.get(running.serial)
        if captured is None:
            return
        captured.ended = True
        self._tell(Release(running.serial))
        if sum(one.ended for one in self._captured.values()) > UNREAD_MAX:
            self._replace(f"it leaves the last lines of {UNREAD_MAX} children unread")

    # ------------------------------------------------------------ reports

    def say(self, report: Report) -> None:
        """Write a report, after what the child that it is about has written."""
        node, style = self._boot.name, self._boot.log
        line = format_report(report, node, style) if style != "none" else ""
        kept = sentence(report).removeprefix(f"{report.path}: ")
        self._say(report.path, report.at, line, kept)

    def say_text(self, text: str) -> None:
        """Write a line of the node's own."""
        self._say(self._boot.name, time.time(), text, text)

    def _say(self, path: str, at: float, line: str, sentence: str) -> None:
        if not self.capturing:
            if line:
                self._write(line)
            return
        self._serial += 1
        say = Say(self._serial, path, at, line, sentence)
        self._unsaid.append(say)
        if len(self._unsaid) > REPORTS_MAX:
            self._unsaid.popleft()
            self._err.dropped += 1
        self._tell(say)

    def _write(self, line: str) -> None:
        self._err.offer(line.encode(errors="backslashreplace") + b"\n")


def _pattern(child: WireChild) -> str:
    """What a line of it must match before it is ready; nothing where no line says that."""
    care = child.care
    return care.ready.target if care and care.ready and care.ready.how == "log" else ""


def _reads_lines(tree: WireSupervisor) -> bool:
    """Is there a child that is ready when it has written something?"""
    return any(
        bool(_pattern(child)) if isinstance(child, WireChild) else _reads_lines(child)
        for child in tree.children
    )
