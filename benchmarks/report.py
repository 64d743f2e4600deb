"""What every benchmark prints: a table of its questions, or one JSON object on one line.

Each question has a row: what was found, the floor that was measured in the same run, the ratio of
the two or the figure itself, and the target. The JSON object holds all figures, the rows, and the
machine that they were measured on.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

HEADINGS = ("question", "measured", "floor", "ratio", "target", "ok")


class Machine(msgspec.Struct, frozen=True):
    """Where figures come from; a load well above 0 says that others were measured with us."""

    cores: int
    python: str
    kernel: str
    load_1min: float


class Row(msgspec.Struct, frozen=True):
    """One line of the table. `ok` is None where there is no target, as for peers."""

    question: str
    unit: str
    figure: float
    floor: float | None = None
    target: str = ""
    ok: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """As a person reads it."""
        floor = f"{number(self.floor)} {self.unit}" if self.floor else ""
        ratio = f"{self.figure / self.floor:.2f} x" if self.floor else ""
        ok = "" if self.ok is None else "yes" if self.ok else "NO"
        return self.question, f"{number(self.figure)} {self.unit}", floor, ratio, self.target, ok


Found = tuple[Mapping[str, object], Sequence[Row]]


def number(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def at_most_times(question: str, unit: str, figure: float, floor: float, most: float) -> Row:
    """A question whose figure should be at most so many times its floor."""
    return Row(question, unit, figure, floor, f"<= {most:g} x", figure <= most * floor)


def at_least_times(question: str, unit: str, figure: float, floor: float, least: float) -> Row:
    """A question whose figure should be at least so many times its floor."""
    return Row(question, unit, figure, floor, f">= {least:g} x", figure >= least * floor)


def at_most_more(question: str, unit: str, figure: float, floor: float, most: float) -> Row:
    """A question whose figure should exceed its floor by at most so much."""
    return Row(question, unit, figure, floor, f"<= +{most:g} {unit}", figure - floor <= most)


def at_most(question: str, unit: str, figure: float, most: float) -> Row:
    """A question whose figure should be at most so much."""
    return Row(question, unit, figure, None, f"<= {number(most)} {unit}", figure <= most)


def at_least(question: str, unit: str, figure: float, least: float) -> Row:
    """A question whose figure should be at least so much."""
    return Row(question, unit, figure, None, f">= {number(least)} {unit}", figure >= least)


def table(rows: Iterable[Row]) -> str:
    """The rows as a table that is also Markdown."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADINGS))]
    lines = [_line(row, widths) for row in cells]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths), *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "| " + " | ".join(padded) + " |"


def machine() -> Machine:
    """Describe this machine as it is now; `cores` are those that this process may use."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        kernel=platform.release(),
        load_1min=round(os.getloadavg()[0], 2),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie: the nearest rank.

    Raises ValueError where there are no values, or for another share.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"percentile {share} of {len(values)} values: give values, share 0 to 1")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(values: Sequence[float], *, scale: float, digits: int = 3) -> dict[str, float]:
    """Return p50, p99 and the number of measurements; `scale` turns seconds into the unit."""
    p50, p99 = (round(percentile(values, share) * scale, digits) for share in (0.5, 0.99))
    return {"p50": p50, "p99": p99, "times": len(values)}


def line(question: str, figures: Mapping[str, object], rows: Sequence[Row] = ()) -> str:
    """Return the JSON line of a benchmark: the question, its figures, its rows, the machine."""
    said = {"benchmark": question, **figures, "rows": rows, "machine": machine()}
    return msgspec.json.encode(said).decode()


def parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    made.add_argument("--quick", action="store_true", help="a shorter run, of rougher figures")
    made.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return made


def run(question: str, description: str | None, measure: Callable[[bool], Found]) -> None:
    """The whole of a benchmark's `main`; `measure` is told whether to be quick."""
    options = parser(f"benchmarks.{question}", description).parse_args()
    figures, rows = measure(options.quick)
    said = line(question, figures, rows) if options.json or not rows else table(rows)
    sys.stdout.write(said + "\n")
    sys.stdout.flush()
