"""The limiter's queues: order, cancellation, holds, and the end of waiting."""

from __future__ import annotations

import asyncio

import pytest

from b2b_async import ConfigurationError, Quota, QuotaWaitTooLongError, RateLimiter
from b2b_async._headers import QuotaHeaders
from b2b_async._limiter import Waiter
from b2b_async.quota import Ticket

SILENCE = QuotaHeaders()


def said(remaining: int, resets_after: float = 0.4) -> QuotaHeaders:
    """Give headers with *remaining*."""
    return QuotaHeaders(remaining=remaining, resets_after=resets_after)


async def full_limiter(limit: int = 2) -> RateLimiter:
    """Give a limiter whose slots come back at 60.1 s."""
    limiter = RateLimiter(Quota(limit, 60.0, "burst", reserve=0), uniform=lambda: 0.5)
    for n in range(limit):
        limiter.report(await limiter.acquire(), 200, said(limit - n))
    return limiter


async def settle() -> None:
    """Let everything that can happen now happen."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served_and_interactive_before_bulk() -> None:
    """Whatever the order of asking; a refused call goes first of its lane."""
    limiter = await full_limiter(1)
    order: list[str] = []

    async def use(name: str, lane: str, *, first: bool = False) -> None:
        ticket = await limiter.acquire("bulk" if lane == "bulk" else "interactive", first=first)
        order.append(name)
        limiter.report(ticket, 200, said(1))

    async with asyncio.TaskGroup() as group:
        for name, lane, first in [
            ("b1", "bulk", False),
            ("b2", "bulk", False),
            ("i1", "interactive", False),
            ("i2", "interactive", False),
            ("b0", "bulk", True),
            ("i0", "interactive", True),
        ]:
            group.create_task(use(name, lane, first=first))
            await settle()
        books = limiter.snapshot()
        assert (books.waiting_interactive, books.waiting_bulk) == (3, 3)

    assert order == ["i0", "i1", "i2", "b0", "b1", "b2"]


async def test_a_cancelled_waiter_blocks_nobody() -> None:
    """One of three; the others still run."""
    limiter = await full_limiter(2)
    waiters = [asyncio.ensure_future(limiter.acquire()) for _ in range(3)]
    await settle()
    waiters[0].cancel()
    await settle()
    assert limiter.snapshot().waiting_interactive == 2
    tickets = await asyncio.gather(*waiters[1:])

    assert asyncio.get_running_loop().time() == pytest.approx(60.1)
    assert all(isinstance(ticket, Ticket) for ticket in tickets)


async def test_a_waiter_cancelled_in_the_turn_of_its_grant_gives_the_slot_back() -> None:
    """No slot leaks, and the next waiter has it."""
    limiter = RateLimiter(Quota(1, 60.0))
    ticket = await limiter.acquire()
    first, second = (asyncio.ensure_future(limiter.acquire()) for _ in range(2))
    await settle()
    limiter.unsent(ticket)
    first.cancel()
    await second

    assert first.cancelled()
    assert limiter.snapshot().used == 1


async def test_a_waiter_cancelled_in_the_same_turn_as_the_pump_runs_is_passed_over() -> None:
    """The pump meets its future before its task has woken up."""
    limiter = await full_limiter(1)
    first, second = (asyncio.ensure_future(limiter.acquire()) for _ in range(2))
    await settle()
    first.cancel()
    limiter._pump()
    await settle()
    assert limiter.snapshot().waiting_interactive == 1
    await second


async def test_a_hold_ends_for_new_and_old_waiters() -> None:
    """And a call that ends meanwhile does not shorten it."""
    loop = asyncio.get_running_loop()
    limiter = RateLimiter(Quota(10, 60.0), uniform=lambda: 0.5)
    refused, other = await limiter.acquire(), await limiter.acquire()
    limiter.report(refused, 429, said(0, 2.0))
    waiter = asyncio.ensure_future(limiter.acquire())
    await asyncio.sleep(1)
    limiter.report(other, 200, said(9))
    assert limiter.snapshot().held_for == pytest.approx(1.1)
    waiter.cancel()
    await limiter.acquire()

    assert loop.time() == pytest.approx(2.1)


async def test_a_hopeless_wait_is_refused_at_once() -> None:
    """With those before it counted; one that has a chance waits."""
    limiter = await full_limiter(2)
    waiters = [asyncio.ensure_future(limiter.acquire(until=100)) for _ in range(2)]
    await settle()
    with pytest.raises(QuotaWaitTooLongError) as caught:
        await limiter.acquire(until=100)

    assert caught.value.queued == 2
    assert caught.value.wait == pytest.approx(120.2)
    await asyncio.gather(*waiters)


async def test_an_unsent_request_frees_its_slot_at_once() -> None:
    """A waiter has it in the same turn."""
    limiter = RateLimiter(Quota(1, 60.0))
    ticket = await limiter.acquire()
    waiter = asyncio.ensure_future(limiter.acquire())
    await settle()
    limiter.unsent(ticket)
    await waiter

    assert asyncio.get_running_loop().time() == 0


def test_a_limiter_moves_to_another_loop_only_when_nobody_waits() -> None:
    """Its books live on; its waiters cannot."""
    limiter = RateLimiter(Quota(1, 60.0))

    async def take() -> None:
        limiter.unsent(await limiter.acquire())

    asyncio.run(take())
    asyncio.run(take())
    other = asyncio.new_event_loop()
    limiter._loop = other
    limiter._queues["bulk"].add(Waiter(0, "bulk", "", None, asyncio.Future(loop=other)), first=False)
    limiter._waiting = 1
    with pytest.raises(ConfigurationError, match="another event loop"):
        asyncio.run(take())
    other.close()
    asyncio.run(take())


def test_a_loop_that_dies_with_calls_in_it_leaves_a_limiter_that_works() -> None:
    """Its waiters are forgotten, and the slot of its call in flight is leased like any other."""
    limiter = RateLimiter(Quota(2, 60.0))
    loop = asyncio.new_event_loop()

    async def hold() -> None:
        ticket = await limiter.acquire()
        try:
            await asyncio.sleep(3600)
        finally:
            limiter.report(ticket, None, SILENCE)

    tasks = [loop.create_task(hold()), loop.create_task(hold()), loop.create_task(hold())]
    loop.run_until_complete(asyncio.sleep(0.01))
    assert limiter._buckets.store.in_flight == 2
    loop.close()
    for task in tasks:
        task.get_coro().close()  # type: ignore[union-attr]
        task._log_destroy_pending = False  # type: ignore[attr-defined]

    async def look() -> tuple[int, int]:
        await asyncio.sleep(0)
        limiter._buckets.store.report(limiter._buckets.store.try_acquire(1e9, "interactive"), 1e9, 200, SILENCE)  # type: ignore[arg-type]
        return limiter._buckets.store.in_flight, limiter.snapshot().waiting_interactive

    assert asyncio.run(look()) == (0, 0)
