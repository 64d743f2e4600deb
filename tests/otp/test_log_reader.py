from __future__ import annotations

from pathlib import Path

import pytest

from otp.log_files import LogFiles, remove_logs
from otp.log_reader import Follower, is_of, last, paths
from otp.log_view import Line, as_json, head


class Writer:
    """Writes as a logger does, by a clock of its own."""

    def __init__(self, folder: Path, max_bytes: int = 10**6, files: int = 3) -> None:
        self._files = LogFiles(str(folder), max_bytes=max_bytes, files=files)
        self._at = 0.0

    def write(self, path: str, *texts: str) -> None:
        self._at += 1
        self._files.append(path, as_json(head(self._at, "n", path, "stdout"), list(texts)), 0)


def texts(lines: list[Line]) -> list[str]:
    return [line.line for line in lines]


def test_the_last_lines_of_all_by_time(tmp_path: Path) -> None:
    writer = Writer(tmp_path, max_bytes=200)
    for number in range(6):
        writer.write("root/a", f"a{number}", f"a{number}'")
        writer.write("root/pool/b", f"b{number}")
    with (tmp_path / "root@a.log").open("ab") as file:
        file.write(b"torn\n\n{}\n")
    known = paths(str(tmp_path))
    assert known == {"root/a": "root@a.log", "root/pool/b": "root@pool@b.log"}
    names = list(known.values())
    assert texts(last(str(tmp_path), names, 5)) == ["a4'", "b4", "a5", "a5'", "b5"]
    assert last(str(tmp_path), names, 0) == []
    everything = texts(last(str(tmp_path), ["root@pool@b.log"], 100))
    assert everything == [f"b{number}" for number in range(6 - len(everything), 6)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("pool", True), ("pool/b", True), ("root/pool/b", True), ("root", True), ("poo", False)],
)
def test_a_path_is_meant_with_or_without_its_root(asked: str, expected: bool) -> None:
    assert is_of("root/pool/b", asked) == expected


def test_what_comes_is_followed_across_rotations(tmp_path: Path) -> None:
    writer = Writer(tmp_path, max_bytes=200, files=4)
    writer.write("root/a", "old")
    follower = Follower(str(tmp_path), lambda path: path != "root/other")
    assert follower.read() == []
    for number in range(4):  # two of them fill a file
        writer.write("root/a", f"a{number}")
    writer.write("root/other", "unwanted")
    writer.write("root/b", "new")
    assert texts(follower.read()) == ["a0", "a1", "a2", "a3", "new"]
    assert follower.read() == []
    writer.write("root/b", "more")
    for number in range(30):  # more than are kept: what is gone is gone
        writer.write("root/a", f"c{number}")
    found = texts(follower.read())
    assert found[0] == "more" and found[-1] == "c29"
    remove_logs(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        follower.read()
