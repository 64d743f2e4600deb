"""What a node answers on its control socket: one entry in a table for each request."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Protocol

from otp.control import Responder
from otp.frames import Boot, Envelope, Failure
from otp.mailroom_link import MailroomLink
from otp.messages import (
    Declared,
    GetDeclared,
    KillProcess,
    NodeInfo,
    Own,
    Reload,
    Reloaded,
    StopNode,
    Subscribe,
    WireSupervisor,
)
from otp.node_view import process_infos
from otp.reload import Reloading, digest
from otp.spawner import Spawner
from otp.supervisor import Shell, Unit
from otp.zygote import kill_quietly

OWN = ("mailroom", "logger", "metrics")


class Owner(Protocol):
    """What requests need of their node."""

    name: str
    mailroom: MailroomLink
    declared: WireSupervisor

    def supervisor_request(self, address: str, request: Any, responder: Any) -> None: ...
    def unit_at(self, address: str) -> Unit | None: ...
    def stop_for(self, responder: Responder) -> None: ...


class Requests:
    """Decoded requests in, answers out. What is not in the table is for a supervisor."""

    def __init__(self, owner: Owner, boot: Boot, spawner: Spawner, shell: Shell) -> None:
        self._owner, self._boot, self._spawner, self._shell = owner, boot, spawner, shell
        self._reloading = False
        self._table: dict[type, Callable[[Any, Responder], None]] = {
            NodeInfo: self._info,
            Subscribe: lambda _, responder: responder.reply(None),
            StopNode: lambda _, responder: owner.stop_for(responder),
            KillProcess: self._kill,
            Own: self._own,
            GetDeclared: self._declared,
            Reload: self._reload,
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

    def _declared(self, request: GetDeclared, responder: Responder) -> None:
        boot = self._boot
        tree = self._owner.declared
        responder.reply(Declared(tree, boot.listen, boot.peers, boot.preload))

    def _reload(self, request: Reload, responder: Responder) -> None:
        owner = self._owner

        def finished(outcome: Reloaded) -> None:
            self._reloading = False
            responder.reply(outcome)

        if self._reloading:
            responder.reply(Reloaded(0, 0, "another reload is under way"))
        elif digest(owner.declared) != request.seen:
            responder.reply(Reloaded(0, 0, "the tree was changed meanwhile; look again"))
        elif owner.unit_at("/") is None:
            responder.reply(Reloaded(0, 0, "the tree is not up at this moment; try again"))
        else:
            try:
                reloading = Reloading(owner, request.tree, finished)
            except ValueError as error:
                responder.reply(Reloaded(0, 0, str(error)))
                return
            self._reloading = True
            reloading.begin()

    def _kill(self, request: KillProcess, responder: Responder) -> None:
        path, number = request.path, request.signal
        if number and number not in signal.valid_signals():  # 0 asks for the pid
            responder.fail(Failure("undecodable", f"there is no signal {number}"))
            return
        if path == "zygote":
            pid = self._spawner.zygote_pid
            kill_quietly(pid, number)
            responder.reply(pid)
            return
        # A child that is named as a part of the node is goes before it.
        for running in sorted(self._spawner.running.values(), key=lambda r: r.child.kind in OWN):
            named = {running.path, running.child.name, running.process} - {""}
            if path in named and running.os_pid:
                self._spawner.kill(running, number)
                responder.reply(running.os_pid)
                return
        responder.fail(Failure("noproc", path))
