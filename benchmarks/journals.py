"""Journals that were damaged, jobs that are cancelled, and a program that holds the file of a journal.

Three hundred copies of a journal are damaged at random (bytes overwritten, cut off, rows and values changed with SQL,
files of other kinds in their place). Each is read by four readers, and its job is gone on with against the sandbox: no
reader may raise anything but ``JournalError`` with the name of the file, and no order may be created twice.

A job of 60 orders is cancelled 300 times, at random moments, and gone on with: nothing may be lost or created twice.

A second Ctrl-C, and ``task.cancel()``, while another program holds the journal: the seconds until the end.

    python benchmarks/journals.py [--damaged 300] [--cancellations 300] [--seed 1]

The exit status is 1 if anything was lost, doubled, foreign, or late.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from b2b_async import Client, Credentials, Quota, RateLimiter
from b2b_async.bulk import (
    CREATE_ORDERS,
    BulkJob,
    JournalError,
    OrderRow,
    SQLiteJournal,
    SQLiteReader,
    write_html,
)
from b2b_async.sandbox import Faults, Order, Sandbox, Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from b2b_async.bulk import ItemOutcome, Skipped

ITEMS = 60
HOSTILE = ("text", "x'00ff80'", "NULL", "-1", "1e308", "9223372036854775807", "'{'", "'[]'", "'null'", "''", "'\u202e'")


def rows() -> list[OrderRow]:
    """Return the items of the job."""
    return [
        OrderRow(company_id="1", customer_id="1001", order_id=str(9000 + number), total_inc_tax=Decimal("10.50"))
        for number in range(ITEMS)
    ]


def filled_store() -> Store:
    """Return a store that knows all orders of the job."""
    store = Store()
    for row in rows():
        store.add_order(Order(row.order_id, 1001, Decimal("10.50")))
    return store


@contextlib.asynccontextmanager
async def sandbox_and_client(store: Store, **options: Any) -> AsyncGenerator[tuple[Sandbox, Client]]:
    """Run a sandbox whose quota slows nothing down."""
    async with Sandbox(store, quota="100000/1s", **options) as sandbox:
        credentials = Credentials(sandbox.access_token, sandbox.store_hash, sandbox.legacy_token)
        limiter = RateLimiter(Quota(100_000, 1.0, "burst"))
        async with Client(credentials, base_url=sandbox.url, limiter=limiter) as client:
            yield sandbox, client


def doubled(sandbox: Sandbox) -> int:
    """Return how many orders were created more than once, by the sandbox's ledger."""
    created = Counter(entry.subject for entry in sandbox.ledger if entry.method == "POST" and entry.status == 200)
    return sum(number > 1 for number in created.values()) + sum(entry.repeated for entry in sandbox.ledger)


def has_begun(path: Path) -> bool:
    """Return whether a job has done something."""
    return path.exists() and SQLiteReader(path).status().counts.succeeded > 0


async def begun(journal_path: Path, sandbox: Sandbox, client: Client) -> None:
    """Bring the job half of the way."""
    async with SQLiteJournal(journal_path) as journal:
        job = BulkJob(client, rows(), journal=journal, kind=CREATE_ORDERS, concurrency=2)
        done = 0

        def on_outcome(_outcome: object) -> None:
            nonlocal done
            done += 1
            if done == ITEMS // 2:
                job.stop()

        await job.run(on_outcome)
    sandbox.ledger.clear()


def damage(path: Path, dice: random.Random) -> str:
    """Damage a journal; return how."""
    how = dice.choice(["bytes", "bytes", "cut", "values", "values", "values", "rows", "another file"])
    if how == "bytes":
        octets = bytearray(path.read_bytes())
        for _ in range(dice.choice([1, 10, 300])):
            octets[dice.randrange(len(octets))] = dice.randrange(256)
        path.write_bytes(octets)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])
    elif how == "another file":
        path.write_bytes(dice.choice([b"SQLite format 3\0", b"customer_id\n1\n", os.urandom(8192)]))
    else:
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            if how == "rows":
                table = dice.choice(["items", "progress", "runs", "about", "minutes"])
                database.execute(f"DELETE FROM {table} WHERE abs(random()) % 2 = 0")  # noqa: S608 -- the names above
            else:
                table = dice.choice(["items", "progress", "runs", "about", "minutes"])
                columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                column, value = dice.choice(columns), dice.choice(HOSTILE)
                value = "'text'" if value == "text" else value
                with contextlib.suppress(sqlite3.Error):
                    where = "WHERE abs(random()) % 3 = 0"
                    database.execute(f"UPDATE OR IGNORE {table} SET {column} = {value} {where}")  # noqa: S608 -- the names above
                how = f"{table}.{column} = {value}"
    return how


async def measure_damage(number: int, seed: int, folder: Path) -> Counter[str]:
    """Damage journals, read them, and go on with their jobs."""
    counts: Counter[str] = Counter()
    store, whole, page = filled_store(), folder / "whole.journal", folder / "page.html"
    async with sandbox_and_client(store) as (sandbox, client):
        port = int(sandbox.url.rpartition(":")[2])
        await begun(whole, sandbox, client)
    readers: dict[str, Callable[[Path], object]] = {
        "status": lambda path: SQLiteReader(path).status(),
        "outcomes": lambda path: list(SQLiteReader(path).outcomes()),
        "figures": lambda path: SQLiteReader(path).figures(),
        "page": lambda path: write_html(SQLiteReader(path), page),
    }
    for place in range(number):
        path = folder / f"{place}.journal"
        shutil.copy(whole, path)
        how = damage(path, random.Random(f"{seed} {place}"))
        page.unlink(missing_ok=True)
        for name, reader in readers.items():
            try:
                reader(path)
                counts["read"] += 1
            except JournalError as error:
                counts["refused"] += 1
                counts["without the file's name"] += str(path) not in str(error)
            except Exception as error:  # noqa: BLE001 -- to be counted, whatever it is
                counts["foreign"] += 1
                print(f"foreign: {name} {place} ({how}): {type(error).__name__}: {error}")
        async with sandbox_and_client(copy.deepcopy(store), port=port) as (sandbox, client):
            try:
                async with SQLiteJournal(path) as journal:
                    summary = await BulkJob(client, rows(), journal=journal, kind=CREATE_ORDERS).run()
                counts["job pending" if summary.pending else "job finished"] += 1
            except JournalError:
                counts["job refused"] += 1
            except Exception as error:  # noqa: BLE001 -- to be counted, whatever it is
                counts["foreign"] += 1
                print(f"foreign: job {place} ({how}): {type(error).__name__}: {error}")
            counts["doubled"] += doubled(sandbox)
        remove(path)
    return counts


