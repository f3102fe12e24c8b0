"""Bulk jobs: one outcome for each item, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sqlite3
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from aioresponses import CallbackResult
from helpers import BASE_URL, CREDENTIALS, GOOD, client_of, http, raw_server
from kills import rows_of

from b2b_async import (
    B2BError,
    Client,
    CompanyId,
    ConfigurationError,
    Credentials,
    InvalidArgumentError,
    NotFoundError,
    Quota,
    QuotaSnapshot,
    RateLimiter,
    RetryPolicy,
    Timeouts,
    v3,
)
from b2b_async.bulk import (
    CREATE_ORDERS,
    BulkJob,
    Counts,
    Item,
    ItemOutcome,
    JobKind,
    JobSummary,
    JournalError,
    JournalItem,
    JournalMismatchError,
    OrderRow,
    Skipped,
    SQLiteJournal,
    SQLiteReader,
)
from b2b_async.bulk.export import flat
from b2b_async.bulk.inputs.companies import customer_ids_of
from b2b_async.bulk.job import seconds_left
from b2b_async.bulk.journal.protocol import NoJournal
from b2b_async.ratelimit.quota import EndpointSnapshot
from b2b_async.sandbox import Faults, Order, Sandbox, Store
from b2b_async.testing import mocked_api

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from jumping import AutojumpLoop

    from b2b_async import Request, Response
    from b2b_async._pipeline import Handler


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SQLiteJournal]:
    """Give an open journal."""
    async with SQLiteJournal(tmp_path / "job.journal") as journal:
        yield journal


def fast(sandbox: Sandbox, **options: Any) -> Client:
    """Give a client that the quota does not slow down."""
    return client_of(sandbox, limiter=RateLimiter(Quota(10_000, 60.0, "burst")), **options)


@pytest.mark.heavy
async def test_a_thousand_ids_at_a_scaled_quota(journal: SQLiteJournal) -> None:
    """One outcome each, none refused, at most a window over the best possible time."""
    store = Store(100, 10)
    async with Sandbox(store, quota="150/3s", latency=0.01) as sandbox:
        async with client_of(sandbox, limiter=RateLimiter(Quota(150, 3.0))) as client:
            summary = await BulkJob(client, store.users, journal=journal).run()

    assert (summary.succeeded, summary.total, summary.refused, summary.requests) == (1000, 1000, 0, 1000)
    assert not summary.stopped
    assert summary.seconds <= 6 * 3 + 3
    assert SQLiteReader(journal.path).status().counts == Counts(succeeded=1000)
    assert all(order.company_id for order in store.orders.values())


async def test_each_outcome_is_in_the_journal_before_it_is_told(journal: SQLiteJournal) -> None:
    """With its result or its reason, its attempts and its place."""
    told: list[ItemOutcome] = []

    def on_outcome(outcome: ItemOutcome | Skipped) -> None:
        assert isinstance(outcome, ItemOutcome)
        told.append(outcome)
        assert outcome in list(SQLiteReader(journal.path).outcomes())

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
    assert (rows[2]["error"], rows[2]["outcome"], rows[2]["sent"]) == ("InvalidArgumentError", "not_sent", None)


async def test_duplicates_are_done_once(journal: SQLiteJournal) -> None:
    """Also while the first is still under way."""
    async with Sandbox(latency=1.0) as sandbox, fast(sandbox) as client:
        told: list[ItemOutcome | Skipped] = []
        summary = await BulkJob(client, [1001, 1002, 1001, 1001], journal=journal).run(told.append)

    assert told[:2] == [Skipped(key="1001", position=n, first=1) for n in (3, 4)]
    assert (summary.succeeded, summary.duplicates) == (2, 2)
    assert len(sandbox.requests) == 2


async def test_the_next_run_goes_on(tmp_path: Path) -> None:
    """It passes over what is settled and takes further items, from an async iterable as well."""

    async def later() -> AsyncIterator[int | Item]:
        for number in (1001, 9999, 1002, 1003, 1004):
            await asyncio.sleep(1)
            yield number
        yield Item(77, 1006)

    told: list[ItemOutcome | Skipped] = []
    async with Sandbox() as sandbox, fast(sandbox) as client:
        summaries = []
        for items in ([1001, 9999, 1002], later()):
            async with SQLiteJournal(tmp_path / "a.journal") as journal:
                summaries.append(await BulkJob(client, items, journal=journal).run(told.append))

    assert [(summary.succeeded, summary.failed, summary.skipped) for summary in summaries] == [(2, 1, 0), (3, 0, 3)]
    assert [outcome.key for outcome in told] == ["1001", "9999", "1002", "1003", "1004", "1006"]
    assert {outcome.position for outcome in SQLiteReader(tmp_path / "a.journal").outcomes()} >= {77}


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([1001, 1003], "the input has changed since the journal was begun: its first 2 items"),
        ([1002, 1001], "the input has changed"),
        ([Item(5, 1001), Item(6, 1002)], "the input has changed"),
        ([1001], "the input has 1 items, but the journal has read 2 of it"),
    ],
)
async def test_another_input_is_refused(journal: SQLiteJournal, items: list[Any], text: str) -> None:
    """Before anything is sent; the same one, and one with more at its end, is welcome."""
    async with Sandbox() as sandbox, fast(sandbox) as client:
        await BulkJob(client, [1001, 1002], journal=journal).run()
        with pytest.raises(JournalMismatchError, match=text):
            await BulkJob(client, items, journal=journal).run()
        assert len(sandbox.requests) == 2
        summary = await BulkJob(client, [1001, 1002, 1003], journal=journal).run()

    assert (summary.succeeded, summary.skipped) == (1, 2)
    assert [run.how for run in SQLiteReader(journal.path).status().runs] == ["finished", "finished"]


async def test_another_job_is_refused(journal: SQLiteJournal) -> None:
    """Another store, server or kind, or what else the caller says; before anything is sent."""
    async with Sandbox() as sandbox, fast(sandbox) as client:
        await BulkJob(client, [1001], journal=journal, about={"input": "x"}).run()
        with pytest.raises(
            JournalMismatchError,
            match="input is 'x' there and 'y' here; job is 'assign' there and 'create-orders' here",
        ):
            await BulkJob(client, [], journal=journal, kind=CREATE_ORDERS, about={"input": "y"}).run()
        async with Client(Credentials("token", "other"), base_url=sandbox.url) as other:
            with pytest.raises(JournalMismatchError, match="store is 'sandbox-store' there and 'other' here"):
                await BulkJob(other, [1001], journal=journal, about={"input": "x"}).run()

    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    ("items", "text"),
    [
        (
            [Item(2, 1001), Item(2, 1002)],
            "position of each item must be a whole number and greater than that before, not 2 after 2",
        ),
        ([Item(2**70, 1001)], "position of each item"),
        (["\ud800"], "the item at position 1 has a key that cannot be written down"),
        ([""], "has a key that cannot"),
    ],
)
async def test_items_that_cannot_be_written_down(journal: SQLiteJournal, items: list[Any], text: str) -> None:
    """Said with their place."""
    async with Sandbox() as sandbox, fast(sandbox) as client:
        with pytest.raises(InvalidArgumentError, match=text):
            await BulkJob(client, items, journal=journal).run()


async def test_an_item_of_another_kind(journal: SQLiteJournal) -> None:
    """Said with its place and what it is."""
    async with Sandbox() as sandbox, fast(sandbox) as client:
        with pytest.raises(InvalidArgumentError, match="item at position 1 is none for create-orders: 1001"):
            await BulkJob(client, [1001], journal=journal, kind=CREATE_ORDERS).run()


async def test_an_item_of_another_kind_in_what_was_read(journal: SQLiteJournal) -> None:
    """Said as clearly when a job goes on."""
    store = Store()
    async with Sandbox(store) as sandbox, fast(sandbox) as client:
        await BulkJob(client, rows_of(store, 1), journal=journal, kind=CREATE_ORDERS).run()
        with pytest.raises(InvalidArgumentError, match="item at position 1 is none for create-orders: 1001"):
            await BulkJob(client, [1001], journal=journal, kind=CREATE_ORDERS).run()


async def test_items_are_pulled_lazily(journal: SQLiteJournal) -> None:
    """Not many more than are under way."""
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

    assert ahead <= 4 + 4 + 2  # under way, a slice, and half of one


async def test_a_slow_source_holds_nothing_back(journal: SQLiteJournal) -> None:
    """What an async iterable has given is done before it gives the next."""
    loop = asyncio.get_running_loop()
    done: list[float] = []

    async def slow() -> AsyncIterator[int]:
        for number in (1001, 1002, 1003):
            yield number
            await asyncio.sleep(100)

    async with Sandbox() as sandbox, fast(sandbox) as client:
        await BulkJob(client, slow(), journal=journal).run(lambda _: done.append(loop.time()))

    assert done == pytest.approx([0, 100, 200], abs=1)


@pytest.mark.parametrize(
    ("quota", "latency", "most"),
    [(Quota(150, 60.0), 0.3, 4), (Quota(150, 60.0), 10.0, 52), (Quota(6000, 60.0), 0.2, 45)],
)
async def test_concurrency_settles(tmp_path: Path, quota: Quota, latency: float, most: int) -> None:
    """As many at once as keep the quota busy, with room for some that are slow, and no more."""
    under_way = highest = 0

    async def watch(request: Request, handler: Handler) -> Response:
        nonlocal under_way, highest
        under_way += 1
        highest = max(highest, under_way)
        try:
            return await handler(request)
        finally:
            under_way -= 1

    store = Store(40, 10)
    async with Sandbox(store, quota=f"{quota.limit}/60s", latency=latency) as sandbox:
        async with client_of(sandbox, limiter=RateLimiter(quota), per_attempt=[watch]) as client:
            async with SQLiteJournal(tmp_path / "a.journal") as journal:
                summary = await BulkJob(client, store.users, journal=journal).run()

    needed = quota.limit / 60 * latency
    assert highest <= most
    assert highest >= min(4, needed)
    windows = -(-400 // quota.limit)
    assert summary.seconds < (windows + 0.5) * 60 + 100 * latency
    assert summary.refused == 0


async def test_an_outcome_that_nobody_knows_is_unknown(journal: SQLiteJournal) -> None:
    """The retries are used up, and each attempt may have acted; the next run does it again and says so."""
    async with Sandbox(faults=Faults({"503": 1.0})) as sandbox, fast(sandbox, retry=RetryPolicy(attempts=2)) as client:
        summary = await BulkJob(client, [1001], journal=journal).run()
        (outcome,) = SQLiteReader(journal.path).outcomes()
        sandbox.faults = Faults()
        again = await BulkJob(client, [1001], journal=journal).run()

    assert (summary.unknown, summary.repeated, again.succeeded, again.repeated) == (1, 0, 1, 1)
    assert outcome.failure is not None
    assert (outcome.failure.error, outcome.failure.outcome, outcome.attempts) == ("ServerError", "unknown", 2)
    assert [outcome.repeated for outcome in SQLiteReader(journal.path).outcomes()] == [True]


def of_a_closed_port(sandbox: Sandbox) -> Client:
    """Give a client of the same server, whose port is closed for now."""
    credentials = Credentials(sandbox.access_token, sandbox.store_hash)
    client = Client(credentials, base_url="http://127.0.0.1:9", retry=RetryPolicy(attempts=1))
    client.base_url = sandbox.url
    return client


async def test_what_was_sent_and_fails_in_passing_stays_unknown(journal: SQLiteJournal) -> None:
    """That the second one never left says nothing of the first; a refusal for good does."""
    async with Sandbox(faults=Faults({"503": 1.0})) as sandbox:
        async with fast(sandbox, retry=RetryPolicy(attempts=1)) as client:
            summaries = [await BulkJob(client, [1001, 9999], journal=journal).run()]
            sandbox.faults = Faults()
            async with of_a_closed_port(sandbox) as closed:
                summaries.append(await BulkJob(closed, [1001, 9999], journal=journal).run())
            summaries.append(await BulkJob(client, [1001, 9999], journal=journal).run())

    assert [(one.succeeded, one.failed, one.unknown, one.repeated) for one in summaries] == [
        (0, 0, 2, 0),
        (0, 0, 2, 0),
        (1, 1, 0, 2),
    ]


async def test_wrong_credentials_stop_the_job_at_first_sight(journal: SQLiteJournal) -> None:
    """Not after ten thousand of the same; nothing is settled by it, and nothing counts as sent."""
    async with Sandbox() as sandbox:
        credentials = Credentials("wrong", sandbox.store_hash)
        async with Client(credentials, base_url=sandbox.url) as client:
            summary = await BulkJob(client, range(1001, 1101), journal=journal, concurrency=4).run()
        assert summary.fatal is not None
        assert "401 Unauthorized" in summary.fatal
        assert (summary.stopped, summary.reason, summary.done) == (True, summary.fatal, 0)
        assert len(sandbox.requests) <= 4
        assert SQLiteReader(journal.path).status().counts == Counts(pending=summary.pending)
        async with fast(sandbox) as client:
            again = await BulkJob(client, range(1001, 1101), journal=journal).run()

    assert (again.succeeded, again.repeated) == (100, 0)


async def test_stopping_finishes_what_is_under_way(journal: SQLiteJournal) -> None:
    """And gives up what still waits for quota, which the next run does."""
    loop = asyncio.get_running_loop()
    async with Sandbox(quota="6/60s", latency=2.0) as sandbox:
        async with client_of(sandbox, limiter=RateLimiter(Quota(6, 60.0, "burst"))) as client:
            job = BulkJob(client, range(1001, 1101), journal=journal)
            running = asyncio.ensure_future(job.run())
            await asyncio.sleep(3)  # four are answered; two are under way; others wait for a minute
            assert job.progress.in_flight == 2
            job.stop("enough")
            summary = await running

    assert (summary.succeeded, summary.stopped, summary.reason, summary.fatal) == (6, True, "enough", None)
    assert loop.time() == pytest.approx(4.0, abs=0.1)
    status = SQLiteReader(journal.path).status()
    assert (status.counts.succeeded, status.counts.pending) == (6, summary.pending)
    assert status.runs[-1].how == "enough"


async def test_stopping_gives_up_what_was_refused(journal: SQLiteJournal) -> None:
    """A refused request is not under way: it waits for quota, and has not been carried out."""
    loop = asyncio.get_running_loop()
    async with Sandbox(faults=Faults(script=["429"])) as sandbox, fast(sandbox) as client:
        job = BulkJob(client, [1001], journal=journal)
        running = asyncio.ensure_future(job.run())
        await asyncio.sleep(1)
        job.stop()
        summary = await running
        again = await BulkJob(client, [1001], journal=journal).run()

    assert (summary.done, summary.pending, summary.stopped, summary.refused) == (0, 1, True, 1)
    assert loop.time() < 120
    assert (again.succeeded, again.repeated) == (1, 0)


async def test_what_may_have_been_done_before_a_refusal_is_not_let_go(journal: SQLiteJournal) -> None:
    """The first attempt's answer was lost; that the second was refused does not undo it."""
    async with Sandbox(faults=Faults(script=["reset-after", "429"])) as sandbox, fast(sandbox) as client:
        job = BulkJob(client, [1001], journal=journal)
        running = asyncio.ensure_future(job.run())
        await asyncio.sleep(10)
        job.stop()
        await running
        again = await BulkJob(client, [1001], journal=journal).run()

    assert (again.succeeded, again.repeated) == (1, 1)


