"""Servers that register, join groups, and watch them."""

from __future__ import annotations

from typing import Any

import otp


class Enter(otp.Request[str], frozen=True):
    """Register this key with this value; the reply is "", or the name of the error."""

    registry: str
    key: str
    value: str = ""
    unique: bool = True


class Leave(otp.Request[None], frozen=True):
    registry: str
    key: str


class Group(otp.Request[Any], frozen=True):
    """Do this with a group: join, leave, members, local_members, monitor, demonitor."""

    what: str
    group: str = ""


class Heard(otp.Request[list[str]], frozen=True):
    """All info messages so far."""


class Find(otp.Request[str], frozen=True):
    name: str


class Watch(otp.Request[int], frozen=True):
    registry: str
    key: str


class End(otp.Request[None], frozen=True):
    """Send an exit signal there."""

    to: str
    reason: str


class Note(otp.Message, frozen=True):
    text: str


class Guest(otp.GenServer):
    """Registers, joins, and remembers what it heard."""

    def __init__(self, key: str = "") -> None:
        self.heard: list[str] = []
        self.ref = 0
        if key:
            self.register("rooms", key)
            self.pg.join("guests")

    def handle_call(self, request: Asked, sender: otp.From[Any]) -> Any:
        match request:
            case Enter(registry, key, value, unique):
                return self.enter(registry, key, value, unique)
            case Leave(registry, key):
                self.unregister(registry, key)
                return None
            case Group(what, group):
                return self.group(what, group)
            case Find(name):
                return str(self.whereis(name))
            case Watch(registry, key):
                return self.monitor(otp.Via(registry, key))
            case End(to, reason):
                return self.exit(to, reason)
            case Heard():
                return self.heard

    def enter(self, registry: str, key: str, value: str, unique: bool) -> str:
        try:
            self.register(registry, key, {"value": value} if value else None, unique=unique)
        except (otp.AlreadyRegistered, ValueError) as error:
            return str(error)
        return ""

    def group(self, what: str, group: str) -> Any:
        if what == "monitor":
            self.ref, members = self.pg.monitor(group)
            return members
        if what == "demonitor":
            return self.pg.demonitor(self.ref)
        return getattr(self.pg, what)(group)

    def handle_info(self, message: Note | otp.GroupChanged | otp.Down) -> None:
        match message:
            case Note(text):
                self.heard.append(text)
            case otp.GroupChanged(ref, group, joined, left):
                assert ref == self.ref
                self.heard.append(f"{group} +{len(joined)} -{len(left)}")
            case otp.Down(_, process, reason):
                self.heard.append(f"down {process} {reason.kind}")


Asked = Enter | Leave | Group | Heard | Find | Watch | End
