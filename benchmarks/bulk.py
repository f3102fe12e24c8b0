"""What a bulk job costs, and what it survives.

    python benchmarks/bulk.py --only million [--items 1000000]  # speed and memory, with a journal and without
    python benchmarks/bulk.py --only resume [--items 1000000]   # how long it takes until a job goes on
    python benchmarks/bulk.py --only kills [--kills 100]        # kill -9 at random instants, against the ledger

``million`` and ``resume`` talk to a canned server in another process, with a quota that holds nobody up, and set the
garbage collector as the command does. ``kills`` runs
20,000 assignments and 5,000 creations against the sandbox with a tenth of the requests failing in nine ways.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from canned import canned_server
from rich.console import Console
from rich.table import Table

from b2b_async import Client, Credentials, Quota, RateLimiter
from b2b_async.bulk import ASSIGN, BulkJob, ItemOutcome, SQLiteJournal, read_customer_ids
from b2b_async.bulk._loader import Loader
from b2b_async.bulk.job import identity
from b2b_async.cli._common import calm_collector
from b2b_async.cli._inputs import FileInput

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from kills import CONCURRENCY, kill_again_and_again

if TYPE_CHECKING:
    from b2b_async.bulk import PendingItem, Skipped

OFF = Quota(100_000, 1.0, "burst")
"""A quota that holds nobody up, in a window so short that its state stays small."""
WARM = 20_000
"""Items after which everything is warm: pools, caches, the database's pages."""
CREDENTIALS = Credentials("token", "store")


@attrs.frozen
class Figures:
    """What a run cost."""

    rate: float
    """Items a second."""
    grown: float
    """MiB of memory that came to those after the first items."""
    cpu: float
    """CPU seconds of the process for an item."""


def resident() -> float:
    """Give the memory that this process has, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def run_items(url: str, items: int, journal: SQLiteJournal | None) -> Figures:
    """Do *items* assignments."""
    count, first, peak = 0, 0.0, 0.0

    def on_outcome(_: ItemOutcome | Skipped) -> None:
        nonlocal count, first, peak
        count += 1
        if count == min(WARM, items // 2):
            gc.collect()
            first = peak = resident()
        elif count % 1000 == 0:
            peak = max(peak, resident())

    async with Client(CREDENTIALS, base_url=url, limiter=RateLimiter(OFF)) as client:
        started, cpu = time.perf_counter(), time.process_time()
        if journal is None:
            summary = await BulkJob(client, range(1, items + 1), journal=None).run(on_outcome)
        else:
            async with journal:
                summary = await BulkJob(client, range(1, items + 1), journal=journal).run(on_outcome)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert summary.succeeded == items, summary
    return Figures(items / seconds, peak - first, cpu / items)


def million(items: int, folder: Path) -> None:
    """With a journal and without."""
    table = Table("journal", "items/s", "memory", "CPU of an item", title=f"{items:,} assignments, quota off")
    calm_collector()
    with canned_server() as url:
        on = asyncio.run(run_items(url, items, SQLiteJournal(folder / "million.journal")))
        off = asyncio.run(run_items(url, items, None))
    for name, one in (("SQLite", on), ("none", off)):
        table.add_row(name, f"{one.rate:,.0f}", f"+{one.grown:.1f} MiB", f"{one.cpu * 1e6:.0f} µs")
    Console(width=100).print(table, f"Ratio of the rates, with a journal to without: {on.rate / off.rate:.2f}")


async def go_on(url: str, journal: Path, items: FileInput | range) -> tuple[float, float]:
    """Give the seconds until the run has begun, and until its first request has left."""
    left: list[float] = []

    async def watch(request: object, handler: object) -> object:
        left.append(time.perf_counter())
        return await handler(request)  # type: ignore[operator]

    started = time.perf_counter()
    async with SQLiteJournal(journal) as opened:
        ready = time.perf_counter()
        options = {"base_url": url, "limiter": RateLimiter(OFF), "per_attempt": [watch]}
        async with Client(CREDENTIALS, **options) as client:  # type: ignore[arg-type]
            await BulkJob(client, items, journal=opened).run()
    return ready - started, left[0] - started


def resume(items: int, folder: Path) -> None:
    """A job of which all but the last ten items are done."""
    path, file = folder / "resume.journal", folder / "ids.csv"
    file.write_text("customer_id\n" + "".join(f"{number}\n" for number in range(1, items + 1)))
    read = partial(read_customer_ids, file, "customer_id", name="ids.csv")
    csv = FileInput(name="ids.csv", path=file, kind=ASSIGN, read=read, columns="customer_id", limit=None, once=False)
    sources: dict[str, FileInput | range] = {
        "a Python iterable": range(1, items + 1),
        "a CSV file, as the command reads it": csv,
    }
    with canned_server() as url:
        for name, source in sources.items():
            path.unlink(missing_ok=True)
            asyncio.run(made(path, source, url, items))
            opened, sent = asyncio.run(go_on(url, path, source))
            print(f"{name}: {items:,} items, open after {opened:.2f} s, the first request leaves after {sent:.2f} s")


async def made(path: Path, items: FileInput | range, url: str, number: int) -> None:
    """Make a journal as that of a killed job, through its own methods: only nothing is sent."""
    async with SQLiteJournal(path) as journal:
        about = {"job": "assign", **identity(Client(CREDENTIALS, base_url=url))}
        opened = await journal.begin(about, quota=(OFF.limit, OFF.window))
        loader = Loader(items, ASSIGN, journal, lambda _: None)
        await loader.skip(opened)
        await journal.expect(number, fingerprint=loader.fingerprint)
        while await loader.load():
            tasks = await journal.fetch_pending(1000)
            await asyncio.gather(*(done(journal, task) for task in tasks[: number - 10 - tasks[0].position]))
        await loader.aclose()


async def done(journal: SQLiteJournal, task: PendingItem) -> None:
    """Write that a task has succeeded."""
    outcome = ItemOutcome(
        key=task.key,
        position=task.position,
        status="succeeded",
        result={"total": 3},
        sent=1.0,
        seconds=0.1,
        finished=1.1,
    )
    await journal.record(task, outcome)


def kills(number: int, folder: Path) -> None:
    """Both jobs, killed again and again."""
    logging.getLogger("b2b_async").setLevel(logging.ERROR)
    for kind, items in (("assign", 20_000), ("orders", 5_000)):
        started = time.perf_counter()
        job = asyncio.run(kill_again_and_again(kind, items, number, folder, lag=0.2))
        table = Table("", kind, title=f"{kind}: at most {CONCURRENCY} at once")
        for name, figure in job.check().items():
            table.add_row(name, f"{figure:,}")
        Console(width=100).print(table, f"{time.perf_counter() - started:.0f} s")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["million", "resume", "kills"])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only in {None, "million"}:
            million(options.items, folder)
        if options.only in {None, "resume"}:
            resume(options.items, folder)
        if options.only in {None, "kills"}:
            kills(options.kills, folder)


if __name__ == "__main__":
    main()
