"""What a bulk job costs, and what it survives.

python benchmarks/bulk.py --only million [--items 1000000]   # speed and memory, journal on and off, in turns
python benchmarks/bulk.py --only resume [--items 1000000]    # from the start of the command to the first request
python benchmarks/bulk.py --only kills [--kills 100]         # kill -9 at random instants, against the ledger
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import tempfile
import time
from pathlib import Path

from canned import canned_server

from b2b_async import Client, Credentials, Quota, RateLimiter
from b2b_async.bulk import BulkJob, ItemOutcome, Skipped, SQLiteJournal

OFF = Quota(100_000, 1.0, "burst")
"""A quota that holds nobody up, in a window so short that its books stay small."""


def resident() -> float:
    """Give the memory that this process has, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def run_items(url: str, items: int, journal: Path | None, progress: bool = False) -> tuple[float, float, float]:
    """Do *items* assignments; give items a second, the growth of memory in MiB, and CPU seconds for an item."""
    credentials = Credentials("token", "store")
    first = None
    count = 0
    peak = 0.0

    def on_outcome(outcome: ItemOutcome | Skipped) -> None:
        nonlocal first, count, peak
        count += 1
        if count == 5000:  # everything is warm: pools, caches, the database's pages
            gc.collect()
            first = resident()
        if count % 5000 == 0:
            peak = max(peak, resident())

    async with Client(credentials, base_url=url, limiter=RateLimiter(OFF)) as client:
        started, cpu = time.perf_counter(), time.process_time()
        if journal is None:
            summary = await BulkJob(client, range(1, items + 1), journal=None).run(on_outcome)
        else:
            async with SQLiteJournal(journal) as opened:
                summary = await BulkJob(client, range(1, items + 1), journal=opened).run(on_outcome)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert summary.succeeded == items, summary
    return items / seconds, peak - (first or peak), cpu / items * 1e6


def million(items: int) -> None:
    """Journal on and off, in turns."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("B2B_BENCH_DIR")) as folder, canned_server() as url:
        for number in range(1):
            for name, journal in (("off", None), ("on", Path(folder) / f"{number}.journal")):
                rate, grown, cpu = asyncio.run(run_items(url, items, journal))
                print(
                    f"journal {name}: {rate:,.0f} items/s, memory +{grown:.1f} MiB, {cpu:.0f} µs of CPU each",
                    flush=True,
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only")
    parser.add_argument("--items", type=int, default=1_000_000)
    options = parser.parse_args()
    million(options.items)
