"""Nodes that know each other by certificates: who may come in, who is refused, and what is said."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import otp
from otp import certs
from otp.codec import decode_envelope, encode
from otp.frames import CALL, HELLO, PICKLE, REPLY, TlsPem
from otp.testing import Start
from otp.tls import problem_with, uri_of
from tests.system import workers as w
from tests.system.help import Raw, envelope, free_ports, freeze
from tests.system.test_gen_server import seen
from tests.system.test_two_nodes import kill, tree


def files(folder: Path, name: str, authority: Path | None = None) -> otp.TlsFiles:
    ca = (authority or folder) / "ca.pem"
    return otp.TlsFiles(cert=f"{folder / name}.pem", key=f"{folder / name}.key", ca=str(ca))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certs")
    certs.make(made, ["a", "b", "client"], days=1, hosts=["127.0.0.1"])
    return made


class Cluster:
    """Nodes whose links are encrypted."""

    def __init__(self, start: Callable[..., otp.StartedNode], folder: Path) -> None:
        self._start, self._folder = start, folder
        names = ("a", "b", "c")
        ports = free_ports(len(names))
        self.peers = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}

    def start(self, name: str, **options: Any) -> otp.StartedNode:
        chosen: dict[str, Any] = {
            "tree": tree(),
            "name": name,
            "listen": self.peers[name],
            "peers": self.peers,
            "tls": files(self._folder, name),
            "topologies": {"keys": otp.TopologySpec(w.Keys, {"manager": "manager@b"})},
        }
        return self._start(**(chosen | options))


@pytest.fixture
def cluster(otp_start: Start, folder: Path) -> Cluster:
    return Cluster(otp_start, folder)


def test_nodes_call_watch_and_lose_each_other_over_tls(cluster: Cluster) -> None:
    a, b = cluster.start("a"), cluster.start("b")
    assert a.call("counter@b", w.Add(1)) == 11
    assert b.call("counter@a", w.Add(2)) == 12
    assert a.call("watcher", w.Ask("counter@b", 1)) == "12"
    large = bytes(range(256)) * 20_000
    assert a.call("counter@b", w.Echo(large), timeout=20) == large
    ref = a.call("watcher", w.Watch("counter@b"))
    a.call("watcher", w.Watch("nobody@b"))
    seen(a, "watcher", 1)  # it went the way of the first, which is there by now
    with b.expect(otp.ChildStarted, "root/counter"):
        b.kill("counter")
    assert seen(a, "watcher", 2)[1] == f"down {ref} counter@b killed"
    second = a.call("watcher", w.Watch("counter@b"))
    freeze(b, "counter")
    with a.expect(otp.PeerDown, "b"):
        kill(b)
    assert seen(a, "watcher", 3)[2] == f"down {second} counter@b noconnection"


def connect(cluster: Cluster, name: str, folder: Path, who: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / f"{who}.pem", folder / f"{who}.key")
    host, _, port = cluster.peers[name].rpartition(":")
    return context.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host)


class Talk(Raw):
    """A client that speaks TLS; any Python's `ssl` will do."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.sock.settimeout(10)


def test_any_program_with_a_certificate_may_call_but_is_no_node(
    cluster: Cluster, folder: Path
) -> None:
    a = cluster.start("a")
    with Talk(connect(cluster, "a", folder, "client")) as talk:
        me = decode_envelope(talk.receive()).to
        talk.send(envelope(CALL, frm=me, body=encode(w.Add(1))))
        assert decode_envelope(talk.receive()).kind == REPLY
        talk.send(envelope(CALL, frm=me, body=b"cos\nabort\n(tR.", codec=PICKLE))
        assert b"pickle" in decode_envelope(talk.receive()).body
        with a.expect(otp.StrangerRejected) as rejected:
            talk.send(envelope(HELLO, "a", "b", body=b"127.0.0.1:1"))
            assert talk.ended()
    assert rejected.report.text == "its certificate is for client, not b"
    assert a.call("counter", w.Add(0)) == 11


def test_a_peer_with_the_certificate_of_another_node_is_refused(
    cluster: Cluster, folder: Path
) -> None:
    a = cluster.start("a", peers=cluster.peers | {"c": cluster.peers["b"]})
    cluster.start("b")
    with a.expect(otp.PeerDown, "c") as down, pytest.raises(otp.NodeDown):
        a.call("counter@c", w.Add(1))
    assert down.report.text == f"the certificate at {cluster.peers['b']} is for b"


