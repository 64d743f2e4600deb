"""Where things are found: addresses of managers, copies and the record store; keys as path ids."""

from __future__ import annotations

import re

GROUP = "elections"
"""The `otp.Via` group of elections, and the address of the supervisor of a node's copies."""
MANAGER = "manager"
HOST = "host"
COORDINATION = f"coordination@{HOST}"

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_KEY = re.compile(f"({_PART})/({_PART})")


def key_fault(key: str) -> str | None:
    """Why this cannot be an election's key, or None."""
    if _KEY.fullmatch(key):
        return None
    return f"key {key[:80]!r}: expected FACILITY/ID of letters, digits, '.', '_' and '-'"


def slug(key: str) -> str:
    """A key as the id of a child and the name of a folder; `~` never occurs in a key."""
    return key.replace("/", "~")


def copy_address(key: str, role: str, node: str) -> str:
    """The address of one copy's process."""
    return f"{GROUP}/{slug(key)}/{role}@{node}"
