"""The limiter's queues: order, cancellation, holds, and the end of waiting."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import attrs
import pytest
from helpers import ended
from hypothesis import given, settings
from hypothesis import strategies as st
from jumping import AutojumpLoop
from servers import DRFLog
from test_quota import MANY

from b2b_async import ConfigurationError, Quota, QuotaWaitTooLongError, RateLimiter
from b2b_async.ratelimit.feedback import QuotaFeedback
from b2b_async.ratelimit.limiter import Queue, Waiter
from b2b_async.ratelimit.window import Ticket

if TYPE_CHECKING:
    from b2b_async._messages import Lane

SILENCE = QuotaFeedback()


def said(remaining: int, resets_after: float = 0.4) -> QuotaFeedback:
    """Give headers with *remaining*."""
    return QuotaFeedback(remaining=remaining, resets_after=resets_after)


async def full_limiter(limit: int = 2) -> RateLimiter:
    """Give a limiter whose slots come back at 60.1 s."""
    limiter = RateLimiter(Quota(limit, 60.0, "burst", reserve=0), uniform=lambda: 0.5)
    for n in range(limit):
        limiter.release(await limiter.acquire(), ended(200, said(limit - n)))
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
        limiter.release(ticket, ended(200, said(1)))

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
    limiter._dispatch()
    await settle()
    assert limiter.snapshot().waiting_interactive == 1
    await second


async def test_a_hold_ends_for_new_and_old_waiters() -> None:
    """And a call that ends meanwhile does not shorten it."""
    loop = asyncio.get_running_loop()
    limiter = RateLimiter(Quota(10, 60.0), uniform=lambda: 0.5)
    refused, other = await limiter.acquire(), await limiter.acquire()
    limiter.release(refused, ended(429, said(0, 2.0)))
    waiter = asyncio.ensure_future(limiter.acquire())
    await asyncio.sleep(1)
    limiter.release(other, ended(200, said(9)))
    assert limiter.snapshot().held_for == pytest.approx(1.1)
    waiter.cancel()
    await limiter.acquire()

    assert loop.time() == pytest.approx(2.1)


async def test_an_endpoint_without_slots_holds_up_nobody_else() -> None:
    """Its calls wait in a line of their own, are refused for want of time by its own quota, and are not counted."""
    loop = asyncio.get_running_loop()
    own = {"PUT /x": Quota(1, 60.0, reserve=0), "GET /z": Quota(5, 60.0, reserve=0)}
    async with RateLimiter(Quota(4, 60.0, "burst", reserve=0), endpoints=own) as limiter:
        limiter.release(await limiter.acquire(route="PUT /x"), ended(200, said(4)))
        waiting = [asyncio.ensure_future(limiter.acquire(lane, route="PUT /x")) for lane in ("bulk", "interactive")]
        await settle()
        limiter.unsent(await limiter.acquire(route="GET /y", until=10))
        limiter.unsent(await limiter.acquire("bulk", route="GET /z", until=10))
        with pytest.raises(QuotaWaitTooLongError, match="own quota of PUT /x, of 1 requests") as caught:
            await limiter.acquire("bulk", route="PUT /x", until=100)
        assert (caught.value.queued, caught.value.limit) == (2, 1)
        put, get = limiter.snapshot().endpoints
        assert (put.route, put.used, put.next_in) == ("PUT /x", 1, pytest.approx(60.1))
        assert get.next_in == 0
        assert limiter.snapshot().next_in == 0
        await waiting[1]
        assert loop.time() == pytest.approx(60.1)
        waiting[0].cancel()


async def test_refused_calls_keep_their_order() -> None:
    """They go first, and the one that was refused first goes first of them."""
    limiter = await full_limiter(1)
    order: list[int] = []

    async def call(number: int) -> None:
        ticket = await limiter.acquire(first=number < 3)
        order.append(number)
        limiter.unsent(ticket)

    async with asyncio.TaskGroup() as group:
        for number in (3, 0, 1, 4, 2):
            group.create_task(call(number))
            await settle()

    assert order == [0, 1, 2, 3, 4]


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
            limiter.release(ticket, ended(None, SILENCE))

    tasks = [loop.create_task(hold()), loop.create_task(hold()), loop.create_task(hold())]
    loop.run_until_complete(asyncio.sleep(0.01))
    assert limiter._buckets.overall.in_flight == 2
    loop.close()
    for task in tasks[:2]:
        task.get_coro().close()  # type: ignore[union-attr]

    async def look() -> tuple[int, int]:
        await asyncio.sleep(0)
        limiter.snapshot()
        tasks[2].get_coro().close()  # type: ignore[union-attr]
        limiter._buckets.overall.release(
            limiter._buckets.overall.try_acquire(1e9, "interactive"), 1e9, ended(200, SILENCE)
        )  # type: ignore[arg-type]
        return limiter._buckets.overall.in_flight, limiter.snapshot().waiting_interactive

    assert asyncio.run(look()) == (0, 0)
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


# -- any calls, at any time ----------------------------------------------------------------------------------------

OWN = {"PUT /x": Quota(2, 10.0, reserve=0, concurrency=2)}


@attrs.frozen
class Call:
    """One call of a scenario."""

    start: float
    lane: Lane
    route: str
    there: float
    back: float
    cancel_after: float | None
    leaves: bool

    async def run(
        self, number: int, limiter: RateLimiter, servers: dict[str, DRFLog], came: list[int], grants: list[int]
    ) -> None:
        """Wait for a slot and make the request, as the rate limit room does."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.start)
        came.append(number)
        ticket = await limiter.acquire(self.lane, route=self.route)
        grants.append(number)
        if not self.leaves:
            limiter.unsent(ticket)
            return
        arrived = False
        try:
            await asyncio.sleep(self.there)
            arrived = True
            accepted, headers, _ = servers[""].admit(loop.time())
            if self.route == "PUT /x":
                servers["PUT /x"].admit(loop.time())
            await asyncio.sleep(self.back)
        except asyncio.CancelledError:
            if not arrived:  # it is on its way all the same
                servers[""].admit(loop.time())
            limiter.release(ticket, ended(None, SILENCE))
            raise
        status = 200 if accepted else 429
        limiter.release(
            ticket, ended(status, QuotaFeedback.from_headers(headers, "refused" if not accepted else "accepted"))
        )


