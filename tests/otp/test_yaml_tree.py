from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp.care import Backoff, Liveness, Ready
from otp.errors import SpecError
from otp.spec import (
    ChildSpec,
    LogOptions,
    MetricsSpec,
    NodeOptions,
    Supervisor,
    TlsFiles,
    TopologySpec,
)
from otp.yaml_tree import INCLUDE_DEPTH_MAX, load, loads

TREE = """
id: root
strategy: rest_for_one
node:
  name: MI-A-1
  listen: 127.0.0.1:7000
  peers: {TO-A-1: "127.0.0.1:7001"}
  topologies: {election: {start: "fractions:Fraction", args: {numerator: 3}}}
  preload: [json]
  tls: {cert: a.pem, key: a.key, ca: ca.pem}
  insecure: false
  isolation: pidns
  metrics: {listen: "127.0.0.1:9464", textfile: otp.prom, interval: 5s}
  logs: {dir: logs, max_bytes: 10M, files: 3, output: json}
children:
  - {id: counter, start: "fractions:Fraction", args: {numerator: 10}, shutdown: brutal_kill}
  - &cache
    id: cache
    command: [redis-server, --port, 6390, on, 0755, ~]
    env: {VERSION: 1.10, DEBUG: on, EMPTY: ""}
    ready: {exec: [redis-cli, ping], timeout: 1m}
    liveness: {tcp: 127.0.0.1:6390, interval: 5s, failures: 2}
    backoff: {initial: 1s, jitter: 0}
    shutdown: 200ms
    restart: transient
    significant: true
    name: the_cache
    cwd: /
    stop_signal: SIGINT
    env_file: conf/cache.env
    user: 1000
    umask: 022
    nice: 5
    rlimits: {core: 0, as: 512M, nofile: infinity}
    stdin: /dev/zero
    memory_max: 512M
  - {<<: *cache, id: second, name: ~}
  - id: pool
    max_restarts: 10
    max_seconds: 60
    children: []
  - id: empty
    children:
auto_shutdown: any_significant
give_up: wait 30s
essential: true
"""
CACHE = ChildSpec(
    "cache",
    command=["redis-server", "--port", "6390", "on", "0755", "~"],
    env={"VERSION": "1.10", "DEBUG": "on", "EMPTY": ""},
    ready=Ready(exec=["redis-cli", "ping"], timeout=60.0),
    liveness=Liveness(tcp="127.0.0.1:6390", interval=5.0, failures=2),
    backoff=Backoff(initial=1.0, jitter=0.0),
    shutdown=0.2,
    restart="transient",
    significant=True,
    name="the_cache",
    cwd="/",
    stop_signal="SIGINT",
    env_file="conf/cache.env",
    user="1000",
    umask="022",
    nice=5,
    rlimits={"core": 0, "as": "512M", "nofile": "infinity"},
    stdin="/dev/zero",
    memory_max=512 * 1024 * 1024,
)


def lines(text: str, **options: object) -> list[str]:
    with pytest.raises(SpecError) as raised:
        loads(text, file="f", imports=bool(options.get("imports")), environ={})
    return str(raised.value).splitlines()


def test_yaml_gives_the_same_structs_as_python() -> None:
    second = msgspec.structs.replace(CACHE, id="second", name=None)
    counter = ChildSpec(
        "counter", "fractions:Fraction", args={"numerator": 10}, shutdown="brutal_kill"
    )
    pool = Supervisor("pool", max_restarts=10, max_seconds=60.0)
    assert loads(TREE, environ={}, imports=False) == Supervisor(
        "root",
        [counter, CACHE, second, pool, Supervisor("empty", [])],
        strategy="rest_for_one",
        auto_shutdown="any_significant",
        give_up="wait 30s",
        essential=True,
        node=NodeOptions(
            name="MI-A-1",
            listen="127.0.0.1:7000",
            peers={"TO-A-1": "127.0.0.1:7001"},
            topologies={"election": TopologySpec("fractions:Fraction", {"numerator": 3})},
            tls=TlsFiles(cert="a.pem", key="a.key", ca="ca.pem"),
            metrics=MetricsSpec(listen="127.0.0.1:9464", textfile="otp.prom", interval=5.0),
            preload=["json"],
            isolation="pidns",
            logs=LogOptions(dir="logs", max_bytes=10 * 1024 * 1024, files=3, output="json"),
        ),
    )


