"""Election directories: read right, or refused in one line that says where and what."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ballot import dataset as module
from ballot.dataset import (
    SAMPLE,
    DatasetError,
    Expected,
    ExpectedRound,
    ballots,
    compare,
    load,
)
from ballot.election import Election, ballots_counted, decide, evolve
from ballot.messages import CastBallot, Choice, Rules
from ballot.tally import Result, count
from tests.ballot.samples import AT, command, definition, opened, ranked, spoilt

LINES = ['{"n":2,"r":[["a"],["b"]],"p":"P-1"}', '{"n":1,"r":[]}', '{"n":1,"x":"blank"}']
RESULT = {"winners": ["a"], "rounds": [{"round": 1, "tally": {"a": 2, "b": 0}, "exhausted": 2}]}


def write(directory: Path, **changes: Any) -> Path:
    """A small election directory; `lines`, `result` and fields of election.json can be given."""
    lines = changes.pop("lines", LINES)
    result = changes.pop("result", None)
    contest = {
        "id": "q",
        "method": "irv",
        "seats": 1,
        "max_ranks": 2,
        "rules": {"overvote": "skip"},
        "candidates": [{"id": "a", "name": "A"}, {"id": "b", "name": "B"}],
        **changes.pop("contest", {}),
    }
    told = {"file": "ballots.jsonl", "kind": "ranked", "count": 4, **changes.pop("ballots", {})}
    election = {"format": "ballot-election/1", "id": "e1", "title": "T", **changes}
    text = json.dumps({**election, "contest": contest, "ballots": told}, indent=1)
    (directory / "election.json").write_text(text)
    (directory / "ballots.jsonl").write_text("\n".join(lines) + "\n")
    if result is not None:
        (directory / "result.json").write_text(json.dumps(result))
    return directory


def complaint(directory: Path) -> str:
    """The one line in which the directory is refused, from the file's name on."""
    with pytest.raises(DatasetError) as caught:
        load(directory)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{caught.value.file}:")
    return text.removeprefix(f"{directory}/")


# --- right -------------------------------------------------------------------------------------


def test_a_directory_is_read(tmp_path: Path) -> None:
    read = load(write(tmp_path, result=RESULT))
    assert (read.id, read.count, read.notes) == ("e1", 4, ())
    assert read.definition.title == "T"
    assert [candidate.id for candidate in read.definition.contest.candidates] == ["a", "b"]
    assert read.expected == Expected(("a",), (ExpectedRound(1, {"a": 2, "b": 0}, 2),))
    assert [(pile.choice, pile.precinct, pile.n) for pile in read.piles] == [
        (ranked("a b"), "P-1", 2),
        (ranked(""), None, 1),
        (spoilt("blank"), None, 1),
    ]


def test_a_result_is_optional_and_text_may_be_packed(tmp_path: Path) -> None:
    write(tmp_path, ballots={"file": "ballots.jsonl.gz"})
    (tmp_path / "ballots.jsonl.gz").write_bytes(gzip.compress("\n\n".join(LINES).encode()))
    read = load(str(tmp_path))
    assert (read.count, read.expected) == (4, None)


def test_unknown_rules_are_not_applied_in_silence(tmp_path: Path) -> None:
    read = load(write(tmp_path, contest={"rules": {"overvote": "skip", "audit": "risk-limiting"}}))
    assert read.notes == (f"{tmp_path}/election.json: rule 'audit' is unknown here, not applied",)


def test_ballots_come_one_by_one_shuffled_by_the_seed() -> None:
    read = load(SAMPLE)
    first = list(ballots(read, seed=1))
    assert first == list(ballots(read, seed=1))
    assert first != list(ballots(read, seed=2))
    assert len(first) == len({ballot.credential for ballot in first}) == read.count >= 5_000
    expected = Counter[tuple[Choice, str | None]]()
    for pile in read.piles:
        expected[pile.choice, pile.precinct] += pile.n
    assert Counter((ballot.choice, ballot.precinct) for ballot in first) == expected
    # In the file the 212 most frequent ballots come in a row; shuffled, no long run is left.
    most = first.index(max(first, key=lambda ballot: expected[ballot.choice, ballot.precinct]))
    assert sum(ballot.choice == first[most].choice for ballot in first[:500]) < 100


def test_the_sample_is_cast_and_counted_as_its_result_says() -> None:
    read = load(SAMPLE)
    state: Election = opened(read.definition)
    for ballot in ballots(read):
        outcome = decide(state, command(CastBallot, ballot=ballot), AT)
        assert isinstance(outcome, list), outcome
        evolve(state, outcome[0])
    assert read.expected is not None
    found = count(read.definition, ballots_counted(state), lot_seed=b"")
    assert compare(found, read.expected) == []
    assert len(found.rounds) >= 4
    assert 0 not in (found.blank, found.overvoted, found.informal)


