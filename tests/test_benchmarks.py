"""What benchmarks print: rows that say whether a target is met, a table, one JSON line."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks import __main__ as everything
from benchmarks import report
from benchmarks.report import Row


@pytest.mark.parametrize(
    ("row", "target", "ok"),
    [
        (report.at_most_times("q", "ms", 1.6, 1.0, 1.6), "<= 1.6 x", True),
        (report.at_most_times("q", "ms", 1.7, 1.0, 1.6), "<= 1.6 x", False),
        (report.at_least_times("q", "/s", 5, 10, 0.5), ">= 0.5 x", True),
        (report.at_least_times("q", "/s", 4, 10, 0.5), ">= 0.5 x", False),
        (report.at_most_more("q", "ms", 4.0, 1.0, 3), "<= +3 ms", True),
        (report.at_most_more("q", "ms", 4.1, 1.0, 3), "<= +3 ms", False),
        (report.at_most("q", "MB", 1.2, 1.2), "<= 1.2 MB", True),
        (report.at_most("q", "MB", 1.3, 1.2), "<= 1.2 MB", False),
        (report.at_least("q", "/s", 100_000, 100_000), ">= 100,000 /s", True),
        (report.at_least("q", "/s", 99_999, 100_000), ">= 100,000 /s", False),
    ],
)
def test_a_row_says_whether_its_target_is_met(row: Row, target: str, ok: bool) -> None:
    assert (row.target, row.ok) == (target, ok)


def test_the_table_is_markdown_and_lines_up() -> None:
    rows = [
        report.at_most_times("kill -9 to answering", "ms", 2.0, 1.25, 1.6),
        Row("by another", "ms", 1_024.4),
    ]
    assert report.table(rows).splitlines() == [
        "| question             | measured | floor   | ratio  | target   | ok  |",
        "| -------------------- | -------- | ------- | ------ | -------- | --- |",
        "| kill -9 to answering | 2 ms     | 1.25 ms | 1.60 x | <= 1.6 x | yes |",
        "| by another           | 1,024 ms |         |        |          |     |",
    ]


def test_the_line_of_a_benchmark_is_what_the_common_table_reads() -> None:
    row = report.at_most("memory", "MB", 2.0, 1.2)
    said = report.line("spawn_many", {"counts": [1]}, [row])
    answer = msgspec.json.decode(said, type=everything.Answer)
    assert (answer.benchmark, answer.rows) == ("spawn_many", [row])
    assert answer.machine.cores > 0
