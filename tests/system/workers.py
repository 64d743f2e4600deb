"""What the system tests run in processes of their own: servers, functions, and bad company."""

from __future__ import annotations

import os
import stat
import sys
import threading
from typing import Any

import otp


def wait_for_ever() -> None:
    """Do nothing until a signal ends us; `signal.pause` would return after a handled one."""
    threading.Event().wait()


class Add(otp.Request[int], frozen=True):
    n: int


class Pid(otp.Request[int], frozen=True):
    """The OS pid."""


class Echo(otp.Request[bytes], frozen=True):
    body: bytes


class Crash(otp.Request[None], frozen=True):
    text: str


class Leave(otp.Request[None], frozen=True):
    """Raise Stop with this reason; exits with sys.exit where it is "exit"."""

    reason: str


class Block(otp.Request[None], frozen=True):
    """Never reply, and never read again."""


class Later(otp.Request[str], frozen=True):
    """Reply from a timer."""

    seconds: float


class Waiting(otp.Request[int], frozen=True):
    """How many callers wait for a late reply."""


class Answer(otp.Message, frozen=True):
    """The timer's message to itself."""


class Wrong(otp.Request[int], frozen=True):
    """Is answered by something else than it declares."""


class Odd(otp.Request[int], frozen=True):
    """Is answered by what only a pickle can hold."""


class Note(otp.Message, frozen=True):
    """Anything, by cast or send."""

    text: str


class Noted(otp.Request[list[str]], frozen=True):
    """What has been noted so far."""


class Unknown(otp.Request[None], frozen=True):
    """A request that no server here accepts."""


class Poor(Exception):
    """An exception that servers refuse with."""

    def __init__(self, need: int, have: int) -> None:
        super().__init__(need, have)
        self.need, self.have = need, have


class Spend(otp.Request[int], frozen=True):
    n: int


class Counter(otp.GenServer):
    """Counts, and does on request what one should not do."""

    refuses = (Poor,)

    def __init__(self, start: int = 0) -> None:
        self.count = start
        self.notes: list[str] = []
        self.waiting: list[otp.From[str]] = []

    def handle_call(self, request: Calls, sender: otp.From[Any]) -> Any:
        match request:
            case Add(n):
                self.count += n
                return self.count
            case Pid():
                return os.getpid()
            case Echo(body):
                return body
            case Crash("surrogate"):
                raise ValueError("half a pair: \ud800")
            case Crash(text):
                raise ValueError(text)
            case Leave("exit"):
                sys.exit("left")
            case Leave(reason):
                raise otp.Stop(reason)
            case Block():
                wait_for_ever()
            case Later(seconds):
                self.waiting.append(sender)
                self.send_after(seconds, Answer())
                return otp.NoReply
            case Waiting():
                return len(self.waiting)
            case Odd():
                return object
            case Wrong():
                return "no number"
            case Noted():
                return self.notes
            case Spend(n):
                if n > self.count:
                    raise Poor(n, self.count)
                self.count -= n
                return self.count

    def handle_cast(self, message: Note) -> None:
        self.notes.append(f"cast {message.text}")

    def handle_info(self, message: Note | Answer) -> None:
        if isinstance(message, Note):
            self.notes.append(f"info {message.text}")
            return
        for sender in self.waiting:
            sender.reply("later")


Calls = Add | Pid | Echo | Crash | Leave | Block | Later | Waiting | Odd | Wrong | Noted | Spend


# ---------------------------------------------------------------- links, monitors, other servers


class Watch(otp.Request[int], frozen=True):
    to: str


class WatchVia(otp.Request[int], frozen=True):
    key: str


class Unwatch(otp.Request[None], frozen=True):
    ref: int


class Tie(otp.Request[None], frozen=True):
    to: str


class Untie(otp.Request[None], frozen=True):
    to: str


class Seen(otp.Request[list[str]], frozen=True):
    """All signals that came: "down REF PROCESS KIND" and "exit PROCESS KIND"."""


class Ask(otp.Request[str], frozen=True):
    """Call Add(n) there; the reply is the sum, or the name of the error."""

    to: str
    n: int
    seconds: float = 5.0


class AskVia(otp.Request[str], frozen=True):
    """The same by key."""

    key: str
    n: int


class Pursue(otp.Request[str], frozen=True):
    """The same by send_request: the reply comes when that one has."""

    to: str
    n: int


