from __future__ import annotations

from typing import Any

import msgspec
import pytest

from otp.checks import LEVELS_MAX, check, faults
from otp.errors import SpecError
from otp.rules import CHILD, LOGS, METRICS, NODE, SUPERVISOR, TLS
from otp.spec import (
    ChildSpec,
    LogOptions,
    MetricsSpec,
    NodeOptions,
    Supervisor,
    TlsFiles,
    TopologySpec,
)

FILES = TlsFiles(cert="a.pem", key="a.key", ca="ca.pem")


class Counter:
    def __init__(self, start: int = 0) -> None: ...


class Pool:
    def __init__(self, size: int) -> None: ...


def root(*children: Any, **options: Any) -> Supervisor:
    return Supervisor("root", children, **options)


def options(**fields: Any) -> NodeOptions:
    return NodeOptions(**fields)


def lines(tree: Supervisor, **options: Any) -> list[str]:
    with pytest.raises(SpecError) as raised:
        check(tree, **options)
    return str(raised.value).splitlines()


def logs(**options: Any) -> Supervisor:
    return root(node=NodeOptions(logs=LogOptions(**options)))


def program(**fields: Any) -> ChildSpec:
    return ChildSpec("a", **({"command": ["true"]} | fields))


def worker(**fields: Any) -> ChildSpec:
    return ChildSpec("a", **({"start": Counter} | fields))


SOUND = [
    root(),
    root(node=NodeOptions(metrics="127.0.0.1:9464")),
    root(node=NodeOptions(listen="0.0.0.0:7000", peers={"b": "b:1"}, tls=FILES)),
    root(node=NodeOptions(listen="10.0.0.1:7000", peers={"b": "b:1"}, insecure=True)),
    root(ChildSpec("counter", Counter, args={"start": 10}), Supervisor("pool", max_restarts=10)),
    root(worker(shutdown="brutal_kill"), auto_shutdown="any_significant"),
    root(worker(shutdown=0.1, name="a")),
    root(worker(name="far/off"), Supervisor("b", [worker(name="other")])),
    root(
        worker(significant=True, restart="transient"),
        Supervisor("b", significant=True, restart="temporary"),
        auto_shutdown="all_significant",
    ),
    root(ChildSpec("a", Pool), strategy="simple_one_for_one"),
    root(Supervisor("template", [worker()]), strategy="simple_one_for_one"),
    root(program(ready="notify", env={"PORT": "1"}, cwd="/", stop_signal="SIGINT", name="n")),
    root(program(user="0:0", umask="022", nice=-20, stdin="/dev/null", memory_max="1.5G")),
    root(worker(user="root", rlimits={"as": "1G", "core": 0, "nofile": "infinity"}, memory_max=5)),
    root(
        node=NodeOptions(
            name="MI-A-1",
            listen="[::1]:7000",
            peers={"TO-A-1": "localhost:7001"},
            topologies={"e": TopologySpec(Pool), "f": TopologySpec("json:JSONDecoder")},
            preload=["json.decoder"],
        )
    ),
]


@pytest.mark.parametrize("tree", SOUND)
def test_a_sound_tree_passes(tree: Supervisor) -> None:
    check(tree)
    assert list(faults(tree)) == []


