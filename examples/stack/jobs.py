"""The worker and the web server of the stack: plain functions, each run in a process of its own.

Neither knows of `otp`. When the store is gone they may crash: they are started again when there is
one, and not before.
"""

from __future__ import annotations

import socket
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAUSE_SECONDS = 0.05
Answer = str | int | None


class Store:
    """As much of a client for Redis as fits here."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rwb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def __call__(self, *words: str) -> Answer:
        parts = [b"$%d\r\n%b\r\n" % (len(w.encode()), w.encode()) for w in words]
        self.file.write(b"*%d\r\n%b" % (len(parts), b"".join(parts)))
        self.file.flush()
        return self.answer()

    def answer(self) -> Answer:
        line = self.file.readline()
        if not line:
            raise ConnectionError("the store has hung up")
        kind, text = line[:1], line[1:-2].decode()
        if kind == b"$":
            return None if text == "-1" else self.file.read(int(text) + 2)[:-2].decode()
        if kind == b"-":
            raise ValueError(text)
        return int(text) if kind == b":" else text


def work(port: str) -> None:
    """Do jobs, one at a time, for ever. One leaves the list when its result is there: the worker
    may be killed at any moment, and the next one does it again."""
    store = Store(int(port))
    while True:
        job = store("LINDEX", "jobs", "-1")
        if job is None:
            time.sleep(PAUSE_SECONDS)
            continue
        number, _, text = str(job).partition(" ")
        store("SET", f"result:{number}", text[::-1])
        store("RPOP", "jobs")


def serve(port: str, store_port: str) -> None:
    """Jobs come by POST, results are fetched by GET /NUMBER."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/ready":
                self.reply(200, "yes")
                return
            with closing(Store(int(store_port))) as store:
                result = store("GET", f"result:{self.path[1:]}")
            self.reply(404 if result is None else 200, str(result))

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            with closing(Store(int(store_port))) as store:
                number = store("INCR", "jobs:count")
                store("LPUSH", "jobs", f"{number} {text}")
            self.reply(202, str(number))

        def reply(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(f"{text}\n".encode())

        def log_message(self, *args: Any) -> None:
            """Whoever wants to know reads the reports."""

    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
