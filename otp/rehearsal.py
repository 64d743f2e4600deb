"""A worker's whole life, played once by a spare before it gets its job.

After a fork every page of memory that is written to is copied first, at the moment of the write;
counting references is writing. A child that has been through the steps of a worker, with sockets
that lead nowhere, owns the pages that those steps need, and takes a third of the time for them
when it counts.
"""

from __future__ import annotations

import itertools
import socket

from otp import pickling, prepared
from otp.callers import From
from otp.child import work
from otp.codec import encode
from otp.frames import CALL, MSGPACK, Envelope, Finish, Spawn
from otp.gen_server import GenServer
from otp.messages import Request, WireChild


class _Line(Request[int], frozen=True):
    """What is said in a rehearsal."""


class _Player(GenServer):
    """Has one handler, and a short life."""

    def handle_call(self, request: _Line, sender: From[int]) -> int:
        return 0


_SPAWN = Spawn(0, "<>", "", WireChild("", payload=pickling.dumps((_Player, {}, None))))
_CALL = Envelope(CALL, "", "<>", 1, 0, 0, MSGPACK, "", encode(_Line()))


def rehearse(times: int = 1) -> None:
    """Start a server, answer a call, shut down; nothing of it remains but memory of our own."""
    prepared.warm(_SPAWN.child.payload)
    for _ in itertools.repeat(None, times):
        control, node = socket.socketpair()
        mail, mailroom = socket.socketpair()
        with control, node, mail, mailroom:
            _tell(mailroom, encode(_CALL))
            _tell(node, encode(Finish()))
            work(_SPAWN, control, mail, parent=0)


def _tell(sock: socket.socket, frame: bytes) -> None:
    sock.sendall(len(frame).to_bytes(4, "big") + frame)