async def test_stopping_before_the_run_does_nothing(journal: SQLiteJournal) -> None:
    """Nor does it send anything."""
    async with Sandbox() as sandbox, fast(sandbox) as client:
        job = BulkJob(client, [1001], journal=journal)
        job.stop()
        summary = await job.run()

    assert (summary.total, summary.stopped, summary.reason) == (0, True, "stop() was called")
    assert sandbox.requests == []


async def test_a_cancelled_job_leaves_everything_sound(tmp_path: Path) -> None:
    """Cancelled in the middle; run again, it does each item once more at most, and says which."""
    async with Sandbox(Store(10, 10), latency=0.5) as sandbox, fast(sandbox) as client:
        async with SQLiteJournal(tmp_path / "a.journal") as journal:
            running = asyncio.ensure_future(BulkJob(client, range(1001, 1101), journal=journal, concurrency=8).run())
            await asyncio.sleep(2.2)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        async with SQLiteJournal(tmp_path / "a.journal") as journal:
            summary = await BulkJob(client, range(1001, 1101), journal=journal, concurrency=8).run()

        assert summary.skipped >= 16
        assert summary.skipped + summary.succeeded == 100
        assert len(sandbox.requests) == 100 + summary.repeated
        assert summary.repeated <= 8
        assert (await v3.orders.assign_customer_orders(client, 1001)).total == 0
        assert [run.how for run in SQLiteReader(tmp_path / "a.journal").status().runs] == ["cancelled", "finished"]


async def test_a_journal_that_cannot_be_written_stops_the_job(
    journal: SQLiteJournal, caplog: pytest.LogCaptureFixture
) -> None:
    """With the journal's own error; an outcome that is not in the journal is in the log."""
    async with Sandbox(latency=5.0) as sandbox, fast(sandbox) as client:
        running = asyncio.ensure_future(BulkJob(client, [1001, 1002], journal=journal).run())
        await asyncio.sleep(1)
        assert journal._database is not None
        journal._database.execute("PRAGMA query_only = ON")
        with caplog.at_level(logging.ERROR), pytest.raises(JournalError, match="cannot be used"):
            await running
        journal._database.execute("PRAGMA query_only = OFF")
        again = await BulkJob(client, [1001, 1002], journal=journal).run()

    assert sorted(record.message for record in caplog.records) == [
        f"{key} (succeeded) is not in the journal, so the next run does it again: None" for key in (1001, 1002)
    ]
    assert (again.succeeded, again.repeated) == (2, 2)


