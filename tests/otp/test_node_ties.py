"""Links and monitors as frames: what is posted, what a worker has heard, what comes again."""

from __future__ import annotations

import msgspec
import pytest

from otp import node_ties
from otp.codec import decode_envelope, decode_exit, encode
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
from otp.messages import KILLED, NOCONNECTION, NOPROC, NORMAL, SHUTDOWN, Down, Exit, Reason
from otp.node_ties import OWNER_GONE, Ties

W1, W2, FAR = "<c.1@a>", "<c.2@a>", "<c.1@b>"
decode_down = msgspec.msgpack.Decoder(Down).decode


class Node:
    """Two workers and what their node posts for them."""

    def __init__(self) -> None:
        self.posted: list[bytes] = []
        self.overflowed: list[tuple[str, str]] = []
        self.deaf: set[str] = set()
        self.ended: list[tuple[str, Reason]] = []
        self.names = {"one": W1, "two": W2, W1: W1, W2: W2}
        self.ties = Ties(
            "a",
            post=self.posted.append,
            whereis=self.names.get,
            overflowed=lambda process, text: self.overflowed.append((process, text)),
            reads=lambda process: process not in self.deaf,
            end=lambda process, reason: self.ended.append((process, reason)),
        )
        self.ties.began(W1)
        self.ties.began(W2)

    def ask(self, kind: int, to: str, ref: int = 1, frm: str = W1, body: bytes = b"") -> None:
        self.ties.from_worker(frm, Envelope(kind, to, frm, ref, 0, 0, MSGPACK, "", body))

    def hear(self, kind: int, to: str, ref: int = 1, body: bytes = b"") -> None:
        self.ties.from_node(Envelope(kind, to, FAR, ref, 0, 0, MSGPACK, "", body))

    def out(self) -> list[tuple[int, str, Down | Exit | None]]:
        """What was posted since, as (kind, to, message)."""
        envelopes = [decode_envelope(frame) for frame in self.posted]
        self.posted.clear()
        return [(e.kind, e.to, message(e)) for e in envelopes]


def message(envelope: Envelope) -> Down | Exit | None:
    if not envelope.body:
        return None
    return (decode_down if envelope.kind == DOWN else decode_exit)(envelope.body)


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_death_reaches_who_watches_and_who_is_linked(node: Node) -> None:
    node.ask(MONITOR, "two", ref=7)
    node.ask(LINK, W2, ref=8)
    assert node.out() == []
    node.ties.ended(W2, KILLED)
    assert node.out() == [(DOWN, W1, Down(7, "two", KILLED)), (EXIT, W1, Exit(W2, KILLED))]


def test_who_wants_no_more_of_it_hears_nothing(node: Node) -> None:
    node.ask(MONITOR, "two", ref=7)
    node.ask(LINK, "two", ref=8)
    node.ask(DEMONITOR, "", ref=7)
    node.ask(UNLINK, "two")
    node.ties.ended(W2, KILLED)
    assert node.out() == []


def test_nobody_there_is_told_at_once(node: Node) -> None:
    node.ask(MONITOR, "nobody", ref=7)
    assert node.out() == [(DOWN, W1, Down(7, "nobody", NOPROC))]


def test_ties_with_another_node_travel_as_frames_to_it(node: Node) -> None:
    node.ask(MONITOR, "there@b", ref=7)
    node.ask(LINK, FAR, ref=8)
    assert node.out() == [(MONITOR, "there@b", None), (LINK, FAR, None)]
    assert node.ties.nodes() == ["b"]
    node.ask(DEMONITOR, "", ref=7)
    node.ask(UNLINK, FAR)
    assert node.out() == [(DEMONITOR, "node@b", None)] * 2
    assert node.ties.nodes() == []


def test_a_lost_node_is_a_death_of_all_on_it(node: Node) -> None:
    node.ask(MONITOR, "there@b", ref=7)
    node.out()
    node.ties.node_lost("b")
    assert node.out() == [(DOWN, W1, Down(7, "there@b", NOCONNECTION))]


def test_another_nodes_ties_with_ours(node: Node) -> None:
    node.hear(MONITOR, "one", ref=3)
    node.hear(LINK, W1, ref=4)
    node.hear(MONITOR, "nobody", ref=5)
    assert node.out() == [(DOWN, "node@b", Down(5, "nobody", NOPROC))]
    node.ties.ended(W1, KILLED)
    assert node.out() == [
        (DOWN, "node@b", Down(3, "one", KILLED)),
        (EXIT, "node@b", Exit(W1, KILLED)),
    ]


