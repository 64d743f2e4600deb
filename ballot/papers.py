"""What makes a definition and a ballot paper acceptable: pure checks, each answered with a text.

`election` refuses by them, `dataset` reports by them, so a file that loads is a file whose ballots
are accepted.
"""

from __future__ import annotations

from collections.abc import Callable

from ballot.messages import UNKNOWN, Choice, Contest, Definition, Letter, RefusalReason

LETTER_OF_METHOD: dict[str, Letter] = {"plurality": "v", "approval": "a", "irv": "r"}
"""Which letter a ballot of each method bears; blank and spoiled ones (x) fit every method."""

LETTER_NAMES: dict[Letter, str] = {
    "r": "ranked",
    "a": "approval",
    "v": "choice",
    "x": "not tallied",
}

NOT_TALLIED = ("blank", "overvote", "informal")

NAME_CHARS_MAX = 256
"""Of a key, actor, credential, precinct, id or name: a stranger must not fill the log with one."""

CANDIDATES_MAX = 1_000
"""Several times the longest ballot paper on record."""

RANKS_MAX = 1_000
"""Where the definition sets no limit: nobody can rank more candidates than there may be."""

BallotFault = tuple[RefusalReason, str]


def name_fault(what: str, name: str) -> str | None:
    """Why `name` can't be a name, or None."""
    if not name:
        return f"the {what} is empty"
    if len(name) > NAME_CHARS_MAX:
        return f"the {what} {name[:20]!r}... has {len(name)} characters, over {NAME_CHARS_MAX}"
    return None


def definition_fault(definition: Definition) -> str | None:
    """Why no election can be made of this definition, or None."""
    contest = definition.contest
    return (
        name_fault("title", definition.title)
        or name_fault("contest id", contest.id)
        or _method_fault(contest)
        or _candidates_fault(contest)
        or _limits_fault(contest)
        or _rules_fault(contest)
    )


def _method_fault(contest: Contest) -> str | None:
    if contest.method in LETTER_OF_METHOD:
        return None
    known = ", ".join(LETTER_OF_METHOD)
    return f"method {contest.method[:NAME_CHARS_MAX]!r} is not supported; supported are {known}"


def _candidates_fault(contest: Contest) -> str | None:
    count = len(contest.candidates)
    if not 1 <= count <= CANDIDATES_MAX:
        return f"there are {count} candidates; 1 to {CANDIDATES_MAX} are possible"
    seen = {UNKNOWN}
    for candidate in contest.candidates:
        fault = name_fault("candidate id", candidate.id) or name_fault("name", candidate.name)
        if fault is not None:
            return fault
        if candidate.id in seen:
            return f"candidate id {candidate.id!r} is there twice, or reserved"
        seen.add(candidate.id)
    return None


def _limits_fault(contest: Contest) -> str | None:
    limits = {
        "seats": (contest.seats, len(contest.candidates)),
        "max_ranks": (contest.max_ranks, RANKS_MAX),
        "max_choices": (contest.max_choices, CANDIDATES_MAX),
    }
    for name, (value, most) in limits.items():
        if value is not None and not 1 <= value <= most:
            return f"{name} is {value}; 1 to {most} is possible"
    return None


def _rules_fault(contest: Contest) -> str | None:
    rules = contest.rules
    if rules.max_skipped_ranks is not None and rules.max_skipped_ranks < 0:
        return f"max_skipped_ranks is {rules.max_skipped_ranks}; 0 or more is possible"
    if contest.method != "irv":
        if rules.overvote in (None, "not-counted"):
            return None
        return f"overvote rule {rules.overvote!r} does not fit {contest.method}: use not-counted"
    if rules.overvote not in ("skip", "exhaust"):
        return f"overvote rule {rules.overvote!r} does not fit irv: say skip or exhaust"
    return None if contest.seats == 1 else f"irv fills one seat, not {contest.seats}"


def choice_fault(contest: Contest, choice: Choice) -> BallotFault | None:
    """Why a ballot that says this is not accepted in the contest: (reason, text), or None."""
    wanted = LETTER_OF_METHOD.get(contest.method)
    if choice.letter not in (wanted, "x"):
        has, need = LETTER_NAMES[choice.letter], LETTER_NAMES[wanted or "x"]
        return "bad_ballot", f"a ballot of kind {has} in a contest that takes {need} ballots"
    return _CHOICE_FAULTS[choice.letter](contest, choice)


def _not_tallied_fault(contest: Contest, choice: Choice) -> BallotFault | None:
    if len(choice.marks) == 1 and len(choice.marks[0]) == 1 and choice.marks[0][0] in NOT_TALLIED:
        return None
    return "bad_ballot", f"a ballot that is not tallied says one of {', '.join(NOT_TALLIED)}"


def _ranked_fault(contest: Contest, choice: Choice) -> BallotFault | None:
    most = contest.max_ranks or RANKS_MAX
    if len(choice.marks) > most:
        return "bad_ballot", f"{len(choice.marks)} ranks where {most} are allowed"
    ids = {candidate.id for candidate in contest.candidates}
    for rank, cell in enumerate(choice.marks, start=1):
        if len(cell) > len(ids) + 1:
            return "bad_ballot", f"rank {rank} has {len(cell)} marks for {len(ids)} candidates"
        known = ids | {UNKNOWN} if len(cell) > 1 else ids
        fault = _unknown_candidate(known, cell, f" at rank {rank}")
        if fault is not None:
            return fault
    return None


def _set_fault(contest: Contest, choice: Choice) -> BallotFault | None:
    if len(choice.marks) != 1:
        return "bad_ballot", f"{len(choice.marks)} lists of candidates where one belongs"
    chosen = choice.marks[0]
    ids = {candidate.id for candidate in contest.candidates}
    most = contest.max_choices or len(ids)
    if len(chosen) > most:
        return "bad_ballot", f"{len(chosen)} choices where {most} are allowed"
    if len(set(chosen)) < len(chosen):
        return "bad_ballot", "a candidate is chosen twice"
    return _unknown_candidate(ids, chosen, "")


def _unknown_candidate(ids: set[str], marks: tuple[str, ...], where: str) -> BallotFault | None:
    for mark in marks:
        if mark not in ids:
            return "unknown_candidate", f"unknown candidate {mark[:NAME_CHARS_MAX]!r}{where}"
    return None


_CHOICE_FAULTS: dict[Letter, Callable[[Contest, Choice], BallotFault | None]] = {
    "r": _ranked_fault,
    "a": _set_fault,
    "v": _set_fault,
    "x": _not_tallied_fault,
}
