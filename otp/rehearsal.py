"""A worker's whole life, played once by a spare before it gets its job.

After a fork every page of memory that is written to is copied first, at the moment of the write;
counting references is writing. A child that has been through the steps of a worker, with sockets
that lead nowhere, owns the pages that those steps need, and takes a third of the time for them
when it counts.
"""

from __future__ import annotations

import socket

from otp import codec
from otp.callers import From
from otp.codec import encode
from otp.frames import CALL, MSGPACK, Envelope, Finish
from otp.gen_server import GenServer
from otp.messages import Pid, Request
from otp.process import Process
from otp.serving import run_child
from otp.transport import CONTROL_FRAME_BYTES_MAX, FrameSocket


class _Line(Request[int], frozen=True):
    """What is said in a rehearsal."""


class _Player(GenServer):
    """Has one handler, and a short life."""

    def handle_call(self, request: _Line, sender: From[int]) -> int:
        return 0


_DECODERS = codec.decoders(codec.handler_types(_Player))
_CALL = Envelope(CALL, "", "<>", 1, 0, 0, MSGPACK, "", encode(_Line()))


def rehearse() -> None:
    """Start a server, answer a call, shut down; nothing of it remains but memory of our own."""
    control, node = socket.socketpair()
    mail, mailroom = socket.socketpair()
    with control, node, mail, mailroom:
        _tell(mailroom, encode(_CALL))
        _tell(node, encode(Finish()))
        process = Process(
            Pid("<>"),
            "",
            "",
            FrameSocket(control, fds=True, frame_bytes_max=CONTROL_FRAME_BYTES_MAX),
            FrameSocket(mail),
        )
        run_child(process, _Player, {}, _DECODERS)


def _tell(sock: socket.socket, frame: bytes) -> None:
    sock.sendall(len(frame).to_bytes(4, "big") + frame)
