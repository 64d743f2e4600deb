"""The TLS files of a node, read and tried out before anything starts."""

from __future__ import annotations

import os
import stat

from otp.errors import StartError
from otp.frames import TlsPem
from otp.spec import NodeOptions

PEM_BYTES_MAX = 1024 * 1024
"""No certificate is longer; whoever names another file is told so."""


def read_tls(options: NodeOptions) -> TlsPem | None:
    """What the files of `tls` hold, or None where there are none.

    Raises StartError where a file cannot be read, a key is not 0600, or a handshake with them
    would fail: with the name of the file, or what is wrong.
    """
    if options.tls is None:
        return None
    files = options.tls
    pem = TlsPem(_read(files.cert), _read(files.key, secret=True), _read(files.ca))
    from otp.tls import problem_with

    if problem := problem_with(pem, options.name):
        raise StartError(who=files.cert, reason=problem)
    return pem


def _read(path: str, *, secret: bool = False) -> bytes:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(PEM_BYTES_MAX)
    except OSError as error:
        raise StartError(who=path, reason=error.strerror) from error
    if secret and stat.S_IMODE(status.st_mode) & 0o077:
        raise StartError(who=path, reason="others can read it; chmod 600")
    if b"-----BEGIN " not in data:
        raise StartError(who=path, reason="it is no PEM file (-----BEGIN ..)")
    return data