# --- wrong -------------------------------------------------------------------------------------


def test_not_a_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, tmp_path / "nothing"):
        with pytest.raises(DatasetError) as caught:
            load(path)
        assert str(caught.value) == f"{path}: not a directory; name one that holds election.json"


def test_missing_files(tmp_path: Path) -> None:
    assert complaint(tmp_path) == "election.json: is missing"
    write(tmp_path)
    (tmp_path / "ballots.jsonl").unlink()
    assert complaint(tmp_path) == "ballots.jsonl: is missing, though election.json names it"


def test_broken_json_is_named_by_its_line(tmp_path: Path) -> None:
    write(tmp_path, result=RESULT)
    (tmp_path / "result.json").write_text('{\n"winners":\n}')
    assert complaint(tmp_path) == "result.json:3: is not JSON: Expecting value"
    (tmp_path / "election.json").write_text('{\n"format": "x",\n')
    assert complaint(tmp_path).startswith("election.json:3: is not JSON: Expecting property name")
    (tmp_path / "election.json").write_bytes(b"\xff\xfe\xfd")
    assert complaint(tmp_path).startswith("election.json: is not JSON: 'utf-")
    (tmp_path / "election.json").write_text("[" * 100_000)
    assert complaint(tmp_path).startswith("election.json: is not JSON: ")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "x/2"}, "election.json: format is 'x/2', not 'ballot-election/1'"),
        (
            {"contest": {"method": "stv-portland"}},
            "election.json: contest.method 'stv-portland' is not supported;"
            " supported are plurality, approval, irv",
        ),
        (
            {"contest": {"method": "approval"}},
            "election.json: ballots.kind is 'ranked'; approval takes 'approval'",
        ),
        ({"title": 5}, "election.json: Expected `str`, got `int` - at `$.title`"),
        ({"title": ""}, "election.json: contest: the title is empty"),
        (
            {"contest": {"candidates": []}},
            "election.json: contest: there are 0 candidates; 1 to 1000 are possible",
        ),
        (
            {"contest": {"rules": {"overvote": "guess"}}},
            "election.json: contest.rules: Invalid enum value 'guess' - at `$.overvote`",
        ),
        (
            {"contest": {"rules": {}}},
            "election.json: contest: overvote rule None does not fit irv: say skip or exhaust",
        ),
        (
            {"ballots": {"file": "../elsewhere.jsonl"}},
            "election.json: ballots.file is '../elsewhere.jsonl';"
            " it must name a file in this directory",
        ),
        ({"ballots": {"count": 5}}, "ballots.jsonl: 4 ballots, but election.json says 5"),
    ],
)
def test_faults_of_the_definition(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    assert complaint(write(tmp_path, **changes)) == says


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"n":1,"r":[["z"]]}', "unknown candidate 'z' at rank 1"),
        ('{"n":1,"r":[["a"],["b"],["a"]]}', "3 ranks where 2 are allowed"),
        ('{"n":1,"a":["a"]}', "a ballot of kind approval in a contest that takes ranked ballots"),
        ('{"n":1,"r":[["a"]', "not a ballot: Input data was truncated"),
        ('{"n":1,"r":"a"}', "not a ballot: Expected `array | null`, got `str` - at `$.r`"),
        ('{"r":[["a"]]}', "not a ballot: Object missing required field `n`"),
        ('{"n":0,"r":[["a"]]}', "n is 0; at least 1 is possible"),
        ('{"n":1}', "a ballot has exactly one of r, a, v and x"),
        ('{"n":1,"r":[],"x":"blank"}', "a ballot has exactly one of r, a, v and x"),
        ('{"n":1,"x":"lost"}', "a ballot that is not tallied says one of blank, overvote"),
        ('{"n":1,"r":[],"p":""}', "the precinct p is empty"),
        ('{"n":99999999999,"r":[]}', "more than 50000000 ballots up to here"),
        ('{"n":1,"r":[["\udc80"]]}', "not a ballot: "),
    ],
)
def test_faults_of_a_ballot_are_named_by_their_line(tmp_path: Path, line: str, says: str) -> None:
    write(tmp_path)
    text = "\n".join([LINES[0], line, LINES[1]])
    (tmp_path / "ballots.jsonl").write_bytes(text.encode(errors="surrogateescape"))
    assert complaint(tmp_path).startswith(f"ballots.jsonl:2: {says}")


