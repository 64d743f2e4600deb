"""A second way to count, to check `ballot.tally` against: the plainest that could be right.

It works on the JSON of the files, takes every ballot by itself and goes through all of them anew in
every round. It shares no code with `ballot`, so the two are wrong together only by misreading the
same rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Lot = Callable[[str, list[str]], list[str]]


def no_lot(where: str, candidates: list[str]) -> list[str]:
    """For counts in which nothing may depend on a lot."""
    raise AssertionError(f"a tie: {where} among {candidates}")


def result(contest: Json, ballots: list[Json], lot: Lot = no_lot) -> Json:
    """What result.json says of these ballots; `ballots` as lines of the file."""
    expanded = [ballot for ballot in ballots for _ in range(ballot["n"])]
    if contest["method"] == "irv":
        return _irv(contest, expanded, lot)
    return _most_votes(contest, expanded, lot)


def _most_votes(contest: Json, ballots: list[Json], lot: Lot) -> Json:
    tally = {candidate["id"]: 0 for candidate in contest["candidates"]}
    limit = contest.get("max_choices") or len(tally)
    for ballot in ballots:
        chosen = ballot.get("a") or ballot.get("v") or []
        if len(chosen) <= limit:
            for candidate in chosen:
                tally[candidate] += 1
    winners: list[str] = []
    while len(winners) < contest.get("seats", 1):
        left = {c: n for c, n in tally.items() if c not in winners and n > 0}
        best = [c for c, n in left.items() if n == max(left.values())]
        free = contest.get("seats", 1) - len(winners)
        if not best:
            break
        winners += best if len(best) <= free else lot("1 elected", best)[:free]
    return {"winners": winners, "tally": tally}


def vote(contest: Json, cells: list[list[str]], continuing: list[str]) -> str | None:
    """The candidate whom a ranked ballot helps while these are left, None when exhausted."""
    rules = contest["rules"]
    limit = rules.get("max_skipped_ranks")
    last_marked = 0
    for rank, cell in enumerate(cells, start=1):
        if contest.get("max_ranks") is not None and rank > contest["max_ranks"]:
            return None
        if cell == []:
            continue
        if limit is not None and rank - last_marked - 1 > limit:
            return None
        last_marked = rank
        if len(cell) > 1 and rules["overvote"] == "exhaust":
            return None
        if len(cell) == 1 and cell[0] in continuing:
            return cell[0]
    return None


def _irv(contest: Json, ballots: list[Json], lot: Lot) -> Json:
    continuing = [candidate["id"] for candidate in contest["candidates"]]
    formal = [ballot for ballot in ballots if ballot.get("x") != "informal"]
    rounds: list[Json] = []
    while True:
        votes = [vote(contest, ballot.get("r", []), continuing) for ballot in formal]
        tally = {c: votes.count(c) for c in continuing}
        rounds.append({"round": len(rounds) + 1, "tally": tally, "exhausted": votes.count(None)})
        winner = _winner(contest, tally, len(rounds), lot)
        if winner is not None:
            rounds[-1]["elected"] = [winner]
            return {"winners": [winner], "rounds": rounds}
        if max(tally.values()) == 0:
            return {"winners": [], "rounds": rounds}
        rounds[-1]["eliminated"] = _losers(contest, tally, len(rounds), lot)
        continuing = [c for c in continuing if c not in rounds[-1]["eliminated"]]


def _undeclared(contest: Json, tally: dict[str, int]) -> list[str]:
    if not contest["rules"].get("undeclared_write_ins_eliminated_first"):
        return []
    flagged = [c["id"] for c in contest["candidates"] if c.get("write_in") and c["id"] in tally]
    return [] if len(flagged) == len(tally) else flagged


def _winner(contest: Json, tally: dict[str, int], number: int, lot: Lot) -> str | None:
    votes = sum(tally.values())
    if votes == 0:
        return None
    best = [c for c in tally if tally[c] == max(tally.values())]
    if set(best) & set(_undeclared(contest, tally)):
        return None
    if contest["rules"].get("stop") != "two-remain":
        for candidate, own in tally.items():
            if own > votes - own:
                return candidate
    if len(tally) > 2:
        return None
    return best[0] if len(best) == 1 else lot(f"{number} elected", best)[0]


def _losers(contest: Json, tally: dict[str, int], number: int, lot: Lot) -> list[str]:
    order = sorted(tally, key=lambda c: (tally[c], c))
    undeclared = _undeclared(contest, tally)
    if undeclared:
        return [c for c in order if c in undeclared]
    if contest["rules"].get("eliminate") == "batch":
        must_stay = 2 if contest["rules"].get("stop") == "two-remain" else 1
        for size in range(len(order) - must_stay, 0, -1):
            if sum(tally[c] for c in order[:size]) < tally[order[size]]:
                return order[:size]
    lowest = [c for c in order if tally[c] == tally[order[0]]]
    return lowest if len(lowest) == 1 else lot(f"{number} eliminated", lowest)[:1]
