"""`otp top` at work: a thread that asks the node and samples, one for each deed, and the terminal.

The terminal is curses', which puts it back in order whatever ends the program: a key, an error, a
signal that can be caught.
"""

from __future__ import annotations

import curses
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from otp.command import top_state, top_view
from otp.command.lifecycle import Lifecycle
from otp.command.top_state import Act, Snapshot, State, press
from otp.command.usage import Sampler
from otp.errors import Disconnected, NotRunning, OtpError
from otp.handle import Control
from otp.messages import KillProcess, NodeInfo, Subscribe

SAMPLE_SECONDS = 1.0
"""How often the picture is new; sooner where a report tells of a change."""
PAUSE_SECONDS = 0.2
"""At least so long lies between two samples, however many reports come."""
FIRST_SECONDS = 0.3
"""Between the two samples that a first picture with CPU needs."""
LOOK_MILLISECONDS = 100
"""How long a key is waited for between two looks at what else has come."""
ANSWER_SECONDS_MAX = 5.0
DEED_SECONDS_MAX = 120.0
"""How long a restart or stop may take before it is said that it is not done yet."""

KEYS = {
    curses.KEY_UP: "up",
    curses.KEY_DOWN: "down",
    curses.KEY_PPAGE: "pageup",
    curses.KEY_NPAGE: "pagedown",
    curses.KEY_HOME: "home",
    curses.KEY_END: "end",
    curses.KEY_ENTER: "enter",
    curses.KEY_BACKSPACE: "backspace",
}
CHARACTERS = {
    "\n": "enter",
    "\r": "enter",
    "\x1b": "escape",
    "\x7f": "backspace",
    "\x08": "backspace",
}
COLOURS = {"good": curses.COLOR_GREEN, "busy": curses.COLOR_YELLOW, "bad": curses.COLOR_RED}
REDRAW = "\x0c"
"""Ctrl-L, where something else has written on the terminal."""
Tail = Callable[[str], list[str]]
"""The last lines of the log of a path."""


def snapshot(run_dir: str) -> Snapshot:
    """One look, with CPU. Raises OtpError."""
    control = Control.of(run_dir)
    sampler = Sampler()
    try:
        rows = control.ask(NodeInfo(), timeout=ANSWER_SECONDS_MAX)
        sampler.sample([row.pid for row in rows if row.pid])
        time.sleep(FIRST_SECONDS)
        rows = control.ask(NodeInfo(), timeout=ANSWER_SECONDS_MAX)
        usage = sampler.sample([row.pid for row in rows if row.pid])
    finally:
        control.close()
    return Snapshot(time.time(), tuple(rows), usage)


class Watcher(threading.Thread):
    """Asks and samples; each snapshot goes to a queue."""

    def __init__(self, run_dir: str, news: queue.SimpleQueue[Any]) -> None:
        super().__init__(daemon=True)
        self._run_dir, self._news = run_dir, news

    def run(self) -> None:
        sampler = Sampler()
        while True:
            try:
                self._watch(sampler)
            except (EOFError, Disconnected, NotRunning):
                self._news.put(Snapshot(time.time(), problem="the node has ended"))
            except (OtpError, OSError) as error:
                self._news.put(Snapshot(time.time(), problem=str(error)))
            except Exception as error:  # ours: whoever looks on must not look at a dead picture
                self._news.put(error)
                return
            time.sleep(SAMPLE_SECONDS)

    def _watch(self, sampler: Sampler) -> NoReturn:
        control = Control.of(self._run_dir)
        try:
            control.ask(Subscribe(), timeout=ANSWER_SECONDS_MAX)
            while True:
                rows = control.ask(NodeInfo(), timeout=ANSWER_SECONDS_MAX)
                usage = sampler.sample([row.pid for row in rows if row.pid])
                self._news.put(Snapshot(time.time(), tuple(rows), usage))
                time.sleep(PAUSE_SECONDS)
                control.report(time.monotonic() + SAMPLE_SECONDS - PAUSE_SECONDS)
        finally:
            control.close()


