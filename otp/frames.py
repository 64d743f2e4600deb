"""What the runtime's own processes say to each other.

`Envelope` travels between a worker, its mailroom, other nodes and clients; the control messages
travel on the socket pairs between a node, its zygote, its mailroom and its workers.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from otp.exporting import Exporting
from otp.frame_base import Control, Failure
from otp.lane_frames import (
    DialLane,
    LaneAsked,
    LaneFailed,
    LaneMade,
    LaneOpened,
    LaneRefused,
    LaneTo,
    OpenLane,
)
from otp.link_frames import Beat, KeepLinks, LinkDown, LinkUp, Rejected
from otp.logs_wire import Logs
from otp.messages import Reason, WireChild, WireSupervisor

__all__ = ["Control", "Failure"]  # looked for here, made below: lanes have frames of their own

# ---------------------------------------------------------------- frames

PROBE = "<probe>"
"""Who asks in an `Ask`: no process, so its answer goes to the node."""
CALL, CAST, INFO, REPLY, ERROR = 1, 2, 3, 4, 5
DOWN, EXIT, MONITOR, DEMONITOR, LINK, UNLINK = 6, 7, 8, 9, 10, 11
HELLO, MOVED, EXIT_SIGNAL, HEARTBEAT, LANE, GROUPS = 12, 13, 14, 15, 16, 17
TIES = frozenset({DOWN, EXIT, MONITOR, DEMONITOR, LINK, UNLINK, EXIT_SIGNAL, GROUPS})
"""Kinds that are about links, monitors and groups: for nodes; mailrooms pass them on."""
SIGNALS = TIES | {REPLY, ERROR, MOVED, HELLO}
"""Kinds that may use a queue's reserved room: they are never dropped silently."""

LEASH = b"leash"
"""The body of a MONITOR frame whose sender ends with the monitored one, whatever it is doing."""

MSGPACK, PICKLE, SYSTEM = 0, 1, 2
"""How a body is encoded; SYSTEM is msgpack for the loop of a server, not for its handlers."""
HOPS_MAX = 3
"""How often a message may be passed on between nodes before it is an error (a routing loop)."""


class Envelope(msgspec.Struct, array_like=True):
    """A routed frame: a router reads all but `body`. `to`, `frm`: addresses; `ttl`: ms left."""

    kind: int
    to: str
    frm: str
    ref: int
    ttl: int
    hops: int
    codec: int
    via: str
    body: bytes


# ---------------------------------------------------------------- a node's birth


class TlsPem(msgspec.Struct, frozen=True):
    """A node's certificate, its key and the authority that it trusts, as the files hold them."""

    cert: bytes
    key: bytes
    ca: bytes


class BootResult(msgspec.Struct, frozen=True):
    """Node to host, once: the tree is up, or what kept it from starting."""

    text: str = ""


class LastWords(msgspec.Struct, frozen=True):
    """Node to host, at most once, after `BootResult`: why the tree ended by itself."""

    text: str = ""


class Boot(msgspec.Struct, frozen=True):
    """What a node is told at its birth. `authkey` never appears in an argument or environment.

    `detached`: once the tree is up, the end of its host is not the node's.
    """

    name: str
    run_dir: str
    root: WireSupervisor
    authkey: bytes
    listen: str = ""
    peers: dict[str, str] = {}
    topologies: dict[str, bytes] = {}
    preload: tuple[str, ...] = ()
    sys_path: tuple[str, ...] = ()
    log: Literal["text", "json", "none"] = "text"
    metrics: Exporting | None = None
    detached: bool = False
    tls: TlsPem | None = None
    heartbeat: float = 10.0
    isolation: Literal["none", "pidns"] = "none"
    logs: Logs | None = None


# ---------------------------------------------------------------- node <-> zygote, node <-> worker


class Preload(Control, frozen=True):
    """Node to zygote: import these before the first fork. `path` becomes sys.path.

    `open_files` is the soft limit that the children get back: the node has raised its own.
    """

    modules: tuple[str, ...]
    path: tuple[str, ...]
    open_files: int = 0


class Restarted(Control, frozen=True):
    """Zygote to node: I start over as a fresh process and need `Preload` again."""


class Spawn(Control, frozen=True):
    """Node to zygote, with the child's socket ends: fork one child; `extra`: more arguments.

    `captured`: the last two descriptors are its standard output and its standard error.
    """

    serial: int
    process: str
    path: str
    child: WireChild
    role: Literal["worker", "program", "mailroom", "logger", "metrics", "probe"] = "worker"
    notify: str = ""
    node: str = ""
    fds: int = 1
    extra: bytes = b""
    captured: bool = False


