"""All benchmarks, one after the other, each in a process of its own; then one table of them all.

While they run, each prints its JSON line; `--json` leaves out the table.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import msgspec

from benchmarks.report import Machine, Row, parser, table

QUESTIONS: Final = ("restart", "spawn_many", "call", "orphans", "commands")


class Answer(msgspec.Struct, frozen=True):
    """What the table needs of a benchmark's JSON line."""

    benchmark: str
    rows: list[Row]
    machine: Machine


def answer(question: str, options: list[str]) -> bytes:
    """The JSON line of one benchmark. Raises CalledProcessError; it has said why."""
    command = [sys.executable, "-m", f"benchmarks.{question}", "--json", *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def main() -> int:
    """Ask all; the exit code says whether all could be asked, not whether targets were met."""
    options = parser("benchmarks", __doc__).parse_args()
    answers: list[Answer] = []
    failed = 0
    for question in QUESTIONS:
        try:
            said = answer(question, ["--quick"] if options.quick else [])
        except subprocess.CalledProcessError:
            failed += 1
            continue
        sys.stdout.write(said.decode())
        sys.stdout.flush()
        answers.append(msgspec.json.decode(said, type=Answer))
    if answers and not options.json:
        here = answers[0].machine
        print(f"\n{here.cores} cores, Python {here.python}, Linux {here.kernel}\n")
        print(table(row for found in answers for row in found.rows))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
