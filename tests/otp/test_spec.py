from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import pytest

from otp.care import Backoff, Liveness, Ready
from otp.spec import (
    ChildSpec,
    LogOptions,
    MetricsSpec,
    NodeOptions,
    Supervisor,
    TlsFiles,
    TopologySpec,
    paths,
)


def test_the_defaults_are_those_of_otp() -> None:
    child, supervisor = ChildSpec("a", print), Supervisor("root")
    assert (child.restart, child.shutdown, child.significant) == ("permanent", 5.0, False)
    assert (supervisor.strategy, supervisor.auto_shutdown) == ("one_for_one", "never")
    assert (supervisor.max_restarts, supervisor.max_seconds) == (1, 5.0)
    assert (supervisor.restart, supervisor.shutdown) == ("permanent", "infinity")


def test_text_durations_whole_numbers_and_lists_get_one_form() -> None:
    child = ChildSpec("a", command=["x"], shutdown="200ms", heartbeat="1m")
    assert (child.command, child.shutdown, child.heartbeat) == (("x",), 0.2, 60.0)
    parent = Supervisor("root", [child], max_seconds=60, shutdown="10s")
    assert (parent.children, parent.max_seconds, parent.shutdown) == ((child,), 60.0, 10.0)
    assert isinstance(parent.max_seconds, float)
    assert NodeOptions(preload=["json"]).preload == ("json",)


def test_a_mapping_is_as_good_as_the_struct_that_it_stands_for() -> None:
    ready = {"exec": ["true"], "timeout": "1m"}
    child = ChildSpec("a", command=["x"], ready=ready, liveness={"tcp": "127.0.0.1:1"})
    assert child.ready == Ready(exec=("true",), timeout=60.0)
    assert child.liveness == Liveness(tcp="127.0.0.1:1", interval=10.0, timeout=5.0, failures=3)
    assert ChildSpec("a", command=["x"], ready="notify").ready == Ready(notify=True)
    assert ChildSpec("a", command=["x"], ready={"tpc": "1"}).ready == {"tpc": "1"}, "for `check`"


@pytest.mark.parametrize("word", ["brutal_kill", "infinity"])
def test_shutdown_words_stay(word: str) -> None:
    assert ChildSpec("a", print, shutdown=word).shutdown == word


def test_what_cannot_be_converted_stays_for_the_check() -> None:
    assert ChildSpec("a", print, shutdown="soon").shutdown == "soon"
    assert ChildSpec("a", print, shutdown=True).shutdown is True


def test_specs_are_values() -> None:
    tree = Supervisor(
        "root",
        [ChildSpec("a", "json:loads", args={"s": "1"}), Supervisor("b")],
        node=NodeOptions(topologies={"g": TopologySpec("json:loads")}),
    )
    assert copy.deepcopy(tree) == tree
    assert pickle.loads(pickle.dumps(tree)) == tree
    with pytest.raises(AttributeError):
        tree.id = "other"  # type: ignore[misc]
    first, second = ChildSpec("a"), ChildSpec("b")
    first.args["n"] = 1
    assert second.args == {}


def test_paths_are_relative_to_the_root_parents_first() -> None:
    w1, w2, counter = ChildSpec("w1", print), ChildSpec("w2", print), ChildSpec("counter", print)
    pool = Supervisor("pool", [w1, Supervisor("deep", [w2])])
    assert list(paths(Supervisor("root", [pool, counter]))) == [
        ("pool", pool),
        ("pool/w1", w1),
        ("pool/deep", pool.children[1]),
        ("pool/deep/w2", w2),
        ("counter", counter),
    ]
    assert list(paths(Supervisor("root"))) == []


def test_the_readme_has_every_field() -> None:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    chapter = text.partition("## The fields of a tree\n")[2].partition("\n## ")[0]
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", chapter))))
    others = (Supervisor, NodeOptions, Ready, Liveness, Backoff, LogOptions, MetricsSpec, TlsFiles)
    for struct in (ChildSpec, *others):
        assert set(struct.__struct_fields__) <= words, struct
