"""The exporter: a process of the node's own that shows its metrics to Prometheus.

It asks the node for its rows by the control socket, counts its reports, looks at the memory and
CPU of what runs (psutil), and serves the page over HTTP, or writes it to a file for node_exporter's
textfile collector. A slow scraper keeps nobody waiting but itself; the node never waits for the
exporter. Where it dies, a new one counts from 0, as Prometheus expects of counters.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
from collections.abc import Iterable
from typing import Any

import msgspec
import psutil

from otp.codec import decode_envelope, encode
from otp.exporting import Exporting
from otp.frames import CALL, INFO, MSGPACK, REPLY, Began, Ended, Envelope
from otp.messages import AnyReport, NodeInfo, ProcessInfo, Reason, Subscribe
from otp.metrics_text import CONTENT_TYPE, Sample, Tally, page
from otp.page_server import Deliver, PageServer
from otp.proc import families, family
from otp.reactor import Reactor
from otp.transport import FrameSocket

_decode_report = msgspec.msgpack.Decoder(AnyReport).decode
_decode_rows = msgspec.msgpack.Decoder(list[ProcessInfo]).decode


class Exporter:
    """One loop around the node's control socket, those who scrape, and a timer."""

    def __init__(self, options: Exporting, node: socket.socket) -> None:
        self._options, self._reactor, self._tally = options, Reactor(), Tally()
        version = sys.modules["otp"].__version__
        self._about = {"version": version, "python": platform.python_version()}
        self._deliver: list[Deliver] = []
        self._complained = ""
        self._reactor.read(node, self._reactor.stop)  # it never says anything: it hangs up
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        control.connect(options.control)
        self._control = FrameSocket(control)
        self._reactor.read(self._control, self._heard)
        self._ask(Subscribe())
        if options.listen:
            PageServer(self._reactor, options.listen, CONTENT_TYPE, self._make)
        if options.textfile:
            _can_write(options.textfile)
            self._reactor.after(0, self._tick)

    def run(self) -> None:
        """Serve until the node hangs up; what is left of the file then is the node's to remove."""
        self._reactor.run()

    # ------------------------------------------------------------ the node

    def _ask(self, request: Any) -> None:
        frame = Envelope(CALL, "node", "", 1, 0, 0, MSGPACK, "", encode(request))
        self._control.send(encode(frame))
        self._flush()

    def _flush(self) -> None:
        try:
            done = self._control.flush()
        except EOFError:
            self._reactor.stop()
            return
        self._reactor.write(self._control, None if done else self._flush)

    def _heard(self) -> None:
        try:
            frames = self._control.receive()
        except EOFError:  # it has ended, or dropped us since we were too slow: begin anew
            self._reactor.stop()
            return
        for frame in frames:
            envelope = decode_envelope(frame)
            if envelope.kind == INFO:
                self._tally.add(_decode_report(envelope.body))
            elif envelope.kind == REPLY and envelope.body != _NOTHING:
                self._answer(_decode_rows(envelope.body))

    # ------------------------------------------------------------ who wants to know

    def _make(self, deliver: Deliver) -> None:
        """One question to the node serves all who ask until its answer is here."""
        self._deliver.append(deliver)
        if len(self._deliver) == 1:
            self._ask(NodeInfo())

    def _answer(self, rows: list[ProcessInfo]) -> None:
        uses = samples(rows) if self._options.uses else {}
        text = page(self._options.node, self._about, rows, uses, self._tally)
        waiting, self._deliver = self._deliver, []
        for deliver in waiting:
            deliver(text)

    def _tick(self) -> None:
        self._make(self._write)
        self._reactor.after(self._options.interval, self._tick)

    def _write(self, text: str) -> None:
        """A whole file or none: it takes its name when it is written. A trouble is told once."""
        name = f"{self._options.textfile}.{os.getpid()}"
        try:
            with open(name, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(name, self._options.textfile)
            self._complained = ""
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(name)
            if str(error) != self._complained:
                self._complained = str(error)
                print(f"otp: metrics cannot be written: {error}", file=sys.stderr)


_NOTHING = encode(None)


def samples(rows: Iterable[ProcessInfo]) -> dict[int, Sample]:
    """What each process of these rows and all below it use, as far as they still live.

    The node itself and its zygote are counted alone: what is below them has rows of its own.
    """
    below, found = families(), {}
    for row in rows:
        if row.pid:
            alone = row.type in ("node", "zygote")
            found[row.pid] = _sum([row.pid] if alone else family(row.pid, below))
    return found


def _sum(pids: Iterable[int]) -> Sample:
    memory, cpu, count = 0, 0.0, 0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                memory += process.memory_info().rss
                # What its children used that it has reaped counts on, so that no sum shrinks.
                cpu += sum(process.cpu_times()[:4])
                count += 1
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return Sample(memory, cpu, count)


def _can_write(path: str) -> None:
    folder = os.path.dirname(path)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"cannot write {path}: no folder {folder} that can be written (metrics:)")


def serve(control: socket.socket, payload: bytes) -> int:
    """Be the exporter of the node at the other end of `control`; the exit code when it ends."""
    node = FrameSocket(control)
    try:
        exporter = Exporter(msgspec.msgpack.decode(payload, type=Exporting), control)
    except OSError as error:
        node.send(encode(Ended(Reason("crash", str(error)), began=False)))
        node.flush()
        return 1
    node.send(encode(Began()))
    node.flush()
    exporter.run()
    return 0
