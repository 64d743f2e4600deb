"""Whom a probe asks: addresses and URLs as people write them, taken apart. Pure.

Only numeric addresses and `localhost`: to look another name up could block the node for seconds,
and what is probed runs on this machine.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

PORT_MAX = 65_535
_EXAMPLE = "127.0.0.1:6390"


class Target(NamedTuple):
    """A port of this machine, and for http what is asked for there."""

    host: str
    port: int
    path: str = ""
    authority: str = ""


def tcp(text: str) -> Target:
    """ "127.0.0.1:6390", "localhost:80" or "[::1]:80"; else a ValueError that says why."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and 0 < int(port[:9]) <= PORT_MAX):
        raise ValueError(f"is not of the form host:port, such as {_EXAMPLE}")
    return Target(_host(host), int(port))


def http(text: str) -> Target:
    """ "http://127.0.0.1:8000/health"; else a ValueError that says what is wrong."""
    scheme, separator, rest = text.partition("://")
    if scheme == "https" and separator:
        raise ValueError("cannot be asked: use http, or exec: [curl, --fail, ...]")
    if scheme != "http" or not separator:
        raise ValueError("is not of the form http://127.0.0.1:8000/health")
    authority, slash, path = rest.partition("/")
    if not (rest.isascii() and rest.isprintable()) or " " in rest or "#" in rest:
        raise ValueError("holds what a URL cannot: encode it as %20 and the like")
    if "?" in authority:
        raise ValueError("needs a / before the ?")
    port_given = authority.rpartition("]")[2].count(":") > 0
    host, port, *_ = tcp(authority if port_given else f"{authority}:80")
    return Target(host, port, slash + path or "/", authority)


def _host(text: str) -> str:
    if text == "localhost":
        return "127.0.0.1"
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise ValueError(
            f"asks {text[:60]!r}: a probe asks this machine by a numeric address or localhost; "
            "for others use exec, with a program that asks them"
        ) from None
