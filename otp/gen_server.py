"""GenServer: a server in an OS process of its own.

    import otp

    class Add(otp.Request[int], frozen=True):
        n: int

    class Save(otp.Message, frozen=True):
        pass

    class Counter(otp.GenServer):
        idle_timeout = 30.0

        def __init__(self, start: int = 0) -> None:
            self.count = start
            self.continue_with(Save())              # runs before any message: we count as started

        def handle_continue(self, message: Save) -> None:
            self.saved = self.count

        def handle_call(self, request: Add, sender: otp.From[int]) -> int:
            self.count += request.n
            return self.count

        def handle_info(self, message: otp.Timeout) -> None:
            self.hibernate()                        # nothing came for 30 s: give memory back

    tree = otp.Supervisor("root", children=[otp.ChildSpec("counter", Counter, args={"start": 10})])

    with otp.start(tree) as node:
        assert node.call("counter", Add(5)) == 15
        assert node.get_state("counter") == {"count": 15, "saved": 10}

`__init__` runs in the new process; the child is started when it returns. A handler that raises
crashes the server: its caller gets `ServerDown`, its supervisor decides what happens next. When
*not* to use one: for a function that runs once (give the function as `start`, or run a task), and
for state that nobody else talks to. The loop that calls the handlers is in `serving`.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from otp.callers import From
from otp.errors import Disconnected
from otp.groups import Groups
from otp.lanes import Lane
from otp.messages import Address, Pid, Reason, stop_reason
from otp.naming import RegistersNames
from otp.node_messages import NODE, Nodes, whereis
from otp.pending import Continuation
from otp.process import Process
from otp.task import Desk, ServerDesk, StartsTasks

ASK_SECONDS_MAX = 5.0
"""How long our node may take to answer about a name, a key or a group."""
ASK_TIMES_MAX = 3
"""How often it is asked, where the mailroom dies in between."""
_OURS = frozenset(
    {"_process", "_otp_continuing", "_otp_desk", "_otp_hibernates", "pid", "node", "path", "pg"}
)
"""Attributes of a server that are none of its state."""


class GenServer(StartsTasks, RegistersNames):
    """Base of a server. Override what you need; every method runs in the server's own process."""

    trap_exit: ClassVar[bool] = False
    """True: a linked process's end arrives as `otp.Exit` in handle_info instead of ending us."""
    refuses: ClassVar[tuple[type[Exception], ...]] = ()
    """Exceptions that handle_call may raise at its caller without crashing the server."""

    idle_timeout: float | None = None
    """When nothing has come for so many seconds, an `otp.Timeout` arrives in handle_info, once
    until something comes again. A handler may change it: `self.idle_timeout = 5.0`."""

    _process: Process
    _otp_hibernates = False

    @cached_property
    def _otp_desk(self) -> Desk:
        return ServerDesk(self._process)

    @cached_property
    def pg(self) -> Groups:
        """Process groups over all nodes; see `otp.groups`."""
        return Groups(self._otp_ask, self._process.new_ref)

    def _otp_ask(self, to: str, request: Any) -> Any:
        """A question that may be asked twice: the mailroom's death is none of our callers'."""
        for _ in range(ASK_TIMES_MAX - 1):
            with contextlib.suppress(Disconnected):
                return self._process.call(to, request, ASK_SECONDS_MAX)
        return self._process.call(to, request, ASK_SECONDS_MAX)

    def _otp_tell(self, to: str, message: Any) -> None:
        self._process.send(to, message)

    @cached_property
    def _otp_continuing(self) -> deque[Any]:
        return deque()

    def handle_call(self, request: Any, sender: From[Any]) -> Any:
        """A call; what is returned is the reply. Annotate `request` with what you accept."""
        raise NotImplementedError(f"{type(self).__name__} takes no calls: got {request!r}")

    def handle_cast(self, message: Any) -> None:
        """A cast: a request that nobody waits for."""
        raise NotImplementedError(f"{type(self).__name__} takes no casts: got {message!r}")

    def handle_info(self, message: Any) -> None:
        """Anything else: `Down`, `Exit`, timers, plain sends. Ignored where not overridden."""

    def handle_continue(self, message: Any) -> None:
        """What `continue_with` was given, before any other message."""
        raise NotImplementedError(f"{type(self).__name__} continues with nothing: got {message!r}")

    def handle_drained(self) -> None:
        """Everything that had arrived has been handled; the place to act once for many."""

    def terminate(self, reason: Reason) -> None:
        """Called before the end: at shutdown, after `Stop` and after a crash of a handler.

        An exception in it, `Stop` included, replaces the reason that the supervisor hears.
        """

    # ------------------------------------------------------------ for who looks at it

    def inspect_state(self) -> Any:
        """What `otp.sys.GetState` shows; by default all attributes."""
        return {name: value for name, value in vars(self).items() if name not in _OURS}

    def replace_state(self, state: Any) -> None:
        """What `otp.sys.ReplaceState` does; by default it sets these attributes."""
        for name in state:
            if name not in self.inspect_state():
                raise AttributeError(f"there is no attribute {name!r} in its state")
        vars(self).update(state)

    # ------------------------------------------------------------ what a server can do

    @cached_property
    def pid(self) -> Pid:
        """The own process id."""
        return self._process.pid

    @cached_property
    def node(self) -> str:
        """The name of the own node."""
        return self._process.node

    @cached_property
    def path(self) -> str:
        """The own address: the path below the root."""
        return self._process.path

    def call(self, to: Address, request: Any, *, timeout: float = 5.0) -> Any:
        """Ask and wait. Raises CallTimeout, NoProcess, ServerDown, NodeDown, Disconnected,
        Overloaded, or what the other server `refuses` with."""
        return self._process.call(to, request, timeout)

    def send_request(
        self, to: Address, request: Any, then: Continuation, *, timeout: float = 5.0
    ) -> None:
        """Ask and go on; `then(reply, error)` runs later, between two handlers."""
        self._process.send_request(to, request, timeout, then)

    def cast(self, to: Address, message: Any) -> None:
        """Send; it arrives in handle_cast, or nobody hears of it."""
        self._process.cast(to, message)

    def abcast(self, to: Sequence[Address], message: Any) -> None:
        """The same cast to several, encoded once."""
        self._process.abcast(to, message)

    def send(self, to: Address, message: Any) -> None:
        """Send; it arrives in handle_info, or nobody hears of it."""
        self._process.send(to, message)

    def continue_with(self, message: Any) -> None:
        """Go on with handle_continue when this handler (or `__init__`) has returned, before any
        other message is handled: a caller need not wait for it, nobody can come in between."""
        self._otp_continuing.append(message)

    def send_after(self, seconds: float, message: Any) -> int:
        """A message to oneself, later, in handle_info."""
        return self._process.send_after(seconds, message)

    def send_interval(self, seconds: float, message: Any) -> int:
        """A message to oneself every so many seconds; of several that were missed comes one."""
        return self._process.send_interval(seconds, message)

    def cancel_timer(self, ref: int) -> float | None:
        """Undo `send_after` or `send_interval`; the seconds that were left, None: it has come."""
        return self._process.cancel_timer(ref)

    def hibernate(self) -> None:
        """Give memory back to the system before the next sleep: nothing is expected for long."""
        self._otp_hibernates = True

    def lane(self, to: str, *, timeout: float = 5.0) -> Lane:
        """A connection of one's own to that process, for those who talk in bulk: `lane.call`,
        `lane.cast`. Raises what a call would."""
        return self._process.lanes.open(to, timeout)

    def whereis(self, address: str) -> Pid | None:
        """The pid behind an address, here or (`name@node`) on another node; raises as a call."""
        pid: Pid | None = self.call(*whereis(address))
        return pid

    def nodes(self) -> list[str]:
        """The other nodes that there are links to at this moment."""
        names: list[str] = self.call(NODE, Nodes())
        return names

    def monitor_nodes(self, on: bool = True) -> None:
        """Get an `otp.NodeUp` or `otp.NodeLost`, in handle_info, when a link to another node is
        made or lost; those that the node knows of are kept up from now on."""
        self._process.monitor_nodes(on)

    def monitor(self, to: Address) -> int:
        """Get a `Down` with the returned reference when that process ends, or is not there."""
        return self._process.monitor(to)

    def demonitor(self, ref: int) -> None:
        """Undo `monitor`."""
        self._process.demonitor(ref)

    def link(self, to: Address) -> None:
        """End together with that process, unless one of the two traps exits."""
        self._process.link(to)

    def unlink(self, to: Address) -> None:
        """Undo `link`."""
        self._process.unlink(to)

    def exit(self, to: Address, reason: str = "shutdown") -> None:
        """An exit signal: it ends that process for this reason, as the end of a linked one would.

        One that traps exits gets an `otp.Exit` instead; "normal" ends nobody; "kill" ends all.
        """
        self._process.exit(to, stop_reason(reason))
