from __future__ import annotations

import pytest

from otp.command.settle import pending
from otp.messages import ProcessInfo


def row(path: str, state: str = "running", started: float = 0.0) -> ProcessInfo:
    return ProcessInfo(path, "worker", state, 1, "", 0, started)


@pytest.mark.parametrize(
    ("rows", "path", "left"),
    [
        ([row("root/a")], "", {}),
        ([row("root/a", started=99.75)], "", {"root/a": 0.75}),
        ([row("root/a", "starting", 50.0)], "", {"root/a": 1.0}),
        ([row("root/a", "restarting")], "", {"root/a": 1.0}),
        ([row("root/a", "undefined")], "", {}),
        ([row("root/a", started=100.0)], "root/b", {}),
        (
            [row("root/b/c", started=100.0), row("root/bc", started=100.0)],
            "root/b",
            {"root/b/c": 1.0},
        ),
    ],
)
def test_who_is_not_up_yet(rows: list[ProcessInfo], path: str, left: dict[str, float]) -> None:
    assert pending(rows, path, 100.0) == left
