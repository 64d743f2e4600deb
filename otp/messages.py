"""All that crosses a process boundary.

Here is what a user may see: `Request`, `Message`, `Down`, `Exit`, the reports, and the requests to
supervisors and nodes. What the runtime says to itself is in `frames`, kept apart for its length.
"""

from __future__ import annotations

from typing import Generic, Literal, NewType, TypeVar

import msgspec

from otp.wire_tree import WireChild as WireChild  # noqa: PLC0414  so it may be had from here
from otp.wire_tree import WireSupervisor as WireSupervisor  # noqa: PLC0414

R = TypeVar("R")

Pid = NewType("Pid", str)
Pid.__doc__ = """One process, for its whole life: `<creation.serial@node>`; usable as an address."""

ReasonKind = Literal["normal", "shutdown", "killed", "crash", "noconnection", "noproc"]


class Reason(msgspec.Struct, frozen=True):
    """Why a process ended: OTP's word, and what there is to say about it."""

    kind: ReasonKind
    text: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.text else self.kind


NORMAL = Reason("normal")
SHUTDOWN = Reason("shutdown")
KILLED = Reason("killed")
NOPROC = Reason("noproc")
NOCONNECTION = Reason("noconnection")


def stop_reason(word: str) -> Reason:
    """The reason that a `Stop` or an exit signal names: "kill" and "shutdown: text" among them."""
    kind, _, text = word.partition(":")
    if kind == "shutdown":
        return Reason("shutdown", text.strip())
    known = {"normal": NORMAL, "kill": KILLED}
    return known.get(word, Reason("crash", word))


class Request(msgspec.Struct, Generic[R], frozen=True, tag=True):
    """A call's question; the type of its reply rides on it: `class Add(otp.Request[int])`."""


class Message(msgspec.Struct, frozen=True, tag=True):
    """A cast or an info message that may travel between nodes."""


class Down(Message, frozen=True, tag="otp.Down"):
    """A monitored process is gone; arrives once per monitor, as an info message."""

    ref: int
    process: str
    reason: Reason


class Exit(Message, frozen=True, tag="otp.Exit"):
    """A linked process is gone; an info message where `trap_exit` is set, else it ends us too."""

    process: str
    reason: Reason


class Timeout(Message, frozen=True, tag="otp.Timeout"):
    """Nothing has arrived for the server's `idle_timeout`; an info message of its own."""


class Via(msgspec.Struct, frozen=True):
    """An address by key: the topology of `group` says which node holds `key` at this moment."""

    group: str
    key: str


Address = str | Via

# ---------------------------------------------------------------- reports


class Report(msgspec.Struct, frozen=True, tag=True):
    """What an operator can see; log, `otp top`, metrics and tests read this one stream.

    `path` is the child's path from the root's id on (`root/pool/w1`), `at` seconds since the epoch.
    """

    path: str
    at: float


class ChildStarted(Report, frozen=True):
    """A child is up (and ready, where it says when that is). `pid` is the OS pid, 0: supervisor."""

    pid: int = 0
    restarts: int = 0


class ChildExited(Report, frozen=True):
    """A child that had started is gone; `restart` says whether its supervisor restarts it."""

    pid: int = 0
    reason: Reason = NORMAL
    restart: bool = False


class ChildStartFailed(Report, frozen=True):
    """A start did not succeed; `reason` says why."""

    reason: Reason = NORMAL


class GaveUp(Report, frozen=True):
    """A supervisor had more restarts than its intensity allows, stopped its children and left."""

    reason: Reason = SHUTDOWN


class RestartDelayed(Report, frozen=True):
    """A child that has ended is started again only in so many `seconds`; `text` says why."""

    seconds: float = 0.0
    text: str = ""


class EssentialEnded(Report, frozen=True):
    """An essential child has ended for good: the node stops, and exits with this code."""

    reason: str = ""
    exit_code: int = 0


class NodeFault(Report, frozen=True):
    """The node lost its zygote or mailroom, or found something wrong with itself; it goes on."""

    text: str = ""


class MessagesDropped(Report, frozen=True):
    """A queue to `path` was full: casts were dropped, calls refused (`Overloaded`)."""

    count: int = 0


class PeerUp(Report, frozen=True):
    """The link to another node is up; `path` is that node's name."""


class PeerDown(Report, frozen=True):
    """The link to another node is lost; `path` is that node's name."""

    text: str = ""


class StrangerRejected(Report, frozen=True):
    """Somebody without the key or the certificate was turned away from the door of the network.

    `path` is their address, `count` how many of them since this was last said, at most once a
    minute; `text` what was wrong with the last.
    """

    count: int = 1
    text: str = ""


AnyReport = (
    ChildStarted
    | ChildExited
    | ChildStartFailed
    | GaveUp
    | RestartDelayed
    | EssentialEnded
    | NodeFault
    | MessagesDropped
    | PeerUp
    | PeerDown
    | StrangerRejected
)

