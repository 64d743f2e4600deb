"""The store of the example: redis-server, or a stand-in that knows the few commands we need.

python3 store.py PORT
"""

from __future__ import annotations

import os
import shutil
import socketserver
import sys
import threading
from collections import defaultdict, deque


class Data:
    """What Redis would hold, in memory as well."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.values: dict[bytes, bytes] = {}
        self.lists: defaultdict[bytes, deque[bytes]] = defaultdict(deque)

    def run(self, command: bytes, *args: bytes) -> bytes:
        """The answer to one command, in Redis's protocol."""
        with self.lock:
            match command.upper(), args:
                case b"INCR", [key]:
                    self.values[key] = b"%d" % (int(self.values.get(key, 0)) + 1)
                    return b":%b\r\n" % self.values[key]
                case b"SET", [key, value]:
                    self.values[key] = value
                    return b"+OK\r\n"
                case b"GET", [key]:
                    return bulk(self.values.get(key))
                case b"LPUSH", [key, value]:
                    self.lists[key].appendleft(value)
                    return b":%d\r\n" % len(self.lists[key])
                case b"LINDEX", [key, b"-1"]:
                    return bulk(self.lists[key][-1] if self.lists[key] else None)
                case b"RPOP", [key]:
                    return bulk(self.lists[key].pop() if self.lists[key] else None)
                case _:
                    return b"-ERR the stand-in does not know this command\r\n"


def bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


class Connection(socketserver.StreamRequestHandler):
    """A client: commands in, answers out."""

    def handle(self) -> None:
        while header := self.rfile.readline():
            parts = []
            for _ in range(int(header[1:])):
                length = int(self.rfile.readline()[1:])
                parts.append(self.rfile.read(length + 2)[:-2])
            self.wfile.write(data.run(*parts))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


data = Data()

if __name__ == "__main__":
    port = sys.argv[1]
    if program := shutil.which("redis-server"):
        os.execv(program, [program, "--port", port, "--bind", "127.0.0.1", "--save", ""])
    print("no redis-server here: the stand-in serves", flush=True)
    Server(("127.0.0.1", int(port)), Connection).serve_forever()
