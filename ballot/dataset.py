"""Reads an election from a directory: the definition, the ballots one by one, the known result.

    election.json           what is voted on and by which rules (format ballot-election/1)
    ballots.jsonl[.gz]      the ballots, identical ones added up, one JSON object a line
    result.json             optional: what a right count finds

Whatever is wrong with the files is said in one line, with the file and where it has one the line.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from array import array
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ballot.messages import Ballot, Candidate, Choice, Contest, Definition, Rules
from ballot.papers import (
    LETTER_NAMES,
    LETTER_OF_METHOD,
    choice_fault,
    definition_fault,
    name_fault,
)
from ballot.tally import METHODS, Result, Round

S = TypeVar("S", bound=msgspec.Struct)

FORMAT = "ballot-election/1"

SAMPLE = Path(__file__).parent / "sample"
"""The election that ships with the package: four communities choose the site of their fair."""

BALLOTS_MAX = 50_000_000
"""Beyond any election that one log is for; a mistyped `n` must not eat the memory."""

LINE_BYTES_MAX = 1 << 20
"""A ballot is some hundred bytes; a line without an end must not be read whole."""

JSON_BYTES_MAX = 64 << 20
"""Of election.json and result.json, which are read whole."""


class DatasetError(ValueError):
    """Something is wrong with an election directory: which file, which line (if any), what."""

    def __init__(self, file: Path | str, line: int | None, what: str) -> None:
        self.file, self.line, self.what = Path(file), line, what
        where = f"{file}:{line}" if line is not None else f"{file}"
        super().__init__(f"{where}: {what}")


class ExpectedRound(msgspec.Struct, frozen=True):
    """One round of result.json; `exhausted` is compared where it is given."""

    round: int
    tally: dict[str, int]
    exhausted: int | None = None
    eliminated: tuple[str, ...] = ()
    elected: tuple[str, ...] = ()


class Expected(msgspec.Struct, frozen=True):
    """What result.json says; fields that no method here produces are left aside."""

    winners: tuple[str, ...]
    rounds: tuple[ExpectedRound, ...] | None = None
    tally: dict[str, int] | None = None


class Pile(msgspec.Struct, frozen=True, gc=False):
    """Identical ballots: what they say, where they were cast, how many there are."""

    choice: Choice
    precinct: str | None
    n: int


class Dataset(msgspec.Struct, frozen=True):
    """An election as read: `ballots(dataset)` yields its `count` ballots one by one.

    `notes` say what was found in the files and is not applied here, for a person to read.
    """

    directory: Path
    id: str
    definition: Definition
    piles: tuple[Pile, ...]
    count: int
    expected: Expected | None
    notes: tuple[str, ...] = ()


class _Ballots(msgspec.Struct):
    file: str
    kind: str
    count: int


class _Contest(msgspec.Struct):
    id: str
    method: str
    candidates: tuple[Candidate, ...]
    rules: dict[str, Any]
    seats: int = 1
    max_ranks: int | None = None
    max_choices: int | None = None


class _Election(msgspec.Struct):
    format: str
    id: str
    title: str
    contest: _Contest
    ballots: _Ballots


class _Line(msgspec.Struct):
    """One line of the ballot file; exactly one of r, a, v, x is there."""

    n: int
    p: str | None = None
    r: tuple[tuple[str, ...], ...] | None = None
    a: tuple[str, ...] | None = None
    v: tuple[str, ...] | None = None
    x: str | None = None


def load(directory: Path | str) -> Dataset:
    """Read and check a whole election directory; raises DatasetError for whatever is wrong."""
    directory = Path(directory)
    if not directory.is_dir():
        raise DatasetError(directory, None, "not a directory; name one that holds election.json")
    file = directory / "election.json"
    election = _read_json(file, _Election)
    definition, notes = _definition(file, election)
    ballot_file = _ballot_file(directory, election.ballots)
    piles = tuple(_piles(ballot_file, definition.contest))
    count = sum(pile.n for pile in piles)
    if count != election.ballots.count:
        what = f"{count} ballots, but election.json says {election.ballots.count}"
        raise DatasetError(ballot_file, None, what)
    return Dataset(
        directory=directory,
        id=election.id,
        definition=definition,
        piles=piles,
        count=count,
        expected=_expected(directory / "result.json"),
        notes=notes,
    )


def ballots(dataset: Dataset, *, seed: int = 0) -> Iterator[Ballot]:
    """Every ballot by itself, shuffled by `seed`, each with a credential of its own.

    Identical ballots of a precinct lie together in the file; a real ballot box has no such order.
    Costs four bytes of memory per ballot.
    """
    order = array("I")
    for number, pile in enumerate(dataset.piles):
        order.extend(array("I", [number]) * pile.n)
    random.Random(seed).shuffle(order)
    for i, number in enumerate(order, start=1):
        pile = dataset.piles[number]
        yield Ballot(f"{dataset.id}-{i:07d}", pile.choice, pile.precinct)


def compare(result: Result, expected: Expected) -> list[str]:
    """How a result differs from the expected one, a line for each difference; empty = equal.

    Winners and rounds are compared, or the tally: of that only the figures of candidates, since
    blank and overvoted ballots may stand beside them. Candidates with equal votes who go out
    together may be named in any order.
    """
    found: list[str] = []
    if result.winners != expected.winners:
        found.append(f"winners: {_ids(result.winners)}, expected {_ids(expected.winners)}")
    if expected.rounds is not None:
        found += _compare_rounds(result.rounds, expected.rounds)
    elif expected.tally is not None:
        found += _compare_tallies("tally", result.tally or (), result.tally or {}, expected.tally)
    if found and result.ties:
        found.append(f"note: {len(result.ties)} tie(s) were resolved, see the result's ties")
    return found


# --- reading -----------------------------------------------------------------------------------


def _read_json(file: Path, shape: type[S]) -> S:
    """A whole JSON file as a struct; errors with the line of what is malformed."""
    if not file.is_file():
        raise DatasetError(file, None, "is missing")
    try:
        with file.open("rb") as stream:
            data = stream.read(JSON_BYTES_MAX + 1)
    except OSError as error:
        raise DatasetError(file, None, f"can't be read: {error.strerror}") from None
    if len(data) > JSON_BYTES_MAX:
        raise DatasetError(file, None, f"has more than {JSON_BYTES_MAX} bytes")
    try:
        return msgspec.convert(json.loads(data), shape)
    except json.JSONDecodeError as error:
        raise DatasetError(file, error.lineno, f"is not JSON: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(file, None, f"is not JSON: {error}") from None
    except msgspec.ValidationError as error:
        raise DatasetError(file, None, str(error)) from None


def _definition(file: Path, election: _Election) -> tuple[Definition, tuple[str, ...]]:
    """The definition that a CreateElection carries, and notes on rules that are not applied."""
    if election.format != FORMAT:
        raise DatasetError(file, None, f"format is {election.format!r}, not {FORMAT!r}")
    read = election.contest
    if read.method not in METHODS:
        what = (
            f"contest.method {read.method!r} is not supported; supported are {', '.join(METHODS)}"
        )
        raise DatasetError(file, None, what)
    need = LETTER_NAMES[LETTER_OF_METHOD[read.method]]
    if election.ballots.kind != need:
        what = f"ballots.kind is {election.ballots.kind!r}; {read.method} takes {need!r}"
        raise DatasetError(file, None, what)
    rules, notes = _rules(file, read.rules)
    contest = Contest(
        id=read.id,
        method=read.method,
        candidates=read.candidates,
        rules=rules,
        seats=read.seats,
        max_ranks=read.max_ranks,
        max_choices=read.max_choices,
    )
    definition = Definition(election.title, contest)
    fault = name_fault("id", election.id) or definition_fault(definition)
    if fault is not None:
        raise DatasetError(file, None, f"contest: {fault}")
    return definition, notes


def _rules(file: Path, given: dict[str, Any]) -> tuple[Rules, tuple[str, ...]]:
    known = {name: value for name, value in given.items() if name in Rules.__struct_fields__}
    try:
        rules = msgspec.convert(known, Rules)
    except msgspec.ValidationError as error:
        raise DatasetError(file, None, f"contest.rules: {error}") from None
    notes = [f"{file}: rule {n!r} is unknown here, not applied" for n in given if n not in known]
    return rules, tuple(notes)


def _expected(file: Path) -> Expected | None:
    return _read_json(file, Expected) if file.exists() else None


def _ballot_file(directory: Path, told: _Ballots) -> Path:
    file = directory / told.file
    if file.parent != directory or told.file in ("", ".", ".."):
        what = f"ballots.file is {told.file!r}; it must name a file in this directory"
        raise DatasetError(directory / "election.json", None, what)
    if not file.is_file():
        raise DatasetError(file, None, "is missing, though election.json names it")
    return file


def _piles(file: Path, contest: Contest) -> Iterator[Pile]:
    """The lines of the ballot file, checked as the election itself would check each ballot."""
    decoder = msgspec.json.Decoder(_Line)
    total = 0
    for number, text in _lines(file):
        try:
            line = decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DatasetError(file, number, f"not a ballot: {error}") from None
        pile = _pile(file, number, line)
        fault = choice_fault(contest, pile.choice)
        if fault is not None:
            raise DatasetError(file, number, fault[1])
        total += pile.n
        if total > BALLOTS_MAX:
            raise DatasetError(file, number, f"more than {BALLOTS_MAX} ballots up to here")
        yield pile


def _pile(file: Path, number: int, line: _Line) -> Pile:
    said: list[Choice] = []
    if line.r is not None:
        said.append(Choice("r", line.r))
    if line.a is not None:
        said.append(Choice("a", (line.a,)))
    if line.v is not None:
        said.append(Choice("v", (line.v,)))
    if line.x is not None:
        said.append(Choice("x", ((line.x,),)))
    if len(said) != 1:
        raise DatasetError(file, number, "a ballot has exactly one of r, a, v and x")
    if line.n < 1:
        raise DatasetError(file, number, f"n is {line.n}; at least 1 is possible")
    fault = None if line.p is None else name_fault("precinct p", line.p)
    if fault is not None:
        raise DatasetError(file, number, fault)
    return Pile(said[0], line.p, line.n)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not empty, unpacked where the name ends in .gz."""
    number = 0
    try:
        with _open(file) as stream:
            while text := stream.readline(LINE_BYTES_MAX + 1):
                number += 1
                if len(text) > LINE_BYTES_MAX:
                    raise DatasetError(file, number, f"longer than {LINE_BYTES_MAX} bytes")
                if text.strip():
                    yield number, text
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(file, number + 1, f"can't be read: {error}") from None


