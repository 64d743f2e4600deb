"""What the copies of one election say to each other, and the two things that they keep.

An `Entry` is one batch of events in the log, a `Record` says which five nodes hold the log. All the
rest are messages; each names the election (`key`), the epoch of the writer that it belongs to, and
the `node` that sent it. They may be lost, repeated, reordered and arbitrarily late.

The messages are arrays on the wire. msgspec cannot tell arrays from maps in one union, so a server
takes them in a handler of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from struct import Struct
from typing import Literal

import msgspec

import otp
from ballot import merkle

_head = Struct(">QQ").pack
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[bytes]).decode

# --- the log -----------------------------------------------------------------------------------


class Batch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Events that are to be recorded together: `count` of them in `events`, under one `root`."""

    events: bytes
    count: int
    root: bytes


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One batch at its place in the log; positions begin at 1.

    `hash` is over position, epoch, the hash of the entry before and the Merkle root of the events:
    the same position and epoch with another hash is corruption.
    """

    position: int
    epoch: int
    prev_hash: bytes
    root: bytes
    hash: bytes
    count: int
    events: bytes

    @property
    def head(self) -> Head:
        """The place of this entry."""
        return Head(self.position, self.epoch, self.hash)


class Head(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A place in a log; two logs that hold the same head are equal up to there."""

    position: int
    epoch: int
    hash: bytes


START = Head(0, 0, bytes(merkle.HASH_BYTES))
"""The head of an empty log."""


def batch(events: Sequence[bytes]) -> Batch:
    """Return encoded events as one batch."""
    return Batch(_pack(events), len(events), merkle.root(events))


def events_of(packed: Entry | Batch) -> list[bytes]:
    """Return the encoded events in their order. Raises msgspec.DecodeError when they are none."""
    return _unpack(packed.events)


def entry_hash(position: int, epoch: int, prev_hash: bytes, root: bytes) -> bytes:
    """Return the hash that an entry must carry."""
    return sha256(_head(position, epoch) + prev_hash + root).digest()


def entry_after(last: Head, epoch: int, events: Batch) -> Entry:
    """Return the entry that puts a batch after `last` in `epoch`."""
    position = last.position + 1
    own = entry_hash(position, epoch, last.hash, events.root)
    return Entry(position, epoch, last.hash, events.root, own, events.count, events.events)


def follows(entry: Entry, last: Head) -> bool:
    """Tell whether `entry` carries its right hash and belongs right after `last`."""
    return (
        entry.position == last.position + 1
        and entry.epoch >= last.epoch
        and entry.prev_hash == last.hash
        and entry.hash == entry_hash(entry.position, entry.epoch, entry.prev_hash, entry.root)
    )


def intact(entry: Entry) -> bool:
    """Tell whether the events are those that the entry's root and hash were made for.

    Costs about a microsecond for each event.
    """
    try:
        events = _unpack(entry.events)
    except msgspec.DecodeError:
        return False
    return (
        len(events) == entry.count
        and merkle.root(events) == entry.root
        and entry_hash(entry.position, entry.epoch, entry.prev_hash, entry.root) == entry.hash
    )


# --- the configuration record ------------------------------------------------------------------


class Record(msgspec.Struct, frozen=True):
    """Who holds an election: the record that is only changed by compare-and-swap of its epoch.

    `members` are five different nodes, the writer first. While `status` is pending, `prev` holds
    the members whose copies count (None: nothing was ever recorded). `owner` names the process that
    took the epoch, so that it knows its own success again when the answer got lost.
    """

    epoch: int
    writer: str
    members: tuple[str, ...]
    status: Literal["pending", "active"]
    prev: tuple[str, ...] | None
    ring_version: int
    owner: str

    @property
    def authoritative(self) -> tuple[str, ...] | None:
        """The members whose copies hold what was recorded; None before the first activation."""
        return self.members if self.status == "active" else self.prev


# --- messages ----------------------------------------------------------------------------------


class Replica(otp.Message, frozen=True, array_like=True):
    """What each message between copies carries."""

    key: str
    epoch: int
    node: str


class Prepare(Replica, frozen=True, array_like=True, tag="pp"):
    """A new writer asks a copy to obey no older epoch, and what it holds."""


class Promise(Replica, frozen=True, array_like=True, tag="pr"):
    """The copy obeys; its log ends at `last`."""

    incarnation: bytes
    last: Head
    commit: int


class Refuse(Replica, frozen=True, array_like=True, tag="no"):
    """The copy has promised a newer epoch; the writer of `epoch` must stop."""

    promised: int


class NoCopy(Replica, frozen=True, array_like=True, tag="nc"):
    """The node holds no log that counts: it lost its memory, or has not been filled yet."""

    incarnation: bytes


class Fetch(Replica, frozen=True, array_like=True, tag="fe"):
    """A new writer asks the copy with the best log for what comes after `after`."""

    incarnation: bytes
    after: Head


class FetchChunk(Replica, frozen=True, array_like=True, tag="fc"):
    """A bounded part of that log after `prev`, `end` with the last.

    Not `known`: `prev`, which was asked for, is not in it.
    """

    incarnation: bytes
    prev: Head
    known: bool
    entries: tuple[Entry, ...]
    end: bool


class Append(Replica, frozen=True, array_like=True, tag="ap"):
    """Entries to put after `prev`; without any it asks whether `prev` is there.

    What lies at or below `commit` is recorded for good.
    """

    prev: Head
    entries: tuple[Entry, ...]
    commit: int


class Ack(Replica, frozen=True, array_like=True, tag="ok"):
    """The copy holds the writer's log up to position `upto`, and knows `commit` as recorded."""

    upto: int
    incarnation: bytes
    commit: int


class Gap(Replica, frozen=True, array_like=True, tag="gp"):
    """The copy cannot append: it needs what comes after position `after`."""

    after: int


class Join(Replica, frozen=True, array_like=True, tag="jo"):
    """A copy without a log that counts asks to be filled; it has the log up to `after`."""

    incarnation: bytes
    after: Head


class Adopt(Replica, frozen=True, array_like=True, tag="ad"):
    """A bounded part of the writer's log for a copy that joins; with `end` the copy counts."""

    incarnation: bytes
    prev: Head
    entries: tuple[Entry, ...]
    commit: int
    end: bool


class Heartbeat(Replica, frozen=True, array_like=True, tag="hb"):
    """The writer tells what is recorded, and asks (`read` > 0) whether it still is the writer."""

    read: int
    commit: int


class HeartbeatOk(Replica, frozen=True, array_like=True, tag="hk"):
    """The copy knows of no newer writer; it knows `commit` as recorded."""

    read: int
    commit: int


ToCopy = Prepare | Fetch | Append | Adopt | Heartbeat
"""What a follower gets from a writer."""

ToWriter = Promise | Refuse | NoCopy | FetchChunk | Ack | Gap | Join | HeartbeatOk
"""What a writer gets from followers."""

AnyReplica = ToCopy | ToWriter
