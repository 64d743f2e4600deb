"""Bytes of a stream as lines of bounded length."""

from __future__ import annotations

from collections.abc import Iterator

LINE_BYTES_MAX = 16 * 1024
"""The longest line that is kept in one piece (Docker's bound, too): a stream may have no end of
line at all, and what waits for one is memory."""
CUT = b" [cut]"
"""The mark at the end of a piece that is not the end of its line."""


class Splitter:
    """Feed it what was read; it gives whole lines, without their ends (`\\n` or `\\r\\n`).

    A line longer than `most` comes in pieces, all but the last of them with the mark CUT.
    """

    def __init__(self, most: int = LINE_BYTES_MAX) -> None:
        self._most = most
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        most = self._most
        whole = [piece for line in lines for piece in self._pieces(line)]
        while len(self._rest) > most:
            end = _end_of_character(self._rest, most)
            whole.append(self._rest[:end] + CUT)
            self._rest = self._rest[end:]
        return whole

    def end(self) -> list[bytes]:
        """What is left of a stream that has ended: its last line, if that had no end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []

    def _pieces(self, line: bytes) -> Iterator[bytes]:
        while len(line) > self._most:
            end = _end_of_character(line, self._most)
            yield line[:end] + CUT
            line = line[end:]
        yield line[:-1] if line.endswith(b"\r") else line


def _end_of_character(data: bytes, end: int) -> int:
    """The same place, or a little before it, where it would lie inside a character of UTF-8."""
    for back in range(4):
        if data[end - back] & 0xC0 != 0x80:
            return end - back
    return end
