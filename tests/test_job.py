"""Bulk jobs: one outcome for each item, whatever happens on the way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from helpers import client_of

from b2b_async import Client, Credentials, InvalidArgumentError, Quota, RateLimiter, RetryPolicy, v3
from b2b_async.bulk import BulkJob, Item, ItemOutcome, JobSummary, Journal, JournalError, Skipped
from b2b_async.bulk.journal import read_outcomes, read_status
from b2b_async.bulk.report import flat
from b2b_async.sandbox import Faults, Sandbox, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """Give an open journal."""
    async with Journal(tmp_path / "job.journal", {"job": "assign"}) as journal:
        yield journal


def fast(sandbox: Sandbox, **options: Any) -> Client:
    """Give a client that the quota does not slow down."""
    return client_of(sandbox, limiter=RateLimiter(Quota(10_000, 60.0, "burst")), **options)


@pytest.mark.heavy
async def test_a_thousand_ids_at_a_scaled_quota(journal: Journal) -> None:
    """One outcome each, none refused, at most a window over the best possible time."""
    store = Store(100, 10)
    async with Sandbox(store, quota="150/3s", latency=0.01) as sandbox:
        async with client_of(sandbox, limiter=RateLimiter(Quota(150, 3.0))) as client:
            summary = await BulkJob(client, store.users, journal=journal).run()

    assert (summary.succeeded, summary.total, summary.refused, summary.requests) == (1000, 1000, 0, 1000)
    assert not summary.stopped
    assert summary.seconds <= 6 * 3 + 3
    assert read_status(journal.path).counts == {"succeeded": 1000}
    assert all(order.company_id for order in store.orders.values())


async def test_each_outcome_is_in_the_journal_before_it_is_told(journal: Journal) -> None:
    """With its result or its reason, its attempts and its place."""
    told: list[ItemOutcome] = []

    def on_outcome(outcome: ItemOutcome | Skipped) -> None:
        assert isinstance(outcome, ItemOutcome)
        told.append(outcome)
        assert outcome in list(read_outcomes(journal.path))

    async with Sandbox(faults=Faults(script=["503"])) as sandbox, fast(sandbox) as client:
        await BulkJob(client, [1001, 9999, "x"], journal=journal, concurrency=1).run(on_outcome)

    rows = [flat(outcome) for outcome in told]
    assert [(row["key"], row["position"], row["status"], row["total"], row["attempts"]) for row in rows] == [
        ("1001", 1, "succeeded", 3, 2),
        ("9999", 2, "failed", None, 1),
        ("x", 3, "failed", None, 0),
    ]
    assert rows[1]["http_status"] == 404
    assert rows[1]["message"] == "User does not exist or action not support for this user."
    assert rows[1]["request_id"] == "sandbox-3"
    assert (rows[2]["error"], rows[2]["outcome"]) == ("InvalidArgumentError", "not_sent")


async def test_duplicates_are_done_once(journal: Journal) -> None:
    """Also while the first is still under way."""
    async with Sandbox(latency=1.0) as sandbox, fast(sandbox) as client:
        told: list[ItemOutcome | Skipped] = []
        summary = await BulkJob(client, [1001, 1002, 1001, 1001], journal=journal).run(told.append)

    assert told[:2] == [Skipped(key="1001", position=n, reason="duplicate") for n in (3, 4)]
    assert (summary.succeeded, summary.duplicates) == (2, 2)
    assert len(sandbox.requests) == 2


async def test_the_next_run_skips_what_is_settled(tmp_path: Path) -> None:
    """And does the rest, from an async iterable as well."""

    async def later() -> AsyncIterator[int | Item]:
        for number in range(1001, 1006):
            await asyncio.sleep(1)
            yield number
        yield Item(77, 1006)

    async with Sandbox() as sandbox, fast(sandbox) as client:
        summaries = []
        for items in ([1001, 9999, 1002], later()):
            async with Journal(tmp_path / "a.journal", {}) as journal:
                summaries.append(await BulkJob(client, items, journal=journal).run())

    assert [(summary.succeeded, summary.failed, summary.skipped) for summary in summaries] == [(2, 1, 0), (4, 0, 2)]
    assert {outcome.position for outcome in read_outcomes(tmp_path / "a.journal")} >= {77}


async def test_items_are_pulled_lazily(journal: Journal) -> None:
    """Not more than are under way."""
    pulled = done = 0
    ahead = 0

    def endless() -> Iterator[int]:
        nonlocal pulled
        for number in range(1001, 1101):
            pulled += 1
            yield number

    def on_outcome(_outcome: ItemOutcome | Skipped) -> None:
        nonlocal done, ahead
        done += 1
        ahead = max(ahead, pulled - done)

    async with Sandbox(latency=0.1) as sandbox, fast(sandbox) as client:
        await BulkJob(client, endless(), journal=journal, concurrency=4).run(on_outcome)

    assert ahead <= 4


async def test_an_outcome_that_nobody_knows_is_unknown(journal: Journal) -> None:
    """The retries are used up, and each attempt may have acted; the next run does it again."""
    async with Sandbox(faults=Faults({"503": 1.0})) as sandbox, fast(sandbox, retry=RetryPolicy(attempts=2)) as client:
        summary = await BulkJob(client, [1001], journal=journal).run()

    assert summary.unknown == 1
    (outcome,) = read_outcomes(journal.path)
    assert outcome.failure is not None
    assert (outcome.failure.error, outcome.failure.outcome, outcome.attempts) == ("ServerError", "unknown", 2)


async def test_wrong_credentials_stop_the_job_at_first_sight(journal: Journal) -> None:
    """Not after ten thousand of the same; nothing is settled by it."""
    async with Sandbox() as sandbox:
        credentials = Credentials("wrong", sandbox.store_hash)
        async with Client(credentials, base_url=sandbox.url) as client:
            summary = await BulkJob(client, range(1001, 1101), journal=journal, concurrency=4).run()

    assert summary.fatal is not None
    assert "401 Unauthorized" in summary.fatal
    assert summary.stopped
    assert len(sandbox.requests) <= 4
    assert set(read_status(journal.path).counts) == {"pending"}


async def test_stopping_finishes_what_is_under_way(journal: Journal) -> None:
    """And gives up what still waits for quota, which the next run does."""
    loop = asyncio.get_running_loop()
    async with Sandbox(quota="6/60s", latency=2.0) as sandbox:
        async with client_of(sandbox, limiter=RateLimiter(Quota(6, 60.0, "burst"))) as client:
            job = BulkJob(client, range(1001, 1101), journal=journal, concurrency=4)
            running = asyncio.ensure_future(job.run())
            await asyncio.sleep(3)  # four are answered; two are under way; two wait for a minute
            job.stop()
            summary = await running

    assert (summary.succeeded, summary.stopped, summary.fatal) == (6, True, None)
    assert loop.time() == pytest.approx(4.0, abs=0.1)
    assert read_status(journal.path).counts == {"succeeded": 6, "pending": 2}


async def test_stopping_gives_up_what_was_refused(journal: Journal) -> None:
    """A refused request is not under way: it waits for quota."""
    loop = asyncio.get_running_loop()
    async with Sandbox(faults=Faults(script=["429"])) as sandbox, fast(sandbox) as client:
        job = BulkJob(client, [1001], journal=journal)
        running = asyncio.ensure_future(job.run())
        await asyncio.sleep(1)
        job.stop()
        summary = await running

    assert (summary.total, summary.stopped, summary.refused) == (0, True, 1)
    assert loop.time() == pytest.approx(1.0, abs=0.1)


async def test_a_cancelled_job_leaves_everything_sound(tmp_path: Path) -> None:
    """Cancelled in the middle; run again, it does each item once more at most."""
    async with Sandbox(Store(10, 10), latency=0.5) as sandbox, fast(sandbox) as client:
        async with Journal(tmp_path / "a.journal", {}) as journal:
            running = asyncio.ensure_future(BulkJob(client, range(1001, 1101), journal=journal, concurrency=8).run())
            await asyncio.sleep(2.2)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        async with Journal(tmp_path / "a.journal", {}) as journal:
            summary = await BulkJob(client, range(1001, 1101), journal=journal, concurrency=8).run()

        assert summary.skipped >= 16
        assert summary.skipped + summary.succeeded == 100
        assert len(sandbox.requests) <= 108
        assert (await v3.orders.assign_customer_orders(client, 1001)).total == 0


async def test_a_journal_that_cannot_be_written_stops_the_job(journal: Journal) -> None:
    """With the journal's own error."""
    assert journal._database is not None
    journal._database.execute("PRAGMA query_only = ON")
    async with Sandbox() as sandbox, fast(sandbox) as client:
        with pytest.raises(JournalError, match="cannot be written"):
            await BulkJob(client, [1001], journal=journal).run()

    assert sandbox.requests == []