def test_an_env_file_is_looked_for_next_to_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "web.env").write_text("PORT=80\nnonsense\n")
    file = tmp_path / "tree.yaml"
    file.write_text("id: a\nchildren:\n  - {id: b, command: [c], env_file: web.env}\n")
    with pytest.raises(SpecError) as raised:
        load(file)
    line = f"{file}:3:37: {tmp_path}/web.env:2: is not KEY=VALUE, a comment or an empty line"
    assert str(raised.value) == line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a", "f:1:1: the root must be a supervisor"),
        ("hello", "f:1:1: the root must be a supervisor"),
        ("{id: a, start: 'b:c'}", "f:1:1: the root must be a supervisor"),
        ("children: []", "f:1:1: `id:` is missing"),
        ("id: ~", "f:1:5: nothing is not an id"),
        ("id: a\nchildren: 7", "f:2:11: 7 is not a list"),
        ("id: a\nstrategy: one_for_al", "f:2:11: 'one_for_al' is not a strategy"),
        ("id: a\nstrategi: one_for_all", "f:2:1: 'strategi' is not a key of a supervisor; did you"),
        ("id: a\nsignificant: yes", "f:2:14: 'yes' is not true or false"),
        ("id: a\nmax_restarts: '3'", "f:2:15: '3' is not a whole number"),
        ("id: a\nnode: 3", "f:2:7: `node` is a mapping"),
        ("id: a\nnode: {port: 3}", "f:2:8: 'port' is not a key of `node`; "),
        ("id: a\nnode: {topologies: {e: x}}", "f:2:24: a topology is a mapping"),
        ("id: a\nnode: {metrics: 9464}", "f:2:17: '9464' is not of the form host:port"),
        (
            "id: a\nnode: {metrics: {textfiel: a, listen: 'a:1'}}",
            "f:2:18: 'textfiel' is not a key of `metrics`; did you mean 'textfile'?",
        ),
        ("id: a\nnode: {tls: 3}", "f:2:13: 3 is not a TlsFiles"),
        ("id: a\nnode: {tls: {cert: a, key: b}}", "f:2:13: `tls` lacks `ca:`; `otp certs` makes"),
        ("id: a\nnode: {tls: {cert: x}}", "f:2:13: `tls` lacks `key:` and `ca:`"),
        (
            "id: a\nnode: {tls: {kye: a, cert: a, key: b, ca: c}}",
            "f:2:14: 'kye' is not a key of `tls`; did you mean 'key'?",
        ),
        ("id: a\nnode: {logs: json}", "f:2:14: `logs` is a mapping, such as {dir:"),
        ("id: a\nnode: {logs: {folder: x}}", "f:2:15: 'folder' is not a key of `logs`; use"),
        ("id: a\nnode: {logs: {files: -1}}", "f:2:22: -1 is not a whole number"),
        ("id: a\nnode: {topologies: 3}", "f:2:20: 3 is not a mapping"),
        ("id: a\nnode: {topologies: {e: {}}}", "f:2:21: `start` is missing"),
        ("id: a\nchildren: [b]", "f:2:12: a child is a mapping"),
        ("id: a\nchildren: [{id: b}]", "f:2:12: 'b' has neither `start`"),
        (
            "id: a\nchildren: [{id: b, start: 'c:d', max_restarts: 3}]",
            "f:2:34: 'max_restarts' is not a key of a worker or program; it belongs to a",
        ),
        ("id: a\nchildren: [{id: b, command: [c, [d]]}]", "f:2:33: a list is not text"),
        ("id: a\nchildren: [{id: b, command: [c], env: {D: }}]", "f:2:43: nothing is not text"),
        (
            "id: a\nchildren:\n  - id: b\n    start: c:d\n    args: [1]",
            "f:5:5: a list is not a mapping",
        ),
        ("id: a\nchildren: [{include: ~}]", "f:2:22: `include` takes the name of a file"),
        ("id: a\nchildren: [{include: nope.yaml}]", "f:2:22: nope.yaml cannot be read: No such"),
        ("id: a\nchildren: [{include: 'a\\0'}]", "f:2:22: "),
        ("id: a\nchildren: [{include: /dev/null}]", "f:2:22: /dev/null cannot be read: it is not"),
        ("id: a\nchildren: [{include: b, id: c}]", "f:2:25: `include` goes alone"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, expected: str) -> None:
    found = lines(text)
    assert found[0].startswith(expected), found


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_text() -> None:
    text = """
id: root
children:
  - {id: a, start: "json:load_s"}
  - {id: a, start: "fractions:Fraction", restart: never}
  - {id: b, command: "ls", cwd: "${HOME}"}
  - {idd: c, start: "no_such_module:X"}
strategy: all
"""
    assert [line.split(":")[:3] for line in lines(text, imports=True)] == [
        ["f", "4", "20"],
        ["f", "5", "10"],
        ["f", "5", "51"],
        ["f", "6", "22"],
        ["f", "6", "33"],
        ["f", "7", "5"],
        ["f", "7", "6"],
        ["f", "7", "21"],
        ["f", "8", "11"],
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "parts").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # so names cannot be taken from the current folder
    return tmp_path


def test_a_child_or_a_list_of_children_is_included_from_beside_the_file(folder: Path) -> None:
    (folder / "root.yaml").write_text(
        "id: root\nchildren:\n  - include: parts/pool.yaml\n  - {id: last, command: [z]}\n"
    )
    (folder / "parts" / "pool.yaml").write_text(
        "id: pool\nchildren: [{include: two.yaml}, {include: named.yaml, tree: y}]\n"
    )
    parts = folder / "parts"
    (parts / "two.yaml").write_text("- {id: a, command: [a]}\n- {id: b, command: [b]}\n")
    (parts / "named.yaml").write_text("{id: x, command: [x]}\n---\nid: y\ncommand: [y]\n")
    a, b, y = (ChildSpec(name, command=[name]) for name in "aby")
    pool, last = Supervisor("pool", [a, b, y]), ChildSpec("last", command=["z"])
    assert load(folder / "root.yaml") == Supervisor("root", [pool, last])


