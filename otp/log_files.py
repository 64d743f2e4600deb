"""The files of a folder of logs: one for each path, rotated by size, bounded in number.

`pool/w1` is written to `pool@w1.log`; when that has `max_bytes`, it becomes `pool@w1.log.1`, the
one before it `.2`, and so on, `files` in all. Lines are JSON objects (see `log_view.Line`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections import OrderedDict

SUFFIX = ".log"
OPEN_MAX = 256
"""Files held open; of more, the one that was written longest ago is closed."""
PATHS_MAX = 1_000
"""Paths that have files; a pool names each of its jobs, and there is no end of jobs. Of more, the
files of that which was written longest ago go."""
NAME_BYTES_MAX = 200
"""Longer names end in a hash: the kernel takes 255 bytes, and a rotated file has a number, too."""
LOOK_SECONDS = 1.0
"""How often it is looked whether the file still is where it was: somebody may move or remove it."""


def file_name(path: str) -> str:
    """The name of the file of a path: ids hold no `@`, so no two paths share one."""
    name = path.replace("/", "@")
    if len(name.encode()) > NAME_BYTES_MAX:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = name.encode()[: NAME_BYTES_MAX - 17].decode(errors="ignore") + "@" + digest
    return name + SUFFIX


def generations(folder: str, name: str) -> list[str]:
    """The files that there are of a name, the oldest first."""
    prefix = f"{name}."
    numbers = [
        int(entry[len(prefix) :])
        for entry in os.listdir(folder)
        if entry.startswith(prefix) and entry[len(prefix) :].isdecimal()
    ]
    rotated = [os.path.join(folder, f"{name}.{number}") for number in sorted(numbers, reverse=True)]
    return [*rotated, os.path.join(folder, name)]


class _File:
    """One open file, its size, and when it was last seen in its place."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self.path = path
        self.fd = os.open(path, flags, 0o600)
        self.size = os.fstat(self.fd).st_size
        self.torn = False
        self.looked = 0.0

    def is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.fd))
        except OSError:
            return False

    def write(self, data: bytes) -> None:
        """All of it. After an error the next write begins on a line of its own."""
        data = b"\n" + data if self.torn else data
        try:
            while data:
                sent = os.write(self.fd, data)
                self.size += sent
                self.torn = True
                data = data[sent:]
        finally:
            self.torn = self.torn and bool(data)


class LogFiles:
    """Appends to the files of a folder. Every method raises OSError where the disk does."""

    def __init__(self, folder: str, *, max_bytes: int, files: int) -> None:
        self._folder, self._max_bytes, self._files = folder, max_bytes, files
        self._open: OrderedDict[str, _File] = OrderedDict()
        self._names: dict[str, None] | None = None

    def append(self, path: str, data: bytes, now: float) -> None:
        """Write lines of a path; `now` is monotonic seconds."""
        file = self._file(path, now)
        if file.size and file.size + len(data) > self._max_bytes:
            file = self._rotated(path, file, now)
        file.write(data)

    def close(self, path: str) -> None:
        """Nothing more is to come of this path for now."""
        file = self._open.pop(path, None)
        if file is not None:
            os.close(file.fd)

    def _file(self, path: str, now: float) -> _File:
        file = self._open.get(path)
        if file is not None and now - file.looked > LOOK_SECONDS:
            file.looked = now
            if not file.is_in_place():
                self.close(path)
                file = None
        if file is None:
            return self._opened(path, now)
        self._open.move_to_end(path)
        return file

    def _opened(self, path: str, now: float) -> _File:
        self._make_room(file_name(path))
        file = self._open[path] = _File(os.path.join(self._folder, file_name(path)))
        file.looked = now
        if len(self._open) > OPEN_MAX:
            self.close(next(iter(self._open)))
        return file

    def _rotated(self, path: str, file: _File, now: float) -> _File:
        self.close(path)
        older = generations(self._folder, os.path.basename(file.path))
        drop = max(0, len(older) - self._files + 1)
        for name in older[:drop]:
            os.unlink(name)
        kept = older[drop:]
        for number, name in zip(range(len(kept), 0, -1), kept, strict=True):
            os.rename(name, f"{file.path}.{number}")
        return self._opened(path, now)

    def _make_room(self, name: str) -> None:
        """Forget the oldest when there are more names than may be."""
        if self._names is None:
            self._names = dict.fromkeys(_names_by_age(self._folder))
        self._names.pop(name, None)
        self._names[name] = None
        while len(self._names) > PATHS_MAX:
            oldest = next(iter(self._names))
            del self._names[oldest]
            for file in generations(self._folder, oldest):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(file)


def _names_by_age(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        found = [(e.stat().st_mtime, e.name) for e in entries if e.name.endswith(SUFFIX)]
    return [name for _, name in sorted(found)]


def remove_logs(place: str) -> None:
    """Remove the logs of a node from its run directory; those in a folder of a user's stay."""
    with contextlib.suppress(OSError):  # there were none, or somebody was quicker
        if os.path.islink(place):
            os.unlink(place)
        else:
            shutil.rmtree(place)