@pytest.mark.parametrize("concurrency", [0, True])
async def test_a_job_needs_a_worker(journal: Journal, concurrency: int) -> None:
    """At least one."""
    with pytest.raises(InvalidArgumentError, match="concurrency"):
        BulkJob(Client(Credentials(legacy_token="x")), [], journal=journal, concurrency=concurrency)


async def test_a_summary_adds_up(tmp_path: Path) -> None:
    """Every item is somewhere in it: one of each kind."""
    ids = [1001, 1002, 9998, 9999, 1001, 1003]
    async with Sandbox() as sandbox, fast(sandbox, retry=RetryPolicy(attempts=1)) as client:
        async with Journal(tmp_path / "a.journal", {}) as journal:
            await BulkJob(client, [1001, 9998], journal=journal, concurrency=1).run()
        sandbox.faults = Faults(script=["503"])
        async with Journal(tmp_path / "a.journal", {}) as journal:
            summary = await BulkJob(client, ids, journal=journal, concurrency=1).run()

    assert summary == JobSummary(
        succeeded=1,
        failed=1,
        unknown=1,
        skipped=2,
        skipped_failed=1,
        duplicates=1,
        requests=3,
        refused=0,
        seconds=summary.seconds,
        stopped=False,
        fatal=None,
    )
    assert summary.total == len(ids)


