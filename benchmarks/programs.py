"""A tiny program that says when it is there, and who else can keep it running.

It writes its pid into a FIFO and waits for ever: so everybody's restart is measured alike, from
kill -9 until the next pid is read. It is C where there is a compiler, else a line of shell.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Final

SOURCE: Final = """
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char text[16];
    int fd = open(argv[1], O_WRONLY);
    if (fd < 0 || write(fd, text, snprintf(text, sizeof text, "%d\\n", getpid())) < 0) return 1;
    close(fd);
    for (;;) pause();
}
"""
SHELL: Final = 'echo $$ > "$0"; exec sleep 1000000'
BACK_S_MAX: Final = 10.0  # a program that is not back by then never will be
END_S_MAX: Final = 10.0

SUPERVISORD: Final = """
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
[program:tiny]
command={command}
startsecs=0
startretries=1000000
"""
CIRCUS: Final = """
[circus]
endpoint = ipc://{folder}/endpoint
pubsub_endpoint = ipc://{folder}/pubsub
loglevel = ERROR
[watcher:tiny]
cmd = {command}
copy_env = True
"""
PEERS: Final = {
    "supervisord": ("supervisor.supervisord", ["-c"], SUPERVISORD),
    "circus": ("circus.circusd", [], CIRCUS),
}


def compiled(folder: Path) -> list[str]:
    """The tiny program, without its argument."""
    compiler = shutil.which("cc")
    if compiler is None:
        return ["/bin/sh", "-c", SHELL]
    source, program = folder / "tiny.c", folder / "tiny"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-O1", "-o", program, source], check=True)
    return [str(program)]


class Tiny:
    """One tiny program, whoever runs it: its command, and its pid when it has said it."""

    def __init__(self, command: list[str], fifo: Path) -> None:
        os.mkfifo(fifo)
        self.command = [*command, str(fifo)]
        self._fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self.pid = 0

    def wait(self, seconds: float = BACK_S_MAX) -> int:
        """The pid of the one that says next that it is there. Raises RuntimeError."""
        if not self._poll.poll(seconds * 1000):
            raise RuntimeError(f"{self.command[0]} did not come (back) within {seconds:g} s")
        self.pid = int(os.read(self._fd, 64).split()[-1])
        return self.pid

    def back_s(self) -> float:
        """Kill it; seconds until another one is there."""
        start = perf_counter()
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
        return perf_counter() - start

    def floor_s(self) -> float:
        """Seconds to kill one of our own, wait for it, fork, execute, and hear of the next."""
        victim = self._fork()
        self.wait()
        start = perf_counter()
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        pid = self._fork()
        self.wait()
        seconds = perf_counter() - start
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return seconds

    def _fork(self) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                os.execv(self.command[0], self.command)
            finally:
                os._exit(127)
        return pid

    def close(self) -> None:
        os.close(self._fd)


@contextlib.contextmanager
def tinies() -> Iterator[Callable[[str], Tiny]]:
    """Makes tiny programs by name, each with a FIFO of its own."""
    made: list[Tiny] = []
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        command = compiled(folder)

        def make(name: str) -> Tiny:
            made.append(Tiny(command, folder / name))
            return made[-1]

        try:
            yield make
        finally:
            for tiny in made:
                tiny.close()


@contextlib.contextmanager
def kept_by(peer: str, tiny: Tiny) -> Iterator[None]:
    """Another supervisor runs the tiny program meanwhile."""
    module, options, config = PEERS[peer]
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        file = Path(folder, "config.ini")
        # No words with blanks: their quoting differs.
        script = Path(folder, "run")
        script.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in tiny.command))
        script.chmod(0o755)
        command = str(script) if len(tiny.command) > 2 else " ".join(tiny.command)
        file.write_text(config.format(folder=folder, command=command))
        arguments = [sys.executable, "-W", "ignore", "-m", module, *options, str(file)]
        with subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                tiny.wait()
                yield
            finally:
                process.terminate()
                process.wait(END_S_MAX)


def installed(peer: str) -> bool:
    """Whether this Python has it (`pip install -e '.[bench]'`)."""
    return find_spec(PEERS[peer][0].partition(".")[0]) is not None
