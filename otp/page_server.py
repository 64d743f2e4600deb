"""One page over HTTP for whoever scrapes it: small, bounded, and never waited for.

Many may ask at a time; each gets what the page is when it is made, and is closed. A client that is
slow, silent or long-winded costs a socket for a few seconds and nothing else.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from functools import partial

from otp.reactor import Reactor, Timer

CONNECTIONS_MAX = 32
"""Scrapers at a time; more are closed at once."""
REQUEST_BYTES_MAX = 8 * 1024
"""The longest request, headers and all."""
EXCHANGE_SECONDS_MAX = 10.0
"""How long one request and its answer may take, by when the connection is closed."""
ACCEPT_PAUSE_SECONDS = 0.5
"""How long nobody is let in after the process ran out of descriptors."""
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PATH = "/metrics"

Deliver = Callable[[str], None]


class PageServer:
    """Serves `PATH`; `make(deliver)` is asked for a page and delivers it now or later.

    Raises OSError, which says where, if nobody can listen at `address` ("127.0.0.1:9464").
    """

    def __init__(
        self, reactor: Reactor, address: str, content_type: str, make: Callable[[Deliver], None]
    ) -> None:
        self._reactor, self._make, self._type = reactor, make, content_type
        self._visitors: set[_Visitor] = set()
        self._listener = _listen(address)
        reactor.read(self._listener, self._accept)

    @property
    def port(self) -> int:
        """Where it listens, also if it was told to choose."""
        return int(self._listener.getsockname()[1])

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            if error.errno in _FULL:
                self._reactor.forget(self._listener)
                again = partial(self._reactor.read, self._listener, self._accept)
                self._reactor.after(ACCEPT_PAUSE_SECONDS, again)
            return
        if len(self._visitors) >= CONNECTIONS_MAX:
            sock.close()
            return
        sock.setblocking(False)
        self._visitors.add(_Visitor(self._reactor, sock, self._asked, self._visitors.discard))

    def _asked(self, visitor: _Visitor, method: str, path: str) -> None:
        if method not in ("GET", "HEAD"):
            visitor.answer("405 Method Not Allowed", "only GET and HEAD\n", allow="GET, HEAD")
        elif path.partition("?")[0] != PATH:
            visitor.answer("404 Not Found", f"metrics are at {PATH}\n")
        else:
            body = method == "GET"
            self._make(lambda page: visitor.answer("200 OK", page, type=self._type, body=body))


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        listener = socket.create_server((host, int(port)), backlog=CONNECTIONS_MAX)
    except OSError as error:
        raise OSError(
            f"cannot listen on {address}: {error.strerror}; "
            "stop what uses the port, or choose another (metrics:)"
        ) from error
    listener.setblocking(False)
    return listener


class _Visitor:
    """One connection: a request in, an answer out, closed."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        asked: Callable[[_Visitor, str, str], None],
        gone: Callable[[_Visitor], None],
    ) -> None:
        self._reactor, self._sock, self._asked, self._gone = reactor, sock, asked, gone
        self._in, self._out = bytearray(), memoryview(b"")
        self._answered = self._over = False
        self._deadline: Timer = reactor.after(EXCHANGE_SECONDS_MAX, self._close)
        reactor.read(sock, self._read)

    def answer(
        self,
        status: str,
        text: str,
        *,
        type: str = "text/plain",
        allow: str = "",
        body: bool = True,
    ) -> None:
        """Write it and close; nothing happens where the visitor is gone."""
        if self._over:
            return
        content = text.encode()
        head = [f"HTTP/1.1 {status}", f"Content-Type: {type}", f"Content-Length: {len(content)}"]
        head += [f"Allow: {allow}"] * bool(allow) + ["Connection: close", "", ""]
        self._answered = True
        self._out = memoryview("\r\n".join(head).encode() + (content if body else b""))
        self._write()

    def _read(self) -> None:
        try:
            data = self._sock.recv(REQUEST_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
        elif not self._answered:  # what comes after the request is of no interest
            self._in += data
            self._parse()

    def _parse(self) -> None:
        head, end, _ = bytes(self._in).partition(b"\r\n\r\n")
        if len(head) > REQUEST_BYTES_MAX:
            self.answer("431 Request Header Fields Too Large", "too long\n")
        elif end:
            self._answered = True
            words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            if len(words) == 3 and words[2].startswith("HTTP/1."):
                self._asked(self, words[0], words[1])
            else:
                self.answer("400 Bad Request", "not HTTP/1\n")

    def _write(self) -> None:
        try:
            sent = self._sock.send(self._out)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close()
            return
        self._out = self._out[sent:]
        if self._out:
            self._reactor.write(self._sock, self._write)
        else:
            self._close()

    def _close(self) -> None:
        if not self._over:
            self._over = True
            self._deadline.cancel()
            self._reactor.forget(self._sock)
            self._sock.close()
            self._gone(self)
