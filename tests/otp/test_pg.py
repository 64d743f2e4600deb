"""Process groups: the rules one by one, then three nodes whose links come and go."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from otp import pg
from otp.pg import Groups, GroupUpdate, Notice, Tell

ONE, TWO, FAR = "<c.1@a>", "<c.2@a>", "<c.1@b>"


def test_members_of_one_node() -> None:
    groups = Groups("a")
    assert groups.join("g", ONE) == groups.join("g", TWO) == groups.join("h", ONE) == []
    groups.join("g", ONE)
    assert groups.members("g") == [ONE, TWO, ONE], "twice is twice"
    assert groups.leave("g", ONE) == []
    assert groups.leave("h", TWO) is None
    assert groups.members("g", local=True) == [TWO, ONE]
    assert groups.groups() == ["g", "h"]
    groups.ended(ONE)
    assert (groups.members("g"), groups.groups()) == ([TWO], ["g"])
    assert groups.ended(ONE) == []


def test_other_nodes_hear_of_all_when_there_is_a_link_and_then_of_changes() -> None:
    groups = Groups("a")
    assert groups.node_up("b") == [], "there is nothing to tell"
    assert groups.join("g", ONE) == [Tell("b", GroupUpdate([("g", ONE)], []))]
    assert groups.node_up("c") == [Tell("c", GroupUpdate([("g", ONE)], whole=True))]
    groups.node_down("b")
    assert groups.ended(ONE) == [Tell("c", GroupUpdate([], [("g", ONE)]))]


def test_members_elsewhere_are_there_as_long_as_the_link() -> None:
    groups = Groups("a")
    groups.join("g", ONE)
    groups.heard("b", GroupUpdate([("g", FAR), ("h", FAR)], whole=True))
    assert groups.members("g") == [ONE, FAR]
    assert groups.members("g", local=True) == [ONE]
    groups.heard("b", GroupUpdate([("g", FAR)], [("h", FAR), ("h", FAR)]))
    assert (groups.members("g"), groups.groups()) == ([ONE, FAR, FAR], ["g"])
    groups.heard("b", GroupUpdate([("g", FAR)], whole=True))
    assert groups.members("g") == [ONE, FAR]
    groups.node_down("b")
    assert groups.members("g") == [ONE]
    assert groups.heard("a", GroupUpdate([("g", FAR)])) == [], "nobody speaks for us"
    assert groups.members("g") == [ONE]


def test_who_monitors_hears_what_has_changed_and_nothing_else() -> None:
    groups = Groups("a")
    groups.monitor(TWO, 1, "g")
    groups.monitor(TWO, 2, "")
    assert groups.join("g", ONE) == [Notice(TWO, n, "g", joined=(ONE,)) for n in (1, 2)]
    assert groups.join("h", ONE) == [Notice(TWO, 2, "h", joined=(ONE,))]
    groups.demonitor(TWO, 2)
    both = GroupUpdate([("g", FAR), ("h", FAR)], whole=True)
    assert groups.heard("b", both) == [Notice(TWO, 1, "g", joined=(FAR,))]
    assert groups.heard("b", both) == [], "said again after a link came back"
    assert groups.node_down("b") == [Notice(TWO, 1, "g", left=(FAR,))]
    assert groups.ended(TWO) == []
    assert groups.ended(ONE) == [], "it hears nothing after its end"


def test_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg, "MEMBERSHIPS_MAX", 1)
    groups = Groups("a")
    groups.join("g", ONE)
    with pytest.raises(ValueError, match="1 memberships"):
        groups.join("g", TWO)


NODES = "abc"


class Cluster(RuleBasedStateMachine):
    """Whatever is lost with a link, all agree once nothing is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = {name: Groups(name) for name in NODES}
        self.under_way: dict[tuple[str, str], deque[GroupUpdate]] = {}
        self.truth: dict[str, list[tuple[str, str]]] = {name: [] for name in NODES}
        self.watched: Counter[tuple[str, str]] = Counter()
        self.nodes["a"].monitor("<watcher@a>", 1, "")

    def perform(self, node: str, effects: list[pg.Effect] | None) -> None:
        for effect in effects or []:
            if isinstance(effect, Tell):
                if (node, effect.node) in self.under_way:
                    self.under_way[node, effect.node].append(effect.update)
            else:
                self.watched.update((effect.group, pid) for pid in effect.joined)
                self.watched.subtract((effect.group, pid) for pid in effect.left)

    @rule(node=st.sampled_from(NODES), group=st.sampled_from("gh"), number=st.integers(1, 2))
    def join(self, node: str, group: str, number: int) -> None:
        pid = f"<c.{number}@{node}>"
        self.truth[node].append((group, pid))
        self.perform(node, self.nodes[node].join(group, pid))

    @rule(node=st.sampled_from(NODES), group=st.sampled_from("gh"), number=st.integers(1, 2))
    def leave(self, node: str, group: str, number: int) -> None:
        pid = f"<c.{number}@{node}>"
        effects = self.nodes[node].leave(group, pid)
        assert (effects is not None) == ((group, pid) in self.truth[node])
        if effects is not None:
            self.truth[node].remove((group, pid))
        self.perform(node, effects)

    @rule(node=st.sampled_from(NODES), number=st.integers(1, 2))
    def end(self, node: str, number: int) -> None:
        pid = f"<c.{number}@{node}>"
        self.truth[node] = [m for m in self.truth[node] if m[1] != pid]
        self.perform(node, self.nodes[node].ended(pid))

    @rule(pair=st.permutations(NODES))
    def link(self, pair: list[str]) -> None:
        one, other = pair[:2]
        for here, there in ((one, other), (other, one)):
            if (here, there) not in self.under_way:
                self.under_way[here, there] = deque()
                self.perform(here, self.nodes[here].node_up(there))

    @rule(pair=st.permutations(NODES))
    def lose(self, pair: list[str]) -> None:
        one, other = pair[:2]
        for here, there in ((one, other), (other, one)):
            self.under_way.pop((here, there), None)
            self.perform(here, self.nodes[here].node_down(there))

    @rule(pair=st.permutations(NODES))
    def deliver(self, pair: list[str]) -> None:
        one, other = pair[:2]
        waiting = self.under_way.get((one, other))
        if waiting:
            self.perform(other, self.nodes[other].heard(one, waiting.popleft()))

    @rule()
    def settle(self) -> None:
        for (one, other), waiting in self.under_way.items():
            while waiting:
                self.perform(other, self.nodes[other].heard(one, waiting.popleft()))
        for name, groups in self.nodes.items():
            seen = {name, *(far for far in NODES if (far, name) in self.under_way)}
            for group in "gh":
                expected = [pid for far in seen for g, pid in self.truth[far] if g == group]
                assert Counter(groups.members(group)) == Counter(expected)

    @invariant()
    def a_watcher_has_heard_of_all_that_its_node_knows(self) -> None:
        members = self.nodes["a"].members
        known = Counter((group, pid) for group in "gh" for pid in members(group))
        assert +self.watched == known


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
