"""Is it ready, is it alive: the ways to find out, none of which ever blocks the node.

A *try* (`Try`) is one question with one answer: it is begun with a callback, which gets "" for yes
or words that say why not, later and at most once; what is returned ends the try. `Poll` tries
again and again. What tells of itself (sd_notify, a line) is a `Probe` without tries. A new way is
an entry in `TRIES` or in `SIGNS`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from otp import targets
from otp.notify import NotifySocket
from otp.reactor import Reactor, Timer
from otp.wire_tree import WireProbe

Heard = Callable[[str], None]
End = Callable[[], object]
Try = Callable[[Heard], End]

TRY_SECONDS_MAX = 5.0
"""How long one try of a readiness probe may take before the next: a peer may accept and be silent
for ever because it was not ready when it did."""
QUICK_SECONDS = 0.01
"""The pause before the second try; then twice that, and so on up to `interval`: most things are
ready soon, and each waiting child keeps those after it waiting."""
STATUS_BYTES_MAX = 1024
"""How much of an HTTP answer is read: its first line says all."""
_REASONS = {errno.ECONNREFUSED: "refused", errno.ETIMEDOUT: "does not answer"}


class World(Protocol):
    """What probes need of the node; `notify_path` is where a new socket may be bound, `uid` who
    alone may write there (None: all who can), and `line_matched` is to be called when the process
    has written what was waited for."""

    reactor: Reactor
    notify_path: str
    uid: int | None
    line_matched: Callable[[], None]

    def execute(self, command: Sequence[str], heard: Heard) -> End: ...
    def ask(self, codec: int, request: bytes, heard: Heard) -> End: ...


class Probe(Protocol):
    """Made before its process is; `start` when that runs; `heard` gets an answer after each look.

    `problem` says why the last look was in vain.
    """

    @property
    def problem(self) -> str: ...

    def start(self) -> None: ...
    def stop(self) -> None: ...


# ---------------------------------------------------------------- tries


class Connection:
    """One connection to a port of this machine; with a `request` the status that it answers."""

    def __init__(
        self, reactor: Reactor, target: targets.Target, heard: Heard, *, request: bytes = b""
    ) -> None:
        self._reactor, self._heard, self._request = reactor, heard, request
        self._answer = b""
        self._later: Timer | None = None
        family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        failed = self._sock.connect_ex((target.host, target.port))
        if failed in (0, errno.EINPROGRESS):
            reactor.read(self._sock, self._connected)
            reactor.write(self._sock, self._connected)
        else:
            self._later = reactor.after(0, lambda: self._end(_words(failed)))

    def _connected(self) -> None:
        failed = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed or self._is_its_own_peer():
            self._end(_words(failed or errno.ECONNREFUSED))
        elif not self._request:
            self._end("")
        else:
            self._reactor.write(self._sock, None)
            self._reactor.read(self._sock, self._read)
            with contextlib.suppress(OSError):  # the reader sees the end and says so
                self._sock.send(self._request)

    def _is_its_own_peer(self) -> bool:
        """Where nobody listens, the kernel may give us the port that we want to connect to."""
        try:
            return bool(self._sock.getsockname() == self._sock.getpeername())
        except OSError:
            return True  # closed again already

    def _read(self) -> None:
        try:
            data = self._sock.recv(STATUS_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(_words(error.errno or 0))
            return
        self._answer += data
        line, complete, _ = self._answer.partition(b"\r\n")
        if complete or not data or len(self._answer) >= STATUS_BYTES_MAX:
            self._end(_status_problem(line))

    def _end(self, problem: str) -> None:
        self.stop()
        self._heard(problem)

    def stop(self) -> None:
        """No answer any more."""
        if self._later is not None:
            self._later.cancel()
        if self._sock.fileno() >= 0:
            self._reactor.forget(self._sock)
            self._sock.close()


def _words(number: int) -> str:
    return _REASONS.get(number) or os.strerror(number)


def _status_problem(line: bytes) -> str:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if not (version.startswith(b"HTTP/") and len(code) == 3 and code.isdigit()):
        return "answers, but not by HTTP"
    return "" if code[:1] in (b"2", b"3") else f"answers {rest[:60].decode('latin-1').strip()}"


def _tcp(world: World, probe: WireProbe) -> Try:
    target = targets.tcp(probe.target)
    return lambda heard: Connection(world.reactor, target, heard).stop


def _http(world: World, probe: WireProbe) -> Try:
    target = targets.http(probe.target)
    head = f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n"
    request = f"{head}User-Agent: otp\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()
    return lambda heard: Connection(world.reactor, target, heard, request=request).stop


def _exec(world: World, probe: WireProbe) -> Try:
    return lambda heard: world.execute(probe.command, heard)


def _call(world: World, probe: WireProbe) -> Try:
    return lambda heard: world.ask(probe.codec, probe.request, heard)


TRIES: dict[str, Callable[[World, WireProbe], Try]] = {
    "tcp": _tcp,
    "http": _http,
    "exec": _exec,
    "call": _call,
}


def title(probe: WireProbe) -> str:
    """What is asked, for a person: "tcp 127.0.0.1:6390"."""
    return f"{probe.how} {probe.target or ' '.join(probe.command)}".rstrip()


# ---------------------------------------------------------------- probes


class Poll:
    """Tries, and tries again after each answer, until it is stopped or need not go on."""

    def __init__(
        self, world: World, probe: WireProbe, heard: Heard, *, until_yes: bool, timeout: float
    ) -> None:
        self._problem = ""
        self._reactor, self._heard = world.reactor, heard
        self._begin = TRIES[probe.how](world, probe)
        self._title = title(probe)
        self._timeout, self._interval = timeout, probe.interval
        self._pause = min(QUICK_SECONDS, probe.interval) if until_yes else probe.interval
        self._until_yes = until_yes
        self._end_try: End | None = None
        self._timer: Timer | None = None
        self._stopped = False

    @property
    def problem(self) -> str:
        """What came of the last try, and whether another one is under way."""
        if self._end_try is None:
            return self._problem
        if self._problem:
            return f"{self._problem}; the last try has no answer yet"
        return f"{self._title}: no answer"

    def start(self) -> None:
        """The first try is made now, or after one interval."""
        self._timer = self._reactor.after(0 if self._until_yes else self._pause, self._try)

    def stop(self) -> None:
        """No more tries; the one that is under way is ended."""
        self._stopped = True
        self._clear()

    def _try(self) -> None:
        self._timer = self._reactor.after(self._timeout, self._late)
        try:
            self._end_try = self._begin(self._answered)
        except OSError as error:  # out of descriptors, say
            self._answered(str(error))

    def _late(self) -> None:
        self._answered(f"no answer within {self._timeout:g} s")

    def _answered(self, problem: str) -> None:
        self._clear()
        self._problem = f"{self._title}: {problem}" if problem else ""
        self._stopped = self._stopped or (self._until_yes and not problem)
        self._heard(self._problem)
        if not self._stopped:
            self._timer = self._reactor.after(self._pause, self._try)
            self._pause = min(2 * self._pause, self._interval)

    def _clear(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._end_try is not None:
            end, self._end_try = self._end_try, None
            end()


class Notify:
    """The process says by sd_notify that it is ready; the socket is there before it is."""

    def __init__(self, world: World, probe: WireProbe, heard: Heard) -> None:
        self.problem = "no READY=1 came by sd_notify"
        self._socket = NotifySocket(
            world.reactor, world.notify_path, lambda: heard(""), uid=world.uid
        )

    def start(self) -> None:
        """It listens already."""

    def stop(self) -> None:
        self._socket.close()


class Line:
    """A line that the process writes; the node's logger looks for it, and its watch is told."""

    def __init__(self, world: World, probe: WireProbe, heard: Heard) -> None:
        self.problem = f"no line matched {probe.target!r}"
        world.line_matched = lambda: heard("")

    def start(self) -> None:
        """It is looked for already."""

    def stop(self) -> None:
        """Whatever is found later means nothing."""


SIGNS: dict[str, Callable[[World, WireProbe, Heard], Probe]] = {"notify": Notify, "log": Line}


def readiness(world: World, probe: WireProbe, heard: Heard) -> Probe:
    """What tells of this process that it is ready. Raises OSError."""
    if probe.how in SIGNS:
        return SIGNS[probe.how](world, probe, heard)
    timeout = min(probe.timeout, TRY_SECONDS_MAX)
    return Poll(world, probe, heard, until_yes=True, timeout=timeout)


def liveness(world: World, probe: WireProbe, heard: Heard) -> Probe:
    """What tells again and again whether this process is alive."""
    return Poll(world, probe, heard, until_yes=False, timeout=probe.timeout)
