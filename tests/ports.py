"""Ports for clusters that tests start."""

from __future__ import annotations

import os
import socket

FIRST, LAST, STEP = 20_000, 30_000, 16
"""Below the ports that Linux gives to clients, so that nobody takes one between look and use."""


def ports_in_a_row(count: int) -> int:
    """The first of `count` ports on 127.0.0.1 that were free a moment ago.

    Two test sessions begin to look at different places.
    """
    places = list(range(FIRST, LAST, STEP))
    begin = os.getpid() % len(places)
    for first in [*places[begin:], *places[:begin]]:
        if all(_is_free(first + i) for i in range(count)):
            return first
    raise AssertionError(f"no {count} free ports in a row between {FIRST} and {LAST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