class Watcher(otp.GenServer):
    """Traps exits and remembers what it heard."""

    trap_exit = True

    def __init__(self) -> None:
        self.seen: list[str] = []

    def handle_call(self, request: Asked, sender: otp.From[Any]) -> Any:
        match request:
            case Watch(to):
                return self.monitor(to)
            case WatchVia(key):
                return self.monitor(otp.Via("keys", key))
            case Unwatch(ref):
                self.demonitor(ref)
            case Tie(to):
                self.link(to)
            case Untie(to):
                self.unlink(to)
            case Seen():
                return self.seen
            case Pid():
                return os.getpid()
            case Ask(to, n, seconds):
                return self.asked(to, n, seconds)
            case AskVia(key, n):
                return self.asked(otp.Via("keys", key), n, 5.0)
            case Pursue(to, n):
                self.send_request(to, Add(n), lambda r, e: sender.reply(_said(r, e)))
                return otp.NoReply
        return None

    def asked(self, to: otp.messages.Address, n: int, seconds: float) -> str:
        try:
            return str(self.call(to, Add(n), timeout=seconds))
        except otp.OtpError as error:
            return type(error).__name__

    def handle_info(self, message: otp.Down | otp.Exit) -> None:
        if isinstance(message, otp.Down):
            self.seen.append(f"down {message.ref} {message.process} {message.reason.kind}")
        else:
            self.seen.append(f"exit {message.process} {message.reason.kind}")


Asked = Watch | WatchVia | Unwatch | Tie | Untie | Seen | Pid | Ask | AskVia | Pursue


class Frail(Watcher):
    """Ends with those it is linked to."""

    trap_exit = False


def _said(reply: Any, error: Exception | None) -> str:
    return str(reply) if error is None else type(error).__name__


class Hire(otp.Request[str], frozen=True):
    """Ask the supervisor at this address for one more Counter; the reply is its path."""

    supervisor: str
    id: str


class Boss(otp.GenServer):
    """A worker that asks supervisors for children."""

    def handle_call(self, request: Hire, sender: otp.From[str]) -> str:
        start = otp.start_child(otp.ChildSpec(request.id, Counter))
        try:
            info: otp.ChildInfo = self.call(request.supervisor, start)
        except otp.SupervisorError as error:
            return error.reason
        return f"{request.supervisor}/{info.id}"


class Raves(otp.GenServer):
    """Says what no worker should, to its node or its mailroom."""

    def handle_call(self, request: Pid, sender: otp.From[int]) -> int:
        return os.getpid()

    def handle_cast(self, message: Note) -> None:
        where, what = message.text.split()
        fds = [int(fd) for fd in os.listdir("/proc/self/fd") if _is_socket(int(fd))]
        control, mail = sorted(fds)
        data = b"\x00\x00\x00\x04junk" if what == "frame" else b"\xff" * 100
        os.write(control if where == "control" else mail, data)


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:  # that of the listing itself
        return False


# ---------------------------------------------------------------- keys


class Keys:
    """A topology: every key belongs to the manager of one node."""

    def __init__(self, manager: str) -> None:
        self.manager = manager

    def locate(self, via: otp.Via) -> str | None:
        if via.key == "raise":
            raise RuntimeError("a topology that fails")
        if via.key == "round":
            return "via:keys:round"
        return None if via.key == "nobody" else self.manager


class BrokenKeys:
    """A topology that cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no map")


class Manager(otp.GenServer):
    """Passes everything on to one server, and counts how much it passed."""

    def __init__(self, to: str) -> None:
        self.to, self.passed = to, 0

    def handle_forward(self, message: otp.Forwarded) -> None:
        if message.via.key == "full":
            message.overloaded("one in its queue")
            return
        self.passed += 1
        message.pass_on(self.to)

    def handle_call(self, request: Noted, sender: otp.From[list[str]]) -> list[str]:
        return [str(self.passed)]


# ---------------------------------------------------------------- other nodes


class WatchNodes(otp.Request[None], frozen=True):
    on: bool


class NodesSeen(otp.Request[list[str]], frozen=True):
    """What was heard of other nodes: "NodeUp b"."""


class Known(otp.Request[list[str]], frozen=True):
    """The own node's links."""


class Find(otp.Request[str | None], frozen=True):
    address: str


class NodeWatcher(otp.GenServer):
    """Hears of other nodes."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def handle_call(
        self, request: WatchNodes | NodesSeen | Known | Find, sender: otp.From[Any]
    ) -> Any:
        match request:
            case WatchNodes(on):
                self.monitor_nodes(on)
            case NodesSeen():
                return self.seen
            case Known():
                return self.nodes()
            case Find(address):
                return self.whereis(address)
        return None

    def handle_info(self, message: otp.NodeUp | otp.NodeLost) -> None:
        self.seen.append(f"{type(message).__name__} {message.node}")


NODE_WATCHERS = otp.Supervisor("root", children=[otp.ChildSpec("watcher", NodeWatcher)])