def remove(path: Path) -> None:
    """Remove a journal and the files beside it."""
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink()


async def measure_cancellations(number: int, seed: int, folder: Path) -> Counter[str]:
    """Cancel jobs at random moments and go on with them."""
    counts: Counter[str] = Counter()
    dice = random.Random(seed)
    faults = {"503": 0.05, "reset-after": 0.03, "slow": 0.03, "truncated": 0.03}
    while counts["cancelled"] < number:
        path = folder / "cancelled.journal"
        remove(path)
        told: set[str] = set()

        def on_outcome(outcome: ItemOutcome | Skipped, told: set[str] = told) -> None:
            told.add(outcome.key)

        options = {"faults": Faults(faults, seed=dice.randrange(1000), slow_seconds=0.05)}
        async with sandbox_and_client(filled_store(), **options) as (sandbox, client):
            finished = False
            while not finished:
                async with SQLiteJournal(path) as journal:
                    job = BulkJob(client, rows(), journal=journal, kind=CREATE_ORDERS, concurrency=8)
                    running = asyncio.ensure_future(job.run(on_outcome))
                    seconds = dice.uniform(0, 0.15) if counts["cancelled"] < number else 300
                    await asyncio.wait([running], timeout=seconds)
                    finished = running.done()
                    if not finished:
                        started = time.monotonic()
                        running.cancel()
                        await asyncio.wait([running])
                        counts["late"] += time.monotonic() - started > 1.2
                        counts["cancelled"] += 1
            kept = {outcome.key for outcome in SQLiteReader(path).outcomes()}
            counts["lost"] += len(told - kept)
            counts["doubled"] += doubled(sandbox)
            counts["created"] += len({entry.subject for entry in sandbox.ledger if entry.applied})
    return counts


def measure_hurry(folder: Path) -> dict[str, float]:
    """Return the seconds until a job ends that is stopped while another program holds its journal."""
    seconds: dict[str, float] = {}
    orders = folder / "orders.csv"
    lines = [f"1,1001,{row.order_id},10.50," for row in rows()]
    orders.write_text("company_id,customer_id,order_id,total_inc_tax,po_number\n" + "\n".join(lines))

    async def second_signal() -> float:
        async with Sandbox(filled_store(), quota="100000/1s", latency=0.3) as sandbox:
            environment = {
                **os.environ,
                "B2B_BASE_URL": sandbox.url,
                "B2B_ACCESS_TOKEN": sandbox.access_token,
                "B2B_STORE_HASH": sandbox.store_hash,
                "B2B_LEGACY_TOKEN": sandbox.legacy_token,
            }
            command = [sys.executable, "-m", "b2b_async", "create-orders", str(orders), "--concurrency", "2"]
            process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=subprocess.DEVNULL)
            path = Path(f"{orders}.journal")
            while not has_begun(path):  # noqa: ASYNC110 -- by another process
                await asyncio.sleep(0.1)
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                process.send_signal(signal.SIGINT)
                await asyncio.sleep(1)
                process.send_signal(signal.SIGINT)
                started = time.monotonic()
                await process.wait()
                return time.monotonic() - started

    async def cancelled() -> float:
        async with sandbox_and_client(filled_store(), latency=0.3) as (_, client):
            path = folder / "held.journal"
            async with SQLiteJournal(path) as journal:
                job = BulkJob(client, rows(), journal=journal, kind=CREATE_ORDERS, concurrency=2)
                running = asyncio.ensure_future(job.run())
                await asyncio.sleep(1)
                with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
                    other.execute("BEGIN IMMEDIATE")
                    await asyncio.sleep(0.5)
                    started = time.monotonic()
                    running.cancel()
                    await asyncio.wait([running])
                    return time.monotonic() - started

    seconds["second Ctrl-C"] = asyncio.run(second_signal())
    seconds["task.cancel()"] = asyncio.run(cancelled())
    return seconds


def main() -> int:
    """Run all three; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damaged", type=int, default=300)
    parser.add_argument("--cancellations", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hurry = measure_hurry(folder)
        print("seconds:", {what: round(seconds, 2) for what, seconds in hurry.items()})
        damaged = asyncio.run(measure_damage(options.damaged, options.seed, folder))
        print("damaged:", dict(damaged))
        cancelled = asyncio.run(measure_cancellations(options.cancellations, options.seed, folder))
        print("cancelled:", dict(cancelled))
    wrong = damaged["foreign"] + damaged["doubled"] + damaged["without the file's name"]
    wrong += cancelled["lost"] + cancelled["doubled"] + cancelled["late"]
    return int(bool(wrong) or hurry["second Ctrl-C"] > 2 or hurry["task.cancel()"] > 1.2)


if __name__ == "__main__":
    sys.exit(main())
