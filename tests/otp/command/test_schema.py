from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from otp import limits, rules, yaml_tree
from otp.command.schema import schema
from otp.errors import SpecError
from otp.yaml_tree import loads

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def validator() -> Any:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def problems(validator: Any, text: str) -> list[str]:
    return [
        error.message
        for document in yaml.safe_load_all(text)
        for error in validator.iter_errors(document)
    ]


GOOD = [
    "id: root",
    "id: root\nchildren:",
    'id: root\nchildren: [{id: a, start: "m:C", args: {n: 1}}]',
    "id: root\nchildren: [{id: a, command: [sleep, 1], env: {PORT: 80, A: true}}]",
    "id: root\nstrategy: rest_for_one\nmax_seconds: 200ms\nshutdown: infinity",
    "id: root\nmax_seconds: ${SECONDS:-5}\nstrategy: ${STRATEGY:-one_for_one}",
    "id: root\nchildren: [{id: p, max_restarts: 3, children: [{include: more.yaml}]}]",
    "id: root\nchildren: [{include: more.yaml, tree: x}]",
    "id: root\nchildren: [{id: a, command: [x], ready: {tcp: '127.0.0.1:1', timeout: 5s}}]",
    "id: root\nchildren: [{id: a, command: [x], ready: notify, memory_max: 512M, nice: 5}]",
    "id: root\nchildren: [{id: a, command: [x], shutdown: brutal_kill, stop_signal: SIGINT}]",
    "id: root\nnode: {name: a, listen: '127.0.0.1:7000', peers: {b: '127.0.0.1:7001'}}",
]
BAD = [
    "[]",
    "children: []",
    "id: a b",
    "id: root\nstrategie: one_for_one",
    "id: root\nstrategy: one_for_none",
    "id: root\nmax_restarts: -1",
    "id: root\nmax_seconds: soon",
    "id: root\nchildren: [a]",
    "id: root\nchildren: [{id: a, start: no-colon}]",
    "id: root\nchildren: [{id: a, command: []}]",
    "id: root\nchildren: [{id: a, command: run it}]",
    "id: root\nchildren: [{id: a, command: [x], strategy: one_for_one}]",
    "id: root\nchildren: [{id: a, command: [x], restart: always}]",
    "id: root\nchildren: [{id: a, command: [x], stop_signal: TERM}]",
    "id: root\nchildren: [{id: a, command: [x], nice: 99}]",
    "id: root\nchildren: [{id: a, command: [x], ready: {tpc: x}}]",
    "id: root\nchildren: [{id: p, node: {}, children: []}]",
    "id: root\nnode: {lisen: x}",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_right_passes(text: str, validator: Any) -> None:
    assert problems(validator, text) == []


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_does_not_here_nor_there(text: str, validator: Any) -> None:
    assert problems(validator, text)
    with pytest.raises(SpecError):
        loads(text, imports=False)


@pytest.mark.parametrize("file", ["supervisors.yaml", "README.md"])
def test_the_trees_of_this_project_pass(file: str, validator: Any) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    texts = (
        re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S) if file == "README.md" else [text]
    )
    assert texts
    for one in texts:
        assert problems(validator, one) == []


def test_every_key_of_a_tree_is_in_it(validator: Any) -> None:
    known = schema()
    of = {name: set(one.get("properties", ())) for name, one in known["$defs"].items()}
    assert set(rules.CHILD) | set(yaml_tree._CHILD) <= of["child"]
    assert set(rules.SUPERVISOR) | set(yaml_tree._SUPERVISOR) <= set(known["properties"])
    assert set(rules.NODE) | set(yaml_tree._NODE) <= of["NodeOptions"]
    rlimits = known["$defs"]["child"]["properties"]["rlimits"]["propertyNames"]["enum"]
    assert set(rlimits) == set(limits.RLIMITS)
