from __future__ import annotations

import os
from pathlib import Path

import pytest

from otp import log_files
from otp.log_files import LogFiles, file_name, generations, remove_logs


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_full_file_is_rotated_and_the_oldest_goes(tmp_path: Path) -> None:
    files = LogFiles(str(tmp_path), max_bytes=4, files=3)
    for number in range(5):
        files.append("pool/w1", b"%d..\n" % number, now=0)
    assert contents(tmp_path) == {
        "pool@w1.log": b"4..\n",
        "pool@w1.log.1": b"3..\n",
        "pool@w1.log.2": b"2..\n",
    }
    order = [os.path.basename(file) for file in generations(str(tmp_path), "pool@w1.log")]
    assert order == ["pool@w1.log.2", "pool@w1.log.1", "pool@w1.log"]


def test_one_file_alone_begins_anew(tmp_path: Path) -> None:
    files = LogFiles(str(tmp_path), max_bytes=4, files=1)
    for number in range(3):
        files.append("a", b"%d..\n" % number, now=0)
    assert contents(tmp_path) == {"a.log": b"2..\n"}


def test_files_of_before_are_continued(tmp_path: Path) -> None:
    for data in (b"1\n", b"2\n"):
        files = LogFiles(str(tmp_path), max_bytes=100, files=2)
        files.append("a", data, now=0)
        files.close("a")
        files.close("a")
    assert contents(tmp_path) == {"a.log": b"1\n2\n"}


def test_a_file_that_was_moved_or_removed_is_made_anew(tmp_path: Path) -> None:
    files = LogFiles(str(tmp_path), max_bytes=100, files=2)
    files.append("a", b"1\n", now=10)
    (tmp_path / "a.log").rename(tmp_path / "moved")
    files.append("a", b"2\n", now=10 + log_files.LOOK_SECONDS / 2)
    files.append("a", b"3\n", now=10 + log_files.LOOK_SECONDS * 2)
    assert contents(tmp_path) == {"moved": b"1\n2\n", "a.log": b"3\n"}


def test_a_folder_that_is_gone_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    files = LogFiles(str(folder), max_bytes=100, files=2)
    with pytest.raises(FileNotFoundError):
        files.append("a", b"1\n", now=0)
    folder.mkdir()
    files.append("a", b"2\n", now=0)
    assert contents(folder) == {"a.log": b"2\n"}


def test_after_a_full_disk_a_line_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = LogFiles(str(tmp_path), max_bytes=100, files=2)
    real, room = os.write, [3]

    def write(fd: int, data: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return real(fd, data[: room.pop()])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space left"):
        files.append("a", b"first\n", now=0)
    monkeypatch.setattr(os, "write", real)
    files.append("a", b"second\n", now=0)
    files.append("a", b"third\n", now=0)
    assert contents(tmp_path) == {"a.log": b"fir\nsecond\nthird\n"}


def test_paths_and_open_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "PATHS_MAX", 3)
    monkeypatch.setattr(log_files, "OPEN_MAX", 2)
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "other").touch()
    files = LogFiles(str(tmp_path), max_bytes=2, files=2)
    for path in ("job/1", "job/1", "job/2", "job/1", "job/3", "job/4"):
        files.append(path, b"x\n", now=0)
    assert len(os.listdir("/proc/self/fd")) == before + 2
    names = {"other", "job@1.log", "job@1.log.1", "job@3.log", "job@4.log"}
    assert contents(tmp_path).keys() == names
    for path in ("job/1", "job/3", "job/4"):
        files.close(path)


def test_names_of_any_length_are_files_of_their_own() -> None:
    one, two = file_name("ä" * 300 + "1"), file_name("ä" * 300 + "2")
    assert one != two
    assert max(len(one.encode()), len(two.encode())) <= 220
    assert file_name("root/pool/w1") == "root@pool@w1.log"


def test_the_logs_of_a_node_go_but_not_those_of_a_given_folder(tmp_path: Path) -> None:
    given, link, own = tmp_path / "given", tmp_path / "link", tmp_path / "own"
    for folder in (given, own):
        folder.mkdir()
        (folder / "a.log").touch()
    link.symlink_to(given)
    for place in (link, own, tmp_path / "none"):
        remove_logs(str(place))
    assert [file.name for file in tmp_path.rglob("*")] == ["given", "a.log"]
