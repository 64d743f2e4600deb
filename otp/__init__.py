"""OTP for real operating-system processes: supervisors, servers, messages, on Linux."""

from typing import TYPE_CHECKING, Any

from otp.checks import check as check
from otp.client import Client as Client
from otp.errors import (
    CallTimeout as CallTimeout,
    Disconnected as Disconnected,
    Ignore as Ignore,
    NodeDown as NodeDown,
    NoProcess as NoProcess,
    NotRunning as NotRunning,
    OtpError as OtpError,
    Overloaded as Overloaded,
    ServerDown as ServerDown,
    SpecError as SpecError,
    StartError as StartError,
    Stop as Stop,
    SupervisorError as SupervisorError,
    Undecodable as Undecodable,
)
from otp.gen_server import Forwarded as Forwarded, From as From, GenServer as GenServer, NoReply as NoReply
from otp.handle import Node as Node
from otp.host import StartedNode as StartedNode, become as become, start as start
from otp.messages import (
    ChildExited as ChildExited,
    ChildStarted as ChildStarted,
    ChildStartFailed as ChildStartFailed,
    Down as Down,
    Exit as Exit,
    GaveUp as GaveUp,
    Message as Message,
    NodeFault as NodeFault,
    PeerDown as PeerDown,
    PeerUp as PeerUp,
    Pid as Pid,
    Reason as Reason,
    Request as Request,
    Via as Via,
)
from otp.spec import (
    ChildSpec as ChildSpec,
    NodeOptions as NodeOptions,
    Supervisor as Supervisor,
    TopologySpec as TopologySpec,
)
from otp.yaml_tree import load as load, loads as loads
from otp.messages import (
    ChildInfo as ChildInfo,
    RestartChild as RestartChild,
    StartChild as StartChild,
    WhichChildren as WhichChildren,
)
from otp.wire import start_child as start_child

if TYPE_CHECKING:
    from otp import aio as aio
    from otp.aio import AsyncClient as AsyncClient


def __getattr__(name: str) -> Any:
    """`aio` and `AsyncClient` when first asked for: a worker must not pay for asyncio."""
    if name not in ("aio", "AsyncClient"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    aio = importlib.import_module("otp.aio")
    return aio if name == "aio" else aio.AsyncClient
