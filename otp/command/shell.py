"""An interactive Python that is connected to a running node: `otp shell`."""

from __future__ import annotations

import code
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import otp
from otp.command import view
from otp.errors import OtpError
from otp.handle import Node

BANNER = """\
node {name!r}, pid {pid}. Here are:
  node               otp.Node: node.call("PATH", Request(..)), .processes(), .expect(..), ..
  call(PATH, ..), cast(PATH, ..), kill(PATH)     the same, shorter
  ps(), tree()       what `otp ps` and `otp tree` show
Ctrl-D leaves; the node goes on."""


class _Interpreter(code.InteractiveInterpreter):
    """Keeps what went wrong instead of writing it."""

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__(names)
        self.failed: list[str] = []

    def write(self, data: str) -> None:
        self.failed.append(data)


class Shell:
    """A namespace around a node, and what may be done in it."""

    def __init__(self, run_dir: str) -> None:
        self._node = Node(run_dir)
        self._names: dict[str, Any] = {
            "otp": otp,
            "node": self._node,
            "call": self._node.call,
            "cast": self._node.cast,
            "kill": self._node.kill,
            "ps": lambda: _print(view.table(self._node.processes(), time.time())),
            "tree": lambda: _print(view.tree(self._node.processes(), time.time())),
            "__name__": "__console__",
        }
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())

    def talk(self) -> None:
        """Read and do until the end of the input. Raises NotRunning."""
        first = self._node.processes()[0]
        banner = BANNER.format(name=first.path, pid=first.pid)
        ipython = _ipython()
        if ipython is None:
            self._talk_plainly(banner)
            return
        print(banner)
        ipython(argv=["--no-banner", "--no-confirm-exit"], user_ns=self._names)

    def _talk_plainly(self, banner: str) -> None:
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(self._names).complete)
        readline.parse_and_bind("tab: complete")
        code.interact(banner, local=self._names, exitmsg="")

    def run(self, text: str) -> None:
        """Do it as a prompt would: the value of an expression is printed. Raises OtpError."""
        interpreter = _Interpreter(self._names)
        symbol = "single" if "\n" not in text.strip() else "exec"
        if interpreter.runsource(text, "<otp shell -c>", symbol):
            raise OtpError("the code is not complete")
        if interpreter.failed:
            raise OtpError(interpreter.failed[-1].strip().splitlines()[-1])

    def value(self, text: str) -> Any:
        """The value of an expression. Raises OtpError."""
        try:
            return eval(text, self._names)
        except OtpError:
            raise
        except Exception as error:  # the user's own code
            raise OtpError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Leave the node."""
        self._node.close()


def _ipython() -> Callable[..., object] | None:
    """IPython's beginning, if it is installed.

    What goes wrong in a loop that runs in the `except` of this would always be told with it.
    """
    try:
        from IPython import start_ipython
    except ImportError:
        return None
    begin: Callable[..., object] = start_ipython
    return begin


def _print(lines: list[str]) -> None:
    print("\n".join(lines))