WRONG: list[tuple[Supervisor, str]] = [
    # single values
    (root(ChildSpec("a b", Counter)), "root/a b.id: 'a b' is not an id: it must be text without"),
    (root(ChildSpec("", Counter)), "root/.id: '' is not an id"),
    (root(ChildSpec("a/b", Counter)), "root/a/b.id: 'a/b' is not an id"),
    (root(ChildSpec("a\x07", Counter)), "is not an id"),
    (root(ChildSpec("a" * 201, Counter)), "is not an id"),
    (root(ChildSpec(5, Counter)), "root/5.id: 5 is not an id"),  # type: ignore[arg-type]
    (root(worker(name="a@b")), "root/a.name: 'a@b' is not a name"),
    (
        root(worker(restart="permanant")),
        "root/a.restart: 'permanant' is not a restart type: use permanent, transient or temporary;"
        " did you mean 'permanent'?",
    ),
    (root(worker(shutdown="soon")), "root/a.shutdown: 'soon' is not a time to stop in"),
    (root(worker(shutdown=-1)), "root/a.shutdown: -1.0 is not a time"),
    (root(worker(shutdown=float("inf"))), "root/a.shutdown: inf is not a time"),
    (root(worker(shutdown=float("nan"))), "root/a.shutdown: nan is not a time"),
    (root(worker(significant="yes")), "root/a.significant: 'yes' is not true or false"),
    (root(worker(start=7)), "root/a.start: 7 is not 'module:Class', a class or a function"),
    (root(worker(args=[1])), "root/a.args: a list is not a mapping"),
    (root(worker(args={1: 2})), "root/a.args: a mapping is not a mapping with text as keys"),
    (root(program(command="ls -l")), "root/a.command: 'ls -l' is not a list, the program first"),
    (root(program(command=[])), "root/a.command: names no program"),
    (root(program(command=["a", 7])), "root/a.command.1: 7 is not text"),
    (root(program(command=["a\0"])), "root/a.command.0: 'a\\x00' is not text"),
    (root(program(env={"PORT": 1})), "root/a.env.PORT: 1 is not text"),
    (root(program(env={"A=B": ""})), "'A=B' is not the name of an environment variable"),
    (root(program(env=["A=B"])), "root/a.env: a list is not a mapping"),
    (root(program(cwd=7)), "root/a.cwd: 7 is not text"),
    (root(program(stop_signal="TERM")), "root/a.stop_signal: 'TERM' is not a signal such as"),
    (root(program(env_file=7)), "root/a.env_file: 7 is not text"),
    (root(program(env_file="/no/such")), "root/a.env_file: /no/such cannot be read: No such file"),
    (root(program(user="")), "root/a.user: '' is not a user: use a name or number, or user:group"),
    (root(program(user="a:b:c")), "root/a.user: 'a:b:c' is not a user"),
    (root(program(user="no-such")), "root/a.user: there is no user 'no-such' on this machine"),
    (root(program(user="0:no-such")), "root/a.user: there is no group 'no-such' on this machine"),
    (root(program(umask="088")), "root/a.umask: '088' is not a umask: use octal text, such as"),
    (root(program(umask="1777")), "root/a.umask: '1777' is not a umask"),
    (root(program(umask=22)), "root/a.umask: 22 is not a umask"),
    (root(program(nice=20)), "root/a.nice: 20 is not a niceness: use a whole number from -20"),
    (root(program(nice=True)), "root/a.nice: true is not a niceness"),
    (root(program(rlimits=[1])), "root/a.rlimits: a list is not a mapping"),
    (root(program(rlimits={"nofile": -1})), "root/a.rlimits.nofile: -1 is not a limit: use a"),
    (root(program(rlimits={"as": "512Q"})), "root/a.rlimits.as: '512Q' is not a limit"),
    (
        root(program(rlimits={"nofiles": 5})),
        "root/a.rlimits.nofiles: 'nofiles' is not a limit; did you mean 'nofile'?",
    ),
    (root(program(rlimits={"x": 5})), "root/a.rlimits.x: 'x' is not a limit; use as, core, cpu,"),
    (root(program(stdin=7)), "root/a.stdin: 7 is not text"),
    (root(program(memory_max="a lot")), "root/a.memory_max: 'a lot' is not a size above 0: use"),
    (root(program(memory_max=0)), "root/a.memory_max: 0 is not a size above 0"),
    (
        logs(output="tty"),
        "root.node.logs.output: 'tty' is not a kind of output: use auto, terminal",
    ),
    (logs(max_bytes="10"), "root.node.logs.max_bytes: 10 is not a size from 64K on"),
    (logs(files=-1), "root.node.logs.files: -1 is not a whole number from 0 to 1000"),
    (logs(dir=7), "root.node.logs.dir: 7 is not text"),
    (
        root(node=NodeOptions(logs="json")),  # type: ignore[arg-type]
        "root.node.logs: 'json' is not a LogOptions",
    ),
    (root(strategy="one_for_al"), "root.strategy: 'one_for_al' is not a strategy"),
    (root(max_restarts=True), "root.max_restarts: true is not a whole number from 0 on"),
    (root(max_restarts=-1), "root.max_restarts: -1 is not a whole number from 0 on"),
    (root(max_seconds=0), "root.max_seconds: 0.0 is not a duration above 0"),
    (root(auto_shutdown="always"), "root.auto_shutdown: 'always' is not a way of auto_shutdown"),
    (Supervisor("root", 7), "root.children: 7 is not a list"),  # type: ignore[arg-type]
    (root("counter"), "root/?: 'counter' is not a ChildSpec or a Supervisor"),
    # combinations
    (root(worker(start=None)), "root/a: 'a' has neither `start` (a class) nor `command`"),
    (root(worker(command=["true"])), "root/a.command: `start` and `command` exclude each other"),
    (root(program(args={"n": 1})), "root/a.args: only a `start` has `args`"),
    (root(worker(), worker()), "root/a.id: child 1 of 'root' has the id 'a' already"),
    (root(worker(), Supervisor("a")), "root/a.id: child 1 of 'root' has the id 'a' already"),
    (
        root(worker(significant=True, restart="transient")),
        "root/a.significant: significant has no effect while auto_shutdown of 'root' is never",
    ),
    (
        root(worker(significant=True), auto_shutdown="any_significant"),
        "root/a.significant: a significant child cannot be permanent",
    ),
    (root(significant=True, restart="transient"), "root.significant: the root has no supervisor"),
    (
        root(strategy="simple_one_for_one"),
        "root.children: simple_one_for_one needs exactly one child, the template of all it will "
        "start; this has 0",
    ),
    (
        root(worker(), ChildSpec("b", Counter), strategy="simple_one_for_one"),
        "root.children: simple_one_for_one needs exactly one child",
    ),
    (
        root(worker(name="n"), strategy="simple_one_for_one"),
        "root/a.name: a template cannot have a name",
    ),
    (
        root(worker(name="b"), ChildSpec("b", Counter)),
        "root/a.name: the name 'b' is the path of another child",
    ),
    (
        root(worker(name="b/c"), Supervisor("b", [ChildSpec("c", Counter)])),
        "root/a.name: the name 'b/c' is the path of another child",
    ),
    (
        root(worker(name="n"), Supervisor("b", name="n")),
        "root/b.name: the name 'n' belongs to 'a' already",
    ),
    (root(Supervisor("b", node=NodeOptions())), "root/b.node: only the root has `node`"),
    # what start names
    (root(worker(start="json:nothing")), "root/a.start: module 'json' has no 'nothing'"),
    (root(worker(start="json.loads")), "root/a.start: 'json.loads' is not of the form"),
    (root(worker(args={"begin": 1})), "root/a.args.begin: Counter takes no argument 'begin'"),
    (root(worker(start=Pool)), "root/a.args: Pool needs the argument 'size'"),
    # the node
    (root(node=7), "root.node: 7 is not a NodeOptions"),
    (root(node=NodeOptions(name="a@b")), "root.node.name: 'a@b' is not an id"),
    (root(node=NodeOptions(listen="7000")), "root.node.listen: '7000' is not of the form host:"),
    (root(node=NodeOptions(listen="a:70000")), "root.node.listen: 'a:70000' is not of the form"),
    (root(node=NodeOptions(peers={"b": "b"})), "root.node.peers.b: 'b' is not of the form"),
    (
        root(node=NodeOptions(listen="0.0.0.0:7000")),
        "root.node.listen: '0.0.0.0:7000' can be reached",
    ),
    (root(node=NodeOptions(peers={"b": "b:1"})), "root.node.peers.b: 'b:1' is on another machine"),
    (root(node=options(metrics=3)), "root.node.metrics: 3 is not a MetricsSpec, or text"),
    (root(node=options(metrics="9464")), "root.node.metrics.listen: '9464' is not of the form"),
    (root(node=options(metrics=MetricsSpec())), "root.node.metrics: neither `listen` (host:port)"),
    (
        root(node=options(metrics=MetricsSpec(textfile="x", interval=0))),
        "root.node.metrics.interval: 0.0 is not a duration above 0",
    ),
    (root(node=options(tls={})), "root.node.tls: a mapping is not a TlsFiles"),
    (
        root(node=options(tls=msgspec.structs.replace(FILES, ca=5))),
        "root.node.tls.ca: 5 is not text",
    ),
    (root(node=NodeOptions(tls=FILES, insecure=True)), "root.node.insecure: `tls` and `insecure`"),
    (root(node=options(insecure=1)), "root.node.insecure: 1 is not true or false"),
    (root(node=NodeOptions(peers={"b/": "127.0.0.1:1"})), "root.node.peers.b/: 'b/' is not an id"),
    (
        root(node=NodeOptions(isolation="pid")),  # type: ignore[arg-type]
        "root.node.isolation: 'pid' is not a way of isolation: use none or pidns; did you mean",
    ),
    (root(node=NodeOptions(preload=["not_there"])), "root.node.preload.0: there is no module"),
    (
        root(node=NodeOptions(topologies={"g": "a:b"})),  # type: ignore[dict-item]
        "root.node.topologies.g: 'a:b' is not a TopologySpec",
    ),
    (
        root(node=NodeOptions(topologies={"g": TopologySpec("json:x")})),
        "root.node.topologies.g.start: module 'json' has no 'x'",
    ),
    (
        root(node=NodeOptions(topologies={"g": TopologySpec(None)})),  # type: ignore[arg-type]
        "root.node.topologies.g: `start` is missing",
    ),
]


