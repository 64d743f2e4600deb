"""What is accepted as a definition and as a ballot: tables."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ballot.messages import Candidate, Choice, Contest, Definition, Rules
from ballot.papers import (
    CANDIDATES_MAX,
    LETTER_NAMES,
    LETTER_OF_METHOD,
    NAME_CHARS_MAX,
    choice_fault,
    definition_fault,
)
from ballot.tally import METHODS
from tests.ballot.samples import chosen, contest, definition, ranked, spoilt

LONG = "x" * (NAME_CHARS_MAX + 1)


def test_every_method_says_which_ballots_it_counts() -> None:
    assert LETTER_OF_METHOD.keys() == METHODS.keys()
    assert set(LETTER_OF_METHOD.values()) <= LETTER_NAMES.keys()


@pytest.mark.parametrize("method", METHODS)
def test_a_plain_definition_of_each_method_is_accepted(method: str) -> None:
    assert definition_fault(definition(method)) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "borda"}, "method 'borda' is not supported; supported are plurality, approval"),
        ({"id": ""}, "contest id is empty"),
        ({"candidates": ()}, "0 candidates"),
        ({"candidates": (Candidate("a", "A"), Candidate("a", "B"))}, "'a' is there twice"),
        ({"candidates": (Candidate("*", "Star"),)}, "'*' is there twice, or reserved"),
        ({"candidates": (Candidate("", "Nobody"),)}, "candidate id is empty"),
        ({"candidates": (Candidate("a", LONG),)}, f"has {NAME_CHARS_MAX + 1} characters"),
        ({"seats": 0}, "seats is 0; 1 to 3"),
        ({"seats": 4}, "seats is 4; 1 to 3"),
        ({"seats": 2}, "irv fills one seat, not 2"),
        ({"max_ranks": 0}, "max_ranks is 0"),
        ({"max_choices": CANDIDATES_MAX + 1}, "max_choices is 1001"),
        ({"rules": Rules()}, "overvote rule None does not fit irv"),
        ({"rules": Rules(overvote="not-counted")}, "does not fit irv: say skip or exhaust"),
        ({"rules": Rules(overvote="skip", max_skipped_ranks=-1)}, "max_skipped_ranks is -1"),
        ({"method": "approval", "rules": Rules(overvote="skip")}, "does not fit approval"),
    ],
)
def test_a_faulty_definition_is_named(changes: dict[str, Any], says: str) -> None:
    faulty = Definition("T", msgspec.structs.replace(contest(), **changes))
    assert says in (definition_fault(faulty) or "accepted")


def test_a_definition_needs_a_title() -> None:
    assert definition_fault(Definition("", contest())) == "the title is empty"


RANKED = contest("irv", max_ranks=3)
APPROVAL = contest("approval", max_choices=2)
SINGLE = contest("plurality", max_choices=1)


@pytest.mark.parametrize(
    ("where", "choice"),
    [
        (RANKED, ranked("")),
        (RANKED, ranked("a b c")),
        (RANKED, ranked("- - a")),
        (RANKED, ranked("a a ab")),
        (RANKED, ranked("** b")),
        (contest("irv"), ranked("a b c - - -")),
        (APPROVAL, chosen("a", "")),
        (APPROVAL, chosen("a", "ab")),
        (contest("approval"), chosen("a", "abc")),
        (SINGLE, chosen("v", "a")),
        *((where, spoilt(word)) for where in (RANKED, SINGLE) for word in ("blank", "informal")),
    ],
)
def test_acceptable_ballots(where: Contest, choice: Choice) -> None:
    assert choice_fault(where, choice) is None


@pytest.mark.parametrize(
    ("where", "choice", "reason", "says"),
    [
        (RANKED, ranked("a b z"), "unknown_candidate", "unknown candidate 'z' at rank 3"),
        (RANKED, ranked("*"), "unknown_candidate", "unknown candidate '*' at rank 1"),
        (RANKED, ranked("a b c a"), "bad_ballot", "4 ranks where 3 are allowed"),
        (RANKED, ranked("abcab"), "bad_ballot", "rank 1 has 5 marks for 3 candidates"),
        (RANKED, chosen("a", "a"), "bad_ballot", "kind approval in a contest that takes ranked"),
        (APPROVAL, chosen("a", "abc"), "bad_ballot", "3 choices where 2 are allowed"),
        (APPROVAL, chosen("a", "aa"), "bad_ballot", "chosen twice"),
        (APPROVAL, Choice("a", ()), "bad_ballot", "0 lists of candidates where one belongs"),
        (SINGLE, chosen("v", "z"), "unknown_candidate", "unknown candidate 'z'"),
        (SINGLE, chosen("v", "ab"), "bad_ballot", "2 choices where 1 are allowed"),
        (SINGLE, ranked("a"), "bad_ballot", "kind ranked in a contest that takes choice"),
        (SINGLE, spoilt("lost"), "bad_ballot", "one of blank, overvote, informal"),
        (SINGLE, Choice("x", ()), "bad_ballot", "one of blank, overvote, informal"),
    ],
)
def test_a_faulty_ballot_is_named(where: Contest, choice: Choice, reason: str, says: str) -> None:
    fault = choice_fault(where, choice)
    assert fault is not None
    assert fault[0] == reason
    assert says in fault[1]
