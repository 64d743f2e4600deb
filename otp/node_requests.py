"""What a node answers on its control socket: one entry in a table for each request."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Protocol

from otp.control import Responder
from otp.frames import Envelope, Failure
from otp.mailroom_link import MailroomLink
from otp.messages import KillProcess, NodeInfo, Own, StopNode, Subscribe
from otp.node_view import process_infos
from otp.spawner import Spawner
from otp.supervisor import Shell
from otp.zygote import kill_quietly


class Owner(Protocol):
    """What requests need of their node."""

    name: str
    mailroom: MailroomLink

    def supervisor_request(self, address: str, request: Any, responder: Any) -> None: ...
    def stop_for(self, responder: Responder) -> None: ...


class Requests:
    """Decoded requests in, answers out. What is not in the table is for a supervisor."""

    def __init__(self, owner: Owner, spawner: Spawner, shell: Shell) -> None:
        self._owner, self._spawner, self._shell = owner, spawner, shell
        self._table: dict[type, Callable[[Any, Responder], None]] = {
            NodeInfo: self._info,
            Subscribe: lambda _, responder: responder.reply(None),
            StopNode: lambda _, responder: owner.stop_for(responder),
            KillProcess: self._kill,
            Own: self._own,
        }

    def handle(self, envelope: Envelope, request: Any, responder: Responder) -> None:
        """Answer now or later."""
        answer = self._table.get(type(request))
        if answer is None:
            self._owner.supervisor_request(envelope.to or "/", request, responder)
        else:
            answer(request, responder)

    def _info(self, request: NodeInfo, responder: Responder) -> None:
        responder.reply(process_infos(self._owner.name, self._spawner, self._shell.roots))

    def _own(self, request: Own, responder: Responder) -> None:
        pid = self._owner.mailroom.add_host()
        responder.when_closed(lambda: self._owner.mailroom.remove_host(pid))
        responder.reply(pid)

    def _kill(self, request: KillProcess, responder: Responder) -> None:
        path, number = request.path, request.signal
        if number and number not in signal.valid_signals():  # 0 asks for the pid
            responder.fail(Failure("undecodable", f"there is no signal {number}"))
            return
        if path == "zygote":
            pid = self._spawner.zygote.pid
            kill_quietly(pid, number)
            responder.reply(pid)
            return
        for running in self._spawner.running.values():
            named = {running.path, running.child.name, running.process} - {""}
            if path in named and running.os_pid:
                self._spawner.kill(running, number)
                responder.reply(running.os_pid)
                return
        responder.fail(Failure("noproc", path))
