"""All pages: each item once, in how many requests, and what is told when the list changes meanwhile."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from helpers import client_of
from hypothesis import given
from hypothesis import strategies as st

from b2b_async import ItemIterator, Page, RetryPolicy, ServerError, v3
from b2b_async._pagination import _Seen
from b2b_async.sandbox import Faults, Order, Sandbox, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def many(count: int) -> Store:
    """Make a store of so many orders."""
    store = Store(1, 1)
    for number in list(store.orders):
        store.remove_order(number)
    for number in range(count):
        store.add_order(Order(str(1000 + number), 1001, Decimal(1), created_at=1_700_000_000 + number))
    return store


def tasks() -> set[object]:
    """List the tasks that are not the sandbox's."""
    return {task for task in asyncio.all_tasks() if "RequestHandler" not in repr(task)}


async def read(orders: ItemIterator[v3.orders.Order], found: list[int]) -> None:
    """Read to the end, or until something stops it."""
    async for order in orders:
        found.append(order.bc_order_id)  # noqa: PERF401 -- what was found before it stops counts


async def test_orders_that_are_placed_meanwhile_come_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """Each once, in as few requests as pages; ``benchmarks/iterate.py`` does it with 100,000, and weighs it."""
    store = many(5_000)
    found: list[int] = []
    async with Sandbox(store, quota="1000/1s") as sandbox, client_of(sandbox) as client:
        async with v3.orders.list_orders(client, min_created=LONG_AGO).items() as orders:
            async for order in orders:
                found.append(order.bc_order_id)
                if len(found) % 100 == 0:
                    number = 50_000 + len(found)
                    store.add_order(Order(str(number), 1001, Decimal(1), created_at=1_800_000_000 + number))

    assert len(found) == len(set(found)) == len(store.orders) == orders.total > 5_000
    assert orders.duplicates == orders.missed == 0
    assert len(sandbox.requests) == -(-len(found) // 200)
    assert "missed" not in caplog.text


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 1000])
async def test_as_many_requests_as_pages(count: int) -> None:
    """And all orders, the oldest first; ``offset`` says how far it is."""
    async with Sandbox(many(count), quota="1000/1s") as sandbox, client_of(sandbox) as client:
        orders = v3.orders.list_orders(client, min_created=LONG_AGO).items()
        found = [order.bc_order_id async for order in orders]

    assert found == list(range(1000, 1000 + count))
    assert len(sandbox.requests) == max(1, -(-count // 200))
    assert (orders.offset, orders.total, orders.missed) == (count, count, 0)


async def test_one_goes_on_where_another_stopped() -> None:
    """The item that was being worked on comes again."""
    async with Sandbox(many(450), quota="1000/1s") as sandbox, client_of(sandbox) as client:
        first: list[int] = []
        async with v3.orders.list_orders(client, min_created=LONG_AGO).items() as orders:
            async for order in orders:
                first.append(order.bc_order_id)
                if len(first) == 300:
                    break
            assert orders.offset == 299
        rest = [
            o.bc_order_id async for o in v3.orders.list_orders(client, min_created=LONG_AGO).items(offset=orders.offset)
        ]

    assert first[:-1] + rest == list(range(1000, 1450))


async def test_a_page_is_fetched_ahead_unless_it_is_not_wanted() -> None:
    """One, and no more."""
    async with Sandbox(many(1000), quota="1000/1s", latency=0.5) as sandbox, client_of(sandbox) as client:
        for prefetch, requests in ((True, 2), (False, 1)):
            sandbox.ledger.clear()
            async with v3.orders.list_orders(client, min_created=LONG_AGO).items(prefetch=prefetch) as orders:
                await anext(orders)
                await asyncio.sleep(1)
                assert len(sandbox.requests) == requests


async def test_leaving_early_leaves_nothing_behind() -> None:
    """No task, no complaint, with a page under way, with one that has failed, without closing it."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    faults = Faults(script=[None, None, None, "500"])
    async with Sandbox(many(1000), quota="1000/1s", latency=0.5, faults=faults) as sandbox:
        async with client_of(sandbox, retry=RetryPolicy(attempts=1)) as client:
            before = tasks()
            orders = v3.orders.list_orders(client, min_created=LONG_AGO).items()
            await anext(orders)
            await orders.aclose()
            assert tasks() == before
            with pytest.raises(StopAsyncIteration):
                await anext(orders)
            async for _ in v3.orders.list_orders(client, min_created=LONG_AGO).items():
                await asyncio.sleep(2)  # the page ahead has failed
                break
            gc.collect()
            await asyncio.sleep(1)
            assert tasks() == before

    assert complaints == []


async def test_an_error_comes_when_its_page_is_due() -> None:
    """What was had before is handed out first, and one can go on from there."""
    faults = Faults(script=[None, "500"])
    async with Sandbox(many(500), quota="1000/1s", faults=faults) as sandbox:
        async with client_of(sandbox, retry=RetryPolicy(attempts=1)) as client:
            orders = v3.orders.list_orders(client, min_created=LONG_AGO).items()
            found: list[int] = []
            with pytest.raises(ServerError):
                await read(orders, found)
            again = v3.orders.list_orders(client, min_created=LONG_AGO).items(offset=orders.offset)
            more = [order.bc_order_id async for order in again]

    assert len(found) == orders.offset == 200
    assert found + more == list(range(1000, 1500))


async def test_a_cancelled_reader_stops_the_page_that_is_fetched() -> None:
    """At once."""
    async with Sandbox(many(500), quota="1000/1s", latency=5) as sandbox, client_of(sandbox) as client:
        orders = v3.orders.list_orders(client, min_created=LONG_AGO).items()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(orders, []), 7)
        assert tasks() == {asyncio.current_task()}

    assert orders.offset == 200


async def test_what_is_passed_over_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An order that vanishes moves all behind it forward; one that comes in front moves them back."""
    store = many(600)
    async with Sandbox(store, quota="1000/1s") as sandbox, client_of(sandbox) as client:
        gone = v3.orders.list_orders(client, min_created=LONG_AGO).items(prefetch=False)
        found: list[int] = []
        async for order in gone:
            found.append(order.bc_order_id)
            if len(found) == 100:
                store.remove_order("1010")
        assert (len(found), gone.missed, gone.total) == (599, 1, 599)
        assert 1200 not in found
        assert "List Orders: the list changed while it was read; 1 of 599 rows may have been missed" in caplog.text
        caplog.clear()

        come = v3.orders.list_orders(client, min_created=LONG_AGO, order_by="DESC").items(prefetch=False)
        newest: list[int] = []
        async for order in come:
            newest.append(order.bc_order_id)
            if len(newest) == 100:
                store.add_order(Order("5000", 1001, Decimal(1), created_at=1_900_000_000))
        assert len(newest) == len(set(newest)) == 599
        assert (come.duplicates, come.missed, come.total) == (1, 1, 600)


def paged(rows: list[int], *, total: bool, cap: int) -> Callable[[int, int], Awaitable[Page[int]]]:
    """Give the pages of a list by a server that gives no more than *cap* rows."""

    async def fetch(limit: int, offset: int) -> Page[int]:
        size = min(limit, cap)
        items = tuple(rows[offset : offset + size])
        return Page(items=items, total=len(rows) if total else None, limit=size, offset=offset)

    return fetch


@given(
    rows=st.lists(st.integers(1, 5000), unique=True, max_size=60),
    limit=st.integers(1, 20),
    cap=st.integers(1, 20),
    offset=st.integers(0, 70),
    total=st.booleans(),
    ahead_from=st.sampled_from([None, 0.0, 0.5, 1.0]),
)
def test_a_list_that_stands_still_is_read_whole(
    *, rows: list[int], limit: int, cap: int, offset: int, total: bool, ahead_from: float | None
) -> None:
    """Whatever the size of its pages, with and without a total, from anywhere."""

    async def walked() -> tuple[list[int], ItemIterator[int]]:
        fetch = paged(rows, total=total, cap=cap)
        walk = ItemIterator("x", fetch, key=int, limit=limit, offset=offset, ahead_from=ahead_from)
        return [row async for row in walk], walk

    found, walk = asyncio.run(walked())

    assert found == rows[offset:]
    assert (walk.duplicates, walk.missed) == (0, 0)


@given(st.data())
def test_nothing_comes_twice_and_what_is_missing_is_told(data: st.DataObject) -> None:
    """Rows come and go between pages, wherever they like."""
    rows = list(range(data.draw(st.integers(0, 30))))
    there_all_the_time = set(rows)
    fresh = iter(range(1000, 9999))

    async def fetch(limit: int, offset: int) -> Page[int]:
        page = Page(items=tuple(rows[offset : offset + limit]), total=len(rows), limit=limit, offset=offset)
        match data.draw(st.sampled_from(["still", "add", "remove"])):
            case "add":
                rows.insert(data.draw(st.integers(0, len(rows))), next(fresh))
            case "remove" if rows:
                there_all_the_time.discard(rows.pop(data.draw(st.integers(0, len(rows) - 1))))
        return page

    async def walked() -> tuple[list[int], ItemIterator[int]]:
        walk = ItemIterator("x", fetch, key=int, limit=3, offset=0, ahead_from=None)
        return [row async for row in walk], walk

    found, walk = asyncio.run(walked())

    assert len(found) == len(set(found))
    # Only as many rows come forward as vanish, and those show in the total unless others come at the same time.
    came_and_went = any(row >= 1000 for row in rows) or any(row >= 1000 for row in found)
    assert walk.missed or came_and_went or there_all_the_time <= set(found)


@given(st.lists(st.one_of(st.integers(0, 3000), st.integers(0, 3000).map(str), st.text(max_size=5))))
def test_ids_are_remembered(keys: list[int | str]) -> None:
    """As a set would: 7 and "7" are one id, "07" is another."""
    met, reference = _Seen(), set[str]()
    for key in keys:
        assert met.add(key) == (str(key) not in reference)
        reference.add(str(key))


def walk_over(rows: list[int], *, limit: int = 10, cap: int = 10, prefetch: bool = True) -> ItemIterator[int]:
    """Iterate over a list whose server names no total."""
    return ItemIterator(
        "x", paged(rows, total=False, cap=cap), key=int, limit=limit, offset=0, ahead_from=0.0 if prefetch else None
    )


async def test_without_a_total_only_an_empty_page_is_the_last() -> None:
    """A server may give shorter pages than it is asked for."""
    assert [row async for row in walk_over(list(range(25)), cap=4)] == list(range(25))


@pytest.mark.parametrize(("total", "offsets"), [(None, [0, 3, 6]), (9, [0, 3, 6, 9])])
async def test_a_server_that_turns_no_pages_is_asked_thrice(
    total: int | None, offsets: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """Thrice without a total, however its first page was, and not until the quota is used up."""
    asked: list[int] = []

    async def fetch(limit: int, offset: int) -> Page[int]:
        asked.append(offset)
        return Page(items=(1, 2, 3), total=None if offset else total, limit=limit, offset=0)

    walk = ItemIterator("x", fetch, key=int, limit=3, offset=0, ahead_from=None)

    assert [row async for row in walk] == [1, 2, 3]
    assert asked == offsets
    assert "the server gives the same page again and again" in caplog.text


async def test_an_iterator_survives_an_error_and_a_cancellation() -> None:
    """To ask again is to try again; it does not look like the end."""
    faults = Faults(script=[None, "500", None, "500"])
    async with Sandbox(many(500), quota="1000/1s", faults=faults, latency=1) as sandbox:
        async with client_of(sandbox, retry=RetryPolicy(attempts=1)) as client:
            orders = v3.orders.list_orders(client, min_created=LONG_AGO).items()
            found: list[int] = []
            errors: list[str] = []
            while len(errors) < 10:
                try:
                    async with asyncio.timeout(None if errors else 0.5):
                        await read(orders, found)
                    break
                except (ServerError, TimeoutError) as error:
                    errors.append(type(error).__name__)

    assert errors == ["TimeoutError", "ServerError", "ServerError"]
    assert found == list(range(1000, 1500))
    assert (orders.offset, orders.missed) == (500, 0)


async def test_several_tasks_read_from_one_iterator() -> None:
    """Each item goes to one of them."""
    async with Sandbox(many(1000), quota="1000/1s", latency=0.1) as sandbox, client_of(sandbox) as client:
        orders = v3.orders.list_orders(client, min_created=LONG_AGO).items()
        shares: list[list[int]] = [[] for _ in range(4)]

        async def work(share: list[int]) -> None:
            async for order in orders:
                share.append(order.bc_order_id)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for share in shares:
                group.create_task(work(share))

    assert sorted(number for share in shares for number in share) == list(range(1000, 2000))
    assert all(shares)
    assert len(sandbox.requests) == 5


@pytest.mark.parametrize("prefetch", [True, False])
async def test_closing_while_a_page_is_fetched_ends_it(prefetch: bool) -> None:  # noqa: FBT001
    """At once: whoever waits for the page is told that there are no more items."""
    loop = asyncio.get_running_loop()
    async with Sandbox(many(500), quota="1000/1s", latency=5) as sandbox, client_of(sandbox) as client:
        orders = v3.orders.list_orders(client, min_created=LONG_AGO).items(prefetch=prefetch)
        waiting = asyncio.ensure_future(anext(orders, None))
        await asyncio.sleep(0.5)
        started = loop.time()
        await orders.aclose()
        assert await waiting is None
        assert loop.time() - started < 1

    assert orders.missed == 0


async def test_one_page_of_nothing_new_is_not_the_end() -> None:
    """Rows that came in front bring it about, where there is no total."""
    rows = list(range(10))

    async def fetch(limit: int, offset: int) -> Page[int]:
        page = Page(items=tuple(rows[offset : offset + limit]), total=None, limit=limit, offset=offset)
        if offset == 0:
            rows[:0] = [100, 101]
        return page

    walk = ItemIterator("x", fetch, key=int, limit=2, offset=0, ahead_from=None)

    assert [row async for row in walk] == list(range(10))
    assert walk.duplicates == 2


async def test_what_was_missed_is_known_before_the_end() -> None:
    """Who leaves early takes it along: the next iterator cannot know."""
    store = many(600)
    async with Sandbox(store, quota="1000/1s") as sandbox, client_of(sandbox) as client:
        async with v3.orders.list_orders(client, min_created=LONG_AGO).items(prefetch=False) as orders:
            async for order in orders:
                if order.bc_order_id == 1150:
                    for number in range(1000, 1050):
                        store.remove_order(str(number))
                if order.bc_order_id == 1300:
                    break

    assert (orders.missed, orders.total) == (50, 550)


async def test_the_collector_may_be_in_another_thread() -> None:
    """A loop in debug mode would not like it."""
    asyncio.get_running_loop().set_debug(True)
    async with Sandbox(many(500), quota="1000/1s", latency=1) as sandbox, client_of(sandbox) as client:
        orders: Any = v3.orders.list_orders(client, min_created=LONG_AGO).items()
        await anext(orders)
        assert len(tasks()) == 2
        orders.itself = orders
        del orders
        await asyncio.to_thread(gc.collect)
        await asyncio.sleep(0.1)
        assert tasks() == {asyncio.current_task()}


async def test_an_iterator_goes_on_in_another_loop() -> None:
    """Where the page ahead was given up with the first loop."""
    walk = walk_over(list(range(100)))
    await anext(walk)
    ahead = walk._ahead
    assert ahead is not None
    ahead.cancel()
    await asyncio.wait([ahead])

    assert [row async for row in walk] == list(range(1, 100))


def test_an_iterator_outlives_its_loop() -> None:
    """It complains of nothing when it is collected."""

    async def begin() -> ItemIterator[int]:
        walk = walk_over(list(range(100)))
        await anext(walk)
        return walk

    loop = asyncio.new_event_loop()
    walk = loop.run_until_complete(begin())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del walk
    gc.collect()


async def test_what_went_and_what_is_short_are_not_added_up() -> None:
    """A row that went may be one that is short."""
    rows = list(range(30))

    async def fetch(limit: int, offset: int) -> Page[int]:
        hidden = 2  # counted, and shown on no page
        page = Page(items=tuple(rows[offset : offset + limit]), total=len(rows) + hidden, limit=limit, offset=offset)
        if offset == 0:
            del rows[:3]
        return page

    walk = ItemIterator("x", fetch, key=int, limit=10, offset=0, ahead_from=None)

    assert len([row async for row in walk]) == 27
    assert walk.missed == 3


def test_an_id_with_zeros_before_it_is_another() -> None:
    """To v2, ids are texts."""
    met = _Seen()

    assert [met.add(key) for key in ("7", "007", "7", "007", "0", "00")] == [True, True, False, False, True, True]


async def test_who_waits_while_a_page_is_turned_gets_of_it() -> None:
    """The page is fetched once for all of those who wait."""
    asked: list[int] = []

    async def fetch(limit: int, offset: int) -> Page[int]:
        asked.append(offset)
        await asyncio.sleep(1)
        return Page(items=tuple(range(offset, min(offset + limit, 4))), total=4, limit=limit, offset=offset)

    numbers = ItemIterator("Numbers", fetch, key=lambda number: number, limit=2, offset=0, ahead_from=None)
    got = await asyncio.gather(*(anext(numbers) for _ in range(4)))

    assert (sorted(got), asked) == ([0, 1, 2, 3], [0, 2])


async def test_closing_ends_who_waits_for_a_page() -> None:
    """There are no further items then."""

    async def fetch(_limit: int, _offset: int) -> Page[int]:
        await asyncio.sleep(60)
        raise AssertionError

    numbers = ItemIterator("Numbers", fetch, key=lambda number: number, limit=2, offset=0, ahead_from=None)
    waiting = asyncio.ensure_future(anext(numbers, None))
    await asyncio.sleep(1)
    await numbers.aclose()

    assert await waiting is None