# ---------------------------------------------------------------- control socket and supervisor API


class ChildInfo(msgspec.Struct, frozen=True):
    """One child as its supervisor sees it; `process` is None unless it runs."""

    id: str
    state: Literal["running", "restarting", "undefined"]
    type: Literal["worker", "supervisor"]
    process: str | None = None
    pid: int | None = None


class ChildCounts(msgspec.Struct, frozen=True):
    """OTP's count_children."""

    specs: int
    active: int
    supervisors: int
    workers: int


class StartChild(Request[ChildInfo], frozen=True, tag="otp.StartChild"):
    """Ask a supervisor to add and start a child."""

    child: WireChild | WireSupervisor


class StartDynamic(Request[ChildInfo], frozen=True, tag="otp.StartDynamic"):
    """Ask a simple_one_for_one supervisor for one more child, with these arguments."""

    label: str
    args: bytes


class TerminateChild(Request[None], frozen=True, tag="otp.TerminateChild"):
    """Stop a child; its spec stays (unless it is temporary)."""

    id: str


class RestartChild(Request[ChildInfo], frozen=True, tag="otp.RestartChild"):
    """Start a stopped child again."""

    id: str


class DeleteChild(Request[None], frozen=True, tag="otp.DeleteChild"):
    """Forget a stopped child."""

    id: str


class WhichChildren(Request[list[ChildInfo]], frozen=True, tag="otp.WhichChildren"):
    """The children in start order."""


class CountChildren(Request[ChildCounts], frozen=True, tag="otp.CountChildren"):
    """How many specs, active children, supervisors and workers."""


class GetChildSpec(Request[WireChild | WireSupervisor], frozen=True, tag="otp.GetChildSpec"):
    """The specification of a child; of a simple_one_for_one supervisor's any child: its template.

    `id` may be the pid of a dynamic child. What comes back can be given to `StartChild`.
    """

    id: str


class ProcessInfo(msgspec.Struct, frozen=True):
    """A row of `otp tree` and `otp ps`; supervisors have pid 0.

    `restart` is that of its spec, `dynamic` whether it is one of many of one template; both only
    where it runs. `next_start`: when a child that waits for its restart gets it (0: it does not).
    """

    path: str
    type: Literal["worker", "program", "supervisor", "mailroom", "logger", "zygote", "node"]
    state: str
    pid: int
    process: str
    restarts: int
    started: float
    last_exit: str = ""
    name: str = ""
    restart: str = ""
    dynamic: bool = False
    next_start: float = 0.0


class NodeInfo(Request[list[ProcessInfo]], frozen=True, tag="otp.NodeInfo"):
    """Every process of the node, in tree order."""


class KillProcess(Request[int], frozen=True, tag="otp.KillProcess"):
    """kill -9 the process at this path (also `mailroom`, `zygote`); the reply is its OS pid.

    `signal`: another one instead; 0 sends none, as for `kill`.
    """

    path: str
    signal: int = 9


class StopNode(Request[None], frozen=True, tag="otp.StopNode"):
    """Stop the tree in reverse order, then the node; the reply comes when the tree is down."""


class Own(Request[str], frozen=True, tag="otp.Own"):
    """This connection counts as a process from now on: its pid. What it has linked ends with it."""


class Subscribe(Request[None], frozen=True, tag="otp.Subscribe"):
    """From now on send me every report."""


class RecentReports(Request[list[AnyReport]], frozen=True, tag="otp.RecentReports"):
    """The last `count` reports that the node keeps; with `follow`, also every one from now on."""

    count: int
    follow: bool = False


class Declared(msgspec.Struct, frozen=True):
    """What a node was told to run, as `reload` has changed it since; and of its own options."""

    tree: WireSupervisor
    listen: str = ""
    peers: dict[str, str] = {}
    preload: tuple[str, ...] = ()


class GetDeclared(Request[Declared], frozen=True, tag="otp.GetDeclared"):
    """The tree as it is declared: what requests have added or deleted is not in it."""


class Reloaded(msgspec.Struct, frozen=True):
    """How far a reload came: `done` of `changes`; `problem` is what it stopped at, if anything."""

    changes: int
    done: int
    problem: str = ""


class Reload(Request[Reloaded], frozen=True, tag="otp.Reload"):
    """Change the declared tree into this one; the reply comes when that is done, or has failed.

    `seen` is the digest of the declared tree that the asker has seen; if it is another by now,
    nothing is done.
    """

    tree: WireSupervisor
    seen: bytes


SupervisorRequest = (
    StartChild
    | StartDynamic
    | TerminateChild
    | RestartChild
    | DeleteChild
    | WhichChildren
    | CountChildren
    | GetChildSpec
)
NodeRequest = (
    NodeInfo | KillProcess | StopNode | Own | Subscribe | RecentReports | GetDeclared | Reload
)