CALLS = st.lists(
    st.builds(
        Call,
        start=st.sampled_from([0.0, 0.0, 1.0, 5.0]) | st.floats(0, 30),
        lane=st.sampled_from(["interactive", "bulk"]),
        route=st.sampled_from(["POST /z", "GET /y", "PUT /x"]),
        there=st.floats(0, 2),
        back=st.floats(0, 2),
        cancel_after=st.none() | st.none() | st.sampled_from([0.0, 1.0, 5.0]) | st.floats(0, 40),
        leaves=st.sampled_from([True, True, True, False]),
    ),
    min_size=1,
    max_size=10,
)


@MANY
@given(calls=CALLS, limit=st.integers(1, 5), pacing=st.sampled_from(["auto", "burst", "smooth"]))
def test_any_calls_end_in_order_and_leave_nothing_behind(calls: list[Call], limit: int, pacing: str) -> None:
    """Nobody starves, whoever is cancelled when; no slot leaks; first come, first served in a lane; none is refused."""
    quota = Quota(limit, 10.0, pacing)  # type: ignore[arg-type]
    limiter = RateLimiter(quota, endpoints=OWN, uniform=lambda: 0.5)
    servers = {"": DRFLog(limit, 10.0), "PUT /x": DRFLog(2, 10.0)}
    came: list[int] = []
    grants: list[int] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        tasks = []
        for number, call in enumerate(calls):
            task = loop.create_task(call.run(number, limiter, servers, came, grants))
            if call.cancel_after is not None:
                loop.call_at(call.start + call.cancel_after, task.cancel)
            tasks.append(task)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [error for error in done if error and not isinstance(error, asyncio.CancelledError)] == []
        left = limiter.snapshot()
        assert (left.waiting_interactive, left.waiting_bulk, limiter._waiting) == (0, 0, 0)
        assert [books.in_flight for books in (limiter._buckets.overall, *limiter._buckets.endpoints.values())] == [0, 0]
        await asyncio.sleep(100)
        assert limiter.snapshot().left == limit

    with asyncio.Runner(loop_factory=AutojumpLoop) as runner:
        runner.run(scenario())

    assert [server.refused for server in servers.values()] == [0, 0]
    for lane in ("interactive", "bulk"):
        for route in ("POST /z", "GET /y", "PUT /x"):
            alike = [n for n in grants if (calls[n].lane, calls[n].route) == (lane, route)]
            assert alike == sorted(alike, key=came.index)


@settings(max_examples=5 * settings.default.max_examples)
@given(calls=CALLS, limit=st.integers(1, 5), wait=st.floats(0, 30))
def test_a_refused_wait_would_have_been_in_vain(calls: list[Call], limit: int, wait: float) -> None:
    """What is refused for want of time has no slot by then if it waits, if those before it take theirs."""
    calls = [attrs.evolve(call, cancel_after=None, leaves=True) for call in calls]
    last = attrs.evolve(calls[-1], start=31.0)
    ends: list[float] = []

    async def scenario(until: float) -> None:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(Quota(limit, 10.0), endpoints=OWN, uniform=lambda: 0.5)
        servers = {"": DRFLog(limit, 10.0), "PUT /x": DRFLog(2, 10.0)}
        tasks = [loop.create_task(call.run(0, limiter, servers, [], [])) for call in calls]
        await asyncio.sleep(last.start)
        try:
            limiter.unsent(await limiter.acquire(last.lane, route=last.route, until=until))
        except QuotaWaitTooLongError:
            ends.append(-math.inf)
        else:
            ends.append(loop.time())
        await asyncio.gather(*tasks)

    for until in (math.inf, last.start + wait):
        with asyncio.Runner(loop_factory=AutojumpLoop) as runner:
            runner.run(scenario(until))

    assert ends[1] == ends[0] or (ends[1] == -math.inf and ends[0] > last.start + wait)


def test_forgetting_a_waiter_looks_at_no_other() -> None:
    """Thousands whose time is over at once must not each be searched among all others."""
    looks = 0

    class Watched(Waiter):
        def __eq__(self, other: object) -> bool:
            nonlocal looks
            looks += 1
            return self is other

        __hash__ = None  # type: ignore[assignment]

    loop = asyncio.new_event_loop()
    queue = Queue()
    waiters = [Watched(0, "bulk", "GET /x", None, loop.create_future()) for _ in range(100)]
    for waiter in waiters:
        queue.add(waiter, first=False)
    for waiter in (waiters[-1], waiters[50], waiters[0], waiters[0]):
        queue.remove(waiter)
    queue.remove(Waiter(1, "bulk", "GET /y", None, loop.create_future()))
    loop.close()
    assert (looks, len(queue)) == (0, 97)
