"""Kill -9 at random instants, the same job again each time, and the ledger of the sandbox to tell what really happened.

The job runs in a process of its own (``python kills.py …``, see ``child``), which says of each outcome that it was
told; the sandbox runs in the process that kills.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from b2b_async import Client, Credentials, Quota, RateLimiter, Timeouts
from b2b_async.bulk import ASSIGN, CREATE_ORDERS, BulkJob, ItemOutcome, OrderRow, SQLiteJournal, SQLiteReader, _runner
from b2b_async.sandbox import Faults, Sandbox, Store

if TYPE_CHECKING:
    from b2b_async.bulk import Skipped

RATES = dict.fromkeys(
    ("503", "reset-before", "reset-after", "truncated", "malformed", "500-after", "504-after", "close-after", "slow"),
    0.01,
)
CONCURRENCY = 16


@attrs.define
class Life:
    """What one process did before it was killed, or came to its end."""

    told: dict[str, str] = attrs.field(factory=dict)
    """The outcomes that it told of, by key."""
    requests: range = range(0)
    """The entries of the ledger that are its own."""
    under_way: int = 0
    """Items that had left and had no outcome in the journal when it died."""
    summary: str = ""
    """What it said at its end."""


@attrs.define
class Kills:
    """A job that is killed again and again."""

    kind: str
    items: int
    store: Store
    sandbox: Sandbox
    journal: Path
    look_again: float = 60.0
    lives: list[Life] = attrs.field(factory=list)

    async def live(self, outcomes: int | None, after: float = 0.0) -> Life:
        """Run the job until it has told of so many outcomes, and kill it *after* seconds more; None lets it finish."""
        life = Life()
        start = len(self.sandbox.ledger)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, self.kind, str(self.items), str(self.journal), self.sandbox.url),
            *("--look-again", str(self.look_again)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        killing: asyncio.TimerHandle | None = None
        if outcomes == 0:
            killing = asyncio.get_running_loop().call_later(after, _kill, process)
        async for line in process.stdout:
            word, _, rest = line.decode().rstrip("\n").partition(" ")
            if not line.endswith(b"\n"):
                continue  # cut off by the kill
            if word == "summary":
                life.summary = rest
                continue
            life.told[rest] = word
            if killing is None and outcomes is not None and len(life.told) >= outcomes:
                killing = asyncio.get_running_loop().call_later(after, _kill, process)
        await process.wait()
        if killing is not None:
            killing.cancel()
        await asyncio.sleep(0.05)  # what it had sent arrives
        life.requests = range(start, len(self.sandbox.ledger))
        life.under_way = self.count("status IS NULL AND in_doubt_since IS NOT NULL")
        self.lives.append(life)
        return life

    def count(self, condition: str) -> int:
        """Count items in the journal."""
        if not self.journal.exists():
            return 0
        with contextlib.closing(sqlite3.connect(self.journal)) as database:
            try:
                return int(database.execute(f"SELECT count(*) FROM items WHERE {condition}").fetchone()[0])  # noqa: S608
            except sqlite3.OperationalError:  # killed before there were tables
                return 0

    def check(self) -> dict[str, int]:
        """Compare what was told, what the journal says and what really happened; give the figures."""
        final = {outcome.key: outcome for outcome in SQLiteReader(self.journal).outcomes()}
        lost = [
            key
            for life in self.lives
            for key, status in life.told.items()
            if key not in final or (status == "succeeded" and final[key].status != "succeeded")
        ]
        arrivals: dict[str, set[int]] = {}
        for number, life in enumerate(self.lives):
            for place in life.requests:
                entry = self.sandbox.ledger[place]
                if entry.method != "GET" and entry.subject is not None and entry.applied:
                    arrivals.setdefault(entry.subject, set()).add(number)
        return {
            "items": self.items,
            "kills": len(self.lives) - 1,
            "final outcomes": len(final),
            "not succeeded": sum(outcome.status != "succeeded" for outcome in final.values()),
            "told and lost": len(lost),
            "told": sum(len(life.told) for life in self.lives),
            "requests": len(self.sandbox.ledger),
            "sent twice though done (ledger)": sum(entry.repeated for entry in self.sandbox.ledger),
            "done in more than one life": sum(len(lives) > 1 for lives in arrivals.values()),
            "under way at all kills": sum(life.under_way for life in self.lives),
            "under way at one kill, at most": max(life.under_way for life in self.lives),
            "said to be repeated": sum(outcome.repeated for outcome in final.values()),
        }


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)


def rows_of(store: Store, number: int) -> list[OrderRow]:
    """Give the first orders of a store."""
    return [
        OrderRow(
            company_id=str(store.users[order.customer_id].company_id),
            customer_id=str(order.customer_id),
            order_id=order.id,
            total_inc_tax=order.total_inc_tax,
            po_number=f"PO {order.id}",
        )
        for order in list(store.orders.values())[:number]
    ]


def store_for(kind: str, items: int) -> Store:
    """Give a store with enough customers, or orders."""
    return Store(1 + items // (100 if kind == "assign" else 200), 100)


async def kill_again_and_again(
    kind: str, items: int, kills: int, folder: Path, *, seed: int = 0, look_again: float = 60.0, lag: float = 0.0
) -> Kills:
    """Kill a job at so many random instants, and let it finish."""
    dice = random.Random(seed)
    store = store_for(kind, items)
    faults = Faults(RATES, seed=seed, slow_seconds=0.2)
    async with Sandbox(store, quota="100000/60s", faults=faults, lag=lag) as sandbox:
        job = Kills(kind, items, store, sandbox, folder / f"{kind}.journal", look_again)
        for _ in range(kills):
            # So spread that the last kill comes near the end, whatever the speed; some before the first outcome.
            outcomes = dice.randrange(0, max(1, 2 * items // (kills + 2)))
            await job.live(outcomes, dice.random() * (1.0 if outcomes == 0 else 0.02))
        for _ in range(10):  # what is unknown at the end of a run is for the next one
            await job.live(None)
            if job.count("NOT final") == 0:
                break
    return job


# -- in the process that is killed -----------------------------------------------------------------------------------


async def child(kind: str, items: int, journal: Path, url: str) -> None:
    """Run the job, and tell of each outcome on stdout."""
    sandbox = Sandbox()
    credentials = Credentials(sandbox.access_token, sandbox.store_hash, sandbox.legacy_token)
    counts: Counter[str] = Counter()

    def tell(outcome: ItemOutcome | Skipped) -> None:
        assert isinstance(outcome, ItemOutcome)
        counts[outcome.status] += 1
        os.write(1, f"{outcome.status} {outcome.key}\n".encode())

    limiter = RateLimiter(Quota(100_000, 60.0, "burst"))
    timeouts = Timeouts(call=20, attempt=5)
    async with Client(credentials, base_url=url, limiter=limiter, timeout=timeouts) as client:
        async with SQLiteJournal(journal) as opened:
            job = BulkJob(
                client,
                range(Store.FIRST_CUSTOMER, Store.FIRST_CUSTOMER + items)
                if kind == "assign"
                else rows_of(store_for(kind, items), items),
                journal=opened,
                kind=ASSIGN if kind == "assign" else CREATE_ORDERS,
                concurrency=CONCURRENCY,
                resend_if_absent=True,
            )
            summary = await job.run(tell)
    os.write(1, f"summary {json.dumps(attrs.asdict(summary))}\n".encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("items", type=int)
    parser.add_argument("journal", type=Path)
    parser.add_argument("url")
    parser.add_argument("--look-again", type=float)
    options = parser.parse_args()
    _runner.VERIFY_AGAIN = options.look_again
    asyncio.run(child(options.kind, options.items, options.journal, options.url))
