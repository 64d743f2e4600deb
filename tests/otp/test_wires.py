from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import otp
from otp.testing import MakeWire, Start, eventually
from otp.wires import HELD_BYTES_MAX, Wire
from tests.ports import ports_in_a_row

SECONDS_MAX = 60.0


class Get(otp.Request[int], frozen=True):
    pass


class One(otp.GenServer):
    def handle_call(self, request: Get, sender: otp.From[int]) -> int:
        return 1


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS_MAX)
        yield listener


def ends(wire: Wire, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    host, port = wire.address.split(":")
    near = socket.create_connection((host, int(port)), timeout=SECONDS_MAX)
    far, _ = listener.accept()
    far.settimeout(SECONDS_MAX)
    return near, far


def address(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_wire_passes_on_what_is_sent_and_a_cut_one_keeps_it(
    listener: socket.socket, otp_wire: MakeWire
) -> None:
    wire = otp_wire(address(listener))
    near, far = ends(wire, listener)
    with near, far:
        near.sendall(b"hello")
        assert far.recv(100) == b"hello"
        wire.cut()
        near.sendall(b"late")
        far.settimeout(0.05)
        with pytest.raises(TimeoutError):
            far.recv(100)
        far.settimeout(SECONDS_MAX)
        wire.heal()
        assert far.recv(100) == b"late"
        far.sendall(b"and back")
        assert near.recv(100) == b"and back"
        far.close()
        assert near.recv(100) == b""


def test_more_than_a_wire_holds_arrives_whole(listener: socket.socket, otp_wire: MakeWire) -> None:
    near, far = ends(otp_wire(address(listener)), listener)
    sent = bytes(range(256)) * (HELD_BYTES_MAX // 32)
    near.setblocking(False)
    with near, far:
        view, got = memoryview(sent), bytearray()
        while len(got) < len(sent):
            try:
                view = view[near.send(view) :] if view else view
            except BlockingIOError:
                got += far.recv(65536)
            if not view:
                got += far.recv(65536)
    assert got == sent


def test_connections_are_broken_off_and_made_again(
    listener: socket.socket, otp_wire: MakeWire
) -> None:
    wire = otp_wire(address(listener))
    near, far = ends(wire, listener)
    with near, far:
        wire.break_off()
        assert (near.recv(100), far.recv(100)) == (b"", b"")
    again, there = ends(wire, listener)
    with again, there:
        again.sendall(b"x")
        assert there.recv(100) == b"x"


def test_where_nobody_listens_a_wire_leads_nowhere(otp_wire: MakeWire) -> None:
    wire = otp_wire(f"127.0.0.1:{ports_in_a_row(1)}")
    host, port = wire.address.split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS_MAX) as sock:
        assert sock.recv(100) == b""


def test_two_nodes_that_are_parted_notice_and_find_each_other_again(
    otp_start: Start, otp_wire: MakeWire, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o600)
    first = ports_in_a_row(2)
    at = {"a": f"127.0.0.1:{first}", "b": f"127.0.0.1:{first + 1}"}
    there, back = otp_wire(at["b"]), otp_wire(at["a"])

    def start(name: str, peers: dict[str, str]) -> otp.StartedNode:
        tree = otp.Supervisor("root", children=[otp.ChildSpec("one", One)])
        return otp_start(tree, name=name, listen=at[name], peers=peers, authkey_file=str(key))

    a = start("a", {"b": there.address})
    start("b", {"a": back.address})
    eventually(lambda: a.call("one@b", Get()) == 1, ignoring=(otp.NodeDown,))
    with a.expect(otp.PeerDown, "b"):
        there.cut()
        back.cut()
        with pytest.raises(otp.CallTimeout):
            a.call("one@b", Get(), timeout=0.1)
    there.heal()
    back.heal()
    eventually(lambda: a.call("one@b", Get()) == 1, ignoring=(otp.OtpError,))
