"""Reads a folder of log files: what is there, and what comes, across rotations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import msgspec

from otp.log_files import SUFFIX, generations
from otp.log_view import Line, decode, short

READ_BYTES = 1024 * 1024
"""How much is read at a time: whole files are, unless they were given other bounds."""

Wanted = Callable[[str], bool]


def paths(folder: str) -> dict[str, str]:
    """The paths of which there is something, each with the name of its file."""
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(SUFFIX) and (line := next(_backwards(folder, name), None)):
            found[line.path] = name
    return found


def is_of(path: str, asked: str) -> bool:
    """Is it the path that is asked for, or below it? With or without the root's id."""
    return any(f"{name}/".startswith(f"{asked}/") for name in (path, short(path)))


def last(folder: str, names: list[str], count: int) -> list[Line]:
    """The last lines of these files together, the oldest first."""
    found: list[Line] = []
    for name in names:
        lines = _backwards(folder, name)
        found += reversed([line for _, line in zip(range(count), lines, strict=False)])
    found.sort(key=lambda line: line.at)  # stable: lines of one moment stay in their order
    return found[-count:] if count else []


def _backwards(folder: str, name: str) -> Iterator[Line]:
    """The lines of a path, the newest first."""
    for file in reversed(generations(folder, name)):
        try:
            with open(file, "rb") as stream:
                data = stream.read()
        except FileNotFoundError:
            continue  # rotated meanwhile
        yield from reversed(_lines(data.split(b"\n")))


def _lines(lines: list[bytes]) -> list[Line]:
    """Those that are whole: a disk that was full may have torn one."""
    found = []
    for line in lines:
        try:
            found.append(decode(line))
        except msgspec.DecodeError:
            continue
    return found


class Tail:
    """What comes to one path from now on (or from its beginning), whatever is rotated."""

    def __init__(self, folder: str, name: str, *, from_end: bool) -> None:
        self._folder, self._name = folder, name
        self._fd = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC)
        self._rest = b""
        if from_end:
            os.lseek(self._fd, 0, os.SEEK_END)

    def read(self) -> list[Line]:
        """What has come since the last time."""
        found = self._read_on()
        for file in self._newer():
            os.close(self._fd)
            self._fd, self._rest = os.open(file, os.O_RDONLY | os.O_CLOEXEC), b""
            found += self._read_on()
        return found

    def close(self) -> None:
        """Follow it no longer."""
        os.close(self._fd)

    def _newer(self) -> list[str]:
        """The files after ours; all that there are, if ours is gone already."""
        try:
            files = generations(self._folder, self._name)
            inodes = [os.stat(file).st_ino for file in files]
        except FileNotFoundError:
            return []  # in the middle of a rotation, or at the end of the node: later, then
        mine = os.fstat(self._fd).st_ino
        return files[inodes.index(mine) + 1 :] if mine in inodes else files

    def _read_on(self) -> list[Line]:
        found: list[Line] = []
        while data := os.read(self._fd, READ_BYTES):
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            found += _lines(lines)
        return found


class Follower:
    """What comes to all paths that are wanted, those that are new included."""

    def __init__(self, folder: str, wanted: Wanted) -> None:
        self._folder, self._wanted = folder, wanted
        self._tails: dict[str, Tail | None] = {}
        for path, name in paths(folder).items():
            self._tails[name] = Tail(folder, name, from_end=True) if wanted(path) else None

    def read(self) -> list[Line]:
        """What has come since the last time, by time. Raises FileNotFoundError at the end."""
        found = [line for tail in self._tails.values() if tail for line in tail.read()]
        names = {name for name in os.listdir(self._folder) if name.endswith(SUFFIX)}
        for name in names - self._tails.keys():
            found += self._begin(name)
        for name in self._tails.keys() - names:
            if (tail := self._tails.pop(name)) is not None:
                tail.close()
        return sorted(found, key=lambda line: line.at)

    def _begin(self, name: str) -> list[Line]:
        try:
            tail = Tail(self._folder, name, from_end=False)
        except FileNotFoundError:
            return []  # it is being rotated: next time
        lines = tail.read()
        if not lines:
            tail.close()
            return []
        if self._wanted(lines[0].path):
            self._tails[name] = tail
            return lines
        self._tails[name] = None
        tail.close()
        return []
