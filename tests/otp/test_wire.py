"""From what a person writes to what a node holds."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from otp import pickling, wire
from otp.errors import SpecError
from otp.gen_server import GenServer
from otp.messages import StartChild, WireChild, WireSupervisor
from otp.spec import ChildSpec, Supervisor, TopologySpec
from otp.wire_tree import WireBackoff, WireCare, WireProbe


class Server(GenServer):
    def __init__(self, start: int = 0) -> None:
        self.start = start


def work(n: int = 0) -> None:
    """Runs once."""


def test_a_tree_is_translated_field_for_field() -> None:
    spec = Supervisor(
        "root",
        strategy="rest_for_one",
        max_restarts=3,
        max_seconds=7,
        auto_shutdown="any_significant",
        children=[Supervisor("pool", shutdown=2.0, restart="transient", name="p")],
    )
    inner = WireSupervisor("pool", shutdown=2.0, restart="transient", name="p")
    assert wire.tree(spec) == WireSupervisor(
        "root", (inner,), "rest_for_one", 3, 7.0, "any_significant"
    )


@pytest.mark.parametrize(
    ("start", "kind", "module"),
    [
        (Server, "server", __name__),
        (work, "function", __name__),
        (f"{__name__}:Server", "server", __name__),
        (f"{__name__}:work", "function", __name__),
        ("json.decoder:JSONDecoder", "function", "json.decoder"),
    ],
)
def test_what_is_started_is_a_server_or_a_function(start: Any, kind: str, module: str) -> None:
    made = wire.child(ChildSpec("c", start, args={}))
    assert isinstance(made, WireChild)
    assert (made.kind, made.module) == (kind, module)
    assert pickling.loads(made.payload) == (start, {}, None)


def test_every_option_of_a_child_arrives() -> None:
    made = wire.child(
        ChildSpec(
            "c",
            work,
            args={"n": 3},
            restart="transient",
            shutdown="brutal_kill",
            significant=True,
            name="w",
            env={"A": "1"},
            cwd="/",
        )
    )
    assert isinstance(made, WireChild)
    assert (made.restart, made.shutdown, made.significant) == ("transient", "brutal_kill", True)
    assert (made.name, made.env, made.cwd) == ("w", {"A": "1"}, "/")
    assert pickling.loads(made.payload)[1] == {"n": 3}


def test_a_program_has_a_command_and_no_payload() -> None:
    made = wire.child(ChildSpec("p", command=["a", "b"], ready="notify", stop_signal="SIGINT"))
    assert isinstance(made, WireChild)
    assert (made.kind, made.command, made.payload) == ("program", ("a", "b"), b"")
    assert (made.care, made.stop_signal) == (WireCare(WireProbe("notify")), 2)


def test_a_start_that_is_nowhere_is_told() -> None:
    with pytest.raises(LookupError, match="Sever"):
        wire.child(ChildSpec("c", f"{__name__}:Sever"))


def test_a_class_that_travels_by_value_brings_what_its_handlers_accept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = types.ModuleType("__main__")
    source = (
        "from __future__ import annotations\n"
        "import otp\n"
        "class Add(otp.Request[int], frozen=True):\n"
        "    n: int\n"
        "class Counter(otp.GenServer):\n"
        "    def handle_call(self, request: Add, sender: otp.From[int]) -> int:\n"
        "        return request.n\n"
    )
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "__main__", script)
        exec(source, script.__dict__)
        made = wire.child(ChildSpec("c", script.Counter))
    assert isinstance(made, WireChild) and made.module == "otp.cloud"
    start, args, handlers = pickling.loads(made.payload)
    assert (start.__name__, args) == ("Counter", {})
    assert handlers["handle_call"].__name__ == "Add" and handlers["handle_cast"] is Any


def test_an_annotation_that_means_nothing_is_told_before_anything_starts() -> None:
    class Lost(GenServer):
        def handle_cast(self, m: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match=r"Lost.handle_cast: its annotation cannot be resolved"):
        wire.payload(Lost, {})


def test_a_request_to_add_a_child_is_checked_first() -> None:
    assert wire.start_child(ChildSpec("c", work)) == StartChild(wire.child(ChildSpec("c", work)))
    assert wire.start_child(Supervisor("s")) == StartChild(WireSupervisor("s"))
    for wrong in (ChildSpec(""), ChildSpec("c", work, args={"m": 1}), ChildSpec("c", command=[])):
        with pytest.raises(SpecError):
            wire.start_child(wrong)


def test_a_topology_travels_as_its_start_and_arguments() -> None:
    spec = TopologySpec(start="a.b:C", args={"n": 1})
    assert pickling.loads(wire.topology(spec)) == ("a.b:C", {"n": 1})


def test_care_backoff_and_the_ways_to_end_arrive() -> None:
    made = wire.child(
        ChildSpec(
            "c",
            Server,
            liveness={"exec": ["true"], "failures": 2},
            heartbeat="1s",
            start_timeout=7,
            backoff={"initial": "1s"},
            essential=True,
            replicas=3,
        )
    )
    assert isinstance(made, WireChild)
    assert made.care == WireCare(
        liveness=WireProbe("exec", command=("true",), timeout=5.0, interval=10.0, failures=2),
        heartbeat=1.0,
        start_timeout=7.0,
    )
    assert made.backoff == WireBackoff(1.0, 2.0, 30.0, 0.2, 60.0)
    assert (made.essential, made.replicas, made.takes_replica) == (True, 3, False)
    tree = wire.tree(Supervisor("s", [], backoff={"jitter": 0}, give_up="wait 1m", essential=True))
    assert tree.backoff == WireBackoff(0.5, 2.0, 30.0, 0.0, 60.0)
    assert (tree.give_up, tree.essential) == (60.0, True)
