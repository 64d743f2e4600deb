"""What the zygote itself brings into every worker."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    # They have hooks that run in every fork, in the child, and copy its pages.
    ("logging", "random", "threading"),
    # They are large, and a host or a network connection needs them.
    ("asyncio", "cloudpickle", "hashlib", "ssl", "subprocess", "tempfile", "yaml"),
)


def test_a_worker_pays_for_nothing_that_it_does_not_need() -> None:
    """Each doubles the time of a fork, the memory of a worker, or both."""
    script = "import sys, otp.zygote, otp.mailroom; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    loaded = set(done.stdout.split())
    assert "otp.gen_server" in loaded
    assert loaded.isdisjoint({*HEAVY[0], *HEAVY[1]}), loaded & {*HEAVY[0], *HEAVY[1]}
