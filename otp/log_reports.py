"""Reports of a node as records of the `logging` module, in the program that started it.

    logging.basicConfig(level=logging.INFO)
    with otp.start(tree, log="logging") as node:
        ...

The logger is "otp". What goes well is INFO, what a supervisor puts right is WARNING, and what
somebody must look at is ERROR (`level`). Each record carries `otp_node`, the node's name, and
`otp_report`, the report itself. Records come from a thread of their own, in the order of the
reports; a handler that is slow delays only itself, and one that is too slow for long loses
reports, which is a record as well.
"""

from __future__ import annotations

import logging
import socket
import threading

import msgspec

from otp import messages as m
from otp.client import Channel
from otp.codec import decode_envelope
from otp.frames import INFO
from otp.messages import AnyReport, Report
from otp.node_view import sentence
from otp.supervisor import AUTO_SHUTDOWN

LOGGER = "otp"
LAST_SECONDS_MAX = 5.0
"""How long the last reports of a node that has ended may take to be logged."""

_decode_report = msgspec.msgpack.Decoder(AnyReport).decode
_WARNINGS = (m.MessagesDropped, m.PeerDown, m.StrangerRejected)
_ERRORS = (m.ChildStartFailed, m.GaveUp, m.NodeFault)


def level(report: Report) -> int:
    """How bad it is: a child that ends as it should is INFO, one that crashed WARNING."""
    if isinstance(report, m.ChildExited):
        fine = not report.restart and report.reason.kind in ("normal", "shutdown")
        return logging.INFO if fine else logging.WARNING
    if isinstance(report, m.GaveUp) and report.reason == AUTO_SHUTDOWN:
        return logging.INFO
    if isinstance(report, _ERRORS):
        return logging.ERROR
    return logging.WARNING if isinstance(report, _WARNINGS) else logging.INFO


class LogThread:
    """Logs what comes by a connection to a node until that ends."""

    def __init__(self, sock: socket.socket, node: str) -> None:
        self._channel, self._node = Channel(sock), node
        self._logger = logging.getLogger(LOGGER)
        self.stopping = False
        self._thread = threading.Thread(target=self._run, name=f"otp-log-{node}", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the last reports of a node that has ended."""
        if self._thread is not threading.current_thread():
            self._thread.join(LAST_SECONDS_MAX)

    def close(self) -> None:
        """In a forked child, which has no such thread: leave the connection to the parent."""
        self._channel.close()

    def _run(self) -> None:
        try:
            while (frame := self._channel.receive(None)) is not None:
                envelope = decode_envelope(frame)
                if envelope.kind == INFO:
                    self._log(_decode_report(envelope.body))
        except EOFError:
            if not self.stopping:
                text = "node %s sends no more reports: it has ended, or they were read too slowly"
                self._logger.warning(text, self._node)
        finally:
            self._channel.close()

    def _log(self, report: Report) -> None:
        extra = {"otp_node": self._node, "otp_report": report}
        self._logger.log(level(report), "%s", sentence(report), extra=extra)
