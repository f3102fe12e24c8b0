"""``b2b-async demo``: a whole job on this machine, in some seconds."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click
from rich.columns import Columns
from rich.console import Console

from b2b_async._config import Credentials
from b2b_async.bulk import ASSIGN, BulkJob, SQLiteJournal, SQLiteReader
from b2b_async.cli._common import Exit, finish, json_option
from b2b_async.cli._conclusion import print_conclusion
from b2b_async.cli._progress import Screen
from b2b_async.client import Client
from b2b_async.ratelimit.limiter import RateLimiter
from b2b_async.ratelimit.quota import Quota
from b2b_async.sandbox import Sandbox, Store

if TYPE_CHECKING:
    from b2b_async.bulk import ItemOutcome, JobSummary

_COMPANIES, _USERS, _STRANGERS = 40, 10, 4
_QUOTA = Quota(150, 3.0)


@click.command()
@json_option
def demo(*, as_json: bool) -> None:
    """Assign 400 customers of 40 companies against a sandbox in this process."""
    console = Console(stderr=as_json, highlight=False)
    console.print(
        f"A pretend B2B Edition in this process, its quota scaled to {_QUOTA.limit} requests in {_QUOTA.window:g} s "
        f"(the real one: 150 in 60 s): {_COMPANIES * _USERS} customers of {_COMPANIES} companies, "
        f"and {_STRANGERS} that belong to none."
    )
    summary, outcomes, store, screen = asyncio.run(_run())
    companies = Counter[str]()
    for outcome in outcomes:
        user = store.users[int(outcome.key)]
        companies[user.company_id or ""] += (outcome.result or {}).get("total", 0)
    cells = [f"{store.companies[number].name}: {companies[number]}" for number in store.companies]
    console.print("\n[bold]Orders assigned, by company[/bold]", Columns(cells, padding=(0, 3)))
    best = (math.ceil(summary.requests / _QUOTA.limit) - 1) * _QUOTA.window
    console.print("\n[bold]Summary[/bold]")
    print_conclusion(console, ASSIGN, summary, screen)
    console.print(f"The best that the quota allows for {summary.requests} requests is {best:.1f} s.")
    # The strangers are meant to fail: the demo has done its job when just they did.
    good = summary.succeeded == _COMPANIES * _USERS and summary.failed == _STRANGERS
    finish("demo", Exit.DONE if good else Exit.INCOMPLETE, {**attrs.asdict(summary), "best": best}, as_json=as_json)


async def _run() -> tuple[JobSummary, list[ItemOutcome], Store, Screen]:
    store = Store(_COMPANIES, _USERS, _STRANGERS)
    quota = f"{_QUOTA.limit}/{_QUOTA.window}s"
    with tempfile.TemporaryDirectory(prefix="b2b-async-") as folder:
        async with (
            Sandbox(store, quota=quota, latency=0.02) as sandbox,
            Client(
                Credentials(sandbox.access_token, sandbox.store_hash),
                base_url=sandbox.url,
                limiter=RateLimiter(_QUOTA),
            ) as client,
            SQLiteJournal(Path(folder) / "demo.journal") as journal,
        ):
            job = BulkJob(client, store.users, journal=journal, total=len(store.users))
            async with Screen(client, job) as screen:
                summary = await job.run(screen)
            outcomes = list(SQLiteReader(journal.path).outcomes())
    return summary, outcomes, store, screen
