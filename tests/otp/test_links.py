"""Links and monitors: the rules one by one, then three nodes in any order against a naive model."""

from __future__ import annotations

from collections import Counter, deque
from itertools import permutations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from otp.links import Effect, Links, Relay, Signal, node_of
from otp.messages import KILLED, NOCONNECTION, NOPROC, NORMAL, Down, Exit

A1, A2, B1 = "<c.1@a>", "<c.2@a>", "<c.1@b>"


@pytest.mark.parametrize(
    ("address", "node"),
    [("<c.1@a>", "a"), ("counter@a", "a"), ("counter", ""), ("", ""), ("odd@name@b", "b")],
)
def test_the_node_that_an_address_names(address: str, node: str) -> None:
    assert node_of(address) == node


# ---------------------------------------------------------------- one node


def test_a_monitor_fires_once_and_names_what_was_asked_for() -> None:
    links = Links("a")
    assert links.monitor(A1, 7, "counter", A2) == []
    assert links.exited(A2, KILLED) == [Signal(A1, Down(7, "counter", KILLED))]
    assert links.exited(A2, KILLED) == []


def test_a_monitor_of_nobody_fires_at_once() -> None:
    assert Links("a").monitor(A1, 7, "counter", None) == [Signal(A1, Down(7, "counter", NOPROC))]


def test_a_monitor_is_one_way_and_can_be_taken_back() -> None:
    links = Links("a")
    links.monitor(A1, 1, A2, A2)
    assert links.exited(A1, KILLED) == [], "the watched one hears nothing"
    links.monitor(A1, 2, A2, A2)
    assert links.demonitor(A1, 2) == []
    assert links.exited(A2, KILLED) == []


def test_two_monitors_fire_twice_in_the_order_they_were_made() -> None:
    links = Links("a")
    links.monitor(A1, 2, A2, A2)
    links.monitor(A1, 1, A2, A2)
    assert links.exited(A2, NORMAL) == [
        Signal(A1, Down(2, A2, NORMAL)),
        Signal(A1, Down(1, A2, NORMAL)),
    ]


def test_a_link_goes_both_ways_and_is_one_however_often_it_is_made() -> None:
    for ended, other in ((A1, A2), (A2, A1)):
        links = Links("a")
        links.link(A1, 1, "name of A2", A2)
        links.link(A1, 2, A2, A2)
        links.link(A2, 3, A1, A1)
        assert links.exited(ended, KILLED) == [Signal(other, Exit(ended, KILLED))]
        assert links.exited(other, KILLED) == []


def test_nobody_is_linked_to_itself_and_a_link_to_nobody_ends_at_once() -> None:
    links = Links("a")
    assert links.link(A1, 1, A1, A1) == []
    assert links.exited(A1, KILLED) == []
    assert links.link(A1, 2, A2, None) == [Signal(A1, Exit(A2, NOPROC))]


@pytest.mark.parametrize(("one", "other"), [(A1, A2), (A2, A1)])
def test_either_end_may_unlink(one: str, other: str) -> None:
    links = Links("a")
    links.link(A1, 1, A2, A2)
    assert links.unlink(one, other, other) == []
    assert links.exited(A1, KILLED) == links.exited(A2, KILLED) == []


# ---------------------------------------------------------------- two nodes


def test_what_two_nodes_say_to_each_other_of_a_monitor() -> None:
    here, there = Links("a"), Links("b")
    assert here.monitor(A1, 7, B1, None) == [Relay("b", "monitor", A1, 7, B1)]
    assert there.monitor(A1, 7, B1, B1) == []
    over = Relay("a", "over", A1, 7, message=Down(7, B1, KILLED))
    assert there.exited(B1, KILLED) == [over]
    assert here.over(A1, 7, over.message) == [Signal(A1, Down(7, B1, KILLED))]
    assert here.over(A1, 7, over.message) == [], "a second word of it says nothing"


def test_a_lost_node_ends_what_leads_there_on_both_sides() -> None:
    here, there = Links("a"), Links("b")
    here.monitor(A1, 7, B1, None)
    there.monitor(A1, 7, B1, B1)
    here.link(A1, 8, B1, None)
    there.link(A1, 8, B1, B1)
    assert here.node_lost("b") == [
        Signal(A1, Down(7, B1, NOCONNECTION)),
        Signal(A1, Exit(B1, NOCONNECTION)),
    ]
    assert there.node_lost("a") == [Signal(B1, Exit(A1, NOCONNECTION))]
    assert here.node_lost("b") == there.node_lost("a") == []
    assert here.nodes() == there.nodes() == []