async def test_a_source_that_breaks_loses_nothing(journal: SQLiteJournal) -> None:
    """What is under way finishes and is written; then its error comes out."""

    def breaks() -> Iterator[int]:
        yield from range(1001, 1009)
        message = "the file is gone"
        raise OSError(message)

    async with Sandbox(latency=1.0) as sandbox, fast(sandbox) as client:
        with pytest.raises(OSError, match="the file is gone"):
            await BulkJob(client, breaks(), journal=journal, concurrency=4).run()
        counts = SQLiteReader(journal.path).status().counts
        assert counts.succeeded == len(sandbox.requests) >= 4
        assert counts.pending == counts.all - counts.succeeded


async def test_a_report_that_breaks_loses_nothing(journal: SQLiteJournal) -> None:
    """The outcome is in the journal already; the job stops, and raises."""

    def broken(_outcome: object) -> None:
        message = "no paper"
        raise RuntimeError(message)

    async with Sandbox(latency=1.0) as sandbox, fast(sandbox) as client:
        with pytest.raises(RuntimeError, match="no paper"):
            await BulkJob(client, range(1001, 1011), journal=journal, concurrency=4).run(broken)

    assert SQLiteReader(journal.path).status().counts.succeeded == len(sandbox.requests) == 4


@pytest.mark.parametrize("where", ["kind", "report", "source", "preload"])
async def test_a_cancellation_by_somebody_else_ends_the_job(journal: SQLiteJournal, where: str) -> None:
    """It is no stop, and it must not leave the job without workers."""

    async def run(client: Client, item: int) -> Mapping[str, Any]:
        if where == "kind" and item == 1003:
            raise asyncio.CancelledError
        return {"total": (await v3.orders.assign_customer_orders(client, item)).total}

    def report(outcome: ItemOutcome | Skipped) -> None:
        if where == "report" and outcome.key == "1003":
            raise asyncio.CancelledError

    def source() -> Iterator[int]:
        for number in range(1001, 1011):
            if where in {"source", "preload"} and number == 1005:
                raise asyncio.CancelledError
            yield number

    async with Sandbox() as sandbox, fast(sandbox) as client:
        kind, preload = JobKind(name="mine", run=run), where == "preload"
        job = BulkJob(client, source(), journal=journal, kind=kind, concurrency=1, preload=preload)
        with pytest.raises(RuntimeError, match="was cancelled from outside"):
            await asyncio.wait_for(job.run(report), 1000)

    counts = SQLiteReader(journal.path).status().counts
    assert (0 if where == "preload" else 2) <= counts.succeeded <= 4
    assert counts.all == counts.succeeded + counts.pending
    assert SQLiteReader(journal.path).status().runs[-1].how == "broken off"


@pytest.mark.parametrize("name", ["concurrency", "max_failures"])
@pytest.mark.parametrize("number", [0, True])
async def test_numbers_must_be_sound(journal: SQLiteJournal, name: str, number: int) -> None:
    """At least one."""
    options: dict[str, Any] = {name: number}
    with pytest.raises(InvalidArgumentError, match=name):
        BulkJob(Client(Credentials(legacy_token="x")), [], journal=journal, **options)


async def test_a_summary_adds_up(tmp_path: Path) -> None:
    """Every item is somewhere in it: one of each kind."""
    ids = [1001, 9998, 1001, 1002, 9999, 1003]
    async with Sandbox() as sandbox, fast(sandbox, retry=RetryPolicy(attempts=1)) as client:
        async with SQLiteJournal(tmp_path / "a.journal") as journal:
            await BulkJob(client, ids[:3], journal=journal, concurrency=1).run()
        sandbox.faults = Faults(script=["503"])
        async with SQLiteJournal(tmp_path / "a.journal") as journal:
            summary = await BulkJob(client, ids, journal=journal, concurrency=1).run()

    assert summary == JobSummary(
        succeeded=1,
        failed=1,
        unknown=1,
        skipped=2,
        skipped_failed=1,
        duplicates=1,
        repeated=0,
        reconciled=0,
        pending=0,
        requests=3,
        refused=0,
        seconds=summary.seconds,
        stopped=False,
        reason=None,
        fatal=None,
    )
    assert summary.total == len(ids)


async def test_what_never_left_is_tried_again_by_the_next_run(journal: SQLiteJournal) -> None:
    """An outage does not settle anything; what is wrong for good does."""
    async with Sandbox() as sandbox:
        async with of_a_closed_port(sandbox) as closed:
            summary = await BulkJob(closed, [1001, "x"], journal=journal).run()
        async with fast(sandbox) as client:
            again = await BulkJob(client, [1001, "x"], journal=journal).run()

    assert (summary.failed, summary.requests) == (2, 0)
    assert (again.succeeded, again.skipped_failed, again.repeated) == (1, 1, 0)


async def test_a_burst_of_refusals_fails_no_item(journal: SQLiteJournal) -> None:
    """Waiting for quota is no failure, whatever the retry budget; the limiter holds the load back."""
    script = [None] * 40 + ["429"] * 32
    async with Sandbox(Store(30, 10), quota="10000/3s", faults=Faults(script=script), latency=0.1) as sandbox:
        async with fast(sandbox) as client:
            summary = await BulkJob(client, range(1001, 1301), journal=journal).run()

    assert (summary.succeeded, summary.failed, summary.unknown) == (300, 0, 0)


async def test_a_job_takes_no_more_connections_than_there_are(journal: SQLiteJournal) -> None:
    """A call that waits for a connection would hold a slot of the quota."""
    with pytest.raises(InvalidArgumentError, match="more than the 8 connections"):
        BulkJob(Client(Credentials(legacy_token="x"), connections=8), [], journal=journal, concurrency=9)


async def test_so_many_failures_and_no_more(journal: SQLiteJournal) -> None:
    """The job stops, and the next run goes on."""
    async with Sandbox() as sandbox, fast(sandbox) as client:
        job = BulkJob(client, range(5000, 5100), journal=journal, concurrency=1, max_failures=3)
        summary = await job.run()

    assert (summary.failed, summary.stopped) == (3, True)
    assert summary.reason == "3 items failed or are unknown, as many as were allowed"


async def test_a_server_that_is_away_stops_the_job(journal: SQLiteJournal) -> None:
    """Not a million items are told that it is; a word of the server on an item starts the count anew."""
    async with Sandbox(Store(1, 500), faults=Faults(script=["503"] * 99 + [None] + ["503"] * 500)) as sandbox:
        async with fast(sandbox, retry=RetryPolicy(attempts=1)) as client:
            summary = await BulkJob(client, range(1001, 1501), journal=journal, concurrency=1).run()

    assert (summary.unknown, summary.succeeded, summary.stopped) == (199, 1, True)
    assert summary.reason is not None
    assert summary.reason.startswith(
        "100 items in a row failed, the last one so: Assign Customer Orders to Company: 503"
    )


async def test_what_is_absent_is_no_outage(journal: SQLiteJournal) -> None:
    """The server has answered: after an outage, the job must come to what it has not begun."""
    store = Store(30, 10)
    rows = rows_of(store, 130)
    async with Sandbox(store) as sandbox, fast(sandbox) as client:
        items = [Item(n, row, in_doubt=n < 120) for n, row in enumerate(rows)]
        summary = await BulkJob(client, items, journal=journal, kind=CREATE_ORDERS).run()

    assert (summary.unknown, summary.succeeded, summary.stopped) == (120, 10, False)


async def test_bad_items_hide_no_outage(journal: SQLiteJournal) -> None:
    """They say nothing of the server."""
    items = [n if n % 10 else f"x{n}" for n in range(1, 500)]
    async with Sandbox() as sandbox, of_a_closed_port(sandbox) as client:
        summary = await BulkJob(client, items, journal=journal, concurrency=1).run()

    assert (summary.failed, summary.stopped) == (111, True)


@pytest.mark.parametrize("how", ["raises", "is cancelled"])
async def test_a_source_that_cannot_be_closed(journal: SQLiteJournal, how: str) -> None:
    """The run ends all the same, and the journal can be used again."""

    async def source() -> AsyncIterator[int]:
        try:
            for number in range(1001, 1101):
                yield number
        finally:
            if how == "raises":
                message = "the cursor is lost"
                raise OSError(message)
            await asyncio.sleep(100)

    async with Sandbox(latency=1.0) as sandbox, fast(sandbox) as client:
        job = BulkJob(client, source(), journal=journal, concurrency=2)
        running = asyncio.ensure_future(job.run())
        await asyncio.sleep(2.5)
        job.stop()
        await asyncio.sleep(2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError if how == "is cancelled" else OSError):
            await running
        again = await BulkJob(client, range(1001, 1101), journal=journal).run()

    assert again.succeeded + again.skipped == 100
    assert [run.how for run in SQLiteReader(journal.path).status().runs] == [
        "cancelled" if how == "is cancelled" else "broken off",
        "finished",
    ]


