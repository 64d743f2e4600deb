"""For programs with an asyncio loop: a client, and `async with otp.aio.start(tree) as node:`.

Only who asks for it pays for asyncio: `import otp` does not import this module, and neither do the
processes of a node.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

from otp import codec, host
from otp.aio_names import AsyncGroups, AsyncNames
from otp.aio_tasks import AsyncTasks
from otp.client import CONNECT_SECONDS_MAX, SEND_SECONDS_MAX, envelope, outcome, socket_in
from otp.codec import decode_envelope
from otp.errors import Disconnected, NotRunning, Overloaded
from otp.expect import EXPECT_SECONDS, Expected, Wanted
from otp.frames import CALL, CAST, HELLO, INFO, Envelope
from otp.messages import Address, ChildInfo, ProcessInfo, Report, Request
from otp.spec import ChildSpec, Supervisor
from otp.transport import FRAME_BYTES_MAX

R = TypeVar("R")
T = TypeVar("T")
Reported = TypeVar("Reported", bound=Report)

OUTGOING_BYTES_MAX = 1024 * 1024
"""What may gather in one turn of the loop before it is written; then senders may have to wait."""

CANCEL_SECONDS_MAX = 0.2
"""How long who waits for a report may take to hear that it is cancelled."""
CLOSE_SECONDS_MAX = 2.0
"""How long a closed connection may take to write what is left; a living mailroom needs no time."""


class _Protocol(asyncio.Protocol):
    """The bytes of an AsyncClient."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._buffer = bytearray()
        self.ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.writable = asyncio.Event()
        self.writable.set()
        self.closed = asyncio.Event()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        offset, end = 0, len(buffer)
        while end - offset >= 4:
            length = int.from_bytes(buffer[offset : offset + 4], "big")
            if length > FRAME_BYTES_MAX:
                self.transport.abort()
                return
            if end - offset - 4 < length:
                break
            self._frame(bytes(buffer[offset + 4 : offset + 4 + length]))
            offset += 4 + length
        del buffer[:offset]

    def _frame(self, frame: bytes) -> None:
        answer = decode_envelope(frame)
        if answer.kind != HELLO:
            self._client._answered(answer)
        elif not self.ready.done():
            self.ready.set_result(answer.to)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(EOFError("closed before hello"))
            self.ready.exception()  # it counts as seen: whoever waited may have been cancelled
        self.writable.set()  # whoever waits to write learns that it is gone
        self.closed.set()
        self._client._lost(self)