class Top:
    """The picture on a terminal, and the keys."""

    def __init__(self, run_dir: str, lines: Sequence[str], tail: Tail) -> None:
        self._run_dir, self._tail = run_dir, tail
        self._news: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._state = State(tuple(lines))
        self._tailed_at = 0.0

    def run(self) -> None:
        """Show it until `q`. Raises OtpError where the terminal cannot."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _leave)
        curses.set_escdelay(25)
        Watcher(self._run_dir, self._news).start()
        try:
            curses.wrapper(self._loop)
        except curses.error as error:
            raise OtpError(f"this terminal cannot show it ({error}); try `otp ps`") from error

    def _loop(self, screen: curses.window) -> None:
        styles = _styles()
        screen.timeout(LOOK_MILLISECONDS)
        while True:
            self._hear()
            self._look_at_log()
            _draw(screen, self._state, styles)
            key = _key(screen)
            if key == REDRAW:
                screen.redrawwin()
                continue
            act = press(self._state, key) if key else None
            if act is not None and act.deed == "quit":
                return
            if act is not None:
                self._do(act)

    def _hear(self) -> None:
        while not self._news.empty():
            news = self._news.get()
            if isinstance(news, Exception):
                raise news
            if isinstance(news, Snapshot):
                self._state.take(news)
            else:
                self._state.message = news

    def _look_at_log(self) -> None:
        state = self._state
        if state.tail and time.monotonic() - self._tailed_at > PAUSE_SECONDS:
            self._tailed_at = time.monotonic()
            try:
                state.tailed = self._tail(state.tail)[-top_state.TAIL_LINES :]
            except (OtpError, OSError, EOFError) as error:
                state.tailed = [str(error) or "the node has ended"]

    def _do(self, act: Act) -> None:
        self._state.message = f"{act.deed} {act.path} .."
        threading.Thread(target=self._carry_out, args=(act,), daemon=True).start()

    def _carry_out(self, act: Act) -> None:
        try:
            control = Control.of(self._run_dir)
            try:
                self._news.put(_done(control, act))
            finally:
                control.close()
        except (OtpError, EOFError, OSError) as error:
            self._news.put(str(error) or "the node has ended")


def _done(control: Control, act: Act) -> str:
    """Carry it out; what there is to say of it."""
    life = Lifecycle(control, DEED_SECONDS_MAX, lambda path, info: None)
    place = life.find(act.path)
    if act.deed == "kill":
        named = place.row.process or place.row.path
        if place.row.type in ("supervisor", "node"):
            raise OtpError(f"{act.path} is no process that can be killed here")
        pid = control.ask(KillProcess(named, signal.SIGKILL), timeout=ANSWER_SECONDS_MAX)
        return f"killed {act.path}, pid {pid}"
    deeds = {"restart": life.restart, "stop": life.stop, "start": life.start}
    deeds[act.deed](place)
    return f"{act.deed} {act.path}: done"


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _key(screen: curses.window) -> str:
    """The key that was pressed, or nothing."""
    try:
        found = screen.get_wch()
    except curses.error:
        return ""
    if isinstance(found, int):
        return KEYS.get(found, "")
    return CHARACTERS.get(found, found)


def _styles() -> dict[str, int]:
    styles = {
        "plain": curses.A_NORMAL,
        "bold": curses.A_BOLD,
        "faint": curses.A_DIM,
        "mark": curses.A_REVERSE,
        "head": curses.A_REVERSE | curses.A_DIM,
        "title": curses.A_BOLD,
        **dict.fromkeys(COLOURS, curses.A_BOLD),
    }
    curses.curs_set(0)
    if curses.has_colors():
        curses.use_default_colors()
        for number, (name, colour) in enumerate(COLOURS.items(), 1):
            curses.init_pair(number, colour, -1)
            styles[name] = curses.color_pair(number)
    return styles


def _draw(screen: curses.window, state: State, styles: dict[str, int]) -> None:
    height, width = screen.getmaxyx()
    screen.erase()
    for place, line in enumerate(top_view.picture(state, width, height, time.time())):
        column = 0
        for text, style in line:
            _put(screen, place, column, text, styles[style])
            column += len(text)
    screen.refresh()


def _put(screen: curses.window, line: int, column: int, text: str, style: int) -> None:
    try:
        screen.addstr(line, column, text, style)
    except curses.error:
        return  # the last cell of the last line: written, but the cursor has nowhere to go