async def test_what_never_left_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    """An outage does not settle anything; what is wrong for good does."""
    async with Sandbox() as sandbox:
        async with Client(
            Credentials("x", "y"), base_url="http://127.0.0.1:9", retry=RetryPolicy(attempts=1)
        ) as client:
            async with Journal(tmp_path / "a.journal", {}) as journal:
                summary = await BulkJob(client, [1001, "x"], journal=journal).run()
        assert (summary.failed, summary.requests) == (2, 0)
        async with fast(sandbox) as client, Journal(tmp_path / "a.journal", {}) as journal:
            summary = await BulkJob(client, [1001, "x"], journal=journal).run()

    assert (summary.succeeded, summary.skipped_failed) == (1, 1)


async def test_a_burst_of_refusals_fails_no_item(journal: Journal) -> None:
    """Waiting for quota is no failure, whatever the retry budget; the limiter holds the load back."""
    script = [None] * 40 + ["429"] * 32
    async with Sandbox(Store(30, 10), quota="10000/3s", faults=Faults(script=script), latency=0.1) as sandbox:
        async with fast(sandbox) as client:
            summary = await BulkJob(client, range(1001, 1301), journal=journal).run()

    assert (summary.succeeded, summary.failed, summary.unknown) == (300, 0, 0)


async def test_a_job_takes_no_more_connections_than_there_are(journal: Journal) -> None:
    """A call that waits for a connection would hold a slot of the quota."""
    with pytest.raises(InvalidArgumentError, match="more than the 8 connections"):
        BulkJob(Client(Credentials(legacy_token="x"), connections=8), [], journal=journal, concurrency=9)
