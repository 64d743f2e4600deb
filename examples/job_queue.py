"""A job queue: workers may crash, jobs survive; a poisoned job does not stop the rest.

    python examples/job_queue.py

The queue is one server; it holds the jobs, gives each idle worker one, and watches (`monitor`) who
has which. The workers are children of a simple_one_for_one supervisor: all alike, as many as are
asked for while it runs. A worker that crashes is restarted by its supervisor, and what it was doing
is given to another; a job that has cost three workers their lives is set aside. So a job is done
at least once, and twice where its worker dies before it can say that it is done.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import Any

import otp

ATTEMPTS_MAX = 3


class Job(otp.Message, frozen=True):
    number: int
    task: str


class Submit(otp.Request[int], frozen=True):
    """Answered with the job's number, once it is in the queue."""

    task: str


class Collect(otp.Request[dict[str, dict[str, str]]], frozen=True):
    """Answered when every job is done or set aside: {"done": .., "poisoned": ..} by task."""


class Idle(otp.Message, frozen=True):
    """A worker has nothing to do."""

    worker: str


class Done(otp.Message, frozen=True):
    worker: str
    number: int
    result: str


class Queue(otp.GenServer):
    """Holds all jobs. (They are in its memory: one that must outlive *it* keeps them on disk.)"""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.waiting: deque[int] = deque()
        self.idle: deque[str] = deque()
        self.doing: dict[str, int] = {}  # worker -> job
        self.attempts: dict[int, int] = {}
        self.watched: dict[int, str] = {}  # monitor -> worker
        self.done: dict[str, str] = {}
        self.poisoned: dict[str, str] = {}
        self.collectors: list[otp.From[Any]] = []

    def handle_call(self, request: Submit | Collect, sender: otp.From[Any]) -> Any:
        if isinstance(request, Collect):
            self.collectors.append(sender)
            self.tell_collectors()
            return otp.NoReply  # later, by `sender.reply`
        number = len(self.attempts) + 1
        self.jobs[number] = Job(number, request.task)
        self.attempts[number] = 0
        self.waiting.append(number)
        self.hand_out()
        return number

    def handle_cast(self, message: Idle | Done) -> None:
        if isinstance(message, Done):
            self.doing.pop(message.worker, None)
            if job := self.jobs.pop(message.number, None):
                self.done[job.task] = message.result
        if message.worker not in self.watched.values():
            self.watched[self.monitor(message.worker)] = message.worker
        self.idle.append(message.worker)
        self.hand_out()

    def handle_info(self, message: otp.Down) -> None:
        """A worker is gone. What it was doing is done by another, unless it is to blame."""
        worker = self.watched.pop(message.ref)
        if worker in self.idle:
            self.idle.remove(worker)
        number = self.doing.pop(worker, None)
        if number is None:
            return
        if self.attempts[number] < ATTEMPTS_MAX:
            self.waiting.appendleft(number)
        else:
            self.poisoned[self.jobs.pop(number).task] = str(message.reason)
        self.hand_out()

    def hand_out(self) -> None:
        while self.waiting and self.idle:
            number = self.waiting.popleft()
            if number not in self.jobs:
                continue  # its worker was done with it before it died
            worker = self.idle.popleft()
            self.attempts[number] += 1
            self.doing[worker] = number
            self.cast(worker, self.jobs[number])
        self.tell_collectors()

    def tell_collectors(self) -> None:
        if not self.jobs:
            for sender in self.collectors:
                sender.reply({"done": self.done, "poisoned": self.poisoned})
            self.collectors.clear()


class Worker(otp.GenServer):
    """Says that it is idle, and does what it is given, one job at a time."""

    def __init__(self) -> None:
        self.cast("queue", Idle(self.pid))

    def handle_cast(self, job: Job) -> None:
        self.cast("queue", Done(self.pid, job.number, self.work(job.task)))

    def work(self, task: str) -> str:
        """What stands here is yours. An exception crashes this worker, and nothing else."""
        if task == "poison":
            raise ValueError("this one cannot be done")
        if task == "segfault":
            os.abort()  # as a bug in a C library would: no Python code sees it coming
        return task.upper()


# If the queue crashes the workers start anew with it (rest_for_one), and say again that they are
# idle. Each poisoned job costs three restarts, so the workers' budget is larger than OTP's default.
tree = otp.Supervisor(
    "root",
    strategy="rest_for_one",
    children=[
        otp.ChildSpec("queue", Queue),
        otp.Supervisor(
            "workers",
            strategy="simple_one_for_one",
            max_restarts=50,
            max_seconds=10,
            children=[otp.ChildSpec("worker", Worker)],
        ),
    ],
)


def main() -> None:
    with otp.start(tree, log="text" if "-v" in sys.argv else "none") as node:
        for number in range(4):
            node.start_dynamic("workers", f"w{number}")
        tasks = ["ash", "birch", *(f"tree {n}" for n in range(200)), "poison", "elm", "segfault"]
        for number, task in enumerate(tasks):
            node.call("queue", Submit(task))
            if number == 100:
                node.kill("workers/w0")  # kill -9
        answer = node.call("queue", Collect(), timeout=30)
        print(f"{len(answer['done'])} of {len(tasks)} done, such as {answer['done']['ash']}")
        for task, reason in sorted(answer["poisoned"].items()):
            print(f"set aside after {ATTEMPTS_MAX} attempts: {task} ({reason.split(' (')[0]})")
        print(f"workers: {node.count_children('workers').active}")


if __name__ == "__main__":
    main()
