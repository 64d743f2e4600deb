"""Registry: processes found by name or key, for as long as they live.

    import otp

    class Get(otp.Request[str], frozen=True):
        pass

    class Room(otp.GenServer):
        def __init__(self, name: str) -> None:
            self.name = name
            self.register("rooms", name)                       # unique: AlreadyRegistered if taken
            self.register("events", "all", name, unique=False)  # many may have this one

        def handle_call(self, request: Get, sender: otp.From[str]) -> str:
            return self.name

    tree = otp.Supervisor("root", children=[
        otp.ChildSpec("one", Room, args={"name": "lobby"}),
        otp.ChildSpec("two", Room, args={"name": "attic"}),
    ])

    if __name__ == "__main__":
        with otp.start(tree) as node:
            assert node.call(otp.Via("rooms", "attic"), Get()) == "attic"
            assert node.lookup("rooms", "attic") == [(node.whereis("two"), None)]
            assert [name for _, name in node.lookup("events", "all")] == ["lobby", "attic"]

A registry is there when it has an entry, and the first one decides whether its keys are unique. It
belongs to one node, which holds the entries of the processes that it supervises: none is left when
its process has ended, and none is lost with a mailroom. Keys are text; values are anything small.
"""

from __future__ import annotations

from typing import Any

import msgspec

from otp import codec, pickling
from otp.errors import AlreadyRegistered
from otp.frames import PICKLE
from otp.messages import Pid
from otp.node_messages import NODE
from otp.services import Entry, KeysOf, Lookup, Register, Unregister, Value

_decode_any = msgspec.msgpack.Decoder().decode


def found(entries: list[Entry]) -> list[tuple[Pid, Any]]:
    """What a lookup gives: pids and values."""
    return [(Pid(entry.pid), _load(entry.value)) for entry in entries]


def _load(value: Value) -> Any:
    decode = pickling.loads if value.codec == PICKLE else _decode_any
    return decode(value.body)


class FindsNames:
    """What a server and a node's handle have in common: they find processes."""

    def _otp_ask(self, to: str, request: Any) -> Any:
        raise NotImplementedError

    def _otp_tell(self, to: str, message: Any) -> None:
        raise NotImplementedError

    def lookup(self, registry: str, key: str) -> list[tuple[Pid, Any]]:
        """(pid, value) of all that are registered under this key, the first one first."""
        return found(self._otp_ask(NODE, Lookup(registry, key)))

    def registered_keys(self, registry: str, pid: str) -> list[str]:
        """The keys under which that process is registered there."""
        keys: list[str] = self._otp_ask(NODE, KeysOf(registry, pid))
        return keys

    def dispatch(self, registry: str, key: str, message: Any) -> int:
        """Send this to all that are registered under this key; how many they are."""
        entries = self._otp_ask(NODE, Lookup(registry, key))
        for entry in entries:
            self._otp_tell(entry.pid, message)
        return len(entries)


class RegistersNames(FindsNames):
    """A server can be found, too."""

    def register(self, registry: str, key: str, value: Any = None, *, unique: bool = True) -> None:
        """Be found under this key until we end or `unregister`; again: with the new value.

        A unique key is an address: `otp.Via(registry, key)`. Raises AlreadyRegistered where
        another process has it, ValueError where the registry's keys are of the other kind.
        """
        how, body = codec.dump_reply(None, value)
        request = Register(registry, key, Value(how, body), unique)
        holder = self._otp_ask(NODE, request)
        if holder:
            raise AlreadyRegistered(registry=registry, key=key, holder=holder)

    def unregister(self, registry: str, key: str) -> None:
        """Be found there no more; nothing happens if we were not."""
        self._otp_ask(NODE, Unregister(registry, key))
