"""What a spec may say of a child's care, and what it is told where it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from otp.care import Backoff
from otp.care_checks import request_of
from otp.checks import check
from otp.errors import SpecError
from otp.gen_server import GenServer
from otp.messages import Request
from otp.spec import ChildSpec, Supervisor
from otp.yaml_tree import loads


class Healthy(Request[bool], frozen=True):
    """Has all that it needs by default."""


class Exists(Request[bool], frozen=True):
    key: str


class Server(GenServer):
    """Any server."""


class Which(GenServer):
    """Must be told which replica it is."""

    def __init__(self, replica: int) -> None:
        self.replica = replica


def work() -> None:
    """No server."""


def program(**fields: Any) -> Supervisor:
    return Supervisor("root", [ChildSpec("a", command=["true"], **fields)])


def server(**fields: Any) -> Supervisor:
    return Supervisor("root", [ChildSpec("a", Server, **fields)])


SOUND = [
    program(ready="notify"),
    program(ready={"notify": True, "timeout": "1m"}, liveness={"tcp": "localhost:80"}),
    program(ready={"http": "http://127.0.0.1/"}, liveness={"http": "http://[::1]:80/a?b=c"}),
    program(ready={"log": r"listening on port \d+"}),
    program(ready={"exec": ["pg_isready", "-q"]}, liveness={"exec": ["true"], "failures": 1}),
    server(ready={"call": Healthy}, liveness={"call": Exists("a")}, heartbeat="2s"),
    server(ready={"call": f"{__name__}:Healthy"}, start_timeout=5, heartbeat=1),
    program(replicas=3, ready={"tcp": "127.0.0.1:808{replica}"}),
    program(backoff={"initial": "100ms", "max": 5, "factor": 1, "jitter": 0}, essential=True),
    Supervisor("root", [], backoff=Backoff(stable_after="1h"), give_up="wait 30s"),
    Supervisor("root", [ChildSpec("a", Which, replicas=3), ChildSpec("b", Server, replicas=1)]),
    Supervisor("root", [ChildSpec("a", work, ready={"tcp": "[::1]:80"}, start_timeout="infinity")]),
]


@pytest.mark.parametrize("tree", SOUND)
def test_sound_care_passes(tree: Supervisor) -> None:
    check(tree)


WRONG = [
    (program(ready="tcp"), "root/a.ready: 'tcp' is not ready: it is a mapping, such as {tcp: '127"),
    (program(ready={}), "root/a.ready: it says no way: give exactly one of"),
    (program(ready={"tpc": "a:1"}), "root/a.ready.tpc: 'tpc' is not a key of `ready`; did you"),
    (program(ready={"tcp": "127.0.0.1:1", "notify": True}), "notify and tcp exclude each other"),
    (program(ready={"tcp": "6390"}), "root/a.ready.tcp: '6390' is not of the form host:port"),
    (program(ready={"tcp": "127.0.0.1:0"}), "is not of the form host:port"),
    (program(ready={"tcp": "db.example.org:1"}), "asks 'db.example.org': a probe asks this"),
    (program(ready={"tcp": 6390}), "root/a.ready.tcp: 6390 is not text"),
    (program(ready={"http": "127.0.0.1:80"}), "is not of the form http://127.0.0.1:8000/health"),
    (program(ready={"http": "https://127.0.0.1/"}), "cannot be asked: use http, or exec: [curl"),
    (program(ready={"http": "http://127.0.0.1/a b"}), "holds what a URL cannot"),
    (program(ready={"http": "http://127.0.0.1?a"}), "needs a / before the ?"),
    (program(ready={"exec": "true"}), "root/a.ready.exec: 'true' is not a list"),
    (program(ready={"exec": []}), "root/a.ready.exec: names no program"),
    (program(ready={"exec": ["a", 1]}), "root/a.ready.exec.1: 1 is not text"),
    (program(ready={"notify": True, "timeout": 0}), "root/a.ready.timeout: 0.0 is not a duration"),
    (program(ready={"notify": True, "interval": "x"}), "root/a.ready.interval: 'x' is not a dur"),
    (program(ready={"log": "listening on ["}), "root/a.ready.log: 'listening on [' is not a regul"),
    (program(ready={"log": 5}), "root/a.ready.log: 5 is not a regular expression, such as"),
    (program(liveness={"log": "a"}), "root/a.liveness.log: 'log' is not a key of `liveness`"),
    (program(ready={"call": Healthy}), "root/a.ready.call: a program takes no calls"),
    (program(liveness="tcp"), "root/a.liveness: 'tcp' is not liveness: it is a mapping"),
    (program(liveness={"notify": True}), "root/a.liveness.notify: 'notify' is not a key of `liven"),
    (program(liveness={"tcp": "127.0.0.1:1", "failures": 0}), "failures: 0 is not a whole number"),
    (program(heartbeat=1), "root/a.heartbeat: a program has no loop that could answer"),
    (program(start_timeout=1), "root/a.start_timeout: a program has started when it is executed"),
    (program(backoff=1), "root/a.backoff: 1 is not backoff: it is a mapping, such as {initial"),
    (program(backoff={"inital": 1}), "root/a.backoff.inital: 'inital' is not a key of `backoff`"),
    (program(backoff={"factor": 0.5}), "root/a.backoff.factor: 0.5 is not a number from 1 on"),
    (program(backoff={"jitter": 2}), "root/a.backoff.jitter: 2.0 is not a number from 0 to 1"),
    (program(backoff={"initial": "1m"}), "root/a.backoff.max: is less than `initial`"),
    (Supervisor("root", [], backoff={"max": 0}), "root.backoff.max: 0.0 is not a duration"),
    (Supervisor("root", [], give_up="wait"), "root.give_up: 'wait' is not a way to give up"),
    (Supervisor("root", [], give_up="wait 0s"), "root.give_up: 'wait 0s' is not a way to give up"),
    (program(essential="yes"), "root/a.essential: 'yes' is not true or false"),
    (program(replicas=0), "root/a.replicas: 0 is not a number of replicas from 1 to"),
    (program(replicas=2, name="n"), "root/a.name: replicas cannot share a name: they are a/0, a/1"),
    (server(heartbeat=0), "root/a.heartbeat: 0.0 is not a duration above 0"),
    (server(start_timeout="never"), "root/a.start_timeout: 'never' is not a time to start in"),
    (server(ready={"call": Exists}), "'Exists' cannot be made without arguments"),
    (server(ready={"call": "no.such:Thing"}), "root/a.ready.call: there is no module 'no'"),
    (server(ready={"call": Server}), "is not an otp.Request"),
    (Supervisor("root", [ChildSpec("a", work, heartbeat=1)]), "only a GenServer has a loop"),
    (Supervisor("root", [ChildSpec("a", work, ready={"call": Healthy})]), "only a GenServer takes"),
]


@pytest.mark.parametrize(("tree", "expected"), WRONG)
def test_what_is_wrong_is_told(tree: Supervisor, expected: str) -> None:
    with pytest.raises(SpecError) as raised:
        check(tree)
    (line,) = str(raised.value).splitlines()
    assert expected in line


def test_replicas_have_no_place_in_a_template_or_an_auto_shutdown() -> None:
    template = [ChildSpec("a", Server, replicas=2)]
    with pytest.raises(SpecError, match="a template has none"):
        check(Supervisor("root", template, strategy="simple_one_for_one"))
    child = ChildSpec("a", Server, replicas=2, significant=True, restart="transient")
    with pytest.raises(SpecError, match="takes no note of one of many replicas"):
        check(Supervisor("root", [child], auto_shutdown="any_significant"))


def test_without_imports_nothing_is_said_of_what_they_would_tell() -> None:
    check(server(ready={"call": "no.such:Thing"}), imports=False)
    spec = ChildSpec("a", "no.such:Server", heartbeat=1)
    check(Supervisor("root", [spec]), imports=False)
    assert request_of("no.such:Thing", imports=False) is None


def test_in_yaml_the_place_is_told() -> None:
    text = """\
id: root
children:
  - id: a
    command: [x]
    ready: {tcp: nowhere}
    liveness: {htp: "http://127.0.0.1/"}
"""
    with pytest.raises(SpecError) as raised:
        loads(text, file="f")
    first, second = str(raised.value).splitlines()
    assert first.startswith("f:5:18: 'nowhere' is not of the form host:port")
    assert second.startswith("f:6:21: 'htp' is not a key of `liveness`; did you mean 'http'?")
