"""`python -m tests.simulation --seeds N [--seed S] [--trace]`: run seeds, or look at one."""

from __future__ import annotations

import argparse
import sys

from tests.simulation.runs import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds to run")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    options = parser.parse_args()
    passed = failed = 0
    for seed in range(options.seed, options.seed + options.seeds):
        result = run(seed, tracing=options.trace)
        for line in result.trace:
            print(line)
        if result.problem is None:
            passed += 1
        else:
            failed += 1
            print(f"seed {seed}: {result.problem}")
    print(f"seeds {options.seed} to {options.seed + options.seeds - 1}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
