"""What every benchmark prints: one JSON object on one line, with the machine it was measured on."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Mapping, Sequence

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """Where figures come from; a load well above 0 says that others were measured with us."""

    cores: int
    python: str
    kernel: str
    load_1min: float


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


def line(question: str, figures: Mapping[str, object]) -> str:
    """Return the JSON line of a benchmark: the question, its figures, the machine."""
    said = {"benchmark": question, **figures, "machine": machine()}
    return msgspec.json.encode(said).decode()


def emit(question: str, figures: Mapping[str, object]) -> None:
    """Print the JSON line of a benchmark on standard output."""
    sys.stdout.write(line(question, figures) + "\n")
    sys.stdout.flush()


def quick(question: str, description: str | None) -> bool:
    """Read the command line of a benchmark: whether the short form was asked for (`--quick`)."""
    program = f"python -m benchmarks.{question}"
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--quick", action="store_true", help="a shorter run, of rougher figures")
    return bool(parser.parse_args().quick)


def spread(values: Sequence[float], *, scale: float, digits: int = 3) -> dict[str, float]:
    """Return p50, p99 and the number of measurements; `scale` turns seconds into the unit."""
    p50, p99 = (round(percentile(values, share) * scale, digits) for share in (0.5, 0.99))
    return {"p50": p50, "p99": p99, "times": len(values)}
