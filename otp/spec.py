"""Supervision trees as data: `Supervisor` and `ChildSpec`, and the options of a node.

A tree is written in Python with these structs, or in YAML (see `yaml_tree`), field for field the
same. Nothing is checked while structs are made; `checks.check` looks at a whole tree and tells all
that is wrong with it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from otp import sizes
from otp.care import Backoff, Liveness, Ready, made
from otp.durations import normalise

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]
Isolation: TypeAlias = Literal["none", "pidns"]
Output: TypeAlias = Literal["auto", "terminal", "json", "none", "inherit"]
Start: TypeAlias = type | Callable[..., Any] | str

SHUTDOWN_WORDS = ("brutal_kill", "infinity")


class _Started(msgspec.Struct, frozen=True):
    """The two fields of a child that also go by position."""

    id: str
    start: Start | None = None


class ChildSpec(_Started, frozen=True, kw_only=True):
    """One child: a Python worker (`start`, `args`) or any program (`command`).

    `start` is a class, a function, or text "module:Class". `shutdown` is how long the child may
    take to stop before it is killed; durations are seconds or text ("200ms") and are floats once
    the struct is made. `name` registers the child under a name besides its path. `stop_signal` is
    for commands; `env` and `cwd` for workers too.

    So are these: `env_file` (see `envfile`; read when the tree is loaded, `env` goes before it),
    `user` ("www-data", "1000:1000"; needs root; HOME, USER and LOGNAME follow it), `umask` (text,
    octal: "022"), `nice` (from -20 to 19), `rlimits` (see `limits.RLIMITS`; whole numbers, sizes
    such as "512M", or "infinity"; soft and hard), `stdin` (a file; by default nothing can be read),
    `memory_max` (bytes or "512M": the child with all below it is killed when it has more).

    `ready` says when it counts as started ("notify", or see `Ready`), `liveness` what must stay
    true of it (see `Liveness`). For workers: `heartbeat`, how long their loop may take to answer
    before they count as hung and are killed; `start_timeout`, how long `__init__` may take.

    `backoff`: pauses between restarts (see `Backoff`; by default that of its supervisor).
    `essential`: when it ends for good (not restarted, or given up), the node stops in order and
    exits with its code (128 + signal; 1 for a crash of a worker). `replicas`: so many of it, see
    `otp.replicas`.
    """

    args: dict[str, Any] = msgspec.field(default_factory=dict)
    command: Sequence[str] | None = None
    env: dict[str, str] = msgspec.field(default_factory=dict)
    cwd: str | None = None
    restart: Restart = "permanent"
    shutdown: float | str = 5.0
    significant: bool = False
    name: str | None = None
    stop_signal: str = "SIGTERM"
    env_file: str | None = None
    user: str | None = None
    umask: str | None = None
    nice: int | None = None
    rlimits: dict[str, int | str] = msgspec.field(default_factory=dict)
    stdin: str | None = None
    memory_max: int | str | None = None
    ready: Ready | Mapping[str, Any] | Literal["notify"] | None = None
    liveness: Liveness | Mapping[str, Any] | None = None
    heartbeat: float | str | None = None
    start_timeout: float | str = "infinity"
    backoff: Backoff | Mapping[str, Any] | None = None
    essential: bool = False
    replicas: int | None = None

    def __post_init__(self) -> None:
        durations = ("shutdown", "heartbeat", "start_timeout")
        normalise(self, durations=durations, sequences=("command",))
        msgspec.structs.force_setattr(self, "memory_max", sizes.normal(self.memory_max))
        ready = {"notify": True} if self.ready == "notify" else self.ready
        msgspec.structs.force_setattr(self, "ready", made(Ready, ready))
        msgspec.structs.force_setattr(self, "liveness", made(Liveness, self.liveness))
        msgspec.structs.force_setattr(self, "backoff", made(Backoff, self.backoff))


class TopologySpec(msgspec.Struct, frozen=True):
    """What places the keys of one `Via` group: a class with `locate`, or its "module:Class"."""

    start: Start
    args: dict[str, Any] = msgspec.field(default_factory=dict)


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files: a node's certificate (with what leads to its authority), its key, the authority.

    The key must be 0600. The certificate is for the node that it names (`otp://NAME`, or CN).
    """

    cert: str
    key: str
    ca: str


class MetricsSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node shows its metrics: `listen` over HTTP, or a `textfile` written anew each time.

    `listen` ("127.0.0.1:9464") answers at /metrics; `textfile` is for node_exporter's collector
    and written every `interval`; it is removed when the node ends. Under `isolation: pidns` there
    is no memory and no CPU in it.
    """

    listen: str | None = None
    textfile: str | None = None
    interval: float | str = 15.0

    def __post_init__(self) -> None:
        normalise(self, durations=("interval",))


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of what children write to stdout and stderr: the `logs:` of a node.

    `output` is where each line goes at once: "terminal" (`path | line`), "json" (an object on a
    line), "auto" (the first on a terminal, else the second), "none", or "inherit": children write
    to the node's own streams, and nothing is captured. Lines are also kept in files in `dir` (by
    default in the run directory, gone with it), one for each child, rotated at `max_bytes`; of
    each there are `files` in all, 0 for none.

    A worker's `logging` needs no more than `logging.basicConfig(format="%(levelname)s %(name)s:
    %(message)s")` in its `__init__`: its path, the time and the node are added to every line.
    """

    output: Output = "auto"
    dir: str | None = None
    max_bytes: int | str = 1024 * 1024
    files: int = 5

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "max_bytes", sizes.normal(self.max_bytes))


class NodeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is told besides its tree: the `node:` of a YAML root, keywords of `otp.start`.

    `listen` ("127.0.0.1:7000") is where other nodes reach it, `peers` their names and addresses,
    `topologies` the placement of each `Via` group, `preload` modules that the zygote imports. Nodes
    know each other by `authkey_file` or, off loopback always, by the certificates of `tls`;
    `insecure: true` is what a network takes where everybody may read and forge all messages. A
    mailroom that does not answer for `heartbeat` seconds is replaced; a zygote is told to go on,
    and at last killed.
    `isolation` "pidns" puts all that the node starts into a PID namespace: even if node and zygote
    are killed at the same moment, nothing is left. `metrics` is a MetricsSpec, or text: where to
    listen. `logs` captures what children write; `otp run` does so by default, `otp.start` when
    asked.
    """

    name: str = "local"
    listen: str | None = None
    peers: dict[str, str] = msgspec.field(default_factory=dict)
    authkey_file: str | None = None
    topologies: dict[str, TopologySpec] = msgspec.field(default_factory=dict)
    preload: Sequence[str] = ()
    run_dir: str | None = None
    tls: TlsFiles | None = None
    insecure: bool = False
    heartbeat: float | str = 10.0
    isolation: Isolation = "none"
    metrics: MetricsSpec | Mapping[str, Any] | str | None = None
    logs: LogOptions | None = None

    def __post_init__(self) -> None:
        normalise(self, durations=("heartbeat",), sequences=("preload",))
        metrics = {"listen": self.metrics} if isinstance(self.metrics, str) else self.metrics
        msgspec.structs.force_setattr(self, "metrics", made(MetricsSpec, metrics))


class Supervisor(msgspec.Struct, frozen=True):
    """Children and what happens when one of them ends; the defaults are OTP's.

    More than `max_restarts` restarts within `max_seconds`, and it stops its children and gives up;
    with `give_up: "wait 30s"` it goes on instead: the child that was too much stays down that long
    and is then tried again, with all restarts forgotten. `backoff` is the default for its children.
    `essential`: when it gives up, or ends and is not restarted, the node stops. `node` is allowed
    at the root only.
    """

    id: str
    children: Sequence[ChildSpec | Supervisor] = ()
    strategy: Strategy = "one_for_one"
    max_restarts: int = 1
    max_seconds: float | str = 5.0
    auto_shutdown: AutoShutdown = "never"
    restart: Restart = "permanent"
    shutdown: float | str = "infinity"
    significant: bool = False
    name: str | None = None
    backoff: Backoff | Mapping[str, Any] | None = None
    give_up: str = "exit"
    essential: bool = False
    node: NodeOptions | None = None

    def __post_init__(self) -> None:
        normalise(self, durations=("shutdown", "max_seconds"), sequences=("children",))
        msgspec.structs.force_setattr(self, "backoff", made(Backoff, self.backoff))


Spec: TypeAlias = ChildSpec | Supervisor


def paths(tree: Supervisor) -> Iterator[tuple[str, Spec]]:
    """Every child below the root with its path ("pool/w1"), in start order, parents first.

    The one child of a simple_one_for_one supervisor, a template, is among them.
    """
    for child in tree.children:
        yield child.id, child
        if isinstance(child, Supervisor):
            yield from ((f"{child.id}/{path}", spec) for path, spec in paths(child))