class Kill(Control, frozen=True):
    """Node to zygote: signal a child; only its parent knows that the pid is still its own."""

    serial: int
    signal: int


class Forked(Control, frozen=True):
    """Zygote to node: the child exists. `pid` 0: the fork failed, `text` says why; without a
    text: it died before it took its job, which another one gets now."""

    serial: int
    pid: int
    text: str = ""


class Reaped(Control, frozen=True):
    """Zygote to node: the child and all that it left behind are gone; `status` as from wait."""

    serial: int
    status: int


class Unforkable(Control, frozen=True):
    """Zygote to node: this module starts threads when imported, so it is imported after forks."""

    module: str
    text: str


class Warm(Control, frozen=True):
    """Zygote to node: preloaded, ready to fork."""


class Began(Control, frozen=True):
    """Worker to node: `__init__` returned, it serves."""


class Ignored(Control, frozen=True):
    """Worker to node: `__init__` raised `Ignore`."""


class Ended(Control, frozen=True):
    """Worker to node: I end now, for this reason (`began` is False if that was in `__init__`)."""

    reason: Reason
    began: bool = True


class Heard(Control, frozen=True):
    """Worker to node: the signals up to this serial number have arrived."""

    serial: int


class Finish(Control, frozen=True):
    """Node to worker: shut down (OTP's exit signal `shutdown` from the supervisor)."""


class Rewire(Control, frozen=True):
    """Node to worker, with a socket end: this is the way to your new mailroom."""


class Ping(Control, frozen=True):
    """Node to worker, mailroom or zygote: does your loop still run? Answer `Pong`, at once."""

    serial: int


class Pong(Control, frozen=True):
    """The answer to the `Ping` with this number."""

    serial: int


class Ask(Control, frozen=True):
    """Node to worker: handle this call in its turn; only whether it is answered counts."""

    ref: int
    codec: int
    body: bytes


class Answered(Control, frozen=True):
    """Worker to node: an `Ask` was handled; `problem` says why it was refused, or nothing."""

    ref: int
    problem: str = ""


class WatchNodes(Control, frozen=True):
    """Worker to node: tell me when a link to another node is up or lost (or no more)."""

    on: bool


# ---------------------------------------------------------------- node <-> mailroom


class Serve(Control, frozen=True):
    """Node to mailroom, with the listening sockets: what a mailroom needs to know at its start."""

    node: str
    creation: str
    authkey: bytes
    peers: dict[str, str]
    topologies: dict[str, bytes]
    listen: str
    tls: TlsPem | None = None


class Attach(Control, frozen=True):
    """Node to mailroom, with the process's socket end: these addresses lead to it."""

    process: str
    addresses: tuple[str, ...]


class Route(Control, frozen=True):
    """Node to mailroom: these addresses (supervisors) are served by the node itself."""

    addresses: tuple[str, ...]
    remove: bool = False


class Alias(Control, frozen=True):
    """Node to mailroom: one more address (a written `Via`) of a process, or one less."""

    process: str
    address: str
    remove: bool = False


class Detach(Control, frozen=True):
    """Node to mailroom: the process is gone; whoever still waits for it is told `reason`."""

    process: str
    reason: Reason


class Post(Control, frozen=True):
    """An encoded envelope: mailroom to node and back; a worker's links and monitors to its node.

    `remote`: it came over a network.
    """

    envelope: bytes
    remote: bool = False


class Locate(Control, frozen=True):
    """Node to mailroom: where does the topology say that this key is?"""

    number: int
    via: str


class Located(Control, frozen=True):
    """Mailroom to node: there; empty where it is nowhere."""

    number: int
    address: str


class Overflowed(Control, frozen=True):
    """Mailroom to node: what this worker must not miss found no room; it cannot go on."""

    process: str
    text: str


class Dropped(Control, frozen=True):
    """Mailroom to node: so many messages to this address found its queue full."""

    address: str
    count: int


FromZygote = Forked | Reaped | Unforkable | Warm | Restarted | Pong
FromWorker = Began | Ignored | Ended | Post | Heard | Pong | Answered | OpenLane | WatchNodes
ToWorker = Finish | Rewire | Ping | Ask | LaneOpened | LaneRefused | LaneAsked
ToMailroom = (
    Serve
    | Attach
    | Alias
    | Locate
    | Route
    | Detach
    | Post
    | Finish
    | Beat
    | Ping
    | DialLane
    | KeepLinks
)
FromMailroom = (
    Began
    | Ended
    | Ignored
    | Post
    | LinkUp
    | LinkDown
    | Overflowed
    | Dropped
    | Located
    | Rejected
    | Beat
    | Pong
    | LaneMade
    | LaneFailed
    | LaneTo
)