def test_certificates_of_another_authority_are_refused_by_both(
    cluster: Cluster, tmp_path: Path
) -> None:
    certs.make(tmp_path, ["b"], days=1, hosts=[])
    a, b = cluster.start("a"), cluster.start("b", tls=files(tmp_path, "b"))
    with a.expect(otp.PeerDown, "b") as down, pytest.raises(otp.NodeDown):
        a.call("counter@b", w.Add(1))
    assert "certificate" in down.report.text
    with a.expect(otp.StrangerRejected) as rejected, pytest.raises(otp.NodeDown):
        b.call("counter@a", w.Add(1))
    assert rejected.report.text.startswith("TLS: ")


def noise(address: str, data: bytes) -> Raw:
    host, _, port = address.rpartition(":")
    raw = Raw((host, int(port)))
    raw.sock.sendall(data)
    return raw


@pytest.mark.parametrize(
    "data",
    [b"\x00\x00\x00\x03abc", b"\x16\x03\x01\xff\xff" + bytes(3000), b"GET / HTTP/1.1\r\n\r\n"],
)
def test_one_who_speaks_no_tls_is_closed_in_time_and_reported(
    cluster: Cluster, data: bytes
) -> None:
    a = cluster.start("a")
    with a.expect(otp.StrangerRejected) as rejected, noise(cluster.peers["a"], data) as raw:
        assert raw.ended()
    assert rejected.report.text
    assert a.call("counter", w.Add(0)) == 10


def test_without_a_certificate_there_is_no_way_in(cluster: Cluster, folder: Path) -> None:
    a = cluster.start("a")
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    host, _, port = cluster.peers["a"].rpartition(":")
    with a.expect(otp.StrangerRejected) as rejected:
        sock = context.wrap_socket(
            socket.create_connection((host, int(port))), server_hostname=host
        )
        with sock, pytest.raises(ssl.SSLError, match="certificate"):
            sock.recv(10)
    assert "certificate" in rejected.report.text


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"key": "nobody.key"}, "nobody.key did not start: No such file"),
        ({"key": "b.key"}, "no certificate and key that belong together"),
        ({"cert": "b.pem", "key": "b.key"}, "the certificate is for b, not for a"),
        ({"ca": "b.pem"}, "its certificate is refused"),
        ({"ca": "b.key"}, "no authority"),
        ({"key": "open.key"}, "open.key did not start: others can read it; chmod 600"),
        ({"cert": "empty"}, "empty did not start: it is no PEM file"),
    ],
)
def test_files_that_cannot_work_are_named_before_anything_starts(
    folder: Path, change: dict[str, str], text: str
) -> None:
    (folder / "open.key").write_bytes((folder / "a.key").read_bytes())
    (folder / "open.key").chmod(0o644)
    (folder / "empty").write_bytes(b"")
    named = {"cert": "a.pem", "key": "a.key", "ca": "ca.pem"} | change
    chosen = otp.TlsFiles(**{kind: str(folder / name) for kind, name in named.items()})
    with pytest.raises(otp.StartError, match=text):
        otp.start(otp.Supervisor("root"), name="a", tls=chosen)


def test_a_certificate_names_a_node_whatever_letters_it_has(tmp_path: Path) -> None:
    assert uri_of("MI-A-1") == "otp://MI-A-1" and uri_of("é%") == "otp://%C3%A9%25"
    long = "é" * 150
    certs.make(tmp_path, [long[:90]], days=1, hosts=["localhost"])
    names = (f"{long[:90]}.pem", f"{long[:90]}.key", "ca.pem")
    cert, key, ca = ((tmp_path / name).read_bytes() for name in names)
    pem = TlsPem(cert, key, ca)
    assert problem_with(pem, long[:90]) == ""
    assert problem_with(pem, long) == f"the certificate is for {long[:90]}, not for {long}"


def test_certificates_are_never_overwritten(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(otp.OtpError, match=r"a\.pem.*is there already; nothing was written"):
        certs.make(folder, ["x", "a"], days=1, hosts=[])
    assert not (folder / "x.pem").exists()
    modes = {file.stat().st_mode & 0o777 for file in certs.make(tmp_path, ["y"], days=1, hosts=[])}
    assert modes == {0o600}
    (tmp_path / "ca.key").write_text("junk")
    with pytest.raises(otp.OtpError, match="are no authority"):
        certs.make(tmp_path, ["z"], days=1, hosts=[])
