"""Small definitions, commands and logs that the tests of the rules share."""

from __future__ import annotations

import itertools
from typing import Any

from ballot.election import Election, decide, evolve
from ballot.messages import (
    Ballot,
    Candidate,
    CastBallot,
    Choice,
    CloseElection,
    Command,
    Contest,
    CreateElection,
    Definition,
    Event,
    OpenElection,
    Refused,
    Rules,
)

KEY = "lake/1"
ACTOR = "officer"
AT = 1_700_000_000_000

_serial = itertools.count(1)


def contest(method: str = "irv", candidates: str = "a b c", **given: Any) -> Contest:
    """A contest among one-letter candidates; a letter in capitals is a write-in."""
    people = tuple(Candidate(c.lower(), c, write_in=c.isupper()) for c in candidates.split())
    rules = Rules(overvote="skip" if method == "irv" else None)
    return Contest("q", method, people, **{"rules": rules, **given})


def definition(method: str = "irv", candidates: str = "a b c", **given: Any) -> Definition:
    """A definition of one such contest."""
    return Definition("A question", contest(method, candidates, **given))


def ranked(text: str) -> Choice:
    """`"a ab - c"`: first a, then an overvote of a and b, an empty rank, then c."""
    return Choice("r", tuple(() if cell == "-" else tuple(cell) for cell in text.split()))


def chosen(letter: Any, ids: str) -> Choice:
    """A choice ("v") or approval ("a") of one-letter candidates."""
    return Choice(letter, (tuple(ids),))


def spoilt(word: str) -> Choice:
    """A ballot that is counted and never tallied."""
    return Choice("x", ((word,),))


def command(kind: Any, **fields: Any) -> Any:
    """A command of this kind with an id of its own."""
    own = {"command_id": next(_serial).to_bytes(16, "big"), "key": KEY, "actor": ACTOR}
    return kind(**{**own, **fields})


def cast(credential: str, choice: Choice | str = "a", **fields: Any) -> CastBallot:
    """A vote; text is a ranking."""
    said = ranked(choice) if isinstance(choice, str) else choice
    made: CastBallot = command(CastBallot, ballot=Ballot(credential, said), **fields)
    return made


def accept(state: Election, *commands: Command) -> list[Event]:
    """Carry out commands that must be accepted, one event each."""
    events: list[Event] = []
    for each in commands:
        outcome = decide(state, each, AT)
        assert not isinstance(outcome, Refused), outcome
        assert len(outcome) == 1
        evolve(state, outcome[0])
        events += outcome
    return events


def refuse(state: Election, each: Command) -> Refused:
    """Carry out a command that must be refused without a trace."""
    before = state.version
    outcome = decide(state, each, AT)
    assert isinstance(outcome, Refused), outcome
    assert state.version == before
    return outcome


def sealed(what: Definition | None = None) -> Election:
    """A new election."""
    state = Election()
    accept(state, command(CreateElection, definition=what or definition()))
    return state


def opened(what: Definition | None = None) -> Election:
    """An election that takes votes."""
    state = sealed(what)
    accept(state, command(OpenElection))
    return state


def closed(*credentials: str) -> Election:
    """An election in which these have voted."""
    state = opened()
    accept(state, *(cast(credential) for credential in credentials), command(CloseElection))
    return state