def test_a_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_BYTES_MAX", 40)
    assert complaint(write(tmp_path, lines=["x" * 50])) == "ballots.jsonl:1: longer than 40 bytes"


def test_a_file_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JSON_BYTES_MAX", 40)
    assert complaint(write(tmp_path)) == "election.json: has more than 40 bytes"


@pytest.mark.parametrize("damage", [lambda d: d[:-12], lambda d: d[:20] + b"zz" + d[22:], bytes])
def test_a_damaged_archive(tmp_path: Path, damage: Any) -> None:
    write(tmp_path, ballots={"file": "ballots.jsonl.gz"})
    packed = gzip.compress(("\n".join(LINES * 50)).encode())
    damaged = damage(packed) if damage is not bytes else b"no archive"
    (tmp_path / "ballots.jsonl.gz").write_bytes(damaged)
    assert complaint(tmp_path).startswith("ballots.jsonl.gz:")
    assert "can't be read" in complaint(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, mode: str) -> Any:
        raise PermissionError(13, "Permission denied")

    write(tmp_path)
    monkeypatch.setattr(Path, "open", denied)
    assert complaint(tmp_path) == "election.json: can't be read: Permission denied"


# --- compare -----------------------------------------------------------------------------------


def found(method: str = "irv", **ballots_of: int) -> Result:
    said = {ranked(text.replace("_", " ")): n for text, n in ballots_of.items()}
    return count(definition(method), said, lot_seed=b"")


def expected(**changes: Any) -> Expected:
    rounds = (
        ExpectedRound(1, {"a": 4, "b": 3, "c": 2}, 0, ("c",)),
        ExpectedRound(2, {"a": 4, "b": 5}, 0, elected=("b",)),
    )
    return msgspec.structs.replace(Expected(("b",), rounds), **changes)


def changed_round(**changes: Any) -> tuple[ExpectedRound, ...]:
    first, second = expected().rounds or ()
    return msgspec.structs.replace(first, **changes), second


@pytest.mark.parametrize(
    ("against", "differences"),
    [
        (expected(), []),
        (expected(winners=("a",)), ["winners: b, expected a"]),
        (expected(winners=()), ["winners: b, expected nobody"]),
        (expected(rounds=expected().rounds[:1]), ["2 rounds, expected 1"]),  # type: ignore[index]
        (expected(rounds=changed_round(exhausted=None)), []),
        (expected(rounds=changed_round(exhausted=7)), ["round 1: exhausted 0, expected 7"]),
        (
            expected(rounds=changed_round(tally={"a": 4, "b": 3, "c": 1, "d": 1})),
            ["round 1: c has 2, expected 1", "round 1: d has 0, expected 1"],
        ),
        (
            expected(rounds=changed_round(eliminated=("b",))),
            ["round 1: eliminated c, expected b"],
        ),
        (
            expected(rounds=changed_round(elected=("a",))),
            ["round 1: elected nobody, expected a"],
        ),
    ],
)
def test_differences_are_told_one_by_one(against: Expected, differences: list[str]) -> None:
    assert compare(found(a=4, b=3, c_b=2), against) == differences


def test_only_candidates_are_compared_in_a_tally() -> None:
    ballots_of = {Choice("a", (("a",),)): 2, Choice("a", (("a", "b"),)): 1}
    result = count(definition("approval"), ballots_of, lot_seed=b"")
    assert compare(result, Expected(("a",), tally={"a": 3, "b": 1, "blank": 9})) == []
    assert compare(result, Expected(("a",), tally={"a": 3, "b": 2})) == [
        "tally: b has 1, expected 2"
    ]


def test_a_difference_after_a_lot_says_so() -> None:
    tied = found(a=5, b=3, c=3)
    assert compare(tied, Expected(tied.winners)) == []
    assert compare(tied, Expected(("z",)))[1:] == [
        "note: 1 tie(s) were resolved, see the result's ties"
    ]


def test_equal_votes_in_a_batch_have_no_order() -> None:
    batch = definition("irv", "a b c", rules=Rules(overvote="skip", eliminate="batch"))
    result = count(batch, {ranked("a"): 1, ranked("a b"): 1}, lot_seed=b"")
    assert result.rounds[0].elected == ("a",)
    rounds = (msgspec.structs.replace(result.rounds[0], elected=(), eliminated=("c", "b")),)
    other = (ExpectedRound(1, {"a": 2, "b": 0, "c": 0}, 0, ("b", "c")),)
    made = msgspec.structs.replace(result, rounds=rounds)
    assert compare(made, Expected(("a",), other)) == []
