"""The worker that is killed and counted here, in a module of its own, as workers are; how many."""

from __future__ import annotations

import os
import resource
from typing import Final

import otp

DESCRIPTORS_PER_WORKER: Final = 4  # in the node: control and mail ends, while it starts
BYTES_PER_WORKER: Final = 3 << 20  # thrice what an idle one takes


class Who(otp.Request[int], frozen=True):
    """Ask a worker for its OS pid."""


class Worker(otp.GenServer):
    """Answers with its OS pid."""

    def handle_call(self, request: Who, sender: otp.From[int]) -> int:
        return os.getpid()


def affordable(workers: int) -> int:
    """As many workers of a node as this machine's memory and limit of open files allow."""
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return min(workers, memory // 2 // BYTES_PER_WORKER, descriptors // DESCRIPTORS_PER_WORKER)
