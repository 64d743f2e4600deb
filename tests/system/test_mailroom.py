"""A mailroom among strangers, slow readers and talkers of nonsense, and its own death."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path

import msgspec
import pytest

import otp
from otp.approach import HANDSHAKE_SECONDS_MAX
from otp.client import Client as Caller
from otp.client import socket_in
from otp.codec import decode_envelope, encode
from otp.door import STRANGERS_MAX
from otp.frames import (
    CALL,
    CAST,
    DEMONITOR,
    DOWN,
    ERROR,
    EXIT,
    HELLO,
    INFO,
    LINK,
    MONITOR,
    MOVED,
    MSGPACK,
    PICKLE,
    REPLY,
    UNLINK,
)
from otp.testing import Start, eventually
from tests.system import workers as w
from tests.system.help import AUTHKEY, Local, Raw, envelope, free_ports, freeze, key_file, row
from tests.system.help import MAILROOM_TREE as TREE

Address = tuple[str, int]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[otp.Node, Address]]:
    (port,) = free_ports(1)
    with otp.start(
        TREE,
        name="a",
        listen=f"127.0.0.1:{port}",
        authkey_file=key_file(tmp_path_factory.mktemp("key")),
        topologies={"keys": otp.TopologySpec(w.Keys, {"manager": "manager"})},
    ) as node:
        yield node, ("127.0.0.1", port)


@pytest.fixture
def node(shared: tuple[otp.Node, Address]) -> Iterator[otp.Node]:
    """The node; whatever a test did, its mailroom, workers and zygote are still the same."""
    node = shared[0]
    paths = ("a", "zygote", "otp/mailroom", "root/watcher")
    before = [row(node, path).pid for path in paths]
    yield node
    assert [row(node, path).pid for path in paths] == before
    assert node.call("counter", w.Add(0)) >= 10


@pytest.fixture
def address(shared: tuple[otp.Node, Address]) -> Address:
    return shared[1]


# ---------------------------------------------------------------- any Python program may call

# msgpack by hand: [CALL, "counter", me, ref 7, 0, 0, MSGPACK, "", {"type": "Add", "n": 5}]
TALK = """
import re, sys
from multiprocessing.connection import Client
from pathlib import Path

def text(value):
    return bytes([0xd9, len(value)]) + value

body = b"\\x82" + text(b"type") + text(b"Add") + text(b"n") + b"\\x05"
with Client(("127.0.0.1", int(sys.argv[1])), authkey=sys.argv[2].encode()) as connection:
    me = re.search(rb"<[^>]+>", connection.recv_bytes())[0]
    head = b"\\x99\\x01" + text(b"counter") + text(me) + b"\\x07\\x00\\x00\\x00" + text(b"")
    connection.send_bytes(head + bytes([0xc4, len(body)]) + body)
    reply = connection.recv_bytes()
    assert reply[1] == 4, reply
    print(reply[-1])