def test_the_end_of_a_watcher_is_told_to_the_other_node() -> None:
    here = Links("a")
    here.monitor(A1, 7, B1, None)
    assert here.nodes() == ["b"]
    assert here.exited(A1, KILLED) == [Relay("b", "over", A1, 7)]
    assert here.nodes() == []


# ---------------------------------------------------------------- any order


class Watch(msgspec.Struct):
    """The model of one monitor: whether a Down is owed, and how many came."""

    watcher: str
    ref: int
    target: str
    owed: bool
    heard: int = 0
    silenced: bool = False


NODES = ("a", "b", "c")
LINKS_FROM = 10_000  # so that a reference tells a link from a monitor
choice = st.integers(0, 1_000)


class AnyOrder(RuleBasedStateMachine):
    """Three nodes with a first-in-first-out queue each way; the model only knows who is dead."""

    def __init__(self) -> None:
        super().__init__()
        self.links = {node: Links(node) for node in NODES}
        self.queues: dict[tuple[str, str], deque[Relay]] = {
            (one, other): deque() for one, other in permutations(NODES, 2)
        }
        self.pids = [f"<c.{serial}@{node}>" for serial in range(2) for node in NODES]
        self.alive = set(self.pids)
        self.watches: list[Watch] = []
        self.linked: set[frozenset[str]] = set()
        self.asked: dict[int, tuple[str, str]] = {}
        # (who hears, of whom) -> how often, and at least and at most how often it should have.
        self.exits: Counter[tuple[str, str]] = Counter()
        self.least: Counter[tuple[str, str]] = Counter()
        self.most: Counter[tuple[str, str]] = Counter()

    # -------------------------------------------------------- the world around it

    def perform(self, node: str, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Relay):
                self.queues[node, effect.node].append(effect)
                continue
            assert node_of(effect.to) == node and effect.to in self.alive
            if isinstance(effect.message, Exit):
                self.exits[effect.to, effect.message.process] += 1
                continue
            ref = effect.message.ref
            (watch,) = (w for w in self.watches if (w.watcher, w.ref) == (effect.to, ref))
            assert watch.owed and not watch.silenced and watch.target == effect.message.process
            watch.heard += 1

    def deliver(self, way: tuple[str, str]) -> None:
        relay = self.queues[way].popleft()
        links = self.links[way[1]]
        if relay.kind == "over":
            self.perform(way[1], links.over(relay.frm, relay.ref, relay.message))
        else:
            ask = links.monitor if relay.kind == "monitor" else links.link
            self.perform(way[1], ask(relay.frm, relay.ref, relay.to, self.whereis(relay.to)))

    def settle(self) -> None:
        while ways := [way for way, queue in self.queues.items() if queue]:
            for way in ways:
                self.deliver(way)

    def whereis(self, pid: str) -> str | None:
        return pid if pid in self.alive else None

    def here(self, pid: str, target: str) -> str | None:
        """What a node knows of a target when one of its own processes names it."""
        return self.whereis(target) if node_of(pid) == node_of(target) else None

    def pick(self, number: int) -> str:
        return sorted(self.alive)[number % len(self.alive)]

    # -------------------------------------------------------- what may happen

    @rule(node=st.sampled_from(NODES))
    def spawn(self, node: str) -> None:
        if len(self.alive) < 8:
            pid = f"<c.{len(self.pids)}@{node}>"
            self.pids.append(pid)
            self.alive.add(pid)

    @precondition(lambda self: self.alive)
    @rule(who=choice, whom=choice)
    def monitor(self, who: int, whom: int) -> None:
        watcher, target = self.pick(who), self.pids[whom % len(self.pids)]
        ref = len(self.watches)
        self.watches.append(Watch(watcher, ref, target, owed=target not in self.alive))
        node, known = node_of(watcher), self.here(watcher, target)
        self.perform(node, self.links[node].monitor(watcher, ref, target, known))

    @precondition(lambda self: self.watches)
    @rule(which=choice)
    def demonitor(self, which: int) -> None:
        watch = self.watches[which % len(self.watches)]
        if watch.watcher in self.alive:
            node = node_of(watch.watcher)
            self.perform(node, self.links[node].demonitor(watch.watcher, watch.ref))
            watch.silenced = True

    @precondition(lambda self: self.alive)
    @rule(who=choice, whom=choice, mutual=st.booleans())
    def link(self, who: int, whom: int, mutual: bool) -> None:
        self.settle()
        one, other = self.pick(who), self.pids[whom % len(self.pids)]
        if one == other:
            return
        if other in self.alive:
            self.linked.add(frozenset((one, other)))
        else:
            self.owe_exit(one, other)
        self.ask_link(one, other)
        if mutual and other in self.alive:
            self.ask_link(other, one)

    def ask_link(self, one: str, other: str) -> None:
        node = node_of(one)
        ref = LINKS_FROM + len(self.asked)
        self.asked[ref] = (one, other)
        self.perform(node, self.links[node].link(one, ref, other, self.here(one, other)))

    @precondition(lambda self: self.linked)
    @rule(which=choice, turned=st.booleans())
    def unlink(self, which: int, turned: bool) -> None:
        self.settle()
        pair = sorted(map(sorted, self.linked))[which % len(self.linked)]
        one, other = reversed(pair) if turned else pair
        self.linked.discard(frozenset(pair))
        node = node_of(one)
        self.perform(node, self.links[node].unlink(one, other, self.here(one, other)))

    @precondition(lambda self: self.alive)
    @rule(who=choice)
    def exit(self, who: int) -> None:
        pid = self.pick(who)
        self.alive.discard(pid)
        for watch in self.watches:
            watch.owed |= watch.target == pid and watch.watcher in self.alive
        for pair in [pair for pair in self.linked if pid in pair]:
            self.linked.discard(pair)
            (other,) = pair - {pid}
            self.owe_exit(other, pid)
        self.perform(node_of(pid), self.links[node_of(pid)].exited(pid, KILLED))

    def owe_exit(self, hears: str, of: str) -> None:
        self.least[hears, of] += 1
        self.most[hears, of] += 1

    @rule(which=choice)
    def arrive(self, which: int) -> None:
        if ways := [way for way, queue in self.queues.items() if queue]:
            self.deliver(ways[which % len(ways)])

    @rule(ends=st.sampled_from([("a", "b"), ("b", "c"), ("a", "c")]))
    def cut(self, ends: tuple[str, str]) -> None:
        """The connection is lost with all that is on its way; both nodes notice."""
        for watch in self.watches:
            across = {node_of(watch.watcher), node_of(watch.target)} == set(ends)
            watch.owed |= across and watch.watcher in self.alive
        for pair in [p for p in self.linked if {node_of(pid) for pid in p} == set(ends)]:
            self.linked.discard(pair)
            one, other = pair
            self.owe_exit(one, other)
            self.owe_exit(other, one)
        for way in (ends, ends[::-1]):
            for relay in self.queues[way]:
                self.lose(relay, to=way[1])
            self.queues[way].clear()
        for node, lost in (ends, ends[::-1]):
            self.perform(node, self.links[node].node_lost(lost))

    def lose(self, relay: Relay, to: str) -> None:
        """The other end never heard of a link, or never that it was undone."""
        if relay.kind == "link":
            self.least[relay.to, relay.frm] = 0
        elif relay.message is None and relay.ref in self.asked:
            one, other = self.asked[relay.ref]
            hears, of = (one, other) if node_of(one) == to else (other, one)
            self.most[hears, of] += 1

    # -------------------------------------------------------- what must hold

    @invariant()
    def nobody_hears_too_often(self) -> None:
        assert all(watch.heard <= 1 for watch in self.watches)
        assert all(heard <= self.most[key] for key, heard in self.exits.items())

    @rule()
    def all_is_heard_when_all_has_arrived(self) -> None:
        self.settle()
        for watch in self.watches:
            if watch.watcher in self.alive and not watch.silenced:
                assert watch.heard == watch.owed, watch
        for (hears, of), least in self.least.items():
            assert hears not in self.alive or self.exits[hears, of] >= least, (hears, of)

    def teardown(self) -> None:
        """Whoever is gone leaves nothing behind on any node."""
        self.all_is_heard_when_all_has_arrived()
        while self.alive:
            self.exit(0)
        self.settle()
        assert [links.nodes() for links in self.links.values()] == [[], [], []]


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