async def test_a_whole_input_that_grows_is_not_whole_until_it_is_read(journal: SQLiteJournal) -> None:
    """Stopped meanwhile, the journal does not say that it needs no input; and nothing of it is lost."""
    grown = range(1, 5001)

    async def slowly() -> AsyncIterator[int]:
        for number in grown:
            if number == 3500:
                await asyncio.sleep(100)
            yield number

    async with Sandbox() as sandbox, fast(sandbox) as client:
        await BulkJob(client, range(1, 11), journal=journal, preload=True).run()
        assert SQLiteReader(journal.path).status().complete
        job = BulkJob(client, slowly(), journal=journal, preload=True)
        asyncio.get_running_loop().call_later(50, job.stop)
        stopped = await job.run()
        status = SQLiteReader(journal.path).status()
        assert (stopped.stopped, status.complete, status.counts.all) == (True, False, 3010)
        job = BulkJob(client, grown, journal=journal, preload=True, max_failures=5)
        await job.run()

    assert (SQLiteReader(journal.path).status().complete, SQLiteReader(journal.path).status().total) == (True, 5000)


async def test_what_is_added_while_the_job_stops_is_told(journal: SQLiteJournal) -> None:
    """A conflicting duplicate has failed for good: somebody must hear of it, in this run or in none."""
    store = Store()
    rows = rows_of(store, 4)
    items = [*rows, *(attrs.evolve(row, total_inc_tax=Decimal("1.10")) for row in rows), rows[0]]
    told: list[ItemOutcome | Skipped] = []
    async with Sandbox(store, latency=1.0) as sandbox, fast(sandbox) as client:
        job = BulkJob(client, iter(items), journal=journal, kind=CREATE_ORDERS, concurrency=4)
        add = journal.add

        async def stopping(entries: Any, **options: Any) -> Any:
            if len(told) > 0:
                asyncio.get_running_loop().call_soon(job.stop)
            return await add(entries, **options)

        journal.add = stopping  # type: ignore[method-assign]
        summary = await job.run(told.append)
        counts = SQLiteReader(journal.path).status().counts

    assert counts.failed > 0
    assert summary.failed == counts.failed
    assert sum(isinstance(one, ItemOutcome) and one.status == "failed" for one in told) == counts.failed
    assert summary.total + summary.pending == counts.all


async def test_a_fingerprint_of_nothing_says_nothing(journal: SQLiteJournal) -> None:
    """Only one that was given and is the same spares the comparison; a run without an input keeps it."""

    class Numbers:
        def __init__(self, fingerprint: str, *numbers: int) -> None:
            self.fingerprint = fingerprint
            self.numbers = numbers

        def after(self, position: int) -> Iterator[Item]:
            return (Item(n, number) for n, number in enumerate(self.numbers) if n > position)

    async with Sandbox() as sandbox, fast(sandbox) as client:
        await BulkJob(client, Numbers("", 1001, 1002), journal=journal).run()
        with pytest.raises(JournalMismatchError, match="the input has changed"):
            await BulkJob(client, Numbers("", 1003, 1002), journal=journal).run()
        await BulkJob(client, Numbers("abc", 1001, 1002), journal=journal).run()
        await BulkJob(client, None, journal=journal).run()
        assert SQLiteReader(journal.path).status().fingerprint == "abc"
        summary = await BulkJob(client, Numbers("abc", 7, 8, 1003), journal=journal).run()

    assert (summary.succeeded, summary.skipped) == (1, 2)


async def test_without_a_journal_nothing_is_remembered() -> None:
    """It is the caller's word; the counts are right all the same."""
    async with Sandbox() as sandbox, fast(sandbox) as client:
        job = BulkJob(client, [1001, 9999, 1001], journal=None, total=3)
        summary = await job.run()
        progress = job.progress

    assert (summary.succeeded, summary.failed, summary.duplicates, summary.pending) == (2, 1, 0, 0)
    assert (progress.done, progress.total, progress.failures) == (3, 3, 1)


async def test_the_journal_that_is_none() -> None:
    """It does what a journal must, and keeps nothing."""
    journal = NoJournal()
    await journal.add(
        [JournalItem(position=1, key="a", value=1), JournalItem(position=2, key="b", value=2)], read=2, checksum=0
    )
    (task,) = await journal.fetch_pending(1)
    await journal.mark_not_sent(task)
    assert journal.counts.pending == 2
    await journal.reset()
    await journal.expect(2, complete=True)
    await journal.end("finished")

    assert await journal.fetch_pending(1) == []
    assert journal.counts == Counts()


# -- inputs that come once -------------------------------------------------------------------------------------


async def test_an_input_that_comes_once_is_kept(tmp_path: Path) -> None:
    """All of it is in the journal before the first is done; the next run needs none."""
    async with Sandbox(latency=1.0) as sandbox, fast(sandbox) as client:
        async with SQLiteJournal(tmp_path / "a.journal") as journal:
            job = BulkJob(client, iter(range(1001, 1011)), journal=journal, preload=True, concurrency=2)
            running = asyncio.ensure_future(job.run())
            await asyncio.sleep(0.5)
            assert SQLiteReader(journal.path).status().complete
            assert job.progress.total == 10
            job.stop()
            first = await running
        async with SQLiteJournal(tmp_path / "a.journal") as journal:
            second = await BulkJob(client, None, journal=journal).run()

    assert (first.succeeded, first.pending) == (2, 8)
    assert (second.succeeded, second.skipped, second.stopped) == (8, 2, False)


async def test_an_input_that_broke_off_is_read_anew(journal: SQLiteJournal) -> None:
    """Nothing of it was done, so nothing is lost, even if another job may have done some of it."""

    def broken() -> Iterator[Item]:
        yield from (Item(number, number, in_doubt=True) for number in range(1001, 3003))
        message = "the line is dead"
        raise OSError(message)

    async with Sandbox() as sandbox, fast(sandbox) as client:
        with pytest.raises(OSError, match="the line is dead"):
            await BulkJob(client, broken(), journal=journal, preload=True).run()
        assert SQLiteReader(journal.path).status().counts.pending == 2000
        assert sandbox.requests == []
        summary = await BulkJob(client, [1002, 1001], journal=journal, preload=True).run()
        with pytest.raises(JournalMismatchError, match="the input has changed"):
            await BulkJob(client, [1001, 1002], journal=journal, preload=True).run()
        more = await BulkJob(client, [1002, 1001, 1003], journal=journal, preload=True).run()
        none = await BulkJob(client, None, journal=journal, preload=True).run()

    assert (summary.succeeded, summary.total) == (2, 2)
    assert (more.succeeded, more.total, none.succeeded, none.total) == (1, 3, 0, 3)


async def test_a_preload_is_stopped_at_once(journal: SQLiteJournal) -> None:
    """Whatever the input waits for; or cancelled."""

    async def waits() -> AsyncIterator[int]:
        try:
            yield 1001
            await asyncio.sleep(5000)
        finally:
            closed.append(asyncio.get_running_loop().time())

    closed: list[float] = []
    loop = asyncio.get_running_loop()
    async with Sandbox() as sandbox, fast(sandbox) as client:
        job = BulkJob(client, waits(), journal=journal, preload=True)
        loop.call_later(10, job.stop)
        summary = await job.run()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(BulkJob(client, waits(), journal=journal, preload=True).run(), 10)

    assert (summary.stopped, summary.total, summary.reason) == (True, 0, "stop() was called")
    assert closed == pytest.approx([10, 20], abs=1)
    assert sandbox.requests == []
    assert [run.how for run in SQLiteReader(journal.path).status().runs] == ["stop() was called", "cancelled"]


async def test_what_was_done_is_not_cleared(journal: SQLiteJournal) -> None:
    """By an input that comes once, and is another one."""
    async with Sandbox() as sandbox, fast(sandbox) as client:
        await BulkJob(client, [9998, 9999], journal=journal).run()
        with pytest.raises(JournalMismatchError, match="the input has 1 items, but the journal has read 2"):
            await BulkJob(client, [1001], journal=journal, preload=True).run()

    assert [outcome.key for outcome in SQLiteReader(journal.path).outcomes()] == ["9998", "9999"]
    assert len(sandbox.requests) == 2