def test_another_node_takes_back_or_ends_a_tie(node: Node) -> None:
    node.hear(MONITOR, "one", ref=3)
    node.hear(DEMONITOR, "node@a", ref=3)
    node.hear(LINK, W1, ref=4)
    node.hear(EXIT, "node@a", ref=4, body=encode(Exit(FAR, KILLED)))
    assert node.out() == [(EXIT, W1, Exit(FAR, KILLED))]
    node.ties.ended(W1, KILLED)
    assert node.out() == []


@pytest.mark.parametrize("kind", [DOWN, EXIT])
def test_a_death_that_is_garbage_is_a_value_error(node: Node, kind: int) -> None:
    for body in (b"", b"\xc1", encode({"type": "otp.Down"}), encode(7)):
        with pytest.raises(ValueError):
            node.hear(kind, "node@a", body=body)


# ---------------------------------------------------------------- across the mailroom's deaths


def test_what_was_not_heard_comes_again_in_order_with_the_next_mailroom(node: Node) -> None:
    for ref, frm in enumerate((W1, W2, W1)):
        node.ask(MONITOR, "nobody", ref=ref, frm=frm)
    posted = list(node.posted)
    serials = [decode_envelope(frame).ref for frame in posted]
    assert serials == sorted(set(serials))
    assert node.ties.unheard() == posted
    node.ties.heard(W1, serials[0])
    assert node.ties.unheard() == posted[1:]
    node.ties.heard(W1, serials[2])
    assert node.ties.unheard() == posted[1:2]
    node.ties.ended(W2, KILLED)
    assert node.ties.unheard() == []


def test_what_was_heard_twice_or_by_nobody_changes_nothing(node: Node) -> None:
    node.ask(MONITOR, "nobody")
    for _ in range(2):
        node.ties.heard(W1, 10)
        node.ties.heard("<c.9@a>", 10)
    assert node.ties.unheard() == []


def test_a_process_without_signals_is_sent_none(node: Node) -> None:
    node.names["pool"] = "<c.s1@a>"
    node.hear(LINK, "pool", ref=1)
    node.ties.node_lost("b")
    assert node.out() == []


def test_a_worker_that_leaves_too_much_unread_is_reported(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_ties, "SIGNALS_MAX", 2)
    for ref in range(2):
        node.ask(MONITOR, "nobody", ref=ref)
    assert node.overflowed == []
    node.ask(MONITOR, "nobody", ref=2)
    assert node.overflowed == [(W1, "it left 2 signals unread")]


# ---------------------------------------------------------------- exit signals, and those who end


def test_an_exit_signal_is_a_message_an_end_or_nothing(node: Node) -> None:
    node.ask(EXIT_SIGNAL, "two", body=encode(SHUTDOWN))
    assert node.out() == [(EXIT, W2, Exit(W1, SHUTDOWN))]
    node.ask(EXIT_SIGNAL, "two", body=encode(KILLED))
    assert (node.out(), node.ended) == ([], [(W2, KILLED)])
    node.ask(EXIT_SIGNAL, "nobody", body=encode(KILLED))
    assert node.out() == []
    node.ask(EXIT_SIGNAL, "far@b", body=encode(SHUTDOWN))
    (frame,) = node.posted
    sent = decode_envelope(frame)
    assert (sent.kind, sent.to, sent.frm, sent.body) == (
        EXIT_SIGNAL,
        "far@b",
        W1,
        encode(SHUTDOWN),
    )


def test_an_exit_signal_from_another_node(node: Node) -> None:
    node.hear(EXIT_SIGNAL, "two@a", body=encode(SHUTDOWN))
    assert node.out() == [], "an address with our own name is for whoever resolves addresses"
    node.hear(EXIT_SIGNAL, W2, body=encode(SHUTDOWN))
    assert node.out() == [(EXIT, W2, Exit(FAR, SHUTDOWN))]
    with pytest.raises(ValueError):
        node.hear(EXIT_SIGNAL, W2, body=b"junk")


def test_who_reads_no_signals_is_ended_by_its_node(node: Node) -> None:
    node.deaf.add(W1)
    node.ask(LINK, W2)
    node.ask(EXIT_SIGNAL, "one", frm=W2, body=encode(NORMAL))
    assert node.ended == []
    node.out()
    node.ties.ended(W2, KILLED)
    assert (node.out(), node.ended) == ([], [(W1, KILLED)])


def test_a_leash_ends_whoever_asked_for_it_and_nobody_else(node: Node) -> None:
    node.ask(MONITOR, W2, ref=7, body=LEASH)
    node.ask(MONITOR, W2, ref=8)
    node.ties.ended(W2, KILLED)
    assert (node.out(), node.ended) == ([(DOWN, W1, Down(8, W2, KILLED))], [(W1, OWNER_GONE)])
    node.ask(MONITOR, "nobody", ref=9, body=LEASH)
    assert node.ended[1:] == [(W1, OWNER_GONE)], "nobody there: at once"
    node.ties.ended(W1, KILLED)
    assert not node.ties._leashes
