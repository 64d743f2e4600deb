"""What children write: captured, shown, kept; by real programs, with a logger that is killed."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import otp
from otp import log_reader
from otp.log_view import Line
from otp.testing import Start, eventually
from tests.system import workers as w
from tests.system.help import freeze, open_files, row

SH = "/bin/sh"


def program(id: str, code: str, **options: Any) -> otp.ChildSpec:
    return otp.ChildSpec(id, command=[SH, "-c", code], **({"restart": "temporary"} | options))


def tree(*children: otp.ChildSpec) -> otp.Supervisor:
    return otp.Supervisor("root", max_restarts=1000, children=children)


class Kept:
    """What lies in the log files of a node."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = str(folder)

    def lines(self, path: str, *streams: str) -> list[Line]:
        name = log_reader.paths(self._folder).get(path)
        found = log_reader.last(self._folder, [name], 10**9) if name else []
        return [line for line in found if line.stream in (streams or ("stdout", "stderr"))]

    def texts(self, path: str, *streams: str) -> list[str]:
        return [line.line for line in self.lines(path, *streams)]

    def ended(self, path: str) -> list[Line]:
        """All lines of a child that has ended once."""
        lines = eventually(
            lambda: (
                (found := self.lines(path, "stdout", "stderr", "report"))
                and found[-1].line.startswith("ended")
                and found
            ),
            what=f"the end of {path} is logged",
        )
        assert isinstance(lines, list)
        return lines


@contextlib.contextmanager
def streams(write: int, *numbers: int) -> Iterator[None]:
    """Our standard streams are this one, for a node that inherits them."""
    before = [os.dup(number) for number in numbers]
    for number in numbers:
        os.dup2(write, number)
    try:
        yield
    finally:
        for number, fd in zip(numbers, before, strict=True):
            os.dup2(fd, number)
            os.close(fd)


def start_into(file: Path, otp_start: Start, folder: Path, *args: Any, **options: Any) -> Any:
    """As `start`, with stdout and stderr in a file."""
    with file.open("wb") as stream, streams(stream.fileno(), 1, 2):
        return start(otp_start, folder, *args, **options)


def start(otp_start: Start, folder: Path, spec: otp.Supervisor, **options: Any) -> Any:
    logs = otp.LogOptions(dir=str(folder), **({"output": "none"} | options))
    return otp_start(spec, logs=logs)


def test_every_line_is_shown_and_kept_in_its_order(otp_start: Start, tmp_path: Path) -> None:
    code = "echo one; echo two >&2; printf '\\377\\000 bin\\r\\n'; printf 'no end'; exit 3"
    children = (program("a", code), program("longer", "echo hello; sleep 0.2 & echo bye"))
    stdout = tmp_path / "stdout"
    node = start_into(stdout, otp_start, tmp_path / "logs", tree(*children), output="terminal")
    kept = Kept(tmp_path / "logs")
    lines = kept.ended("root/a")
    assert sorted(kept.texts("root/a", "stdout")) == sorted(["one", "\\xff\x00 bin", "no end"])
    assert kept.texts("root/a", "stderr") == ["two"]
    assert lines[-1].line.endswith("exit code 3")
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    kept.ended("root/longer")
    assert kept.texts("root/longer") == ["hello", "bye"]
    node.close()
    shown = stdout.read_text().splitlines()
    assert [line for line in shown if line.startswith("a ") and "two" not in line] == [
        "a            | one",
        "a            | \\xff? bin",
        "a            | no end",
    ]
    assert "longer       | bye" in shown
    assert Path(tmp_path / "logs").exists() and not os.path.exists(node.run_dir)


def test_the_files_of_a_run_go_with_it(otp_start: Start) -> None:
    node = otp_start(tree(program("a", "echo hi")), logs=otp.LogOptions(output="none"))
    folder = os.path.join(node.run_dir, "logs")
    Kept(folder).ended("root/a")
    assert os.stat(folder).st_mode & 0o077 == 0
    node.close()
    assert not os.path.exists(node.run_dir)


def test_workers_and_what_they_start_are_captured_too(otp_start: Start, tmp_path: Path) -> None:
    talker, namesake = otp.ChildSpec("talks", talks), otp.ChildSpec("logger", w.Counter)
    node = start(otp_start, tmp_path, tree(talker, namesake))
    assert node.kill("logger", signal=0) == node.call("logger", w.Pid())
    kept = Kept(tmp_path)
    eventually(lambda: len(kept.texts("root/talks")) >= 4)
    spoken = {"by print", "by stderr", "by a program", "a daemon", "WARNING shop: by logging"}
    eventually(lambda: set(kept.texts("root/talks")) == spoken)
    assert row(node, "root/talks").state == "running"