class AsyncClient:
    """Calls and casts to the processes of a node, from one asyncio loop, many at a time.

    What is called in one turn of the loop is written together. While the mailroom is slower than
    its senders they wait: what is unsent is bounded.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.ended: Callable[[], str] = str  # why the node has ended, where that is known
        self._protocol: _Protocol | None = None
        self._closing: _Protocol | None = None
        self._connecting = asyncio.Lock()
        self._pid = ""
        self._refs = itertools.count(1)
        self._waiting: dict[int, tuple[asyncio.Future[Envelope], Any, Address]] = {}
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await self.wait_closed()

    @overload
    async def call(self, to: Address, request: Request[R], *, timeout: float = 5.0) -> R: ...
    @overload
    async def call(self, to: Address, request: Any, *, timeout: float = 5.0) -> Any: ...
    async def call(self, to: Address, request: Any, *, timeout: float = 5.0) -> Any:
        """Ask and wait for the reply; raises as `Client.call` does."""
        loop = asyncio.get_running_loop()
        ref = next(self._refs)
        future: asyncio.Future[Envelope] = loop.create_future()
        ttl = codec.ttl_ms(timeout)
        until = loop.time() + min(timeout, codec.TTL_SECONDS_MAX)
        try:
            async with asyncio.timeout_at(until):
                await self._connected()
        except TimeoutError as error:
            raise codec.timed_out(request, to, timeout) from error
        self._waiting[ref] = (future, request, to)
        timer = loop.call_at(until, self._expire, ref, timeout)
        try:
            self._write(envelope(CALL, to, self._pid, ref, request, ttl))
            return outcome(request, to, await future)
        finally:
            timer.cancel()
            del self._waiting[ref]

    async def cast(self, to: Address, message: Any) -> None:
        """Send without waiting; it arrives in handle_cast, or nobody hears of it."""
        await self._post(CAST, to, message)

    async def send(self, to: Address, message: Any) -> None:
        """Send without waiting; it arrives in handle_info, or nobody hears of it."""
        await self._post(INFO, to, message)

    async def _post(self, kind: int, to: Address, message: Any) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS_MAX):
                await self._connected()
        except TimeoutError as error:
            what = f"{codec.KINDS[kind]} {codec.describe(message)}"
            limit = f"the mailroom took nothing for {SEND_SECONDS_MAX:g} s"
            raise Overloaded(what=what, to=codec.wire_address(to), limit=limit) from error
        self._write(envelope(kind, to, self._pid, 0, message))

    def close(self) -> None:
        """Close the connection when all is written; calls under way raise Disconnected."""
        if self._protocol is not None:
            self._flush()
            self._protocol.transport.close()
            self._closing = self._protocol
            self._lost(self._protocol)

    async def wait_closed(self) -> None:
        """Wait until what was cast before `close` is written, but not for long."""
        if self._closing is None:
            return
        waiting = asyncio.ensure_future(self._closing.closed.wait())
        await asyncio.wait({waiting}, timeout=CLOSE_SECONDS_MAX)
        if not waiting.done():
            self._closing.transport.abort()
        await waiting
        self._closing = None

    async def _connected(self) -> None:
        """Wait until there is a connection and it takes bytes."""
        while (protocol := self._protocol) is None or not protocol.writable.is_set():
            if protocol is not None:
                await protocol.writable.wait()
                continue
            async with self._connecting:
                if self._protocol is None:
                    self._protocol = await self._connect()

    async def _connect(self) -> _Protocol:
        loop = asyncio.get_running_loop()
        protocol = _Protocol(self)
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                await loop.create_unix_connection(lambda: protocol, self._path)
                self._pid = await protocol.ready
            if protocol.transport.is_closing():
                raise EOFError("closed after hello")
        except BaseException as error:
            if hasattr(protocol, "transport"):
                protocol.transport.abort()
            if not isinstance(error, (OSError, EOFError, TimeoutError)):
                raise  # cancelled: nobody would close it
            problem = getattr(error, "strerror", None) or str(error) or "no hello in time"
            raise NotRunning(where=self._path, problem=problem, ended=self.ended()) from error
        return protocol

    def _write(self, frame: bytes) -> None:
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(len(frame).to_bytes(4, "big") + frame)
        self._outgoing_bytes += len(frame)
        if self._outgoing_bytes > OUTGOING_BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        outgoing, self._outgoing, self._outgoing_bytes = self._outgoing, [], 0
        if self._protocol is not None and outgoing:
            self._protocol.transport.write(b"".join(outgoing))

    def _answered(self, answer: Envelope) -> None:
        waiting = self._waiting.get(answer.ref)
        if waiting is not None and not waiting[0].done():
            waiting[0].set_result(answer)

    def _expire(self, ref: int, seconds: float) -> None:
        future, request, to = self._waiting[ref]
        if not future.done():
            future.set_exception(codec.timed_out(request, to, seconds))

    def _lost(self, protocol: _Protocol) -> None:
        """All that waits was sent on this connection: it may or may not have happened."""
        if self._protocol is not protocol:
            return
        self._protocol = None
        self._outgoing, self._outgoing_bytes = [], 0
        for future, request, to in self._waiting.values():
            if not future.done():
                what = f"call {codec.describe(request)}"
                future.set_exception(Disconnected(what=what, to=codec.wire_address(to)))


class AsyncNode:
    """A running node, for one asyncio loop: its processes are called, its tree is seen to."""

    def __init__(self, node: host.StartedNode) -> None:
        self._node = node
        self._one_at_a_time = asyncio.Lock()
        self.client = AsyncClient(socket_in(node.run_dir, "mailroom.sock"))
        self.client.ended = node.end.why
        self.call = self.client.call
        self.cast = self.client.cast
        self.send = self.client.send
        self._tasks = AsyncTasks(self.client, lambda: self.control(node._otp_desk.owner))
        self.start_task = self._tasks.start
        self.async_stream = self._tasks.stream
        names = AsyncNames(self.call, self.send)
        self.whereis, self.nodes, self.lookup = names.whereis, names.nodes, names.lookup
        self.registered_keys, self.dispatch = names.registered_keys, names.dispatch
        self.pg = AsyncGroups(self.call)

    def __repr__(self) -> str:
        return repr(self._node)

    @property
    def pid(self) -> int:
        """The node's OS pid."""
        return self._node.pid

    @property
    def run_dir(self) -> str:
        """Where the node's sockets are."""
        return self._node.run_dir

    async def processes(self) -> list[ProcessInfo]:
        """Every process of the node, in tree order."""
        return await self.control(self._node.processes)

    async def kill(self, path: str, *, signal: int = 9) -> int:
        """kill -9 the process at this address (also `mailroom`, `zygote`); its OS pid."""
        return await self.control(lambda: self._node.kill(path, signal=signal))

    @asynccontextmanager
    async def expect(
        self,
        kind: type[Reported],
        path: str | None = None,
        *,
        count: int = 1,
        never: Sequence[Wanted] = (),
        timeout: float = EXPECT_SECONDS,
    ) -> AsyncIterator[Expected[Reported]]:
        """`async with node.expect(ChildStarted, "root/a") as started:` as `Node.expect` does."""
        expected = self._node.expect(kind, path, count=count, never=never, timeout=timeout)
        await _to_its_end(expected.begin)
        try:
            yield expected
            deadline = time.monotonic() + timeout
            while not await _to_its_end(lambda: expected.came(min(deadline, _soon()))):
                if time.monotonic() >= deadline:
                    raise expected.too_late()
        finally:
            expected.close()

    async def start_child(self, supervisor: str, spec: ChildSpec | Supervisor) -> ChildInfo:
        """Add a child and start it. Raises SupervisorError (`reason` is OTP's word), SpecError."""
        return await self.control(lambda: self._node.start_child(supervisor, spec))

    async def start_dynamic(self, supervisor: str, label: str, **args: Any) -> ChildInfo:
        """One more child of a simple_one_for_one supervisor, with these further arguments."""
        return await self.control(lambda: self._node.start_dynamic(supervisor, label, **args))

    async def terminate_child(self, supervisor: str, id: str) -> None:
        """Stop a child (simple_one_for_one: by its pid). Raises SupervisorError."""
        await self.control(lambda: self._node.terminate_child(supervisor, id))

    async def restart_child(self, supervisor: str, id: str) -> ChildInfo:
        """Start a stopped child again. Raises SupervisorError."""
        return await self.control(lambda: self._node.restart_child(supervisor, id))

    async def delete_child(self, supervisor: str, id: str) -> None:
        """Forget a stopped child. Raises SupervisorError."""
        await self.control(lambda: self._node.delete_child(supervisor, id))

    async def which_children(self, supervisor: str = "/") -> list[ChildInfo]:
        """The children in start order; `/` is the root."""
        return await self.control(lambda: self._node.which_children(supervisor))

    async def stop(self) -> None:
        """Stop the tree in reverse order and the node; returns when no process is left."""
        self._tasks.close()
        self.client.close()
        await self.control(self._node.close)
        await self.client.wait_closed()

    async def control(self, ask: Callable[[], T]) -> T:
        """Run one blocking question to the node itself in a thread; they are asked in turn."""
        async with self._one_at_a_time:
            return await _to_its_end(ask)


@asynccontextmanager
async def start(tree: Supervisor, *, log: str = "none", **options: Any) -> AsyncIterator[AsyncNode]:
    """Start a node that runs this tree; at the end of the block it is stopped in reverse order.

    Takes and raises what `otp.start` does. Who is cancelled meanwhile leaves no process behind.
    """
    nodes: list[AsyncNode] = []
    try:
        await _to_its_end(lambda: nodes.append(AsyncNode(host.start(tree, log=log, **options))))
        yield nodes[0]
    finally:
        for node in nodes:
            await node.stop()


def _soon() -> float:
    return time.monotonic() + CANCEL_SECONDS_MAX


async def _to_its_end(work: Callable[[], T]) -> T:
    """What blocks, in a thread. A thread cannot be cancelled: we are when it is done."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # it counts as seen
        raise
