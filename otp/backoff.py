"""How long to wait before a restart. Pure: times and chance come in as arguments."""

from __future__ import annotations

from otp.wire_tree import WireBackoff


def next_pause(backoff: WireBackoff, last: float | None) -> float:
    """Seconds before the next restart, after a `last` pause; None: there was no restart yet.

    The first restart is at once, the second waits `initial`, each further one `factor` times as
    long as the one before it, and none longer than `max`.
    """
    if last is None:
        return 0.0
    longer = last * backoff.factor if last else backoff.initial
    return min(longer, backoff.max)


def is_stable(backoff: WireBackoff, up_seconds: float) -> bool:
    """It ran for so long that an end counts as the first one again."""
    return up_seconds >= backoff.stable_after


def jittered(seconds: float, jitter: float, chance: float) -> float:
    """The pause made shorter by up to `jitter` of it, so that what fell together does not rise
    together; `chance` is a random number from 0 to 1."""
    return seconds * (1.0 - jitter * chance)
