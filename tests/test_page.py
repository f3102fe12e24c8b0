"""The report of a job as a page: whole in itself, harmless, and in agreement with the export."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from html import unescape
from typing import TYPE_CHECKING

import pytest
from helpers import client_of
from test_journal import add, begin, outcome_of

from b2b_async import Quota, RateLimiter, RetryPolicy
from b2b_async.bulk import BulkJob, Item, JournalError, SQLiteJournal, read_outcomes, read_status, write_page
from b2b_async.sandbox import Faults, Sandbox, Store

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "<script>alert('1')</script>"


def figures(page: str) -> dict[str, int]:
    """Read the tiles of a page."""
    tiles = re.findall(r'<div class="tile[^"]*"><b>([\d,]+)</b>([^<]+)</div>', page)
    return {name: int(number.replace(",", "")) for number, name in tiles}


def reasons(page: str) -> Counter[tuple[str, str]]:
    """Read how many items failed, or are unknown, with which error."""
    rows = re.findall(r'<td class="n">([\d,]+)</td><td><span class="\w+">(\w+)</span></td><td>(\w+)</td>', page)
    found = Counter[tuple[str, str]]()
    for number, status, error in rows:
        found[status, error] += int(number)
    return found


async def test_the_page_agrees_with_the_export(tmp_path: Path) -> None:
    """Also while the job runs; after a stop, a second run, faults of many kinds, duplicates and bad items."""
    path, page = tmp_path / "job.journal", tmp_path / "report.html"
    rates = dict.fromkeys(("503", "reset-after", "truncated", "500-after"), 0.05)
    items = [*Store(12, 10, 5).users, 1001, 1002, 1001, EVIL]
    async with Sandbox(Store(12, 10, 5), quota="60/60s", faults=Faults(rates, seed=1), latency=0.2) as sandbox:
        limiter = RateLimiter(Quota(60, 60.0))
        async with client_of(sandbox, limiter=limiter, retry=RetryPolicy(attempts=2)) as client:
            for seconds in (5, 1000):
                async with SQLiteJournal(path) as journal:
                    job = BulkJob(client, items, journal=journal, total=len(items))
                    running = asyncio.ensure_future(job.run())
                    await asyncio.sleep(30)
                    write_page(path, page)
                    assert '<span class="badge odd">running</span>' in page.read_text()
                    await asyncio.wait([running], timeout=seconds)
                    job.stop("SIGTERM")
                    await running
                write_page(path, page)
                if seconds == 5:
                    assert '<span class="badge bad">stopped early</span>' in page.read_text()
    text = page.read_text()
    outcomes = list(read_outcomes(path))
    statuses = Counter(outcome.status for outcome in outcomes)
    status = read_status(path)

    tiles = figures(text)
    assert {name: tiles[name] for name in ("succeeded", "failed", "unknown")} == dict(statuses)
    assert tiles["duplicates"] == 3
    assert (tiles["not reached"], tiles["total"]) == (0, len(items))
    assert tiles["requests"] == len(sandbox.requests)
    assert tiles["sent again"] == sum(outcome.repeated for outcome in outcomes)
    assert reasons(text) == Counter((one.status, one.failure.error) for one in outcomes if one.failure)
    assert statuses["unknown"] > 0
    assert all(f"<td>{outcome.key}</td>" in text for outcome in outcomes if outcome.status == "unknown")
    assert '<span class="badge odd">finished, not all succeeded</span>' in text
    assert "Dashed: another run begins." in text
    assert status.total == len(items)
    assert EVIL not in text
    assert EVIL in unescape(text)
    assert not re.search(r"""(src|href)\s*=|https?://(?!127\.)|@import|url\(""", text)


async def test_a_page_of_nothing(tmp_path: Path) -> None:
    """A job that has not begun, and one that has succeeded."""
    path, page = tmp_path / "job.journal", tmp_path / "report.html"
    async with SQLiteJournal(path):
        pass
    write_page(path, page)
    assert "Nothing has left." in page.read_text()
    assert "stopped early" in page.read_text()
    async with Sandbox() as sandbox, client_of(sandbox) as client, SQLiteJournal(path) as journal:
        await BulkJob(client, [1001], journal=journal).run()
    write_page(path, page)

    assert '<span class="badge good">finished</span>' in page.read_text()
    assert "None did." in page.read_text()


async def test_a_page_of_very_much(tmp_path: Path) -> None:
    """Long jobs have the mean of some minutes in a bar; not more than so many unknowns and reasons are listed."""
    path, page = tmp_path / "job.journal", tmp_path / "report.html"
    async with SQLiteJournal(path) as journal:
        await begin(journal)
        for minute in range(0, 1500, 3):
            journal.count(minute, 150.0)
        await add(journal, *((n, str(n)) for n in range(1, 1206)))
        for task in await journal.take(1205):
            outcome = outcome_of(task, "unknown" if task.position <= 1100 else "failed")
            assert outcome.failure is not None
            message = f"{outcome.failure.message} {min(task.position, 60)}"
            failure = type(outcome.failure)(error="ServerError", text="text", outcome="unknown", message=message)
            await journal.record(task, type(outcome)(**{**_fields(outcome), "failure": failure}))
        await journal.end("finished")
    write_page(path, page)
    text = page.read_text()

    assert text.count('<rect class="bar"') == 500
    assert "A bar is the mean of 3 minutes." in text
    assert "And 100 more: b2b-async export" in text
    assert "further reasons" in text
    assert len(text) < 500_000


def _fields(outcome: object) -> dict[str, object]:
    return {name: getattr(outcome, name) for name in outcome.__slots__ if name != "__weakref__"}  # type: ignore[attr-defined]


async def test_a_page_takes_no_journals_place(tmp_path: Path) -> None:
    """Nor that of any other file; a page of before is replaced."""
    path, page = tmp_path / "job.journal", tmp_path / "report.html"
    async with Sandbox() as sandbox, client_of(sandbox) as client, SQLiteJournal(path) as journal:
        await BulkJob(client, [Item(3, 1001)], journal=journal).run()
    page.write_text("")
    write_page(path, page)
    other = tmp_path / "customers.csv"
    other.write_text("customer_id\n")
    with pytest.raises(JournalError, match="exists and is no report"):
        write_page(path, other)
    write_page(path, page)
    with pytest.raises(JournalError, match="exists and is no report: give the page another name"):
        write_page(path, path)
    with pytest.raises(JournalError, match="there is no journal"):
        write_page(tmp_path / "none", page)

    assert page.read_text().startswith("<!doctype html>")
    assert read_status(path).counts.succeeded == 1
