"""A web app whose work is done by a pool of supervised processes.

    pip install fastapi uvicorn
    uvicorn --app-dir examples web_app:app
    curl localhost:8000/primes/100000
    curl localhost:8000/pool                  # kill -9 one of these pids, and ask again

The lifespan is the place to start a node: the tree is up before the first request is served, and
down, in reverse order, when the server has stopped. What a worker does keeps no event loop and no
GIL of the web server busy, and a crash in it is one answer of this app's, not its end.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request

import otp

WORKERS = 3


class Below(otp.Request[int], frozen=True):
    """How many primes are there below n?"""

    n: int


class Primes(otp.GenServer):
    """Computes, in a process of its own."""

    refuses = (ValueError,)  # raised at the caller; anything else crashes this worker

    def handle_call(self, request: Below, sender: otp.From[int]) -> int:
        if request.n < 0:
            raise ValueError(f"there are no primes below {request.n}")
        sieve = bytearray([1]) * request.n
        for i in range(2, int(request.n**0.5) + 1):
            if sieve[i]:
                sieve[i * i :: i] = bytes(len(range(i * i, request.n, i)))
        return sum(sieve[2:])


tree = otp.Supervisor(
    "root",
    max_restarts=10,
    max_seconds=10,
    children=[
        otp.ChildSpec("pool", Primes, replicas=WORKERS),  # pool/0, pool/1, pool/2
    ],
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with otp.aio.start(tree, log="logging") as node:
        turns = itertools.cycle(range(WORKERS))
        yield {"node": node, "turns": turns}  # `request.state` of each request


app = FastAPI(lifespan=lifespan)


@app.get("/primes/{n}")
async def primes(n: int, request: Request) -> dict[str, int]:
    node, turns = request.state.node, request.state.turns
    for _ in range(WORKERS):
        try:
            return {"below": n, "primes": await node.call(f"pool/{next(turns)}", Below(n))}
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        except (otp.ServerDown, otp.NoProcess):
            continue  # to count is harmless, so another may try; this one is being restarted
        except otp.CallTimeout as error:
            raise HTTPException(504, str(error)) from None
    raise HTTPException(503, "no worker could do it")


@app.get("/pool")
async def pool(request: Request) -> dict[str, int]:
    """The pid of each worker."""
    rows = await request.state.node.processes()
    return {row.path: row.pid for row in rows if row.type == "worker"}
