"""TLS 1.3 between nodes, with certificates on both sides that name the nodes.

A certificate is for the nodes of its `otp://NAME` entries (subjectAltName, URI) or, where it has
none, for the one of its common name. `ssl` is imported by those only who have files to give it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import quote, unquote

from otp.frames import TlsPem
from otp.transport import ProtocolError

SCHEME = "otp://"


class TlsSocket(ssl.SSLSocket):
    """A non-blocking TLS socket that raises what other sockets do."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        except ssl.SSLError as error:
            raise ConnectionError(reason(error)) from error

    def send(self, data: object, flags: int = 0) -> int:
        try:
            return super().send(data, flags)  # type: ignore[arg-type]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        except ssl.SSLError as error:
            raise ConnectionError(reason(error)) from error


class Tls:
    """What a mailroom needs to speak TLS: one context for each side of a connection."""

    def __init__(self, pem: TlsPem) -> None:
        self._accepting = _context(pem, ssl.PROTOCOL_TLS_SERVER)
        self._connecting = _context(pem, ssl.PROTOCOL_TLS_CLIENT)

    def begin(self, sock: socket.socket, *, accepting: bool) -> TlsHandshake:
        """A handshake on a connected, non-blocking socket. Raises ProtocolError."""
        context = self._accepting if accepting else self._connecting
        try:
            return TlsHandshake(
                context.wrap_socket(sock, server_side=accepting, do_handshake_on_connect=False)
            )
        except OSError as error:
            sock.close()
            raise ProtocolError(reason(error)) from error


class TlsHandshake:
    """One handshake; `sock` takes the place of the socket that it was begun on."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.done = False
        self.names: frozenset[str] = frozenset()

    def advance(self) -> bool:
        """Go on as far as it goes; True if it waits for room to write. Raises ProtocolError."""
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            return True
        except OSError as error:
            raise ProtocolError(reason(error)) from error
        self.done = True
        self.names = names_in(self.sock.getpeercert() or {})
        return False


def reason(error: OSError) -> str:
    """What a handshake failed of, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.lower().replace('_', ' ')}"
    return f"TLS: {error.strerror or error}"


def uri_of(node: str) -> str:
    """How a certificate names a node."""
    return SCHEME + quote(node, safe="")


def names_in(certificate: object) -> frozenset[str]:
    """The nodes that a certificate (as `ssl` decodes it) is for."""
    assert isinstance(certificate, dict)
    uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    named = [unquote(uri.removeprefix(SCHEME)) for uri in uris if uri.startswith(SCHEME)]
    if not named:
        fields = [field for group in certificate.get("subject", ()) for field in group]
        named = [value for key, value in fields if key == "commonName"]
    return frozenset(named)


def problem_with(pem: TlsPem, node: str) -> str:
    """What keeps this node's certificate from working, found by a handshake with ourselves."""
    try:
        tls = Tls(pem)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        text = error.reason if isinstance(error, ssl.SSLError) else str(error)
        return f"no certificate and key that belong together, or no authority ({text})"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for sock in (ours, theirs):
            sock.setblocking(False)
        ends = [tls.begin(ours, accepting=True), tls.begin(theirs, accepting=False)]
        try:
            while not all(end.done for end in ends):
                for end in ends[::-1]:
                    end.advance()
        except ProtocolError as error:
            return str(error)
        finally:
            for end in ends:
                end.sock.close()
    names = ends[0].names
    if node not in names:
        return f"the certificate is for {', '.join(sorted(names)) or 'nobody'}, not for {node}"
    return ""


def _context(pem: TlsPem, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # it is nodes that certificates name, wherever they are
    context.verify_mode = ssl.CERT_REQUIRED
    context.sslsocket_class = TlsSocket
    context.load_verify_locations(cadata=pem.ca.decode("ascii"))
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # every connection is authenticated anew
    _load_chain(context, pem)
    return context


def _load_chain(context: ssl.SSLContext, pem: TlsPem) -> None:
    """`ssl` takes files only: memory files, so that no key is on a disk but where its owner put it.

    A key with a passphrase is refused: nobody is there to be asked.
    """
    with _memory_file(pem.cert) as cert, _memory_file(pem.key) as key:
        context.load_cert_chain(cert, key, password=b"")


@contextlib.contextmanager
def _memory_file(data: bytes) -> Iterator[str]:
    fd = os.memfd_create("otp-tls")
    try:
        os.write(fd, data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
