"""`python -m tests.conformance PATH...`: run recorded scenarios; the last line is the score."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from tests.conformance.compare import run
from tests.conformance.scenario import Scenario, load
from tests.conformance.virtual import Virtual


def verdict(scenario: Scenario) -> str:
    """What is wrong, or ""; a world that breaks down fails its scenario and no other."""
    try:
        return run(scenario, Virtual())
    except Exception:
        return f"{scenario.id}: {scenario.title}\n{traceback.format_exc()}"


def main(arguments: list[str] | None = None) -> int:
    """Print each failing scenario with what differs; 1 if any failed, 2 if none is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or folder")
    paths: list[Path] = parser.parse_args(arguments).paths
    if missing := [str(path) for path in paths if not path.exists()]:
        parser.error(f"no such file or folder: {', '.join(missing)}")
    scenarios = list(load(paths))
    if not scenarios:
        parser.error(f"no scenarios in {', '.join(map(str, paths))}")
    verdicts = [verdict(scenario) for scenario in scenarios if not scenario.is_quirk]
    failures = [failure for failure in verdicts if failure]
    for failure in failures:
        print(f"{failure}\n")
    print(f"{len(verdicts) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