async def test_the_customers_of_companies(journal: SQLiteJournal, caplog: pytest.LogCaptureFixture) -> None:
    """Page by page, of some companies or of all; users without a customer id are told."""
    store = Store(3, 300)
    store.users[1001].customer_id = None  # type: ignore[assignment]
    async with Sandbox(store) as sandbox, fast(sandbox) as client:
        some = [number async for number in customer_ids_of(client, [CompanyId(2), CompanyId(3)])]
        assert sandbox.requests == ["GET /api/v3/io/users"] * 4
        with caplog.at_level(logging.WARNING):
            every = [number async for number in customer_ids_of(client, None)]
        summary = await BulkJob(client, customer_ids_of(client, [CompanyId(2)]), journal=journal, preload=True).run()
        with pytest.raises(InvalidArgumentError, match="limit must be a whole number from 1 to 250, not 0"):
            await v3.users.list_users(client, limit=0)
        with pytest.raises(InvalidArgumentError, match="offset must be a whole number of at least 0"):
            await v3.users.list_users(client, offset=-1)
        page = await v3.users.list_users(client, limit=2, offset=1)

    assert some == list(range(1301, 1901))
    assert every == list(range(1002, 1901))
    assert "1 users have no BigCommerce customer id" in caplog.text
    assert summary.succeeded == 300
    assert (page.total, page.limit, page.offset, len(page.items)) == (900, 2, 1, 2)
    assert (page.items[0].id, page.items[0].customer_id, page.items[0].company_id) == (50001, 1002, 1)


# -- creations -------------------------------------------------------------------------------------------------


async def test_orders_are_created(journal: SQLiteJournal) -> None:
    """Each with its amount and purchase order number; the export has its columns."""
    store = Store()
    rows = rows_of(store, 20)
    async with Sandbox(store) as sandbox, fast(sandbox) as client:
        summary = await BulkJob(client, rows, journal=journal, kind=CREATE_ORDERS).run()

    assert (summary.succeeded, summary.reconciled) == (20, 0)
    for row in rows:
        order = store.orders[row.order_id]
        assert (order.company_id, order.po_number, order.total_inc_tax) == (
            row.company_id,
            row.po_number,
            row.total_inc_tax,
        )
    first = flat(next(iter(SQLiteReader(journal.path).outcomes())), "create-orders")
    assert (first["key"], first["company_id"], first["total_inc_tax"]) == (
        rows[0].order_id,
        "1",
        str(rows[0].total_inc_tax),
    )
    assert first["reconciled"] is False


async def test_a_conflicting_duplicate_fails(journal: SQLiteJournal) -> None:
    """Nobody can say which amount is meant: the first is sent, and the other is not dropped in silence."""
    store = Store()
    (row,) = rows_of(store, 1)
    told: list[ItemOutcome | Skipped] = []
    async with Sandbox(store) as sandbox, fast(sandbox) as client:
        items = [row, row, attrs.evolve(row, total_inc_tax=Decimal("1.10"))]
        summary = await BulkJob(client, items, journal=journal, kind=CREATE_ORDERS).run(told.append)

    assert (summary.succeeded, summary.failed, summary.duplicates, summary.total) == (1, 1, 1, 3)
    assert [outcome.position for outcome in told if isinstance(outcome, ItemOutcome)] == [3, 1]


class Suspects:
    """A job whose first run ended in the middle of a creation."""

    def __init__(self, journal: SQLiteJournal, *, applied: bool, lag: float = 0.0) -> None:
        """Set the stage."""
        self.journal = journal
        self.store = Store()
        self.rows = rows_of(self.store, 3)
        self.sandbox = Sandbox(self.store, lag=lag, faults=Faults(script=["hang-after" if applied else "hang-before"]))

    async def first_run(self, client: Client) -> None:
        """End it as if by a kill while its first POST is under way."""
        job = BulkJob(client, self.rows, journal=self.journal, kind=CREATE_ORDERS, concurrency=1)
        running = asyncio.ensure_future(job.run())
        while not self.sandbox.ledger:  # noqa: ASYNC110 -- the sandbox has no event for it
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    async def again(self, client: Client, **options: Any) -> JobSummary:
        """Run it again."""
        return await BulkJob(client, self.rows, journal=self.journal, kind=CREATE_ORDERS, **options).run()

    @property
    def posts(self) -> int:
        """How many creations were sent, of three orders."""
        return sum(entry.method == "POST" for entry in self.sandbox.ledger)


async def test_what_was_created_before_the_end_is_found(journal: SQLiteJournal) -> None:
    """It is looked up, and not sent again."""
    stage = Suspects(journal, applied=True)
    async with stage.sandbox as sandbox, fast(sandbox) as client:
        await stage.first_run(client)
        summary = await stage.again(client, resend_if_absent=True)

    assert (summary.succeeded, summary.reconciled, summary.repeated) == (3, 1, 0)
    assert stage.posts == 3
    assert not any(entry.repeated for entry in sandbox.ledger)


async def test_what_is_absent_is_sent_again_a_minute_later(journal: SQLiteJournal) -> None:
    """After a second look; meanwhile the others are done."""
    stage = Suspects(journal, applied=False)
    async with stage.sandbox as sandbox, fast(sandbox) as client:
        await stage.first_run(client)
        started = asyncio.get_running_loop().time()
        summary = await stage.again(client, resend_if_absent=True)
        took = asyncio.get_running_loop().time() - started

    assert (summary.succeeded, summary.reconciled, summary.repeated) == (3, 0, 1)
    assert 60 <= took < 62
    methods = [entry.method for entry in sandbox.ledger]
    assert methods == ["POST", "GET", "POST", "POST", "GET", "POST"]
    assert stage.store.orders[stage.rows[0].order_id].company_id == "1"


async def test_what_appears_late_is_found_at_the_second_look(journal: SQLiteJournal) -> None:
    """Records may take their time."""
    stage = Suspects(journal, applied=True, lag=30.0)
    async with stage.sandbox as sandbox, fast(sandbox) as client:
        await stage.first_run(client)
        summary = await stage.again(client, resend_if_absent=True)

    assert (summary.succeeded, summary.reconciled, summary.repeated) == (3, 1, 0)
    assert not any(entry.repeated for entry in sandbox.ledger)


async def test_what_is_absent_stays_unknown_if_the_caller_says_so(journal: SQLiteJournal) -> None:
    """It is not sent again; the outcome says why."""
    stage = Suspects(journal, applied=False)
    async with stage.sandbox as sandbox, fast(sandbox) as client:
        await stage.first_run(client)
        summary = await stage.again(client)
        (outcome,) = SQLiteReader(journal.path).outcomes("unknown")

    assert (summary.succeeded, summary.unknown) == (2, 1)
    assert stage.posts == 3
    assert outcome.failure is not None
    assert "a verification does not show it. It was not sent again" in outcome.failure.text


async def test_what_is_refused_because_it_is_there_is_verifications_again(journal: SQLiteJournal) -> None:
    """Records that appear later than two minutes after: the refusal is believed only if a look-up shows why."""
    stage = Suspects(journal, applied=True, lag=90.0)
    async with stage.sandbox as sandbox, fast(sandbox) as client:
        await stage.first_run(client)
        summary = await stage.again(client, resend_if_absent=True)
        assert (summary.succeeded, summary.unknown) == (2, 1)
        (unknown,) = SQLiteReader(journal.path).outcomes("unknown")
        assert unknown.failure is not None
        assert unknown.failure.message == "Bad Request Error: The order already exists."
        await asyncio.sleep(60)
        last = await stage.again(client, resend_if_absent=True)

    assert (last.succeeded, last.reconciled, last.repeated) == (1, 1, 0)


async def test_what_is_registered_with_another_company_failed(journal: SQLiteJournal) -> None:
    """Somebody else did that; no run tries it again."""
    stage = Suspects(journal, applied=False)
    async with stage.sandbox as sandbox, fast(sandbox) as client:
        await stage.first_run(client)
        stage.store.orders[stage.rows[0].order_id].company_id = "7"
        summary = await stage.again(client, resend_if_absent=True)
        (outcome,) = SQLiteReader(journal.path).outcomes("failed")

    assert (summary.succeeded, summary.failed) == (2, 1)
    assert outcome.failure is not None
    assert (outcome.failure.error, outcome.failure.final) == ("ConflictError", True)
    assert stage.posts == 3


async def test_a_look_up_that_fails_leaves_it_unknown(journal: SQLiteJournal) -> None:
    """Nothing is sent on a guess; wrong credentials stop the job here too."""
    stage = Suspects(journal, applied=False)
    async with stage.sandbox as sandbox, fast(sandbox, retry=RetryPolicy(attempts=1)) as client:
        await stage.first_run(client)
        sandbox.faults = Faults(script=["503", "503"])
        summary = await stage.again(client, resend_if_absent=True, concurrency=1)
        assert (summary.succeeded, summary.unknown) == (2, 1)
        sandbox.legacy_token = sandbox.access_token = "changed"
        summary = await stage.again(client, resend_if_absent=True)

    assert summary.fatal is not None
    assert stage.posts == 3


async def test_a_job_that_is_stopped_while_it_waits_to_look_again(journal: SQLiteJournal) -> None:
    """It ends at once, and the next run begins the look-ups anew."""
    stage = Suspects(journal, applied=False)
    async with stage.sandbox as sandbox, fast(sandbox) as client:
        await stage.first_run(client)
        job = BulkJob(client, stage.rows, journal=journal, kind=CREATE_ORDERS, resend_if_absent=True)
        running = asyncio.ensure_future(job.run())
        await asyncio.sleep(30)
        job.stop()
        stopped = await running
        assert (stopped.succeeded, stopped.stopped, stopped.pending) == (2, True, 1)
        last = await stage.again(client, resend_if_absent=True)

    assert (last.succeeded, last.repeated) == (1, 1)


