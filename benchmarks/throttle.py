"""A bulk job against Django REST framework's own throttle, over HTTP and in real time: alone, and as two processes.

    pip install -e '.[dev]' && python benchmarks/throttle.py    # three minutes; the second half needs redis-server

900 assignments at 60 in 3 s (the vendor's 150 in 60 s, twenty times faster and smaller). The best possible is
14 windows: a full burst every 3 s. The second half has two processes that share the quota over a real Redis,
and kills one of them half-way (SIGKILL); the other does the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from redis_server import BINARY, MISSING, RedisServer

from b2b_async import Client, Credentials, Quota, RateLimiter, Timeouts
from b2b_async.bulk import BulkJob, SQLiteJournal
from b2b_async.ratelimit.redis import RedisRateLimiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ITEMS, LIMIT, WINDOW = 900, 60, 3.0
OPTIMUM = (ITEMS / LIMIT - 1) * WINDOW
ATTEMPT = 3.0


async def customers(session: aiohttp.ClientSession, url: str) -> AsyncIterator[int]:
    """Pull customers that nobody has done from the server, until all are done."""
    while True:
        async with session.get(f"{url}/next") as response:
            customer = await response.json()
        if customer == 0:
            return
        if customer is None:  # others are at work on the last ones
            await asyncio.sleep(0.05)
        else:
            yield customer


async def work(url: str, redis: str, pacing: str) -> None:
    """Do what is to be done, as one process."""
    quota = Quota(LIMIT, WINDOW, pacing)  # type: ignore[arg-type]
    async with contextlib.AsyncExitStack() as stack:
        limiter = RateLimiter(quota)
        if redis:
            limiter = await stack.enter_async_context(RedisRateLimiter(redis, "store", quota, attempt=ATTEMPT))
        client = Client(Credentials("token", "store"), base_url=url, limiter=limiter, timeout=Timeouts(attempt=ATTEMPT))
        await stack.enter_async_context(client)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        journal = await stack.enter_async_context(SQLiteJournal(Path(folder) / "journal"))
        summary = await BulkJob(client, customers(session, url), journal=journal, concurrency=16).run()
        print(summary.succeeded, flush=True)


def measure(pacing: str, *, processes: int, redis: str = "", kill: bool = False) -> dict[str, float]:
    """Run one job and give what the server saw."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[str]:
            process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        total = ("--limit", str(LIMIT), "--window", str(WINDOW), "--total", str(ITEMS))
        server = start(str(ROOT / "tests" / "drf.py"), *total)
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        began = time.monotonic()
        workers = [start(__file__, "--work", url, "--redis", redis, "--pacing", pacing) for _ in range(processes)]
        first = state = asyncio.run(ask(url))
        while state["done"] < ITEMS and time.monotonic() - began < 3 * OPTIMUM:
            time.sleep(0.05)
            state = asyncio.run(ask(url))
            if not first["done"]:  # the clock starts with the first request, not with the processes
                first, began = state, time.monotonic() if state["done"] else began
            if kill and state["done"] >= ITEMS / 2:
                kill = False
                workers.pop().kill()
        return {**state, "seconds": time.monotonic() - began}


async def ask(url: str) -> dict[str, int]:
    """Ask the server what it has seen."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/state") as response:
        state: dict[str, int] = await response.json()
        return state


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="")
    parser.add_argument("--redis", default="")
    parser.add_argument("--pacing", default="auto")
    arguments = parser.parse_args()
    if arguments.work:
        asyncio.run(work(arguments.work, arguments.redis, arguments.pacing))
        return
    print(f"{ITEMS} items at {LIMIT} in {WINDOW:g} s; the best possible takes {OPTIMUM:g} s\n")
    print("| processes | pacing | seconds | over the best | refused | done twice |")
    print("|---|---|---|---|---|---|")
    for pacing in ("burst", "auto"):
        show("1", pacing, measure(pacing, processes=1))
    if BINARY is None:
        print(f"\nTwo processes: not run, {MISSING}")
        return
    for pacing in ("burst", "auto"):
        server = RedisServer()
        server.start()
        try:
            show("2, one killed half-way", pacing, measure(pacing, processes=2, redis=server.url, kill=True))
        finally:
            server.remove()


def show(name: str, pacing: str, seen: dict[str, float]) -> None:
    """Print one row."""
    over = seen["seconds"] - OPTIMUM
    print(
        f"| {name} | {pacing} | {seen['seconds']:.1f} | {over:+.1f} s | {seen['refused']:.0f} | {seen['twice']:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
