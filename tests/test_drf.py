"""The limiter against Django REST framework's own throttle, over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from drf import Server

from b2b_async import Client, Credentials, Quota, RateLimiter, v3
from b2b_async.bulk import BulkJob, SQLiteJournal

if TYPE_CHECKING:
    from pathlib import Path

ITEMS, LIMIT, WINDOW = 900, 60, 3.0
OPTIMUM = (ITEMS / LIMIT - 1) * WINDOW


@pytest.mark.heavy
@pytest.mark.parametrize(("pacing", "bound"), [("burst", OPTIMUM * 1.03), ("auto", OPTIMUM * 1.03 + WINDOW)])
async def test_a_job_takes_the_whole_quota_and_is_never_refused(pacing: str, bound: float, tmp_path: Path) -> None:
    """900 items at 60 in 3 s; the quota is learnt from the headers, and the latency is 1 % of the window."""
    loop = asyncio.get_running_loop()
    async with Server(LIMIT, WINDOW, clock=loop.time, delay=0.015) as server:
        limiter = RateLimiter(Quota(LIMIT, WINDOW, pacing))  # type: ignore[arg-type]
        credentials = Credentials("token", "store")
        async with Client(credentials, base_url=server.url, limiter=limiter) as client:
            async with SQLiteJournal(tmp_path / "journal") as journal:
                started = loop.time()
                summary = await BulkJob(client, range(1, ITEMS + 1), journal=journal).run()
                seconds = loop.time() - started

    assert (summary.succeeded, summary.refused, server.refused) == (ITEMS, 0, 0)
    assert seconds <= bound


async def test_the_vendors_example_is_what_the_framework_says() -> None:
    """An empty history of 150 in 60 s: 60/151 s, 150 left."""
    loop = asyncio.get_running_loop()
    async with Server(150, 60.0, clock=loop.time) as server:
        seen = {}

        async def look(request, handler):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            response = await handler(request)
            seen.update(response.headers)
            return response

        async with Client(Credentials("token", "store"), base_url=server.url, per_attempt=[look]) as client:
            await v3.orders.assign_customer_orders(client, 1)

    assert seen["X-Request-Window-Resets-After"] == "0.3973509933774834 s"
    assert seen["X-Requests-Remaining"] == "150 times"
