from __future__ import annotations

from otp.last_words import Memory
from otp.messages import (
    SHUTDOWN,
    ChildExited,
    ChildStarted,
    EssentialEnded,
    GaveUp,
    NodeFault,
    Reason,
)

BOOM = Reason("crash", "RuntimeError: boom")
SPENT = Reason("shutdown", "a: more than 1 restart in 5 s (max_restarts, max_seconds)")


def test_who_gave_up_and_for_which_crash() -> None:
    memory = Memory()
    memory.hear(ChildStarted("root/a", 0.0, 7, 0))
    assert memory.text == ""
    memory.hear(ChildExited("root/a", 0.0, 7, BOOM, True))
    memory.hear(ChildExited("root/b", 0.0, 8, SHUTDOWN, False))
    memory.hear(GaveUp("root", 0.0, SPENT))
    text = f"root gave up: root/a: crash: RuntimeError: boom; {SPENT.text}"
    assert memory.text == text
    memory.hear(ChildExited("root/c", 0.0, 9, BOOM, False))
    assert memory.text == text, "what ends after that is not why"


def test_other_ends() -> None:
    memory = Memory()
    memory.hear(GaveUp("root", 0.0, SHUTDOWN))
    assert memory.text == "root gave up: shutdown"
    memory.hear(EssentialEnded("root/a", 0.0, str(BOOM), 1))
    assert memory.text == "root/a, which is essential, has ended: crash: RuntimeError: boom"
    memory.hear(NodeFault("local", 0.0, "no zygote"))
    assert memory.text == "local: no zygote"