def talks() -> None:
    print("by print")
    print("by stderr", file=sys.stderr)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("shop").warning("by logging")
    os.system("echo by a program; (setsid sh -c 'sleep 0.05; echo a daemon' &)")
    os.read(os.pipe()[0], 1)


def test_without_capture_nothing_is_added(otp_start: Start) -> None:
    for logs in (None, otp.LogOptions(output="inherit")):
        node = otp_start(tree(otp.ChildSpec("c", w.Counter)), logs=logs)
        assert {info.type for info in node.processes()} >= {"mailroom", "worker"}
        assert not any(info.type == "logger" for info in node.processes())
        ours = os.readlink("/proc/self/fd/1")
        assert os.readlink(f"/proc/{node.call('c', w.Pid())}/fd/1") == ours
        node.close()


def test_a_flood_and_a_line_without_end_harm_nobody(otp_start: Start, tmp_path: Path) -> None:
    flood = "yes 0123456789 | head -c 1100000; head -c 100000 /dev/zero | tr '\\0' x"
    quiet = "while :; do echo tick; sleep 0.02; done"
    spec = tree(program("flood", flood), program("quiet", quiet))
    start(otp_start, tmp_path, spec, max_bytes="64K", files=3)
    kept = Kept(tmp_path)
    lines = kept.ended("root/flood")
    assert max(len(line.line) for line in lines) <= 17 * 1024
    assert sum(line.line.count("x") for line in lines) <= 100_000
    assert lines[-2].line.endswith("x")
    sizes = [file.stat().st_size for file in tmp_path.glob("root@flood.log*")]
    assert len(sizes) == 3 and max(sizes) < 200_000
    eventually(lambda: len(kept.texts("root/quiet")) > 2)


def test_a_flood_is_complete_where_it_is_kept(otp_start: Start, tmp_path: Path) -> None:
    spec = tree(program("flood", "seq 1 20000"))
    start(otp_start, tmp_path, spec, max_bytes="100M")
    kept = Kept(tmp_path)
    kept.ended("root/flood")
    assert kept.texts("root/flood") == [str(number) for number in range(1, 20001)]


def test_a_killed_logger_loses_nothing_that_it_had_not_read(
    otp_start: Start, tmp_path: Path
) -> None:
    code = "read x <gate; for i in 1 2 3; do echo $i; done; exit 7"
    os.mkfifo(tmp_path / "gate")
    quick = program("quick", code, cwd=str(tmp_path))
    slow = program("slow", "while :; do echo $(( i += 1 )); sleep 0.02; done")
    node = start(otp_start, tmp_path / "logs", tree(quick, slow), max_bytes="1M")
    kept = Kept(tmp_path / "logs")
    eventually(lambda: kept.texts("root/slow"))
    freeze(node, "logger")
    with node.expect(otp.ChildExited, "root/quick") as exited:
        (tmp_path / "gate").write_text("go\n")
    assert exited.report.reason.text == "exit code 7"
    for _ in range(3):
        with node.expect(otp.ChildStarted, "otp/logger"):
            node.kill("logger")
    ended = kept.ended("root/quick")
    assert [line.line for line in ended if line.stream == "stdout"] == ["1", "2", "3"]
    eventually(lambda: len(kept.texts("root/slow")) > 20)
    numbers = [int(text) for text in kept.texts("root/slow")]
    assert numbers == list(range(1, len(numbers) + 1))
    eventually(lambda: open_files(node.pid) < 30, what="the pipes of the dead are closed")


def test_the_lines_of_before_survive_a_lost_zygote(otp_start: Start, tmp_path: Path) -> None:
    spec = program("a", "echo $$; sleep 1000", restart="permanent")
    node = start(otp_start, tmp_path, tree(spec))
    kept = Kept(tmp_path)
    eventually(lambda: len(kept.texts("root/a")) == 1)
    before = row(node, "root/a").pid
    with node.expect(otp.ChildStarted, "root/a"):
        node.kill("zygote")
    assert not psutil.pid_exists(before)
    eventually(lambda: len(kept.texts("root/a")) == 2)
    assert kept.texts("root/a") == [str(before), str(row(node, "root/a").pid)]


