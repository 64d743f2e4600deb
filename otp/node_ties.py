"""Links and monitors at work: from frames to `Links`, and its effects back to frames.

Signals go through the mailroom, so that each comes after all that its sender had sent before. A
worker confirms those that it has; the next mailroom is given the rest again. So a mailroom takes
no signal along when it dies, and a serial number keeps a worker from taking one twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from otp.codec import decode_exit, encode
from otp.frames import (
    DEMONITOR,
    DOWN,
    EXIT,
    EXIT_SIGNAL,
    LEASH,
    LINK,
    MONITOR,
    MSGPACK,
    UNLINK,
    Envelope,
)
from otp.links import Effect, Links, Relay, Signal, node_of
from otp.messages import KILLED, Down, Exit, Message, Reason

SIGNALS_MAX = 100_000
"""Signals that a worker may leave unread; one that has more is killed: it cannot miss any."""

OWNER_GONE = Reason("killed", "whoever it ran for has ended")
"""Why a task ends that was linked to its starter."""

_decode_down = msgspec.msgpack.Decoder(Down).decode
_decode_reason = msgspec.msgpack.Decoder(Reason).decode


class Ties:
    """The links and monitors of a node's processes.

    `post` sends a frame through the mailroom, `whereis` says which process of ours an address
    leads to, `overflowed` is told of a worker that leaves too much unread. `reads` says whether a
    process looks at its signals; `end` ends one that does not, or must not, for this reason.
    """

    def __init__(
        self,
        node: str,
        *,
        post: Callable[[bytes], None],
        whereis: Callable[[str], str | None],
        overflowed: Callable[[str, str], None],
        reads: Callable[[str], bool],
        end: Callable[[str, Reason], None],
    ) -> None:
        self._node = node
        self._post, self._whereis, self._overflowed = post, whereis, overflowed
        self._reads, self._end = reads, end
        self._leashes: dict[str, set[int]] = {}
        self._links = Links(node)
        self._serial = 0
        self._unheard: dict[str, deque[tuple[int, bytes]]] = {}

    # ------------------------------------------------------------ lives

    def began(self, process: str) -> None:
        """A worker that can be sent signals."""
        self._unheard[process] = deque()

    def ended(self, process: str, reason: Reason) -> None:
        """A worker or supervisor is gone: who is tied to it hears of it."""
        self._unheard.pop(process, None)
        self._leashes.pop(process, None)
        self._perform(self._links.exited(process, reason))

    def node_lost(self, node: str) -> None:
        """Another node cannot be reached: whoever is tied to a process there hears of it."""
        self._perform(self._links.node_lost(node))

    def nodes(self) -> list[str]:
        """The other nodes that there are ties with."""
        return self._links.nodes()

    # ------------------------------------------------------------ frames in

    def from_worker(self, process: str, envelope: Envelope) -> None:
        """One of our own processes asks for a monitor or a link, or wants it no more."""
        links, ref, to = self._links, envelope.ref, envelope.to
        here, kind = self._whereis(to), envelope.kind
        if kind == MONITOR:
            if envelope.body == LEASH:
                self._leashes.setdefault(process, set()).add(ref)
            self._perform(links.monitor(process, ref, to, here))
        elif kind == EXIT_SIGNAL:
            self._exit_signal(envelope, here)
        elif kind == DEMONITOR:
            self._perform(links.demonitor(process, ref))
        elif kind == LINK:
            self._perform(links.link(process, ref, to, here))
        elif kind == UNLINK:
            self._perform(links.unlink(process, to, here))

    def from_node(self, envelope: Envelope) -> None:
        """What another node says of a tie with it. Raises ValueError for what makes no sense."""
        links, frm, ref, to = self._links, envelope.frm, envelope.ref, envelope.to
        kind = envelope.kind
        if kind == MONITOR:
            self._perform(links.monitor(frm, ref, to, self._whereis(to)))
        elif kind == LINK:
            self._perform(links.link(frm, ref, to, self._whereis(to)))
        elif kind == EXIT_SIGNAL:
            self._exit_signal(envelope, self._whereis(to))
        elif kind == DEMONITOR:
            self._perform(links.over(frm, ref, None))
        elif kind in (DOWN, EXIT):
            decode = _decode_down if kind == DOWN else decode_exit
            self._perform(links.over(frm, ref, decode(envelope.body)))

    def heard(self, process: str, serial: int) -> None:
        """The worker has all signals up to this one."""
        unheard = self._unheard.get(process)
        while unheard and unheard[0][0] <= serial:
            unheard.popleft()

    # ------------------------------------------------------------ frames out

    def unheard(self) -> list[bytes]:
        """What the next mailroom must deliver, in order."""
        signals = sorted(signal for queue in self._unheard.values() for signal in queue)
        return [frame for _, frame in signals]

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Signal):
                self._signal(effect)
            else:
                self._relay(effect)

    def _exit_signal(self, envelope: Envelope, here: str | None) -> None:
        """Sent on purpose: "kill" cannot be trapped, and nobody hears of one that meets nobody."""
        reason, to = _decode_reason(envelope.body), envelope.to
        if here is None and node_of(to) not in ("", self._node):
            self._post(_frame(EXIT_SIGNAL, to, envelope.frm, 0, envelope.body))
        elif here is not None and reason == KILLED:
            self._end(here, reason)
        elif here is not None:
            self._signal(Signal(here, Exit(envelope.frm, reason)))

    def _ends(self, signal: Signal) -> Reason | None:
        """Why it ends by this, instead of getting a message."""
        message = signal.message
        if isinstance(message, Exit):
            deaf = message.reason.kind != "normal" and not self._reads(signal.to)
            return message.reason if deaf else None
        on_leash = message.ref in self._leashes.get(signal.to, ())
        return OWNER_GONE if on_leash else None

    def _signal(self, signal: Signal) -> None:
        if signal.to not in self._unheard:
            return  # it has ended meanwhile
        if (why := self._ends(signal)) is not None:
            self._end(signal.to, why)
            return
        self.tell(signal.to, signal.message)

    def tell(self, process: str, message: Message) -> None:
        """What a worker must hear, whatever becomes of mailrooms; an `Exit`, or for handle_info."""
        unheard = self._unheard.get(process)
        if unheard is None:
            return  # it has ended meanwhile
        self._serial += 1
        kind = EXIT if isinstance(message, Exit) else DOWN
        frame = _frame(kind, process, self._node, self._serial, encode(message))
        unheard.append((self._serial, frame))
        if len(unheard) > SIGNALS_MAX:
            self._overflowed(process, f"it left {SIGNALS_MAX} signals unread")
        self._post(frame)

    def _relay(self, relay: Relay) -> None:
        message = relay.message
        if relay.kind != "over":
            kind = MONITOR if relay.kind == "monitor" else LINK
        elif message is None:
            kind = DEMONITOR
        else:
            kind = DOWN if isinstance(message, Down) else EXIT
        to = relay.to or f"node@{relay.node}"
        body = b"" if message is None else encode(message)
        self._post(_frame(kind, to, relay.frm, relay.ref, body))


def _frame(kind: int, to: str, frm: str, ref: int, body: bytes) -> bytes:
    return encode(Envelope(kind, to, frm, ref, 0, 0, MSGPACK, "", body))