async def test_a_slow_source_does_not_keep_a_second_look_waiting(journal: SQLiteJournal) -> None:
    """It comes a minute after the first, whenever the next item does."""
    store = Store()
    rows = rows_of(store, 2)
    done: list[tuple[str, float]] = []
    loop = asyncio.get_running_loop()

    async def slow() -> AsyncIterator[Item]:
        yield Item(1, rows[0], in_doubt=True)
        await asyncio.sleep(36_000)
        yield Item(2, rows[1])

    async with Sandbox(store) as sandbox, fast(sandbox) as client:
        job = BulkJob(client, slow(), journal=journal, kind=CREATE_ORDERS, resend_if_absent=True)
        running = asyncio.ensure_future(job.run(lambda outcome: done.append((outcome.key, loop.time()))))
        await asyncio.sleep(30)
        looking = job.progress.verifying
        await running

    assert looking == 1
    assert done == [(rows[0].order_id, pytest.approx(60, abs=1)), (rows[1].order_id, pytest.approx(36_000, abs=1))]


async def test_a_duplicate_that_may_have_been_sent_marks_the_first(journal: SQLiteJournal) -> None:
    """They are one item."""
    store = Store()
    (row,) = rows_of(store, 1)
    store.orders[row.order_id].company_id = row.company_id
    async with Sandbox(store) as sandbox, fast(sandbox) as client:
        items = [Item(1, row), Item(2, row, in_doubt=True)]
        summary = await BulkJob(client, items, journal=journal, kind=CREATE_ORDERS).run()

    assert (summary.succeeded, summary.reconciled, summary.duplicates) == (1, 1, 1)
    assert [entry.method for entry in sandbox.ledger] == ["GET"]


async def test_a_creation_needs_a_journal() -> None:
    """Without one, nobody knows what was sent when something breaks."""
    with pytest.raises(InvalidArgumentError, match="create-orders needs a journal"):
        BulkJob(Client(Credentials(legacy_token="x")), [], journal=None, kind=CREATE_ORDERS)
    with pytest.raises(InvalidArgumentError, match="create-orders needs a journal"):
        BulkJob(Client(Credentials(legacy_token="x")), [], journal=NoJournal(), kind=CREATE_ORDERS)
    path: Any = "a.journal"
    with pytest.raises(InvalidArgumentError, match=r"async with SQLiteJournal\('a.journal'\) as journal"):
        BulkJob(Client(Credentials(legacy_token="x")), [], journal=path)


async def test_a_look_up_that_is_answered_409_shows_nothing(journal: SQLiteJournal) -> None:
    """That is the look's own conflict, and no word on the order."""
    stage = Suspects(journal, applied=True)
    busy = http(409, '{"code": 409, "data": {}, "meta": {"message": "busy"}}')
    async with stage.sandbox as sandbox, fast(sandbox) as client, raw_server(busy) as (url, _):
        await stage.first_run(client)
        async with Client(client.credentials, base_url=url, retry=RetryPolicy(attempts=1)) as refused:
            refused.base_url = sandbox.url
            rows = stage.rows[:2]
            summary = await BulkJob(refused, rows, journal=journal, kind=CREATE_ORDERS).run()
        last = await stage.again(client, resend_if_absent=True)

    assert (summary.unknown, summary.failed) == (1, 1)  # the second one's POST was refused
    assert (last.succeeded, last.reconciled, last.skipped_failed) == (2, 1, 1)
    assert stage.posts == 2


async def test_an_item_that_another_job_may_have_sent_is_verifications(journal: SQLiteJournal) -> None:
    """The caller's word is as good as the journal's."""
    store = Store()
    rows = rows_of(store, 2)
    store.orders[rows[0].order_id].company_id = rows[0].company_id
    async with Sandbox(store) as sandbox, fast(sandbox) as client:
        items = [Item(1, rows[0], in_doubt=True), Item(2, rows[1])]
        summary = await BulkJob(client, items, journal=journal, kind=CREATE_ORDERS).run()

    assert (summary.succeeded, summary.reconciled) == (2, 1)


