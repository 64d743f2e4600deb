"""What a supervisor's state machine is told, what it asks for, and what it answers. Pure data.

The shell around a machine gives it *inputs* and carries out the *effects* that come back:

    Start      -> later exactly one of Started, Ignored, StartFailed for that key
    Stop       -> later exactly one Exited for that key and pid; StopMany: one for each of its stops
    Requeue    -> its input, after everything that has already arrived for this machine
    Delay      -> its input, after its time
    Orphan     -> end that process (a supervisor: `Shutdown`) now; no answer
    the others -> no answer

A `key` names one child slot of one machine and is never used again; a `pid` names one incarnation
in it: any hashable value that the shell never reuses. A process that ends before it is `Started`
is a `StartFailed`. `Exited` comes once per pid, also when a `Stop` for it crossed its death.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import msgspec

from otp.messages import ChildCounts, Reason
from otp.wire_tree import WireBackoff

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]
Restart = Literal["permanent", "transient", "temporary"]
ShutdownTime = float | Literal["brutal_kill", "infinity"]
ChildType = Literal["worker", "supervisor"]
ChildState = Literal["running", "restarting", "undefined"]


class Flags(msgspec.Struct, frozen=True):
    """How one supervisor treats its children; `max_seconds` is the period of `max_restarts`.

    Beyond OTP, off by default: `give_up` is how many seconds it waits, instead of leaving, when it
    had too many restarts (0: it leaves); `parallel` children start and stop at the same time.
    """

    strategy: Strategy = "one_for_one"
    max_restarts: int = 1
    max_seconds: float = 5.0
    auto_shutdown: AutoShutdown = "never"
    give_up: float = 0.0
    parallel: bool = False


class Child(msgspec.Struct, frozen=True):
    """One child as its supervisor must know it; `payload` is for the shell and never looked at.

    `shutdown` is in seconds. `startable=False` says that the payload holds nothing to start.
    Beyond OTP, off by default: `backoff` between its restarts; `essential` has its end for good
    told by an effect of its own.
    """

    id: str
    restart: Restart = "permanent"
    shutdown: ShutdownTime = 5.0
    significant: bool = False
    type: ChildType = "worker"
    payload: object = None
    startable: bool = True
    backoff: WireBackoff | None = None
    essential: bool = False


class ByPid(msgspec.Struct, frozen=True):
    """Names a child by its pid; `alive` says whether any process with that pid runs at all."""

    pid: Hashable
    alive: bool = False


# ---------------------------------------------------------------- operations, carried by Call


class StartChild(msgspec.Struct, frozen=True):
    """Add a child at the end and start it; answers Ok (with its pid) or Refused."""

    child: Child


class StartDynamic(msgspec.Struct, frozen=True):
    """Start one more child of a simple_one_for_one supervisor; `args` go back out in `Start`."""

    label: str
    args: object = None


class TerminateChild(msgspec.Struct, frozen=True):
    """Stop a child and end attempts to restart it; its spec stays unless it is temporary."""

    id: str | ByPid


class RestartChild(msgspec.Struct, frozen=True):
    """Start a child that has no process."""

    id: str | ByPid


class DeleteChild(msgspec.Struct, frozen=True):
    """Forget a child that has no process."""

    id: str | ByPid


class WhichChildren(msgspec.Struct, frozen=True):
    """List the children in start order: a tuple of ChildEntry."""


class CountChildren(msgspec.Struct, frozen=True):
    """Count specs, active children, supervisors and workers: a ChildCounts."""


class GetChildSpec(msgspec.Struct, frozen=True):
    """The Child with this id; of simple_one_for_one also by pid."""

    id: str | ByPid


Query = DeleteChild | WhichChildren | CountChildren | GetChildSpec
Op = StartChild | StartDynamic | TerminateChild | RestartChild | Query

# ---------------------------------------------------------------- results, carried by Reply

ErrorWord = Literal[
    "already_present",
    "already_started",
    "bad_spec",
    "noproc",
    "not_found",
    "overloaded",
    "restarting",
    "running",
    "simple_one_for_one",
    "start_failed",
]


class Ok(msgspec.Struct, frozen=True):
    """It is done; `pid` of what was started, `ignored` where the child wanted no process."""

    pid: Hashable | None = None
    ignored: bool = False


class Refused(msgspec.Struct, frozen=True):
    """OTP's word for why not.

    `detail` is, for bad_spec, what is wrong (`bad_combination`, ..), and for start_failed the
    `error` of the failed start (`child:ID` where a supervisor's own child could not start).
    `pid` is who runs already (already_started); `reason` is why a start failed.
    """

    word: ErrorWord
    detail: str = ""
    pid: Hashable | None = None
    reason: Reason | None = None


class ChildEntry(msgspec.Struct, frozen=True):
    """One child in the answer to WhichChildren; a dynamic child's `id` is its label."""

    key: int
    id: str
    state: ChildState
    type: ChildType
    pid: Hashable | None = None


Result = Ok | Refused | tuple[ChildEntry, ...] | ChildCounts | Child

# ---------------------------------------------------------------- inputs


class Begin(msgspec.Struct, frozen=True):
    """Validate and start the declared children; ends in Ready or Gone. The first input."""


class Started(msgspec.Struct, frozen=True):
    """The child's start succeeded and left this process."""

    key: int
    pid: Hashable


class Ignored(msgspec.Struct, frozen=True):
    """The child's start succeeded without a process (OTP's `ignore`)."""

    key: int


class StartFailed(msgspec.Struct, frozen=True):
    """The child's start failed and left no process; `error` is a supervisor's `Gone.error`."""

    key: int
    reason: Reason
    error: str = ""


class Exited(msgspec.Struct, frozen=True):
    """A child's process that had started has ended; `gave_up` is a supervisor's `Gone.gave_up`."""

    key: int
    pid: Hashable
    reason: Reason
    gave_up: bool = False


class Call(msgspec.Struct, frozen=True):
    """A request; it is answered with exactly one Reply, in order of arrival."""

    request_id: Hashable
    op: Op


class Resume(msgspec.Struct, frozen=True):
    """The machine's message to itself: try the restart again (an id, or a dynamic child's key).

    `wait` is the number of the wait that it ends; 0: nothing was waited for.
    """

    child: str | int
    wait: int = 0


class Shutdown(msgspec.Struct, frozen=True):
    """Stop all children in reverse order and leave with this reason."""

    reason: Reason


class Kill(msgspec.Struct, frozen=True):
    """The supervisor is killed: it stops nothing, its children become orphans, at once."""


Outcome = Started | Ignored | StartFailed
Input = Begin | Outcome | Exited | Call | Resume | Shutdown | Kill

# ---------------------------------------------------------------- effects


class Start(msgspec.Struct, frozen=True):
    """Start this child; `label` and `args` are those of StartDynamic, the same at each attempt."""

    key: int
    child: Child
    label: str = ""
    args: object = None


class Stop(msgspec.Struct, frozen=True):
    """Ask the process to end and kill it after `shutdown` seconds (brutal_kill: at once)."""

    key: int
    pid: Hashable
    shutdown: ShutdownTime


class StopMany(msgspec.Struct, frozen=True):
    """Stop all these at the same time, with one deadline `shutdown` for all of them."""

    stops: tuple[Stop, ...]
    shutdown: ShutdownTime


class Orphan(msgspec.Struct, frozen=True):
    """Nobody supervises this process any more; `pid` is None where its start is under way."""

    key: int
    pid: Hashable | None = None


class Reply(msgspec.Struct, frozen=True):
    """The answer to the Call with this request id."""

    request_id: Hashable
    result: Result


class Requeue(msgspec.Struct, frozen=True):
    """Give me this input again, behind all that has already arrived for me."""

    input: Resume


class Delay(msgspec.Struct, frozen=True):
    """Give me this input in so many `seconds`, made shorter at random by up to `jitter` of them.

    `gave_up`: there were too many restarts, and so it stays down for that long.
    """

    key: int
    id: str
    seconds: float
    jitter: float
    input: Resume
    gave_up: bool = False


class Essential(msgspec.Struct, frozen=True):
    """This essential child has ended for good."""

    key: int
    id: str


class Ready(msgspec.Struct, frozen=True):
    """The supervisor has started: all its declared children have."""


class Gone(msgspec.Struct, frozen=True):
    """The supervisor has ended, its children before it; `error` only if it could not start.

    `error` is `child:ID` (that child could not start) or `bad_spec:WHAT` in OTP's word. `gave_up`:
    it had too many restarts.
    """

    reason: Reason
    error: str = ""
    gave_up: bool = False


ReportKind = Literal[
    "child_started", "child_exited", "child_start_failed", "gave_up", "auto_shutdown"
]


class Report(msgspec.Struct, frozen=True):
    """What an operator may want to see; `id` is a dynamic child's label.

    `restart` of child_started: this start is (part of) a restart; of child_exited: the supervisor
    means to start it again. gave_up and auto_shutdown name the child that caused it.
    """

    kind: ReportKind
    key: int
    id: str
    pid: Hashable | None = None
    reason: Reason | None = None
    restart: bool = False


Effect = (
    Start | Stop | StopMany | Orphan | Reply | Requeue | Delay | Essential | Ready | Gone | Report
)
