"""A node that outlives the program that starts it: `otp run -d`, and programs like it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import Any

import msgspec

from otp import host
from otp.spec import Supervisor


class Detached(msgspec.Struct, frozen=True):
    """A node that was started; nothing ties it to the program that did."""

    name: str
    pid: int
    run_dir: str


def detach(
    tree: Supervisor,
    *,
    output: str | None = None,
    log: str = "text",
    timeout: float = host.BOOT_SECONDS_MAX,
    **options: Any,
) -> Detached:
    """Start a node in a session of its own; returns when the tree is up.

    Its standard input is empty; what it and its children write goes to the end of the file
    `output`, or nowhere. `options` are the fields of NodeOptions, `timeout` is in seconds. Raises
    what `otp.start` raises, and OSError for a file that cannot be written; then nothing runs.
    While the tree starts, the node ends with the program that waits for it.
    """
    with contextlib.ExitStack() as stack:
        written: Any = subprocess.DEVNULL
        if output is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            written = stack.enter_context(open(os.open(output, flags, 0o600), "ab"))
        boot = host.make_boot(tree, log="none" if output is None else log, **options)
        boot = msgspec.structs.replace(boot, detached=True)
        process, lifeline = host.execute(
            boot, stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.STDOUT
        )
    try:
        host.await_boot(boot, process, lifeline, timeout)
    finally:
        lifeline.close()
    process.returncode = 0  # nobody waits for it: it is not ours any more
    return Detached(boot.name, process.pid, boot.run_dir)
