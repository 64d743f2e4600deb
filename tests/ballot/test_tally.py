"""Ways to count: tables, a second implementation, and real elections with known results."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot.dataset import SAMPLE, DatasetError, compare, load
from ballot.messages import Choice, Definition, Rules, definition_hash
from ballot.tally import METHODS, Result, Tie, count, drawn_by_lot, preferences
from tests.ballot import make_sample, naive_tally
from tests.ballot.samples import chosen, contest, definition, ranked, spoilt

SEED = b"seed"
ELECTIONS = Path(__file__).parents[3] / "shared" / "data" / "elections"


def tallied(what: Definition, ballots: dict[str, int] | dict[Choice, int]) -> Result:
    """Count ballots given as rankings ("a b") or as choices."""
    choices = {ranked(b) if isinstance(b, str) else b: n for b, n in ballots.items()}
    return count(what, choices, lot_seed=SEED)


def irv(candidates: str = "a b c", **rules: Any) -> Definition:
    return definition("irv", candidates, rules=Rules(**{"overvote": "skip", **rules}))


# --- marks become preferences ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marks", "limits", "helps"),
    [
        ("a b c", {}, ("abc", False)),
        ("", {}, ("", False)),
        ("a a b a", {}, ("ab", False)),
        ("ab c", {"overvote": "skip"}, ("c", True)),
        ("ab c", {"overvote": "exhaust"}, ("", True)),
        ("a bc b", {"overvote": "exhaust"}, ("a", True)),
        ("a bc b", {"overvote": "skip"}, ("ab", True)),
        ("** a", {"overvote": "skip"}, ("a", True)),
        ("- - a", {}, ("a", False)),
        ("- a - b", {"max_skipped_ranks": 1}, ("ab", False)),
        ("a - - b", {"max_skipped_ranks": 1}, ("a", False)),
        ("- a", {"max_skipped_ranks": 0}, ("", False)),
        ("- ab - c", {"max_skipped_ranks": 1}, ("c", True)),
        ("a - a - b", {"max_skipped_ranks": 1}, ("ab", False)),
        ("a b c", {"max_ranks": 2}, ("ab", False)),
    ],
)
def test_marks_become_preferences(
    marks: str, limits: dict[str, Any], helps: tuple[str, bool]
) -> None:
    max_ranks = limits.get("max_ranks")
    rules = Rules(**{"overvote": "skip", **{k: v for k, v in limits.items() if k != "max_ranks"}})
    where = contest("irv", rules=rules, max_ranks=max_ranks)
    assert preferences(ranked(marks), where) == (tuple(helps[0]), helps[1])


# --- the most votes ----------------------------------------------------------------------------


def test_plurality_counts_each_ballot_once() -> None:
    ballots = {
        chosen("v", "a"): 3,
        chosen("v", "b"): 5,
        chosen("v", ""): 2,
        chosen("v", "bc"): 7,
        spoilt("blank"): 1,
        spoilt("overvote"): 4,
        spoilt("informal"): 1,
    }
    what = definition("plurality", max_choices=1)
    found = tallied(what, ballots)
    assert (found.winners, found.tally) == (("b",), {"a": 3, "b": 5, "c": 0})
    assert (found.ballots, found.votes) == (23, 8)
    assert (found.blank, found.overvoted, found.informal) == (3, 11, 1)
    assert found.rules == what.contest.rules
    assert found.definition == definition_hash(what).hex()
    assert (found.rounds, found.ties) == ((), ())


def test_several_seats_in_order_of_votes() -> None:
    what = definition("plurality", "a b c d", seats=2, max_choices=2)
    found = tallied(what, {chosen("v", "ab"): 2, chosen("v", "bc"): 3, chosen("v", "d"): 1})
    assert (found.winners, found.tally) == (("b", "c"), {"a": 2, "b": 5, "c": 3, "d": 1})


def test_equal_votes_within_the_seats_are_no_tie() -> None:
    found = tallied(definition("approval", seats=2), {chosen("a", "ab"): 2, chosen("a", "c"): 1})
    assert (found.winners, found.ties) == (("a", "b"), ())


def test_a_tie_for_the_last_seat_is_settled_by_lot_and_written_down() -> None:
    what = definition("plurality", "a b c d", seats=2)
    found = tallied(what, {chosen("v", x): n for x, n in (("a", 9), ("b", 4), ("c", 4), ("d", 4))})
    drawn = drawn_by_lot(SEED, "1 elected", ["b", "c", "d"])[0]
    assert found.winners == ("a", drawn)
    assert found.ties == (Tie(1, ("b", "c", "d"), "elected", (drawn,), "lot"),)


def test_the_lot_is_fair_and_anybody_can_redo_it() -> None:
    firsts = Counter(drawn_by_lot(bytes([i]), "x", "abc")[0] for i in range(256))
    assert min(firsts[c] for c in "abc") > 60
    assert drawn_by_lot(SEED, "x", "abc") == drawn_by_lot(SEED, "x", "cba")
    assert len({tuple(drawn_by_lot(SEED, str(i), "abc")) for i in range(50)}) == 6


@pytest.mark.parametrize("method", METHODS)
def test_nobody_wins_without_a_vote(method: str) -> None:
    found = tallied(definition(method), {spoilt("blank"): 3})
    assert (found.winners, found.ballots, found.votes, found.blank) == ((), 3, 0, 3)


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(LookupError, match="'borda': unknown; there are plurality, approval, irv"):
        tallied(definition("borda"), {})


# --- instant run-off ---------------------------------------------------------------------------


def shape(found: Result) -> list[tuple[dict[str, int], int, str]]:
    """Each round: tally, exhausted, who went or who won (with an exclamation mark)."""
    return [
        (r.tally, r.exhausted, "".join(r.eliminated) + "".join(f"{c}!" for c in r.elected))
        for r in found.rounds
    ]


def test_votes_move_to_the_next_continuing_candidate() -> None:
    found = tallied(irv(), {"a": 4, "b a": 4, "c b": 2, "c": 1, "": 1, "ab": 1})
    assert shape(found) == [
        ({"a": 4, "b": 4, "c": 3}, 2, "c"),
        ({"a": 4, "b": 6}, 3, "b!"),
    ]
    assert (found.blank, found.overvoted, found.votes, found.ties) == (1, 1, 11, ())


def test_a_majority_of_continuing_ballots_wins_at_once() -> None:
    found = tallied(irv(), {"a": 6, "b": 3, "c": 2, "": 9})
    assert shape(found) == [({"a": 6, "b": 3, "c": 2}, 9, "a!")]


def test_half_is_no_majority() -> None:
    found = tallied(irv(), {"a": 5, "b": 3, "c b": 2})
    assert found.rounds[0].elected == ()
    assert found.ties == (Tie(2, ("a", "b"), "elected", found.winners, "lot"),)


def test_two_remain_goes_on_past_a_majority() -> None:
    found = tallied(irv("a b c d", stop="two-remain"), {"a": 9, "b": 4, "c b": 2, "d": 1})
    assert [step for _, _, step in shape(found)] == ["d", "c", "a!"]
    assert found.rounds[-1].tally == {"a": 9, "b": 6}


BATCH = {"a": 40, "b": 30, "c a": 11, "d b": 5, "e c": 4, "f": 0}


def test_single_and_batch_elimination() -> None:
    single = tallied(irv("a b c d e f"), BATCH)
    assert [step for _, _, step in shape(single)] == ["f", "e", "d", "c", "a!"]
    batch = tallied(irv("a b c d e f", eliminate="batch"), BATCH)
    assert [step for _, _, step in shape(batch)] == ["fedc", "a!"]
    assert batch.rounds[1].exhausted == 4


def test_a_batch_is_strictly_below_the_next_and_leaves_who_must_stay() -> None:
    even = tallied(irv(eliminate="batch"), {"a": 5, "b": 4, "c": 4})
    assert len(even.rounds[0].eliminated) == 1
    stay = tallied(irv(eliminate="batch", stop="two-remain"), {"a": 9, "b": 2, "c": 1})
    assert [step for _, _, step in shape(stay)] == ["c", "a!"]


def test_undeclared_write_ins_go_first_where_the_rules_say_so() -> None:
    ballots = {"a": 4, "b": 1, "c": 3, "w a": 2, "u": 1}
    first = irv("a b c W U", undeclared_write_ins_eliminated_first=True, eliminate="batch")
    assert shape(tallied(first, ballots))[0][2] == "uw"
    assert shape(tallied(irv("a b c W U"), ballots))[0][2] in "bu"


def test_an_undeclared_write_in_never_wins_where_it_goes_first() -> None:
    first = irv("a b W", undeclared_write_ins_eliminated_first=True)
    found = tallied(first, {"w b": 9, "a": 1})
    assert [step for _, _, step in shape(found)] == ["w", "b!"]
    assert tallied(irv("a b W"), {"w b": 9, "a": 1}).winners == ("w",)


def test_a_lot_among_the_last() -> None:
    found = tallied(irv(), {"a": 5, "b": 3, "c": 3})
    (gone,) = found.rounds[0].eliminated
    assert gone == drawn_by_lot(SEED, "1 eliminated", "bc")[0]
    assert found.ties == (Tie(1, ("b", "c"), "eliminated", (gone,), "lot"),)


def test_another_seed_may_draw_another() -> None:
    ballots = {ranked("a"): 5, ranked("b"): 3, ranked("c"): 3}
    gone = {count(irv(), ballots, lot_seed=bytes([i])).rounds[0].eliminated for i in range(20)}
    assert gone == {("b",), ("c",)}


def test_the_most_recent_difference_settles_a_tie_before_the_lot() -> None:
    rules = {"tie": "most-recent-difference-then-lot"}
    found = tallied(irv("a b c d", **rules), {"a": 9, "b": 5, "c": 4, "d c": 1, "d a": 1})
    assert [step for _, _, step in shape(found)] == ["d", "c", "a!"]
    assert found.ties == (Tie(2, ("b", "c"), "eliminated", ("c",), "most-recent-difference"),)
    level = tallied(irv(**rules), {"a": 5, "b": 3, "c": 3})
    assert [tie.by for tie in level.ties] == ["lot"]


def test_informal_ballots_stay_outside_of_the_rounds() -> None:
    found = tallied(irv(), {ranked("a"): 2, spoilt("informal"): 5, spoilt("blank"): 1})
    assert (found.rounds[0].exhausted, found.informal, found.ballots) == (1, 5, 8)


# --- any ballots -------------------------------------------------------------------------------

CELLS = st.lists(st.sampled_from(["", "a", "b", "c", "d", "w", "ab", "cd"]), max_size=5)
RANKED = CELLS.map(lambda cells: Choice("r", tuple(tuple(cell) for cell in cells)))
SPOILT = st.sampled_from(["blank", "overvote", "informal"]).map(spoilt)
RULES = st.builds(
    Rules,
    overvote=st.sampled_from(["skip", "exhaust"]),
    max_skipped_ranks=st.sampled_from([None, 0, 1, 2]),
    eliminate=st.sampled_from(["single", "batch"]),
    undeclared_write_ins_eliminated_first=st.booleans(),
    stop=st.sampled_from(["majority-of-continuing", "two-remain"]),
)
RUNOFFS = st.builds(
    lambda rules, max_ranks: definition("irv", "a b c d W", rules=rules, max_ranks=max_ranks),
    RULES,
    st.sampled_from([None, 3]),
)
SETS = st.builds(
    lambda method, seats, most: definition(method, "a b c d W", seats=seats, max_choices=most),
    st.sampled_from(["plurality", "approval"]),
    st.integers(1, 4),
    st.sampled_from([None, 1, 2]),
)
CHOSEN = st.sets(st.sampled_from("abcdw"), max_size=3)


@st.composite
def elections(draw: st.DrawFn) -> tuple[Definition, list[Choice]]:
    what = draw(RUNOFFS | SETS)
    if what.contest.method == "irv":
        return what, draw(st.lists(RANKED | SPOILT, max_size=25))
    letter = "a" if what.contest.method == "approval" else "v"
    marked = CHOSEN.map(lambda ids: chosen(letter, "".join(sorted(ids))))
    return what, draw(st.lists(marked | SPOILT, max_size=25))


def line(choice: Choice) -> dict[str, Any]:
    """A choice as a line of a ballot file."""
    if choice.letter == "r":
        return {"n": 1, "r": [list(cell) for cell in choice.marks]}
    first = list(choice.marks[0])
    return {"n": 1, choice.letter: first[0] if choice.letter == "x" else first}


@settings(max_examples=400, deadline=None)
@given(elections(), st.randoms(use_true_random=False))
def test_i13_a_tally_depends_on_no_order_and_equals_the_naive_one(
    election: tuple[Definition, list[Choice]], random: Any
) -> None:
    what, ballots = election
    found = count(what, Counter(ballots), lot_seed=SEED)
    shuffled = random.sample(ballots, len(ballots))
    assert count(what, Counter(shuffled), lot_seed=SEED) == found

    def lot(where: str, candidates: list[str]) -> list[str]:
        return drawn_by_lot(SEED, where, candidates)

    naive = naive_tally.result(
        msgspec.to_builtins(what.contest), [line(choice) for choice in ballots], lot
    )
    assert list(found.winners) == naive["winners"]
    assert found.tally == naive.get("tally")
    theirs = [
        (r["tally"], r["exhausted"], sorted(r.get("eliminated", ())), r.get("elected", []))
        for r in naive.get("rounds", ())
    ]
    ours = [(r.tally, r.exhausted, sorted(r.eliminated), list(r.elected)) for r in found.rounds]
    assert ours == theirs


@settings(max_examples=200, deadline=None)
@given(elections())
def test_i4_every_ballot_is_accounted_for(election: tuple[Definition, list[Choice]]) -> None:
    what, ballots = election
    found = count(what, Counter(ballots), lot_seed=SEED)
    assert found.ballots == len(ballots)
    assert found.votes + found.blank + found.overvoted + found.informal == len(ballots)
    for each in found.rounds:
        assert sum(each.tally.values()) + each.exhausted + found.informal == len(ballots)
        votes = [each.tally[c] for c in each.eliminated]
        assert votes == sorted(votes)
    for each in found.rounds[:1]:
        assert sum(each.tally.values()) == found.votes


# --- elections with known results --------------------------------------------------------------


def real_elections() -> list[Any]:
    if not ELECTIONS.is_dir():
        why = f"no real elections beside the repository ({ELECTIONS.name} folder is absent)"
        return [pytest.param(None, marks=pytest.mark.skip(reason=why), id="absent")]
    found = sorted(path.parent for path in ELECTIONS.glob("*/election.json"))
    return [pytest.param(path, id=path.name) for path in found]


@pytest.mark.parametrize("directory", real_elections())
def test_a_real_election_has_its_known_result(directory: Path) -> None:
    method = json.loads((directory / "election.json").read_bytes())["contest"]["method"]
    if method not in METHODS:
        with pytest.raises(DatasetError, match=f"'{method}' is not supported"):
            load(directory)
        pytest.skip(f"method {method} is not supported yet")
    dataset = load(directory)
    assert dataset.expected is not None
    assert compare(counted(dataset.directory), dataset.expected) == []
    assert dataset.notes == ()


def counted(directory: Path, **other_rules: Any) -> Result:
    """Count the ballots of an election directory, under other rules if some are given."""
    dataset = load(directory)
    of = dataset.definition.contest
    rules = msgspec.structs.replace(of.rules, **other_rules)
    changed = msgspec.structs.replace(of, rules=rules)
    ballots = Counter[Choice]()
    for pile in dataset.piles:
        ballots[pile.choice] += pile.n
    return count(
        msgspec.structs.replace(dataset.definition, contest=changed), ballots, lot_seed=SEED
    )


def test_the_same_ballots_count_otherwise_under_other_rules() -> None:
    directory = ELECTIONS / "minneapolis-2017-mayor"
    if not directory.is_dir():
        pytest.skip("no real elections beside the repository")
    last = counted(directory, max_skipped_ranks=1).rounds[-1].tally
    assert sorted(last.values()) == [34_970, 46_704]


def test_the_sample_has_the_result_that_the_naive_count_found() -> None:
    expected = load(SAMPLE).expected
    assert expected is not None
    assert compare(counted(SAMPLE), expected) == []


@pytest.mark.parametrize("name", ["election.json", "ballots.jsonl", "result.json"])
def test_the_sample_is_what_its_maker_makes(name: str) -> None:
    assert (SAMPLE / name).read_text(encoding="utf-8") == make_sample.files()[name]
