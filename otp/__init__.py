"""OTP for real operating-system processes: supervisors, servers, messages, on Linux.

    tree = otp.Supervisor("root", children=[otp.ChildSpec("counter", Counter)])
    with otp.start(tree) as node:
        node.call("counter", Add(5))

A tree, in Python or from YAML: Supervisor, ChildSpec, Ready, Liveness, Backoff, load, loads, check;
its node's options: NodeOptions, LogOptions, MetricsSpec, TlsFiles, TopologySpec.

A node that runs it: start, become, StartedNode, Node; aio is the same for asyncio. Client and
AsyncClient only send messages.

Servers: GenServer, StateMachine (with Postpone, StateTimeout), EventManager (with EventHandler,
add_handler, RemoveHandler, CallHandler, WhichHandlers, HandlerFailed). What their handlers return
or raise: NoReply, Stop, Ignore. What they are given: From, Forwarded.

Messages: Request, Message; Pid and Via are addresses; Down, Exit, Reason, Timeout, NodeUp, NodeLost
and GroupChanged arrive by themselves. Lane is a connection of one's own; sys looks into a server.

Supervisors may be asked: start_child, StartChild, RestartChild, WhichChildren, ChildInfo.
Work for many: Task, task_supervisor, Replicas, replica, Topology.

Reports of a node: ChildStarted, ChildExited, ChildStartFailed, RestartDelayed, GaveUp,
EssentialEnded, NodeFault, PeerUp, PeerDown, StrangerRejected.

Errors are of the kind OtpError. Of a call: CallTimeout, NoProcess, ServerDown, NodeDown,
Overloaded, Disconnected, Undecodable. Of a start: SpecError, StartError, SupervisorError. Others:
NotRunning, AlreadyRegistered, NoHandler, TaskFailed, Unexpected.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from otp import sys
from otp.callers import Forwarded, From, NoReply
from otp.errors import (
    AlreadyRegistered,
    CallTimeout,
    Disconnected,
    Ignore,
    NodeDown,
    NoProcess,
    NotRunning,
    OtpError,
    Overloaded,
    ServerDown,
    SpecError,
    StartError,
    Stop,
    SupervisorError,
    TaskFailed,
    Undecodable,
    Unexpected,
)
from otp.gen_server import GenServer
from otp.lanes import Lane
from otp.messages import (
    ChildExited,
    ChildInfo,
    ChildStarted,
    ChildStartFailed,
    Down,
    EssentialEnded,
    Exit,
    GaveUp,
    Message,
    NodeFault,
    PeerDown,
    PeerUp,
    Pid,
    Reason,
    Request,
    RestartChild,
    RestartDelayed,
    StartChild,
    StrangerRejected,
    Timeout,
    Via,
    WhichChildren,
)
from otp.node_messages import NodeLost, NodeUp
from otp.services import GroupChanged

if TYPE_CHECKING:
    from otp import aio
    from otp.aio import AsyncClient
    from otp.care import Backoff, Liveness, Ready
    from otp.checks import check
    from otp.client import Client
    from otp.event_manager import (
        CallHandler,
        EventHandler,
        EventManager,
        HandlerFailed,
        NoHandler,
        RemoveHandler,
        WhichHandlers,
        add_handler,
    )
    from otp.handle import Node
    from otp.host import StartedNode, become, start
    from otp.keys import Topology
    from otp.replicas import Replicas, replica
    from otp.spec import (
        ChildSpec,
        LogOptions,
        MetricsSpec,
        NodeOptions,
        Supervisor,
        TlsFiles,
        TopologySpec,
    )
    from otp.state_machine import Postpone, StateMachine, StateTimeout
    from otp.task import Task
    from otp.task_server import task_supervisor
    from otp.wire import start_child
    from otp.yaml_tree import load, loads

__version__ = "0.1.0"

__all__ = [
    "AlreadyRegistered",
    "AsyncClient",
    "Backoff",
    "CallHandler",
    "CallTimeout",
    "ChildExited",
    "ChildInfo",
    "ChildSpec",
    "ChildStartFailed",
    "ChildStarted",
    "Client",
    "Disconnected",
    "Down",
    "EssentialEnded",
    "EventHandler",
    "EventManager",
    "Exit",
    "Forwarded",
    "From",
    "GaveUp",
    "GenServer",
    "GroupChanged",
    "HandlerFailed",
    "Ignore",
    "Lane",
    "Liveness",
    "LogOptions",
    "Message",
    "MetricsSpec",
    "NoHandler",
    "NoProcess",
    "NoReply",
    "Node",
    "NodeDown",
    "NodeFault",
    "NodeLost",
    "NodeOptions",
    "NodeUp",
    "NotRunning",
    "OtpError",
    "Overloaded",
    "PeerDown",
    "PeerUp",
    "Pid",
    "Postpone",
    "Ready",
    "Reason",
    "RemoveHandler",
    "Replicas",
    "Request",
    "RestartChild",
    "RestartDelayed",
    "ServerDown",
    "SpecError",
    "StartChild",
    "StartError",
    "StartedNode",
    "StateMachine",
    "StateTimeout",
    "Stop",
    "StrangerRejected",
    "Supervisor",
    "SupervisorError",
    "Task",
    "TaskFailed",
    "Timeout",
    "TlsFiles",
    "Topology",
    "TopologySpec",
    "Undecodable",
    "Unexpected",
    "Via",
    "WhichChildren",
    "WhichHandlers",
    "add_handler",
    "aio",
    "become",
    "check",
    "load",
    "loads",
    "replica",
    "start",
    "start_child",
    "sys",
    "task_supervisor",
]


_LATER = {
    "AsyncClient": "aio",
    "Backoff": "care",
    "CallHandler": "event_manager",
    "ChildSpec": "spec",
    "Client": "client",
    "EventHandler": "event_manager",
    "EventManager": "event_manager",
    "HandlerFailed": "event_manager",
    "Liveness": "care",
    "LogOptions": "spec",
    "MetricsSpec": "spec",
    "NoHandler": "event_manager",
    "Node": "handle",
    "NodeOptions": "spec",
    "Postpone": "state_machine",
    "Ready": "care",
    "RemoveHandler": "event_manager",
    "Replicas": "replicas",
    "StartedNode": "host",
    "StateMachine": "state_machine",
    "StateTimeout": "state_machine",
    "Supervisor": "spec",
    "Task": "task",
    "TlsFiles": "spec",
    "Topology": "keys",
    "TopologySpec": "spec",
    "WhichHandlers": "event_manager",
    "add_handler": "event_manager",
    "become": "host",
    "check": "checks",
    "load": "yaml_tree",
    "loads": "yaml_tree",
    "replica": "replicas",
    "start": "host",
    "start_child": "wire",
    "task_supervisor": "task_server",
}


def __getattr__(name: str) -> Any:
    """What a host needs, when first asked for: memory of a worker is copied, kept and torn down."""
    if name == "aio":
        return import_module("otp.aio")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"otp.{_LATER[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
