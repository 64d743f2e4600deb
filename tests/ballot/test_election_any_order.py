"""The rules of an election under any commands in any order, against a plain model."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ballot.election import (
    Election,
    ballots_counted,
    decide,
    evolve,
    projections,
    restore,
    snapshot,
)
from ballot.messages import (
    Ballot,
    BallotCasted,
    CastBallot,
    Choice,
    CloseElection,
    Command,
    CreateElection,
    Event,
    InvalidateBallot,
    InvalidateElection,
    OpenElection,
    Refused,
    ValidateBallot,
    ValidateElection,
    dedupe_key,
)
from tests.ballot.samples import AT, KEY, cast, command, definition, opened, ranked

NAMES = st.text(max_size=3)
CHOICES = st.builds(
    Choice,
    st.sampled_from(["r", "a", "v", "x"]),
    st.lists(st.lists(NAMES | st.sampled_from("abc*"), max_size=4).map(tuple), max_size=4).map(
        tuple
    ),
)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=17),
    st.text(max_size=300),
    NAMES,
    st.none() | st.integers(),
    st.builds(Ballot, NAMES, CHOICES, st.none() | NAMES),
)
def test_decide_never_raises(
    command_id: bytes, key: str, actor: str, expected: int | None, ballot: Ballot
) -> None:
    state = opened()
    before = snapshot(state)
    for own_key, own_id in ((key, command_id), (KEY, bytes(16))):
        each = CastBallot(
            command_id=own_id, key=own_key, actor=actor, expected_version=expected, ballot=ballot
        )
        outcome = decide(state, each, AT)
        assert isinstance(outcome, Refused) or len(outcome) == 1
    assert snapshot(state) == before


CREDENTIALS = st.sampled_from(["v1", "v2", "v3", "v4"])
RANKINGS = st.sampled_from(["", "a", "b", "a b", "c a b", "a - b", "ab c"])


class ElectionMachine(RuleBasedStateMachine):
    """Commands in any order, against a plain model; the log is folded anew at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Election()
        self.log: list[Event] = []
        self.box: dict[str, str] = {}
        self.valid: set[str] = set()
        self.invalid: set[str] = set()
        self.status = "absent"
        self.run(command(CreateElection, definition=definition()), "absent", "sealed")

    def run(self, each: Command, needs: str, becomes: str | None = None) -> bool:
        """Carry out a command; it is accepted exactly if the model is in a state it needs."""
        outcome = decide(self.state, each, AT + len(self.log))
        if isinstance(outcome, Refused):
            assert self.status not in needs.split()
            return False
        assert self.status in needs.split()
        (event,) = outcome
        assert dedupe_key(event) == (each.actor, each.command_id)
        evolve(self.state, event)
        self.log.append(event)
        self.status = becomes or self.status
        return True

    @rule()
    def open(self) -> None:
        if self.run(command(OpenElection), "sealed voided", "open"):
            self.box, self.valid, self.invalid = {}, set(), set()

    @rule()
    def close(self) -> None:
        self.run(command(CloseElection), "open", "closed")

    @rule()
    def certify(self) -> None:
        self.run(command(ValidateElection), "closed", "certified")

    @rule()
    def void(self) -> None:
        self.run(command(InvalidateElection), "closed", "voided")

    @rule(credential=CREDENTIALS, ranking=RANKINGS)
    def vote(self, credential: str, ranking: str) -> None:
        fresh = credential not in self.box
        if self.run(cast(credential, ranking), "open" if fresh else "never"):
            self.box[credential] = ranking

    @rule(credential=CREDENTIALS, good=st.booleans())
    def judge(self, credential: str, good: bool) -> None:
        may = credential in self.box and credential not in self.valid | self.invalid
        kind = ValidateBallot if good else InvalidateBallot
        if self.run(command(kind, credential=credential), "closed" if may else "never"):
            (self.valid if good else self.invalid).add(credential)

    @invariant()
    def i1_i2_one_ballot_per_credential_and_round_while_open(self) -> None:
        is_open, voted = False, set[str]()
        for event in self.log:
            if event.kind == "election_opened":
                is_open, voted = True, set()
            elif event.kind == "election_closed":
                is_open = False
            elif isinstance(event, BallotCasted):
                assert is_open
                assert event.ballot.credential not in voted
                voted.add(event.ballot.credential)

    @invariant()
    def i4_i5_every_ballot_is_accounted_for(self) -> None:
        expected = Counter(ranked(r) for c, r in self.box.items() if c not in self.invalid)
        assert ballots_counted(self.state) == expected
        seen = projections(self.state)
        assert (seen.casted_ballots, seen.validated_ballots, seen.invalidated_ballots) == (
            len(self.box),
            len(self.valid),
            len(self.invalid),
        )
        assert not self.valid & self.invalid

    @invariant()
    def i8_i10_the_log_alone_makes_the_state(self) -> None:
        again = Election()
        for event in self.log:
            again = evolve(again, event)
        assert snapshot(again) == snapshot(self.state) == snapshot(restore(snapshot(again)))
        assert [event.version for event in self.log] == list(range(1, len(self.log) + 1))
        assert len({dedupe_key(event) for event in self.log}) == len(self.log)
        assert self.state.status == self.status


ElectionMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestElectionMachine = ElectionMachine.TestCase