def test_a_folder_that_goes_is_told_once(otp_start: Start, tmp_path: Path) -> None:
    folder, stdout = tmp_path / "logs", tmp_path / "stdout"
    talks = program("a", "while :; do echo tick; sleep 0.02; done")
    node = start_into(stdout, otp_start, folder, tree(talks), output="json")
    eventually(lambda: stdout.read_bytes().count(b"tick") > 2)
    with node.expect(otp.NodeFault) as fault:
        folder.rename(tmp_path / "moved")
    assert fault.report.text.startswith("output is not kept, only shown: No such file")
    seen = stdout.read_bytes().count(b"tick")
    eventually(lambda: stdout.read_bytes().count(b"tick") > seen + 5)
    assert row(node, "root/a").state == "running"


def test_nobody_is_held_up_where_nobody_reads(otp_start: Start, tmp_path: Path) -> None:
    """A node whose stdout and stderr are a full pipe, and a child that writes all the same."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    while True:
        try:
            os.write(write, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(write, True)
    with streams(write, 1, 2):
        spec = tree(otp.ChildSpec("c", w.Counter), program("a", "seq 1 30000", restart="permanent"))
        node = start(otp_start, tmp_path, spec, output="terminal", files=2)
    for _ in range(20):
        with node.expect(otp.ChildStarted, "root/c"):
            node.kill("c")
    kept = Kept(tmp_path)
    # For a moment it waits for a reader; then it goes on without.
    eventually(lambda: "30000" in kept.texts("root/a"), within=20)
    node.close()
    for fd in (read, write):
        os.close(fd)


def test_the_last_words_come_before_the_report(otp_start: Start, tmp_path: Path) -> None:
    stdout, spec = tmp_path / "stdout", tree(otp.ChildSpec("x", Fails))
    with pytest.raises(otp.StartError):
        start_into(stdout, otp_start, tmp_path / "logs", spec, output="terminal")
    lines = stdout.read_text().splitlines()
    last_words = next(i for i, line in enumerate(lines) if "LookupError: no luck" in line)
    report = next(i for i, line in enumerate(lines) if "root/x: did not start" in line)
    assert last_words < report


READY = {"log": r"listening on \d+", "timeout": 10}


def test_a_line_says_that_a_child_is_ready(otp_start: Start, tmp_path: Path) -> None:
    code = "echo starting; read x <gate; echo listening on 80 >&2; echo more; sleep 1000"
    os.mkfifo(tmp_path / "gate")
    slow = program("slow", code, cwd=str(tmp_path), ready=READY, restart="permanent")
    logs = otp.LogOptions(dir=str(tmp_path / "logs"), output="none")
    started: list[Any] = []
    starting = threading.Thread(
        target=lambda: started.append(otp_start(tree(slow, program("next", "true")), logs=logs))
    )
    starting.start()
    kept = Kept(tmp_path / "logs")
    eventually(lambda: kept.texts("root/slow") == ["starting"], ignoring=(FileNotFoundError,))
    assert not kept.lines("root/next", "report") and starting.is_alive()
    (tmp_path / "gate").write_text("go\n")
    starting.join(10)
    kept.ended("root/next")
    (node,) = started
    with node.expect(otp.ChildExited, "root/slow"):
        node.kill("slow")
    with node.expect(otp.ChildStarted, "root/slow"):
        (tmp_path / "gate").write_text("go\n")


def test_a_line_is_waited_for_where_nothing_else_is_captured(
    otp_start: Start, tmp_path: Path
) -> None:
    stdout = tmp_path / "stdout"
    children = (program("a", "echo listening on 80; sleep 1000", ready=READY), program("b", "true"))
    with stdout.open("wb") as stream, streams(stream.fileno(), 1, 2):
        node = otp_start(tree(*children))
    assert stdout.read_text().splitlines().count("listening on 80") == 1
    assert row(node, "root/a").state == "running"
    assert not os.path.exists(os.path.join(node.run_dir, "logs"))
    node.close()
    plain = otp_start(otp.Supervisor("root"))
    with pytest.raises(otp.SupervisorError, match="needs a node that captures output"):
        plain.start_child("/", program("late", "true", ready=READY))


def test_a_line_that_does_not_come_is_a_start_that_failed(otp_start: Start) -> None:
    ready = {"log": "up", "timeout": "200ms"}
    with pytest.raises(otp.StartError, match="no line matched 'up'"):
        otp_start(tree(program("a", "echo down; sleep 1000", ready=ready)))


class Fails(otp.GenServer):
    def __init__(self) -> None:
        raise LookupError("no luck")
