"""Who came to us: children that are not among the known."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, random, sys
from otp import kin
if "plain" in sys.argv:
    os.open = lambda *_: (_ for _ in ()).throw(FileNotFoundError())
from otp.proc import children
own = kin.OwnChildren(children)

def child():
    pid = os.fork()
    if pid == 0:
        sys.stdin.read()
        os._exit(0)
    return pid

assert own.strays() == set()
first, second, third = (child() for _ in range(3))
assert own.strays([first, second, third]) == set()
assert own.strays([first], [third]) == {second}
assert own.strays() == {first, second, third}
many = {child() for _ in range(60)}  # of them a dead one is a child as well, until it is reaped
os.kill(first, 9)
os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
assert own.strays(many) == {first, second, third}
os.waitpid(first, 0)
assert own.strays(many, [third]) == {second}
for pid in many | {second, third}:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
known, strays, dice = set(), set(), random.Random(7)
for _ in range(150):  # whatever comes and goes between two looks, in whichever order
    for _ in range(dice.choice((0, 1, 1, 2))):
        side = dice.choice((known, known, known, strays))
        if side and dice.random() < 0.5:
            pid = dice.choice(sorted(side))
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            side.remove(pid)
        else:
            side.add(child())
    assert own.strays(known) == strays
assert not any(map(os.get_inheritable, own.fds()))
"""


def run(*arguments: str) -> None:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=30
    )
    assert done.returncode == 0, done.stderr.decode()


def test_strays_are_children_that_are_not_known() -> None:
    run()


def test_the_same_where_the_kernel_lists_no_children() -> None:
    run("plain")