"""


def test_so_does_another_python_that_has_nothing_installed(
    node: otp.Node, address: Address
) -> None:
    expected = node.call("counter", w.Add(0)) + 5
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", TALK, str(address[1]), AUTHKEY.decode()],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{expected}\n", "")


def test_a_plain_client_of_multiprocessing_calls(node: otp.Node, address: Address) -> None:
    with Client(address, authkey=AUTHKEY) as connection:
        me = decode_envelope(connection.recv_bytes()).to
        connection.send_bytes(envelope(CALL, frm=me, body=encode(w.Add(5)), ref=7))
        answer = decode_envelope(connection.recv_bytes())
    assert (answer.kind, answer.ref) == (REPLY, 7)
    assert msgspec.msgpack.decode(answer.body, type=int) >= 15


def test_it_need_not_wait_for_the_hello(node: otp.Node, address: Address) -> None:
    large = envelope(CAST, body=encode(w.Note("x" * 100_000)))
    for _ in range(5):
        with Client(address, authkey=AUTHKEY) as connection:
            connection.send_bytes(large)
            me = decode_envelope(connection.recv_bytes()).to
            connection.send_bytes(envelope(CALL, frm=me, body=encode(w.Noted())))
            assert b"cast xxx" in decode_envelope(connection.recv_bytes()).body


def test_pickles_are_refused_from_the_network(node: otp.Node, address: Address) -> None:
    with Client(address, authkey=AUTHKEY) as connection:
        me = decode_envelope(connection.recv_bytes()).to
        connection.send_bytes(envelope(CALL, frm=me, body=b"cos\nabort\n(tR.", codec=PICKLE))
        answer = decode_envelope(connection.recv_bytes())
        assert answer.kind == ERROR
        assert b"pickle" in answer.body
        start = encode(otp.start_child(otp.ChildSpec("bad", w.Counter)))
        connection.send_bytes(envelope(CALL, "/", frm=me, body=start))
        assert b"pickle" in decode_envelope(connection.recv_bytes()).body


# ---------------------------------------------------------------- strangers


def test_a_wrong_key_is_told_so(node: otp.Node, address: Address) -> None:
    with pytest.raises(AuthenticationError):
        Client(address, authkey=b"not the key")


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200),
        b"\x00\x00\x00\x03abc",
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x00\x00\x00\x24{md5}" + bytes(31),
        b"\x00\x00\x00\x10" + bytes(16),
    ],
)
def test_noise_from_a_stranger(node: otp.Node, address: Address, noise: bytes) -> None:
    with Raw(address) as raw:
        raw.sock.sendall(noise)
        assert raw.ended()


def test_strangers_are_reported_but_not_each_of_them(otp_start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    node = otp_start(TREE, name="a", listen=f"127.0.0.1:{port}", authkey_file=key_file(tmp_path))
    with (
        node.expect(otp.StrangerRejected, "127.0.0.1") as rejected,
        pytest.raises(AuthenticationError),
    ):
        Client(("127.0.0.1", port), authkey=b"not the key")
    assert (rejected.report.count, rejected.report.text) == (1, "wrong authkey")
    with pytest.raises(TimeoutError), node.expect(otp.StrangerRejected, timeout=0.5):
        for _ in range(50):
            with Raw(("127.0.0.1", port)) as raw:
                raw.sock.sendall(b"\x7f\xff\xff\xff")
                assert raw.ended()


def test_strangers_who_leave_at_once(node: otp.Node, address: Address) -> None:
    reset = struct.pack("ii", 1, 0)
    for _ in range(50):
        with Raw(address) as raw:
            raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)


def test_silent_strangers_are_few_and_do_not_stay(node: otp.Node, address: Address) -> None:
    started = time.monotonic()
    strangers = [Raw(address) for _ in range(STRANGERS_MAX + 10)]
    for raw in strangers[:-STRANGERS_MAX]:
        assert raw.ended()
    assert time.monotonic() - started < HANDSHAKE_SECONDS_MAX
    assert node.call("counter", w.Add(0)) >= 10
    for raw in strangers:
        assert raw.ended()
        raw.sock.close()
    seconds = time.monotonic() - started
    assert seconds > HANDSHAKE_SECONDS_MAX - 0.1
    with Client(address, authkey=AUTHKEY) as connection:
        assert decode_envelope(connection.recv_bytes()).kind == HELLO


# ---------------------------------------------------------------- nonsense from those who may talk

GOOD = [CALL, "counter", "me", 1, 0, 0, MSGPACK, "", b""]
NONSENSE = {
    "empty": b"",
    "no msgpack": b"\xc1",
    "too short": encode(GOOD[:5]),
    "truncated": encode(GOOD)[:-2],
    "an object": encode({"kind": 1}),
    "wrong types": encode(["call", *GOOD[1:]]),
    "no utf-8": encode(GOOD).replace(b"counter", b"\xff\xfe\xfd" + b"nter"),
    "deep": b"\x9a" + encode(GOOD)[1:] + b"\x91" * 200_000 + b"\x01",
    "unknown kind": envelope(99),
    "negative kind": envelope(-1),
    "negative hops": envelope(CALL, "nobody", via="via:keys:x", hops=-100_000),
    "hello of a local": envelope(HELLO, frm="b", body=b"127.0.0.1:1"),
    **{
        f"kind {kind}": envelope(kind, frm="<1.1@b>", body=b"junk")
        for kind in (DOWN, EXIT, MONITOR, DEMONITOR, LINK, UNLINK, MOVED)
    },
}


@pytest.mark.parametrize("frame", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_ends_only_its_connection(node: otp.Node, frame: bytes) -> None:
    with Local(node) as good, Local(node) as bad:
        bad.send(frame)
        assert bad.ended()
        good.send(envelope(CALL, frm=good.pid, body=encode(w.Add(0))))
        assert decode_envelope(good.receive()).kind == REPLY


def test_a_frame_over_the_bound_is_not_even_read(node: otp.Node) -> None:
    with Local(node) as raw:
        raw.sock.sendall((2**31 - 1).to_bytes(4, "big"))
        assert raw.ended()


def test_strange_but_not_wrong(node: otp.Node) -> None:
    """Each of these is answered or ignored; the last one shows that the connection lives."""
    with Local(node) as raw:
        for frame in (
            envelope(REPLY, "nobody"),
            envelope(ERROR, "counter", body=b"junk"),
            envelope(REPLY, "watcher", ref=1, body=b"junk"),
            envelope(CALL, "counter", frm="nobody", body=b"junk"),
            envelope(CALL, "counter", frm="", body=b""),
            envelope(CAST, "counter", body=b"\xc1"),
            envelope(CAST, "counter", body=b"\x91" * 100_000),
            envelope(INFO, "counter", body=b"\x82\xa4type\xa4Note\xa4text\xa2\xff\xfe"),
            envelope(CAST, "counter", body=b"junk", codec=PICKLE),
            envelope(CAST, "counter", body=b"junk", codec=99),
            envelope(CAST, "manager", body=b"junk", via="nonsense"),
            envelope(CAST, "manager", body=b"junk", via="via:"),
            envelope(CALL, "via:", body=b"junk"),
            envelope(CALL, "via:keys", body=b"junk"),
            envelope(CALL, "via:keys:raise", body=b"junk"),
            envelope(CALL, "via:keys:round", body=b"junk"),
            envelope(CALL, "via:nothing:x", body=b"junk"),
            envelope(CALL, "counter", frm="<1.1@nowhere>", body=b"junk", ttl=-5),
            envelope(CALL, "x@nowhere", frm="<1.1@nowhere>", body=b"junk", hops=3),
            envelope(CAST, "/", body=b"junk"),
            envelope(REPLY, "/", body=b"junk"),
            envelope(CALL, "/", body=b"junk"),
            envelope(CALL, "/", body=encode(otp.messages.StopNode())),
            envelope(CALL, "/", body=encode(otp.messages.KillProcess("counter"))),
            envelope(CALL, "@", body=b"junk"),
            envelope(CALL, "counter@", body=b"junk"),
        ):
            raw.send(frame)
        raw.send(envelope(CALL, frm=raw.pid, body=encode(w.Add(0)), ref=77))
        while (answer := decode_envelope(raw.receive())).ref != 77:
            assert answer.kind == ERROR
        assert answer.kind == REPLY


def test_nonsense_at_the_control_socket(node: otp.Node) -> None:
    for frame in NONSENSE.values():
        with Raw(socket_in(node.run_dir, "control.sock")) as raw:
            raw.send(frame)
            assert decode_envelope(raw.receive()).kind == ERROR
    with Raw(socket_in(node.run_dir, "control.sock")) as raw:
        raw.sock.sendall(b"\xff" * 100)
        assert raw.ended()


def test_a_worker_that_raves_at_its_node_is_killed(otp_start: Start) -> None:
    tree = otp.Supervisor("root", max_restarts=9, children=[otp.ChildSpec("mad", w.Raves)])
    node = otp_start(tree)
    for way in ("control frame", "control bytes", "mail frame", "mail bytes"):
        with node.expect(otp.ChildStarted, "root/mad"):
            node.cast("mad", w.Note(way))
    assert node.call("mad", w.Pid()) > 0


# ---------------------------------------------------------------- slow and loud ones


def test_a_worker_that_does_not_read_is_overloaded(node: otp.Node) -> None:
    before = row(node, "root/victim").pid
    note = w.Note("x" * 1_000_000)
    with node.expect(otp.messages.MessagesDropped, "root/victim") as dropped:
        freeze(node, "victim")
        for _ in range(25):
            node.cast("victim", note)
        with pytest.raises(otp.Overloaded, match="call Echo to victim: the queue is full"):
            node.call("victim", w.Echo(bytes(2_000_000)))
    assert dropped.report.count > 0
    assert node.call("counter", w.Add(0)) >= 10
    node.kill("victim", signal=signal.SIGCONT)
    assert eventually(lambda: node.call("victim", w.Add(1)), ignoring=(otp.Overloaded,)) == 1
    assert row(node, "root/victim").pid == before


def test_a_client_that_does_not_read_loses_its_connection(node: otp.Node) -> None:
    with Local(node) as raw:
        frame = envelope(CALL, frm=raw.pid, body=encode(w.Echo(bytes(1_000_000))))
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                raw.send(frame)


def test_a_caller_may_flood_while_others_are_served(node: otp.Node) -> None:
    done = threading.Event()

    def flood() -> None:
        with contextlib.closing(Caller(socket_in(node.run_dir, "mailroom.sock"))) as caller:
            while not done.is_set():
                caller.cast("victim", w.Note("x" * 1000))

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        for _ in range(100):
            node.call("counter", w.Add(0), timeout=5)
    finally:
        done.set()
        flooding.join()