def _open(file: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.GzipFile(file, "rb") if file.suffix == ".gz" else file.open("rb")


# --- comparing ---------------------------------------------------------------------------------


def _compare_rounds(found: tuple[Round, ...], expected: tuple[ExpectedRound, ...]) -> list[str]:
    differences: list[str] = []
    if len(found) != len(expected):
        differences.append(f"{len(found)} rounds, expected {len(expected)}")
    for ours, theirs in zip(found, expected, strict=False):
        where = f"round {ours.round}"
        ids = sorted({*ours.tally, *theirs.tally})
        differences += _compare_tallies(where, ids, ours.tally, theirs.tally)
        if theirs.exhausted not in (None, ours.exhausted):
            differences.append(f"{where}: exhausted {ours.exhausted}, expected {theirs.exhausted}")
        for outcome, a, b in (
            ("eliminated", _ascending(ours, ours.eliminated), _ascending(ours, theirs.eliminated)),
            ("elected", ours.elected, theirs.elected),
        ):
            if a != b:
                differences.append(f"{where}: {outcome} {_ids(a)}, expected {_ids(b)}")
    return differences


def _compare_tallies(
    where: str, ids: Iterable[str], found: dict[str, int], expected: dict[str, int]
) -> list[str]:
    return [
        f"{where}: {c} has {found.get(c, 0)}, expected {expected.get(c, 0)}"
        for c in ids
        if found.get(c, 0) != expected.get(c, 0)
    ]


def _ascending(figures: Round, ids: tuple[str, ...]) -> tuple[str, ...]:
    """By votes, then by id: equal votes have no order of their own."""
    return tuple(sorted(ids, key=lambda c: (figures.tally.get(c, 0), c)))


def _ids(ids: tuple[str, ...]) -> str:
    return ", ".join(ids) or "nobody"