async def test_many_suspects_do_not_pile_up(journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many wait for their second look at the same time."""
    monkeypatch.setattr("b2b_async.bulk._runner._MOST_LATER", 5)
    store = Store()
    async with Sandbox(store) as sandbox, fast(sandbox) as client:
        items = [Item(n, row, in_doubt=True) for n, row in enumerate(rows_of(store, 20))]
        job = BulkJob(client, items, journal=journal, kind=CREATE_ORDERS, resend_if_absent=True, concurrency=1)
        summary = await job.run()

    assert (summary.succeeded, summary.repeated) == (20, 20)
    looks = [entry.method for entry in sandbox.ledger[:6]]
    assert looks == ["GET"] * 6  # five look-ups, and the first one's second


async def test_lost_answers_do_not_create_twice(journal: SQLiteJournal) -> None:
    """A third of the requests fail in every way; each order is registered once."""
    store = Store(10, 10)
    rates = dict.fromkeys(["reset-before", "reset-after", "truncated", "503", "500-after", "malformed"], 0.05)
    async with Sandbox(store, faults=Faults(rates, seed=3)) as sandbox:
        async with fast(sandbox, timeout=Timeouts(call=30)) as client:
            rows = rows_of(store, 60)
            summaries = [
                await BulkJob(client, rows, journal=journal, kind=CREATE_ORDERS, resend_if_absent=True).run()
                for _ in range(6)
            ]

    assert (summaries[-1].skipped + summaries[-1].succeeded, summaries[-1].skipped_failed) == (60, 0)
    assert not any(entry.repeated for entry in sandbox.ledger)
    assert all(store.orders[row.order_id].company_id for row in rows)


# -- clocks ----------------------------------------------------------------------------------------------------


async def test_a_clock_that_is_set_back_changes_nothing(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No wait and no duration is taken from it; it only dates what happened."""
    stage = Suspects(journal, applied=False)
    wall = 1_800_000_000.0
    monkeypatch.setattr("time.time", lambda: wall)
    async with stage.sandbox as sandbox, fast(sandbox) as client:
        await stage.first_run(client)
        wall -= 3600
        started = asyncio.get_running_loop().time()
        summary = await stage.again(client, resend_if_absent=True)

    assert (summary.succeeded, summary.repeated) == (3, 1)
    assert 60 <= asyncio.get_running_loop().time() - started < 62
    outcomes = list(SQLiteReader(journal.path).outcomes())
    assert all(outcome.seconds is not None and 0 <= outcome.seconds < 1 for outcome in outcomes)
    assert {outcome.finished for outcome in outcomes} == {wall}


async def test_a_machine_that_sleeps_loses_nothing(journal: SQLiteJournal) -> None:
    """Ten minutes pass in the middle of answers: what is lost is unknown and done again."""
    loop: Any = asyncio.get_running_loop()
    jumping: AutojumpLoop = loop
    store = Store(20, 10)
    async with Sandbox(store, quota="60/60s", latency=0.4) as sandbox:
        async with client_of(sandbox, limiter=RateLimiter(Quota(60, 60.0))) as client:
            job = BulkJob(client, store.users, journal=journal, total=200)
            running = asyncio.ensure_future(job.run())
            await asyncio.sleep(65.1)
            before = job.progress
            jumping._jumping.now += 600
            summary = await running
            again = await BulkJob(client, store.users, journal=journal).run()

    assert 0 < before.done < 200
    assert (summary.succeeded + summary.unknown, summary.failed, summary.refused) == (200, 0, 0)
    assert (again.succeeded, again.repeated, again.skipped) == (summary.unknown, summary.unknown, summary.succeeded)
    assert SQLiteReader(journal.path).status().counts == Counts(succeeded=200)


# -- how long it will take -------------------------------------------------------------------------------------


def books(**changes: Any) -> QuotaSnapshot:
    """Give a quota of 150 in a minute of which nothing is used."""
    snapshot = QuotaSnapshot(
        limit=150,
        window=60.0,
        used=0,
        foreign=0,
        left=150,
        next_in=0.0,
        held_for=0.0,
        waiting_interactive=0,
        waiting_bulk=0,
        requests=0,
        refused=0,
    )
    return attrs.evolve(snapshot, **changes)


def test_the_time_left_is_what_the_quota_allows() -> None:
    """Not what the first seconds look like; unless the items go slower than the quota."""
    endpoint = EndpointSnapshot(route="x", limit=15, window=60.0, used=15, next_in=1.0)

    assert seconds_left(1000, 0, 0.0, books()) == pytest.approx(850 * 0.4)
    assert seconds_left(1000, 120, 2.0, books(left=30)) == pytest.approx(970 * 0.4)
    assert seconds_left(1000, 0, 0.0, books(foreign=75, left=0)) == pytest.approx(1000 * 0.8)
    assert seconds_left(1000, 100, 200.0, books()) == pytest.approx(2000)
    assert seconds_left(30, 0, 0.0, books(endpoints=(endpoint,))) == pytest.approx(120)
    assert seconds_left(0, 100, 100.0, books()) == 0


async def test_progress_before_the_run_is_none(journal: SQLiteJournal) -> None:
    """And nobody knows how long it will take if nobody knows how much there is."""
    async with Sandbox() as sandbox, fast(sandbox) as client:
        job = BulkJob(client, [1001], journal=journal)
        progress = job.progress

    assert (progress.done, progress.total, progress.in_flight, progress.seconds, progress.eta) == (
        0,
        None,
        0,
        0.0,
        None,
    )


# -- kinds of one's own ----------------------------------------------------------------------------------------


async def test_a_kind_of_ones_own(journal: SQLiteJournal) -> None:
    """Any function of a client and an item; its values and results are exported as JSON."""

    async def look(client: Client, customer_id: int) -> Mapping[str, Any]:
        page = await v3.users.list_users(client, company_id=customer_id, limit=1)
        if not page.items:
            message = "nobody there"
            raise NotFoundError(message, outcome="rejected")
        return {"users": page.total}

    async with Sandbox() as sandbox, fast(sandbox) as client:
        summary = await BulkJob(client, [1, 99], journal=journal, kind=JobKind(name="look", run=look)).run()
    good, bad = (flat(outcome, "look") for outcome in SQLiteReader(journal.path).outcomes())

    assert (summary.succeeded, summary.failed) == (1, 1)
    assert (good["value"], good["result"]) == ("1", '{"users": 10}')
    assert (bad["result"], bad["message"], bad["attempts"]) == ("null", "nobody there", 0)


async def test_a_kind_with_a_bug_stops_the_job(journal: SQLiteJournal) -> None:
    """Its error comes out, once what is under way is written."""

    async def bug(_client: Client, item: int) -> Mapping[str, Any]:
        return {"ratio": 1 / item}

    async with Sandbox() as sandbox, fast(sandbox) as client:
        with pytest.raises(ZeroDivisionError) as caught:
            await BulkJob(client, [1, 0], journal=journal, kind=JobKind(name="bug", run=bug), concurrency=1).run()

    assert caught.value.__notes__ == ["while item 0 at position 2 was done; it may have been"]
    assert SQLiteReader(journal.path).status().counts == Counts(succeeded=1, pending=1)


async def test_looking_for_an_order(journal: SQLiteJournal) -> None:
    """By whichever way the credentials allow; each answer means one thing."""
    del journal
    from b2b_async.v2.orders import find_created_order

    store = Store()
    store.add_order(Order("BC1", 1001, Decimal(1), company_id="1"))
    registered, absent = list(store.orders)[:2]
    store.orders[registered].company_id = "1"
    async with Sandbox(store) as sandbox, fast(sandbox) as client:
        found = await find_created_order(client, "1", order_id=registered)
        assert found is not None
        assert (found.order_id, found.reconciled) == (registered, True)
        assert await find_created_order(client, 1, order_id=absent) is None
        assert (await find_created_order(client, "1", order_id="BC1")) is not None
        assert all("companyIdBCId" in request for request in sandbox.requests[-1:])
        with pytest.raises(B2BError, match="registered with company 1, not with company 2"):
            await find_created_order(client, "2", order_id=registered)
        sandbox.access_token = "changed"
        assert await find_created_order(client, "1", order_id=registered) is not None
        sandbox.legacy_token = "changed"
        with pytest.raises(B2BError, match="401"):
            await find_created_order(client, "1", order_id=registered)


# -- what the real world answers -------------------------------------------------------------------------------


class _Denying:
    """Answers as a script says, by customer id."""

    def __init__(self, answers: dict[int, tuple[int, Any]]) -> None:
        self.answers = answers
        self.asked: list[int] = []

    def __call__(self, _url: Any, **_options: Any) -> CallbackResult:
        number = int(str(_url).split("/")[-3])
        self.asked.append(number)
        status, payload = self.answers.get(number, (200, {"code": 200, "data": {"total": 1}}))
        return CallbackResult(status=status, payload=payload)


FORBIDDEN = (403, {"code": 403, "data": {}, "message": "Forbidden"})


async def _denied(items: range, denied: Iterable[int], journal: SQLiteJournal) -> tuple[Any, _Denying]:
    script = _Denying(dict.fromkeys(denied, FORBIDDEN))
    with mocked_api() as api:
        api.put(re.compile(re.escape(BASE_URL)), callback=script, repeat=True)
        async with Client(CREDENTIALS, limiter=RateLimiter(Quota(10_000, 60.0))) as client:
            return await BulkJob(client, items, journal=journal).run(), script


@pytest.mark.parametrize("first", [1, 77, 200])
async def test_a_403_of_one_item_does_not_end_the_job(journal: SQLiteJournal, first: int) -> None:
    """Not even as the first one: the vendor uses it by company, too. The next run tries it again."""
    summary, _ = await _denied(range(1, 201), [first], journal)
    assert (summary.succeeded, summary.failed, summary.stopped, summary.fatal) == (199, 1, False, None)
    again, script = await _denied(range(1, 201), [], journal)
    assert (again.succeeded, again.skipped, again.repeated, script.asked) == (1, 199, 0, [first])


async def test_a_403_of_the_first_five_ends_the_job(journal: SQLiteJournal) -> None:
    """Then it is about the credentials; what was not reached is done by the next run, and those five again."""
    summary, script = await _denied(range(1, 201), range(1, 201), journal)

    assert (summary.stopped, summary.succeeded) == (True, 0)
    assert 5 <= summary.failed <= 9
    assert "the first 5 items were all answered 403" in str(summary.fatal)
    assert "403 Forbidden" in str(summary.fatal)
    assert len(script.asked) == summary.failed
    assert summary.total == summary.done + summary.pending
    again, _ = await _denied(range(1, 201), [], journal)
    assert (again.succeeded, again.failed) == (200, 0)


async def test_a_403_twenty_times_in_a_row_ends_the_job(journal: SQLiteJournal) -> None:
    """And not nineteen times."""
    few, _ = await _denied(range(1, 101), range(40, 59), journal)
    assert (few.succeeded, few.failed, few.stopped) == (81, 19, False)
    async with SQLiteJournal(journal.path.with_name("other")) as other:
        many, _ = await _denied(range(1, 101), range(40, 80), other)
    assert (many.stopped, many.fatal is not None) == (True, True)
    assert "the last 20 items were all answered 403" in str(many.fatal)
    assert 38 <= many.succeeded <= 39


async def test_a_few_403s_alone_are_failures(journal: SQLiteJournal) -> None:
    """Of four items nobody can say more."""
    summary, _ = await _denied(range(1, 5), range(1, 5), journal)

    assert (summary.failed, summary.stopped) == (4, False)


async def test_odd_answers_of_single_items(journal: SQLiteJournal) -> None:
    """200 items: one 403, one 202, one without a number, one empty: one run, all others done."""
    answers: dict[int, tuple[int, Any]] = {1: FORBIDDEN, 2: (202, {"code": 202, "data": {}}), 3: (200, {"code": 200})}
    script = _Denying(answers)
    outcomes: list[Any] = []
    with mocked_api() as api:
        api.put(re.compile(re.escape(BASE_URL)), callback=script, repeat=True)
        async with Client(CREDENTIALS, limiter=RateLimiter(Quota(10_000, 60.0))) as client:
            summary = await BulkJob(client, range(1, 201), journal=journal).run(outcomes.append)
            again = await BulkJob(client, range(1, 201), journal=journal).run()

    assert (summary.succeeded, summary.failed, summary.unknown) == (199, 1, 0)
    assert {one.key: one.result for one in outcomes if one.key in {"2", "3", "4"}} == {
        "2": {"total": None},
        "3": {"total": None},
        "4": {"total": 1},
    }
    assert (again.succeeded, again.failed, again.skipped) == (0, 1, 199)


async def test_a_page_under_403_ends_no_job(journal: SQLiteJournal) -> None:
    """Something in front of the API is too busy; the items wait."""
    page = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"
    async with raw_server(page, GOOD) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            summary = await BulkJob(client, range(1, 9), journal=journal).run()

    assert (summary.succeeded, summary.failed, summary.refused) == (8, 0, 1)
    assert len(arrived) == 9


async def test_what_a_503_like_status_did_not_reach_is_tried_by_the_next_run(journal: SQLiteJournal) -> None:
    """An edge that cannot connect to the origin has rejected nothing for good."""
    for script, counts in ((_Denying({1: (530, None)}), (0, 1)), (_Denying({}), (1, 0))):
        with mocked_api() as api:
            api.put(re.compile(re.escape(BASE_URL)), callback=script, repeat=True)
            async with Client(CREDENTIALS, retry=RetryPolicy(attempts=1)) as client:
                summary = await BulkJob(client, [1], journal=journal).run()
        assert (summary.succeeded, summary.failed) == counts


def test_a_job_of_v2_needs_a_legacy_token(journal: SQLiteJournal) -> None:
    """Said before anything is opened, read or sent."""
    client = Client(Credentials("token", "hash"))
    with pytest.raises(ConfigurationError, match=r"create-orders is a v2 operation and needs legacy_token"):
        BulkJob(client, [], journal=journal, kind=CREATE_ORDERS)


async def test_the_total_is_what_is_done_and_what_is_not(journal: SQLiteJournal) -> None:
    """Of an input that was said to have a thousand items, though few of them have been read."""
    async with Sandbox(Store(100, 10), quota="10000/60s", latency=1.0) as sandbox, fast(sandbox) as client:
        job = BulkJob(client, range(1001, 2001), journal=journal, total=1000, concurrency=4)
        running = asyncio.ensure_future(job.run())
        await asyncio.sleep(3.5)
        job.stop()
        summary = await running

    assert (summary.done, summary.pending, summary.total) == (16, 984, 1000)
    status = SQLiteReader(journal.path).status()
    assert (status.all, status.not_reached, status.counts.succeeded) == (1000, 984, 16)


# -- refusals for the rate of requests -----------------------------------------------------------------------------


class Flood:
    """A server that refuses for the rate of requests; it counts by itself what it did."""

    def __init__(self, refuse: Callable[[int], bool]) -> None:
        """Refuse the requests whose numbers *refuse* selects."""
        self.refuse = refuse
        self.requests = 0
        self.done = Counter[str]()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests += 1
        if self.refuse(self.requests):
            writer.write(http(429, "slow down", content_type="text/plain"))
        else:
            self.done[head.split(" ")[1]] += 1
            writer.write(GOOD)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def flooded(flood: Flood) -> AsyncGenerator[Client]:
    """Run a server and yield a client of it."""
    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    async with server, Client(CREDENTIALS, base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        yield client


async def test_a_refusal_costs_a_job_time_and_no_item() -> None:
    """Far more than six in a row, which end a single call."""
    flood = Flood(lambda number: number % 20 > 5)
    async with flooded(flood) as client:
        summary = await BulkJob(client, range(1, 9), journal=None).run()
    assert (summary.succeeded, summary.failed, summary.unknown) == (8, 0, 0)
    assert summary.refused > 10
    assert set(flood.done.values()) == {1}


async def test_a_job_stops_after_half_an_hour_of_refusals_alone(journal: SQLiteJournal) -> None:
    """It can be resumed."""
    flood = Flood(lambda number: number > 3)
    loop = asyncio.get_running_loop()
    async with flooded(flood) as client:
        summary = await BulkJob(client, range(1, 9), journal=journal).run()
        took = loop.time()
        flood.refuse = lambda _: False
        resumed = await BulkJob(client, range(1, 9), journal=journal).run()
    assert 1800 <= took < 2000
    assert (summary.succeeded, summary.failed, summary.pending) == (3, 0, 5)
    assert summary.stopped
    assert summary.fatal is None
    assert summary.reason is not None
    assert summary.reason.startswith("the server has refused every request for 30 minutes for the rate of requests")
    assert (resumed.succeeded, resumed.skipped) == (5, 3)


async def test_refusals_of_verifications_are_waited_for_as_well(journal: SQLiteJournal) -> None:
    """The limit may be another one; None is for none."""

    async def look(client: Client, _item: int) -> Mapping[str, Any] | None:
        await v3.companies.list_companies(client)
        return None

    async with Sandbox(faults=Faults(script=["429"] * 9)) as sandbox, fast(sandbox) as client:
        kind = JobKind(name="look", run=look, find=look)  # type: ignore[arg-type]
        job = BulkJob(client, [Item(1, 1, in_doubt=True)], journal=journal, kind=kind, max_throttled=None)
        summary = await job.run()
    assert summary.refused == 9
    assert summary.unknown == 1


@pytest.mark.parametrize("seconds", [0, -1.0, True, float("nan"), "30"])
async def test_max_throttled_must_be_seconds(seconds: Any) -> None:
    """It is checked before anything is sent."""
    async with Client(CREDENTIALS) as client:
        with pytest.raises(InvalidArgumentError, match="max_throttled must be seconds above 0"):
            BulkJob(client, [1], journal=None, max_throttled=seconds)


# -- short runs, and runs that end at once -------------------------------------------------------------------------


async def test_runs_shorter_than_a_minute_settle_an_item_in_doubt(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal remembers when it was first found absent."""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr("b2b_async.bulk._runner.time.time", lambda: 1e9 + loop.time())
    store = Store()
    store.add_order(Order("9001", 1001, Decimal("10.50")))
    row = OrderRow(company_id="1", customer_id="1001", order_id="9001", total_inc_tax=Decimal("10.50"))
    summaries: list[JobSummary] = []
    async with Sandbox(store) as sandbox, fast(sandbox) as client:
        for _ in range(4):
            job = BulkJob(
                client,
                [Item(1, row, in_doubt=True)],
                journal=journal,
                kind=CREATE_ORDERS,
                resend_if_absent=True,
            )
            loop.call_later(20, job.stop)
            summaries.append(await job.run())
            if summaries[-1].succeeded:
                break
    assert [summary.succeeded for summary in summaries] == [0, 0, 0, 1]
    assert [entry.method for entry in sandbox.ledger].count("POST") == 1
    assert [entry.method for entry in sandbox.ledger].count("GET") == 2, "no run verifies it before it is due"


async def test_a_further_attempt_asks_the_journal(journal: SQLiteJournal) -> None:
    """Where another process runs the job by now, nothing more is sent."""
    requests: list[int] = []

    async def take_over(request: Request, handler: Handler) -> Response:
        requests.append(request.attempt)
        response = await handler(request)
        with contextlib.closing(sqlite3.connect(journal.path)) as other, other:
            other.execute("INSERT INTO runs (process, started, quota, window) VALUES ('other', 1, 150, 60)")
        return response

    async with Sandbox(faults=Faults(script=["503"] * 3)) as sandbox:
        async with fast(sandbox, per_attempt=[take_over]) as client:
            with pytest.raises(JournalError, match="another process has begun to run the journal"):
                await BulkJob(client, [1001], journal=journal).run()
    assert requests == [1, 2]
    assert len(sandbox.ledger) == 1


async def test_a_refusal_in_an_envelope_costs_a_job_time_and_no_item(journal: SQLiteJournal) -> None:
    """Nothing else ends it, but half an hour of them."""
    refused = http(200, '{"code": 429, "data": {}, "message": "Too many requests"}')
    async with raw_server(refused) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        summary = await BulkJob(client, range(1, 4), journal=journal).run()
    assert (summary.failed, summary.unknown, summary.pending) == (0, 0, 3)
    assert summary.reason is not None
    assert summary.reason.startswith("the server has refused every request for 3")


async def test_two_refusals_with_an_outage_between_do_not_stop_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only refusals count."""
    async with Sandbox() as sandbox, fast(sandbox) as client:
        job = BulkJob(client, [1001], journal=None)
        await job.run()
        runner = job._runner
        assert runner is not None
        loop = asyncio.get_running_loop()
        runner._observe_throttling(throttled=True)
        monkeypatch.setattr(loop, "time", lambda: 1e6)
        runner._observe_throttling(throttled=True)
    assert runner.reason is None


async def test_thousands_of_items_that_wait_for_their_minute_are_put_off(journal: SQLiteJournal) -> None:
    """One after the other, not one inside the other."""

    async def find(_client: Client, _item: int) -> Mapping[str, Any] | None:
        return None

    async def run(_client: Client, item: int) -> Mapping[str, Any]:
        return {"item": item}

    kind = JobKind(name="found", run=run, find=find)
    items = [Item(number, number, in_doubt=True) for number in range(1, 1501)]
    async with Sandbox() as sandbox, fast(sandbox) as client:
        for _ in range(2):
            job = BulkJob(client, items, journal=journal, kind=kind, resend_if_absent=True)
            asyncio.get_running_loop().call_later(30, job.stop)
            summary = await job.run()
        assert summary.failed == 0
        resumed = await BulkJob(client, items, journal=journal, kind=kind, resend_if_absent=True).run()
    assert resumed.pending == 0


async def test_an_input_that_fails_at_once_ends_the_job() -> None:
    """Without a journal nothing has to be waited for, so that the workers are stopped before their first step."""

    def nothing() -> Iterator[int]:
        message = "the export is empty"
        raise LookupError(message)
        yield

    async with Sandbox() as sandbox, fast(sandbox) as client:
        with pytest.raises(LookupError, match="the export is empty"):
            await BulkJob(client, nothing(), journal=None).run()

    assert sandbox.requests == []
