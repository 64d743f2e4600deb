"""What `replicas` stands for, and which key is whose."""

from __future__ import annotations

import pickle

import pytest

from otp.messages import Via
from otp.replicas import Replicas, group, replica
from otp.wire_tree import WireBackoff, WireCare, WireChild, WireProbe, WireSupervisor

BACKOFF = WireBackoff(1.0, 2.0, 3.0, 0.0, 60.0)


def test_a_key_belongs_to_the_same_replica_for_ever() -> None:
    assert [replica("pool", key, 4) for key in ("a", "b", "customer-17", "")] == [
        "pool/2", "pool/2", "pool/3", "pool/0",
    ]  # fmt: skip
    counts = [0] * 4
    for number in range(4000):
        counts[int(replica("p", f"key {number}", 4)[2:])] += 1
    assert min(counts) > 900


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        (Replicas(4), "pool/2"),
        (Replicas(4, id="eu/workers"), "eu/workers/2"),
        (Replicas(4, node="b", topologies={}), "pool/2@b"),
    ],
)
def test_a_topology_leads_there(topology: Replicas, expected: str) -> None:
    assert topology.locate(Via("pool", "a")) == expected


def test_a_group_stands_under_its_supervisors_budget() -> None:
    parent = WireSupervisor("root", (), "one_for_all", 7, 70.0, give_up=5.0, backoff=BACKOFF)
    made = group(WireChild("web", replicas=2, essential=True), parent)
    assert (made.id, made.strategy, made.parallel, made.essential) == (
        "web", "one_for_one", True, True,
    )  # fmt: skip
    assert (made.max_restarts, made.max_seconds, made.give_up) == (7, 70.0, 5.0)
    assert made.backoff == BACKOFF
    assert [child.id for child in made.children] == ["0", "1"]
    assert made.restart == "permanent"
    assert group(WireChild("w", replicas=1, restart="temporary"), None).restart == "temporary"


def test_each_knows_which_it_is() -> None:
    probe = WireProbe("tcp", "127.0.0.1:808{replica}")
    child = WireChild(
        "web",
        kind="program",
        command=("serve", "808{replica}"),
        env={"SHARD": "{replica}/2"},
        care=WireCare(ready=probe, heartbeat=1.0),
        replicas=2,
        takes_replica=True,
    )
    second = group(child, None).children[1]
    assert isinstance(second, WireChild)
    assert second.command == ("serve", "8081")
    assert second.env == {"SHARD": "1/2", "OTP_REPLICA": "1", "OTP_REPLICAS": "2"}
    assert second.care == WireCare(ready=WireProbe("tcp", "127.0.0.1:8081"), heartbeat=1.0)
    assert pickle.loads(second.extra) == {"replica": 1}
