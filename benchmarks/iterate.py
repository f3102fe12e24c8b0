"""``list_orders`` over 100,000 orders of a sandbox in another process, while orders are being placed.

    python benchmarks/iterate.py [--orders N]

Prints orders, requests, what came twice or was missed, and how the memory of the reading process grew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from b2b_async import Client, Credentials, Quota, RateLimiter, v3
from b2b_async.sandbox import Order, Sandbox, Store

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
EVERY = 0.05
"""Seconds between two new orders."""


async def serve(count: int) -> None:
    """Be the sandbox: print where it listens, and place orders until stdin is closed."""
    store = Store(1, 1)
    for number in range(count):
        store.add_order(Order(str(10_000 + number), 1001, Decimal(1), created_at=1_700_000_000 + number))
    async with Sandbox(store, quota="100000/1s") as sandbox:
        print(sandbox.url, flush=True)
        closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        while not closed.done():
            store.add_order(Order(str(10_000 + len(store.orders)), 1001, Decimal(1), created_at=int(time.time())))
            await asyncio.sleep(EVERY)
        print(json.dumps({"requests": len(sandbox.requests), "orders": len(store.orders)}), flush=True)


async def read(url: str) -> None:
    """Read all orders and say how it went."""
    met = bytearray(2_000_000)  # a flag for each id, so that the memory of this script does not grow either
    count = 0
    early = 0
    limiter = RateLimiter(Quota(100_000, 1.0))
    async with Client(Credentials("sandbox-access-token", "sandbox-store"), base_url=url, limiter=limiter) as client:
        started = time.perf_counter()
        async with v3.orders.list_orders(client, min_created=LONG_AGO).items() as orders:
            async for order in orders:
                count += 1
                met[order.bc_order_id] = 1
                if count == 10_000:
                    early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - early) / 1024
    print(f"{count:,} orders, {sum(met):,} ids, {orders.duplicates} met twice, {orders.missed} missed")
    print(f"{client.quota.requests} requests; {-(-count // 200)} pages of 200")
    print(f"memory at its most: +{grown:.1f} MiB after the first 10,000")
    print(f"{count / seconds:,.0f} orders a second")


def main() -> None:
    """Start the sandbox in a process of its own, and read."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--orders", type=int, default=100_000)
    options.add_argument("--serve", action="store_true", help="be the sandbox")
    chosen = options.parse_args()
    if chosen.serve:
        asyncio.run(serve(chosen.orders))
        return
    command = [sys.executable, str(Path(__file__)), "--serve", "--orders", str(chosen.orders)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        asyncio.run(read(server.stdout.readline().strip()))
        server.stdin.close()
        print("the sandbox saw", server.stdout.readline().strip())


if __name__ == "__main__":
    main()
