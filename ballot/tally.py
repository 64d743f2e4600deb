"""Ways to count: `METHODS` names them, `count` applies the one that the definition asks for.

A method is a pure function of the contest, of how many ballots say what, and of a seed for the
lot. It works in integers, adds identical ballots up before it begins, and depends neither on the
order of the ballots nor on that of the mapping. What it finds it returns as a `Result`: each round
with its figures, and each tie with how it was resolved.

A newcomer adds a method as one function and its entry in `METHODS`, its kind of ballot in
`papers.LETTER_OF_METHOD`, and rows in tests/ballot/test_tally.py.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from ballot.messages import Choice, Contest, Definition, Rules, definition_hash

Ballots: TypeAlias = Mapping[Choice, int]
"""How many ballots say what."""

Preference: TypeAlias = tuple[str, ...]

LAST_TWO = 2


class Tie(msgspec.Struct, frozen=True):
    """Candidates with equal votes among whom one had to go or to win, and how that was settled."""

    round: int
    candidates: tuple[str, ...]
    outcome: Literal["elected", "eliminated"]
    chosen: tuple[str, ...]
    by: Literal["lot", "most-recent-difference"]


class Round(msgspec.Struct, frozen=True):
    """One round: votes of each continuing candidate, and what became of them.

    `exhausted` includes ballots that were blank from the start; `eliminated` is in ascending order
    of votes.
    """

    round: int
    tally: dict[str, int]
    exhausted: int
    eliminated: tuple[str, ...] = ()
    elected: tuple[str, ...] = ()


class Result(msgspec.Struct, frozen=True):
    """What a count found: ballots = votes + blank + overvoted + informal.

    For ranked ballots `votes` are those of the first round, and `blank` and `overvoted` are the
    ballots without a usable mark even then, the latter because an overvote was in the way.
    `winners` are in order of votes; a candidate without any vote never wins. `tally` is there for
    methods of one round, `rounds` for the others. `definition` is the hash of what was counted.
    """

    definition: str
    method: str
    rules: Rules
    winners: tuple[str, ...]
    ballots: int
    votes: int
    blank: int
    overvoted: int
    informal: int
    tally: dict[str, int] | None = None
    rounds: tuple[Round, ...] = ()
    ties: tuple[Tie, ...] = ()


Method: TypeAlias = Callable[[Definition, Ballots, bytes], Result]


def count(definition: Definition, ballots: Ballots, *, lot_seed: bytes) -> Result:
    """Count by the definition's own method; `lot_seed` decides ties that only a lot can.

    Raises LookupError when no method has that name.
    """
    method = METHODS.get(definition.contest.method)
    if method is None:
        known = ", ".join(METHODS)
        raise LookupError(f"method {definition.contest.method!r}: unknown; there are {known}")
    return method(definition, ballots, lot_seed)


def drawn_by_lot(seed: bytes, where: str, candidates: Iterable[str]) -> list[str]:
    """The candidates in the order in which the lot draws them; anybody with the seed can redo it.

    The order is that of SHA-256 over seed, place and candidate, so a candidate's luck in one round
    says nothing about the next.
    """
    return sorted(
        candidates,
        key=lambda c: (hashlib.sha256(b"\0".join((seed, where.encode(), c.encode()))).digest(), c),
    )


# --- one round: the most votes -----------------------------------------------------------------


def plurality(definition: Definition, ballots: Ballots, lot_seed: bytes) -> Result:
    """The most votes; with several seats each ballot may choose up to `max_choices`."""
    return _most_votes(definition, ballots, lot_seed)


def approval(definition: Definition, ballots: Ballots, lot_seed: bytes) -> Result:
    """The most approvals."""
    return _most_votes(definition, ballots, lot_seed)


def _most_votes(definition: Definition, ballots: Ballots, lot_seed: bytes) -> Result:
    contest = definition.contest
    tally = {candidate.id: 0 for candidate in contest.candidates}
    classes: Counter[str] = Counter()
    for choice, n in ballots.items():
        kind = _set_class(choice, contest.max_choices)
        classes[kind] += n
        if kind == "votes":
            for candidate in choice.marks[0]:
                tally[candidate] += n
    winners, ties = _fill_seats(contest, tally, lot_seed)
    result = _accounted(definition, classes)
    return msgspec.structs.replace(result, winners=winners, tally=tally, ties=ties)


def _set_class(choice: Choice, max_choices: int | None) -> str:
    """votes, blank, overvote or informal."""
    if choice.letter == "x":
        return choice.marks[0][0]
    if not choice.marks[0]:
        return "blank"
    return "votes" if max_choices is None or len(choice.marks[0]) <= max_choices else "overvote"


def _fill_seats(
    contest: Contest, tally: Mapping[str, int], lot_seed: bytes
) -> tuple[tuple[str, ...], tuple[Tie, ...]]:
    """The winners; a lot only where the last seats fall among equals."""
    ranking = sorted((c for c in tally if tally[c]), key=lambda c: -tally[c])
    if len(ranking) <= contest.seats:
        return tuple(ranking), ()
    last = tally[ranking[contest.seats - 1]]
    sure = [c for c in ranking if tally[c] > last]
    tied = [c for c in ranking if tally[c] == last]
    free = contest.seats - len(sure)
    if len(tied) == free:
        return tuple(sure + tied), ()
    chosen = drawn_by_lot(lot_seed, "1 elected", tied)[:free]
    return tuple(sure + chosen), (Tie(1, tuple(tied), "elected", tuple(chosen), "lot"),)


# --- instant run-off ---------------------------------------------------------------------------


def preferences(choice: Choice, contest: Contest) -> tuple[Preference, bool]:
    """The candidates whom a ranked ballot helps, in order, and whether an overvote was met.

    An empty rank is passed over unless more than `max_skipped_ranks` follow each other; an
    overvoted rank is passed over (`skip`; it ends a run of empty ones) or ends the ballot
    (`exhaust`); of a candidate named again the first mention counts.
    """
    rules = contest.rules
    found: list[str] = []
    overvoted, empty_in_a_row = False, 0
    for cell in choice.marks[: contest.max_ranks]:
        if not cell:
            empty_in_a_row += 1
            if rules.max_skipped_ranks is not None and empty_in_a_row > rules.max_skipped_ranks:
                break
            continue
        empty_in_a_row = 0
        if len(cell) > 1:
            overvoted = True
            if rules.overvote != "skip":
                break
        elif cell[0] not in found:
            found.append(cell[0])
    return tuple(found), overvoted


def irv(definition: Definition, ballots: Ballots, lot_seed: bytes) -> Result:
    """Instant run-off: the last are eliminated and their ballots move on, until one has won."""
    classes: Counter[str] = Counter()
    papers: Counter[Preference] = Counter()
    for choice, n in ballots.items():
        if choice.letter == "x":
            classes[choice.marks[0][0]] += n
            continue
        preference, overvoted = preferences(choice, definition.contest)
        papers[preference] += n
        classes["votes" if preference else "overvote" if overvoted else "blank"] += n
    del papers[()]
    runoff = _Runoff(definition.contest, papers, lot_seed)
    runoff.exhausted = classes["blank"] + classes["overvote"]
    runoff.run()
    return msgspec.structs.replace(
        _accounted(definition, classes),
        winners=runoff.rounds[-1].elected,
        rounds=tuple(runoff.rounds),
        ties=tuple(runoff.ties),
    )


class _Runoff:
    """A run-off under way: each continuing candidate's pile of (preference, place in it, n)."""

    def __init__(self, contest: Contest, papers: Mapping[Preference, int], seed: bytes) -> None:
        self.rules = contest.rules
        self.seed = seed
        self.piles: dict[str, list[tuple[Preference, int, int]]] = {
            candidate.id: [] for candidate in contest.candidates
        }
        for preference, n in papers.items():
            self.piles[preference[0]].append((preference, 0, n))
        self.write_ins = [c.id for c in contest.candidates if c.write_in]
        self.exhausted = 0
        self.rounds: list[Round] = []
        self.ties: list[Tie] = []

    def run(self) -> None:
        """Until somebody is elected, or no continuing candidate has a vote."""
        while True:
            tally = {c: sum(n for _, _, n in pile) for c, pile in self.piles.items()}
            elected = self._elected(tally)
            eliminated = () if elected or not any(tally.values()) else self._last(tally)
            number = len(self.rounds) + 1
            self.rounds.append(Round(number, tally, self.exhausted, eliminated, elected))
            if not eliminated:
                return
            self._transfer(eliminated)

    def _undeclared(self, tally: Mapping[str, int]) -> list[str]:
        """Write-ins whom the rules eliminate before anybody else."""
        if not self.rules.undeclared_write_ins_eliminated_first:
            return []
        found = sorted((c for c in self.write_ins if c in tally), key=lambda c: tally[c])
        return found if len(found) < len(tally) else []

    def _elected(self, tally: Mapping[str, int]) -> tuple[str, ...]:
        """The winner, if this round has one: by majority, or the better one of the last two."""
        if not any(tally.values()):
            return ()
        most = max(tally.values())
        best = [c for c in tally if tally[c] == most]
        undeclared = self._undeclared(tally)
        if any(c in undeclared for c in best):
            return ()
        by_majority = self.rules.stop == "majority-of-continuing"
        has_majority = by_majority and most * 2 > sum(tally.values())
        if len(tally) > LAST_TWO and not has_majority:
            return ()
        return tuple(best) if len(best) == 1 else (self._pick(tally, best, "elected"),)

    def _last(self, tally: Mapping[str, int]) -> tuple[str, ...]:
        """Who goes, in ascending order of votes."""
        undeclared = self._undeclared(tally)
        if undeclared:
            return tuple(undeclared)
        ranking = sorted(tally, key=lambda c: tally[c])
        if self.rules.eliminate == "batch":
            batch = self._batch(ranking, tally)
            if batch:
                return batch
        lowest = [c for c in ranking if tally[c] == tally[ranking[0]]]
        return (lowest[0] if len(lowest) == 1 else self._pick(tally, lowest, "eliminated"),)

    def _batch(self, ranking: list[str], tally: Mapping[str, int]) -> tuple[str, ...]:
        """The most candidates who even together have fewer votes than the next one.

        As many stay as the stop rule wants to see at the end.
        """
        stay = LAST_TWO if self.rules.stop == "two-remain" else 1
        together, size = 0, 0
        for k in range(1, len(ranking) - stay + 1):
            together += tally[ranking[k - 1]]
            if together < tally[ranking[k]]:
                size = k
        return tuple(ranking[:size])

    def _pick(
        self, tally: Mapping[str, int], tied: list[str], outcome: Literal["elected", "eliminated"]
    ) -> str:
        """One of several with equal votes; the tie is written down with how it was settled."""
        number = len(self.rounds) + 1
        left, by_difference = tied, False
        if self.rules.tie == "most-recent-difference-then-lot":
            left = self._by_most_recent_difference(tied, outcome)
            by_difference = len(left) == 1
        chosen = drawn_by_lot(self.seed, f"{number} {outcome}", left)[0]
        by: Literal["lot", "most-recent-difference"] = (
            "most-recent-difference" if by_difference else "lot"
        )
        self.ties.append(Tie(number, tuple(c for c in tally if c in tied), outcome, (chosen,), by))
        return chosen

    def _by_most_recent_difference(self, tied: list[str], outcome: str) -> list[str]:
        """Those who did best (worst) in the latest earlier round in which the tied differed."""
        extreme = max if outcome == "elected" else min
        left = tied
        for earlier in reversed(self.rounds):
            best = extreme(earlier.tally[c] for c in left)
            left = [c for c in left if earlier.tally[c] == best]
        return left

    def _transfer(self, eliminated: tuple[str, ...]) -> None:
        """Each of their papers moves to its next continuing candidate, or is exhausted."""
        freed = [paper for c in eliminated for paper in self.piles.pop(c)]
        for preference, place, n in freed:
            for further in range(place + 1, len(preference)):
                pile = self.piles.get(preference[further])
                if pile is not None:
                    pile.append((preference, further, n))
                    break
            else:
                self.exhausted += n


# --- results -----------------------------------------------------------------------------------


def _accounted(definition: Definition, classes: Counter[str]) -> Result:
    """A result in which every ballot is accounted for and nobody has won yet."""
    return Result(
        definition=definition_hash(definition).hex(),
        method=definition.contest.method,
        rules=definition.contest.rules,
        winners=(),
        ballots=classes.total(),
        votes=classes["votes"],
        blank=classes["blank"],
        overvoted=classes["overvote"],
        informal=classes["informal"],
    )


METHODS: dict[str, Method] = {"plurality": plurality, "approval": approval, "irv": irv}
"""Every way to count, by the name that definitions use."""