def test_problems_of_an_included_file_are_told_in_that_file(folder: Path) -> None:
    root, part = folder / "root.yaml", folder / "parts" / "part.yaml"
    root.write_text("id: root\nchildren: [{include: parts/part.yaml}]\nstrategy: x\n")
    part.write_text("id: part\ncommand: 7\n")
    with pytest.raises(SpecError) as raised:
        load(root)
    assert {(p.file, p.line, p.column) for p in raised.value.problems} == {
        (str(root), 3, 11),
        (str(part), 2, 10),
    }
    part.write_text("id: [")
    with pytest.raises(SpecError, match=r"part\.yaml:2:1: this is not YAML|part\.yaml:1:6: this"):
        load(root)


def test_a_file_cannot_include_itself_but_another_tree_in_it(folder: Path) -> None:
    round_trip = folder / "a.yaml"
    round_trip.write_text("id: a\nchildren: [{include: parts/../a.yaml}]\n")
    with pytest.raises(SpecError, match=r"a\.yaml:2:22: 'parts/../a\.yaml' includes itself"):
        load(round_trip)
    two = folder / "two.yaml"
    two.write_text("id: a\nchildren: [{include: two.yaml, tree: b}]\n---\nid: b\nchildren: []\n")
    assert load(two, tree="a") == Supervisor("a", [Supervisor("b")])


def test_the_depth_of_includes_is_bounded(folder: Path) -> None:
    for level in range(INCLUDE_DEPTH_MAX + 2):
        text = f"id: l{level}\nchildren: [{{include: l{level + 1}.yaml}}]\n"
        (folder / f"l{level}.yaml").write_text(text)
    with pytest.raises(SpecError, match=rf"l{INCLUDE_DEPTH_MAX}\.yaml:2:22: includes are bounded"):
        load(folder / "l0.yaml")


def test_the_number_of_includes_is_bounded(folder: Path) -> None:
    (folder / "leaf.yaml").write_text("[]")
    (folder / "a.yaml").write_text("id: a\nchildren:\n" + "  - include: leaf.yaml\n" * 101)
    with pytest.raises(SpecError, match=r"a\.yaml:103:14: includes are bounded by .* 100 files"):
        load(folder / "a.yaml")


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.yaml: cannot be read: No such file or directory"):
        load(folder / "none.yaml")
    with pytest.raises(SpecError, match=r"parts: cannot be read: it is not a regular file"):
        load(folder / "parts")
    os.mkfifo(folder / "pipe")
    with pytest.raises(SpecError, match=r"pipe: cannot be read: it is not a regular file"):
        load(folder / "pipe")
    (folder / "latin.yaml").write_bytes(b"id: a\nname: caf\xe9\n")
    with pytest.raises(SpecError, match=r"latin\.yaml:2:10: is not UTF-8 text"):
        load(folder / "latin.yaml")


def test_the_environment_is_that_of_the_process_unless_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.yaml").write_text("id: ${BALLOT_TEST_ID}")
    monkeypatch.setenv("BALLOT_TEST_ID", "mine")
    assert load(folder / "a.yaml").id == "mine"
    assert load(folder / "a.yaml", environ={"BALLOT_TEST_ID": "given"}).id == "given"


def test_one_of_several_trees_is_chosen_and_the_others_need_not_be_sound() -> None:
    text = "id: a\n---\nid: b\nstrategy: ${UNSET}\n"
    assert loads(text, tree="a", environ={}) == Supervisor("a")
    with pytest.raises(SpecError, match="has no UNSET"):
        loads(text, tree="b", environ={})


PIECES = [
    *["id: ", "root", "children:", "start: ", "a:b", "command: ", "args: ", "env: ", "node: "],
    *["\n", "\n  ", "\n    ", "- ", "{", "}", "[", "]", ", ", ": ", "&a ", "*a", "<<: ", "? "],
    *["${", "}", "${X}", ":-", "$${", "!!int ", "!x ", "'", '"', "|", "> ", "---", "...", "#"],
    *["%YAML 1.1\n", "\\ud800", "\\0", "9" * 400, ".inf", "null", "true", "0755", "\t", "é"],
    *["\x85", "\u2028", "strategy: ", "simple_one_for_one", "significant: ", "shutdown: 5s"],
    *["max_restarts: ", "topologies: ", "peers: ", "preload: ", "name: ", "include: ", "tree: "],
]


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)))
def test_any_text_is_a_sound_tree_or_a_spec_error(text: str) -> None:
    try:
        tree = loads(text, imports=False, environ={"X": "y"})
    except SpecError as error:
        assert error.problems
        assert all(len(str(problem).splitlines()) == 1 for problem in error.problems)
    else:
        assert isinstance(tree, Supervisor)
