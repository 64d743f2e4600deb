"""Addresses and pids: the tables against a naive model, in any order of lives."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from otp.registry import Registry

PIDS = [f"<c.{serial}@a>" for serial in range(4)]
ADDRESSES = ["root/x", "root/y", "x", "y"]
pids = st.sampled_from(PIDS)
addresses = st.lists(st.sampled_from(ADDRESSES), max_size=5)


def test_who_comes_first_has_the_address_and_who_goes_frees_it() -> None:
    registry = Registry()
    assert registry.register("<1>", ["counter", "root/counter", "counter"]) == (
        "counter",
        "root/counter",
    )
    assert registry.register("<2>", ["counter", "other"]) == ("other",)
    assert registry.whereis("counter") == "<1>"
    assert registry.unregister("<1>") == ("counter", "root/counter")
    assert registry.whereis("counter") is None
    assert registry.register("<2>", ["counter"]) == ("counter",)
    assert registry.addresses("<2>") == ("other", "counter")


def test_nobody_is_nowhere() -> None:
    registry = Registry()
    assert registry.unregister("<1>") == ()
    assert registry.addresses("<1>") == ()
    assert registry.whereis("<1>") is None
    assert list(registry) == []


class AnyOrder(RuleBasedStateMachine):
    """The model is one list of (address, pid), searched from its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.here: list[str] = []
        self.entries: list[tuple[str, str]] = []

    @rule(pid=pids, wanted=addresses)
    def register(self, pid: str, wanted: list[str]) -> None:
        got = []
        for address in wanted:
            if all(address != taken for taken, _ in self.entries):
                self.entries.append((address, pid))
                got.append(address)
        if pid not in self.here:
            self.here.append(pid)
        assert self.registry.register(pid, wanted) == tuple(got)

    @rule(pid=pids)
    def unregister(self, pid: str) -> None:
        freed = self.registry.unregister(pid)
        assert freed == tuple(address for address, holder in self.entries if holder == pid)
        self.entries = [entry for entry in self.entries if entry[1] != pid]
        self.here = [other for other in self.here if other != pid]

    @invariant()
    def addresses_lead_where_the_model_says(self) -> None:
        for address in ADDRESSES:
            assert self.registry.whereis(address) == dict(self.entries).get(address)

    @invariant()
    def a_process_leads_to_itself_while_it_is_here(self) -> None:
        assert list(self.registry) == self.here
        for pid in PIDS:
            assert self.registry.whereis(pid) == (pid if pid in self.here else None)
            held = tuple(address for address, holder in self.entries if holder == pid)
            assert self.registry.addresses(pid) == held


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
