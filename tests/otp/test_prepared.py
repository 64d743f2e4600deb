"""What is made in the zygote is what a child would make, and is made only where that is safe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import otp
from otp import pickling, prepared, wire
from otp.frames import CALL, MSGPACK


class Ask(otp.Request[int], frozen=True):
    n: int


class Server(otp.GenServer):
    def __init__(self, start: int = 0) -> None:
        self.start = start

    def handle_call(self, request: Ask, sender: otp.From[int]) -> int:
        return request.n


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "_made", {})


def test_a_warmed_payload_is_made_once() -> None:
    payload = wire.payload(Server, {"start": 3})
    prepared.warm(payload)
    made = prepared.prepared(payload)
    assert made is prepared.prepared(payload)
    assert (made.start, made.args) == (Server, {"start": 3})
    assert made.decoders is not None
    assert made.decoders[CALL](MSGPACK, b"\x82\xa4type\xa3Ask\xa1n\x07") == Ask(7)


def test_what_was_not_warmed_is_made_by_the_child() -> None:
    payload = wire.payload(Server, {})
    assert prepared.prepared(payload) is not prepared.prepared(payload)


def test_a_function_has_no_decoders() -> None:
    assert prepared.prepared(wire.payload(print, {})).decoders is None


def test_a_payload_whose_module_is_not_loaded_is_left_to_the_child(tmp_path: Path) -> None:
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "class Server: pass\n"
    )
    script = (
        "import sys, os\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from otp import pickling, prepared\n"
        "by_name = pickling.dumps(('starts_a_thread:Server', {}, None))\n"
        "prepared.warm(by_name)\n"
        "prepared.warm(b'cstarts_a_thread\\nServer\\n.')\n"
        "prepared.warm(b\"cimportlib\\nimport_module\\n(S'starts_a_thread'\\ntR.\")\n"
        "assert 'starts_a_thread' not in sys.modules\n"
        "assert len(os.listdir('/proc/self/task')) == 1\n"
        "prepared.prepared(by_name)\n"
        "assert 'starts_a_thread' in sys.modules\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_a_fault_in_a_payload_is_left_to_the_child_to_report() -> None:
    broken = pickling.dumps(("otp.nothing:Server", {}, None))
    prepared.warm(broken)
    prepared.warm(b"no pickle at all")
    with pytest.raises(LookupError, match=r"otp\.nothing"):
        prepared.prepared(broken)


def test_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "PREPARED_MAX", 2)
    payloads = [wire.payload(Server, {"start": n}) for n in range(3)]
    for payload in payloads:
        prepared.warm(payload)
    first = prepared.prepared(payloads[0])
    assert first is not prepared.prepared(payloads[0])
    assert prepared.prepared(payloads[2]) is prepared.prepared(payloads[2])
