"""Under whom a child runs (`user:`): a name or a number, and perhaps a group, as ids."""

from __future__ import annotations

import grp
import os
import pwd

from otp.wire_tree import Identity

ID_MAX = 2**32 - 2
"""The kernel's ids have 32 bits; the last one means "leave it as it is"."""


def find(text: str) -> Identity:
    """Who "www-data", "1000", "www-data:adm" or "1000:1000" is here, by the user database.

    A name has all its groups (initgroups); with a group written it has that one first. A number
    that no user has needs no entry. Raises LookupError for names that there are not.
    """
    user, colon, group = text.partition(":")
    entry = _user(user)
    if entry is None:
        uid = int(user)
        gid = _group(group) if colon else uid
        return Identity(uid, gid, (gid,))
    gid = _group(group) if colon else entry.pw_gid
    groups = dict.fromkeys((gid, *os.getgrouplist(entry.pw_name, gid)))
    return Identity(entry.pw_uid, gid, tuple(groups), entry.pw_name, entry.pw_dir)


def _user(text: str) -> pwd.struct_passwd | None:
    if _is_number(text):
        try:
            return pwd.getpwuid(int(text))
        except KeyError:
            return None
    try:
        return pwd.getpwnam(text)
    except (KeyError, ValueError):
        raise LookupError(f"there is no user {text!r} on this machine") from None


def _group(text: str) -> int:
    if _is_number(text):
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        raise LookupError(f"there is no group {text!r} on this machine") from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= ID_MAX
