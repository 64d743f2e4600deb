"""Makes the election that ships inside the package: `python -m tests.ballot.make_sample`.

Four invented communities around a lake choose the site of their common fair. The same seed gives
the same files on every machine; the result is counted by the naive second implementation, never by
the one that the sample is there to show.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.ballot import naive_tally

SEED = 20
TARGET = Path(__file__).parents[2] / "ballot" / "sample"

SITES = {
    "c01": "Ferry Meadow, Alderbay",
    "c02": "Old Sawmill, Brackwater",
    "c03": "Market Square, Cedar Point",
    "c04": "Castle Hill, Dunmere",
    "c05": "Heron Island",
    "c06": "A floating stage on the lake",
}

# How many vote in each community, and how well its people like the sites c01 to c06: each cares
# for its own, and for the island that belongs to nobody.
COMMUNITIES: dict[str, tuple[int, tuple[int, ...]]] = {
    "Alderbay": (1_960, (60, 9, 8, 4, 20, 5)),
    "Brackwater": (1_480, (10, 52, 9, 5, 23, 9)),
    "Cedar Point": (1_730, (7, 10, 56, 12, 24, 4)),
    "Dunmere": (1_230, (4, 6, 14, 50, 26, 7)),
}
MAX_RANKS = 4

CONTEST: dict[str, Any] = {
    "id": "fair-site",
    "method": "irv",
    "seats": 1,
    "max_ranks": MAX_RANKS,
    "rules": {
        "overvote": "skip",
        "max_skipped_ranks": 1,
        "duplicate": "skip",
        "eliminate": "single",
        "stop": "majority-of-continuing",
        "tie": "lot",
    },
    "candidates": [{"id": c, "name": name} for c, name in SITES.items()],
}


def ranking(rng: random.Random, liking: tuple[int, ...]) -> list[list[str]]:
    """A voter's true ranking: drawn site by site, each as likely as it is liked."""
    left = dict(zip(SITES, liking, strict=True))
    cells: list[list[str]] = []
    for _ in range(rng.choices(range(1, MAX_RANKS + 1), weights=(22, 23, 25, 30))[0]):
        site = rng.choices(list(left), weights=list(left.values()))[0]
        del left[site]
        cells.append([site])
    return cells


def spoil(rng: random.Random, cells: list[list[str]]) -> dict[str, Any]:
    """What the voter really marked: people leave out ranks, mark two sites, or nothing."""
    slip = rng.random()
    if slip < 0.012:
        return {"r": []}
    if slip < 0.016:
        return {"x": rng.choice(("blank", "overvote", "informal"))}
    place = rng.randrange(len(cells))
    if slip < 0.034:
        other = rng.choice([c for c in SITES if c not in cells[place]])
        cells[place] = sorted((*cells[place], other))
    elif slip < 0.054:
        gap = rng.choice((1, 1, 2))
        cells = (cells[:place] + [[]] * gap + cells[place:])[:MAX_RANKS]
    elif slip < 0.064:
        cells = [*cells, cells[0]][:MAX_RANKS]
    while cells and not cells[-1]:
        cells.pop()
    return {"r": cells}


def ballots() -> list[dict[str, Any]]:
    """The lines of the ballot file: identical ballots of a community added up, most first."""
    rng = random.Random(SEED)
    lines: Counter[str] = Counter()
    for community, (voters, liking) in COMMUNITIES.items():
        for _ in range(voters):
            marked = spoil(rng, ranking(rng, liking))
            lines[json.dumps({**marked, "p": community}, separators=(",", ":"))] += 1
    ordered = sorted(lines.items(), key=lambda item: (-item[1], item[0]))
    return [{"n": n, **json.loads(text)} for text, n in ordered]


def files() -> dict[str, str]:
    """The text of each file of the sample, by name."""
    lines = ballots()
    count = sum(line["n"] for line in lines)
    election = {
        "format": "ballot-election/1",
        "id": "lake-fair-site",
        "title": "Where the four communities of the lake hold their fair",
        "jurisdiction": "Alderbay, Brackwater, Cedar Point, Dunmere (invented)",
        "source": {"made_by": "tests/ballot/make_sample.py", "seed": SEED},
        "licence": "Apache-2.0",
        "contest": CONTEST,
        "ballots": {
            "file": "ballots.jsonl",
            "kind": "ranked",
            "lines": len(lines),
            "count": count,
            "has_precinct": True,
        },
    }
    result = {
        **naive_tally.result(CONTEST, lines),
        "verified": ["counted by tests/ballot/naive_tally.py, not by ballot.tally"],
    }
    return {
        "election.json": json.dumps(election, indent=1) + "\n",
        "ballots.jsonl": "".join(json.dumps(x, separators=(",", ":")) + "\n" for x in lines),
        "result.json": json.dumps(result, indent=1) + "\n",
    }


def main() -> None:
    """Write the sample's files."""
    TARGET.mkdir(exist_ok=True)
    for name, text in files().items():
        (TARGET / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{TARGET / name}: {len(text)} characters\n")


if __name__ == "__main__":
    main()
