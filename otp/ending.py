"""Why a node has ended: what it says of that itself, and what the program that started it hears."""

from __future__ import annotations

import subprocess
import threading
import time

import msgspec

from otp.client import Channel
from otp.codec import decode_envelope
from otp.frames import LastWords

WORDS_SECONDS_MAX = 1.0
"""How long the rest of a frame may take that has begun to arrive; it is written at once."""

_decode_words = msgspec.msgpack.Decoder(LastWords).decode


class NodeEnd:
    """The socket by which a started node lives, and says why it ended. For any thread."""

    def __init__(self, process: subprocess.Popen[bytes], lifeline: Channel) -> None:
        self._process = process
        self._lifeline: Channel | None = lifeline
        self._lock = threading.Lock()
        self._words: LastWords | None = None

    @property
    def open(self) -> bool:
        """Whether the node is still held."""
        return self._lifeline is not None

    def why(self) -> str:
        """Why the node has ended by itself; nothing while it goes on, and where it was stopped."""
        with self._lock:
            self._listen()
            return "" if self._words is None else self._words.text or self._code()

    def failure(self) -> str:
        """As `why`, but nothing for an end that the tree was meant to have."""
        why = self.why()
        if self._words is None or self._process.returncode == 0:
            return ""
        return why

    def _listen(self) -> None:
        lifeline = self._lifeline
        if self._words is not None or lifeline is None or not lifeline.readable:
            return
        try:
            frame = lifeline.receive(time.monotonic() + WORDS_SECONDS_MAX)
        except EOFError:
            self._words = LastWords()
        else:
            self._words = _decode_words(decode_envelope(frame).body) if frame else LastWords()

    def _code(self) -> str:
        code = self._process.poll()
        if code is None:
            return "its process is gone"
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"

    def hang_up(self) -> None:
        """Let go of the node, which then stops; what it had said by now is kept."""
        self.why()
        self.close()

    def close(self) -> None:
        """Close the socket; where others have it as well, nothing else happens."""
        with self._lock:
            if self._lifeline is not None:
                self._lifeline.close()
                self._lifeline = None

    def after_fork(self) -> None:
        """In a forked child: a thread of the parent's may have held the lock."""
        self._lock = threading.Lock()
        self.close()