@pytest.mark.parametrize(("tree", "message"), WRONG, ids=[case[1][:40] for case in WRONG])
def test_what_is_wrong_is_named_alone_with_its_place(tree: Supervisor, message: str) -> None:
    found = lines(tree)
    assert len(found) == 1, found
    assert message in found[0]


def test_all_that_is_wrong_is_told_at_once() -> None:
    tree = root(
        worker(restart="never"),
        Supervisor("b", [ChildSpec("c"), program(cwd=1)], max_restarts=-1),
        strategy="all",
    )
    assert [line.partition(":")[0] for line in lines(tree)] == [
        "root.strategy",
        "root/a.restart",
        "root/b.max_restarts",
        "root/b/c",
        "root/b/a.cwd",
    ]


def test_without_imports_only_the_form_of_start_is_checked() -> None:
    check(root(worker(start="not_there:X", args={"any": 1})), imports=False)
    check(root(node=NodeOptions(preload=["not_there"])), imports=False)
    assert "not of the form" in lines(root(worker(start="not there")), imports=False)[0]


def test_nesting_is_bounded() -> None:
    def nested(levels: int) -> Supervisor:
        return root(nested(levels - 1)) if levels else root()

    check(nested(LEVELS_MAX))
    assert lines(nested(LEVELS_MAX + 1))[0].endswith(f"nested deeper than {LEVELS_MAX} levels")


def test_the_root_must_be_a_supervisor() -> None:
    tree: Any = worker()
    assert lines(tree) == ["a: the root is a ChildSpec; it must be a Supervisor"]


@pytest.mark.parametrize(
    ("spec", "rules", "elsewhere"),
    [
        (ChildSpec, CHILD, {"ready", "liveness", "backoff"}),
        (Supervisor, SUPERVISOR, {"node", "backoff"}),
        (NodeOptions, NODE, {"tls", "metrics", "logs"}),
        (MetricsSpec, METRICS, set()),
        (TlsFiles, TLS, set()),
        (LogOptions, LOGS, set()),
    ],
)
def test_every_field_has_a_rule(spec: Any, rules: dict[str, Any], elsewhere: set[str]) -> None:
    assert rules.keys() | elsewhere == {field.name for field in msgspec.structs.fields(spec)}
