"""A wire that a test can cut: put between two nodes, or between anything that talks TCP.

    wire = otp_wire("127.0.0.1:7002")
    a = otp_start(tree, name="a", listen="127.0.0.1:7001", peers={"b": wire.address}, ...)
    wire.cut()

A cut wire is what a network partition is: nobody is told, connections stay open, and what is sent
does not arrive. When it is healed, what was held back arrives late. `break_off` closes the
connections instead, as a process that dies would.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading

HELD_BYTES_MAX = 256 * 1024
"""What a direction holds of what the other side is slow to take; then its sender has to wait."""
READ_BYTES = 64 * 1024


class _End:
    """One end of a connection: what came in goes to the other end's `held`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock, self.held = sock, bytearray()
        self.other: _End


class Wire:
    """Listens at `address` and passes everything on to `to`, both ways, until it is cut."""

    def __init__(self, to: str) -> None:
        host, _, port = to.rpartition(":")
        self._to = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._selector = selectors.DefaultSelector()
        self._ends: set[_End] = set()
        self._lock = threading.Lock()
        self._cut = self._closing = False
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"otp-wire-{to}", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """From now on nothing arrives; when this returns, nothing more does."""
        with self._lock:
            self._cut = True
            self._watch_all()

    def heal(self) -> None:
        """All arrives again, what was sent meanwhile first."""
        with self._lock:
            self._cut = False
            self._watch_all()
        os.write(self._wake, b".")

    def break_off(self) -> None:
        """Close all connections; new ones can be made, unless the wire is cut."""
        with self._lock:
            for end in list(self._ends):
                self._drop(end)

    def close(self) -> None:
        """Close all, for good."""
        with self._lock:
            self._closing = True
        os.write(self._wake, b".")
        self._thread.join()
        self.break_off()
        self._selector.close()
        self._listener.close()
        os.close(self._woken)
        os.close(self._wake)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while not self._closing:
            for key, events in self._selector.select():
                with self._lock:
                    self._serve(key, events)

    def _serve(self, key: selectors.SelectorKey, events: int) -> None:
        if key.fileobj == self._woken:
            os.read(self._woken, READ_BYTES)
        elif key.fileobj is self._listener:
            self._accept()
        elif key.data in self._ends and not self._cut:
            self._pass_on(key.data, events)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # gone before it was taken
            return
        try:
            onward = socket.create_connection(self._to)
        except OSError:  # nobody is there: whoever comes sees the same as without us
            sock.close()
            return
        one, two = _End(sock), _End(onward)
        one.other, two.other = two, one
        for end in (one, two):
            self._ends.add(end)
            self._selector.register(end.sock, selectors.EVENT_READ, end)
        self._watch_all()

    def _pass_on(self, end: _End, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                data = end.sock.recv(READ_BYTES)
                if not data:
                    self._drop(end)
                    return
                end.other.held += data
            for side in (end, end.other):
                if side.held:
                    with contextlib.suppress(BlockingIOError):
                        del side.held[: side.sock.send(side.held)]
                self._watch(side)
        except BlockingIOError:
            return
        except OSError:
            self._drop(end)

    def _watch_all(self) -> None:
        """What to wait for: nothing at all of a connection while the wire is cut."""
        for end in self._ends:
            self._watch(end)

    def _watch(self, end: _End) -> None:
        wanted = selectors.EVENT_READ if len(end.other.held) < HELD_BYTES_MAX else 0
        wanted |= selectors.EVENT_WRITE if end.held else 0
        known = end.sock.fileno() in self._selector.get_map()
        if self._cut or not wanted:
            if known:
                self._selector.unregister(end.sock)
        elif known:
            self._selector.modify(end.sock, wanted, end)
        else:
            self._selector.register(end.sock, wanted, end)

    def _drop(self, end: _End) -> None:
        for side in (end, end.other):
            if side in self._ends:
                self._ends.remove(side)
                if side.sock.fileno() in self._selector.get_map():
                    self._selector.unregister(side.sock)
                side.sock.close()
