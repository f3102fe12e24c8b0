"""The limiter shared over a real Redis: the same decisions as alone, and none lost when Redis is."""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from typing import TYPE_CHECKING, Any, cast

import pytest
from helpers import ended
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_server import BINARY, MISSING, PatientConnection, RedisServer, on_loop_time, patient
from servers import MODELS, DRFLog, simulate, told
from test_quota import LANES, LATE, QUOTAS, TRIPS

from b2b_async import ConfigurationError, Quota, QuotaWaitTooLongError
from b2b_async.ratelimit.buckets import Buckets
from b2b_async.ratelimit.feedback import QuotaFeedback, refusal_delay
from b2b_async.ratelimit.redis import RedisRateLimiter
from b2b_async.ratelimit.redis.replica import Replica, script

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from servers import Trip

    from b2b_async._messages import Lane
    from b2b_async.ratelimit.redis.replica import Reply, ScriptCall
    from b2b_async.ratelimit.window import Ticket

pytestmark = pytest.mark.skipif(BINARY is None, reason=MISSING)


@pytest.fixture(scope="module")
def module_server() -> Iterator[RedisServer]:
    """Run a server for all tests that do not stop it."""
    server = RedisServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def server(module_server: RedisServer) -> RedisServer:
    """Give the server, empty."""
    with module_server.client() as client:
        client.flushall()
        remember(client, "store", "other-store")
    return module_server


def remember(client: redis.Redis, *stores: str) -> None:
    """Make Redis look like one that has not lost the data of *stores*, which were not used for long."""
    for store in stores:
        client.set(f"b2b-async:{{{store}}}:run", "")


@pytest.fixture(scope="module")
def blocking(module_server: RedisServer) -> Iterator[redis.Redis]:
    """Give a client that blocks."""
    with module_server.client() as client:
        yield client


def test_an_endpoint_without_leases_is_not_reported() -> None:
    """Unless it is asked for."""
    own = Buckets(Quota(10, 60.0), {"PUT /x": Quota(1, 60.0)}, lambda: 0.5)
    replica = Replica(own, prefix="{test}", process="one", attempt=1e6, uniform=lambda: 0.5)

    assert [call.lease.routes for call in replica.tell(0.0, (), "")] == [("",)]
    assert [call.lease.routes for call in replica.tell(0.0, ("PUT /x",), "")] == [("PUT /x",), ("",)]


# -- the same decisions --------------------------------------------------------------------------------------------


class BothBooks:
    """The books in Redis, asked as a limiter asks them, beside those in Python, asked the same at the same time."""

    def __init__(self, client: redis.Redis, quota: Quota, endpoints: dict[str, Quota]) -> None:
        """Start with empty books."""
        client.flushdb()
        client.set("{test}:run", "")
        self._script = client.register_script(script())
        self._python = Buckets(quota, endpoints, lambda: 0.5)
        own = Buckets(quota, endpoints, lambda: 0.5)
        self._replica = Replica(own, prefix="{test}", process="one", attempt=1e6, uniform=lambda: 0.5)
        self._tickets: dict[Ticket, Ticket] = {}
        for call in self._replica.tell(0.0, tuple(endpoints), ""):
            self._run(call, 0.0)

    def _run(self, call: ScriptCall, now: float) -> Reply:
        answer = self._replica.read(call, self._script(*self._replica.write(call, now)), now, now)  # type: ignore[arg-type]
        self._replica.take_over(call, answer, now)
        return answer

    def try_acquire(self, now: float, lane: Lane, route: str) -> Ticket | float:
        """Grant a slot, or say when to ask again."""
        call = self._replica.ask(lane, route)
        answer = self._run(call, now)
        here = self._python.try_acquire(now, lane, route)
        if isinstance(here, float):
            assert not answer.granted
            assert answer.wait == pytest.approx(here - now, abs=1e-6)
        else:
            assert answer.granted
            self._tickets[here] = self._replica.granted(call, answer, now)
        return here

    def release(self, ticket: Ticket, now: float, feedback: QuotaFeedback) -> None:
        """Take a slot back."""
        self._python.release(ticket, now, feedback)
        call = self._replica.release(self._tickets.pop(ticket), now, feedback)
        assert call is not None
        store = self._run(call, now).windows[0]
        books = self._python.overall
        assert (store.limit, store.active, store.foreign) == (books.limit, books.active, books.foreign)


TOLD: list[dict[str, str]] = [
    {"Retry-After": "2"},
    {"X-Retry-After": "9"},
    {"X-Rate-Limit-Time-Reset-Ms": "7000"},
    {"X-Request-Window-Resets-After": "5 s"},
    {"X-Requests-Remaining": "0", "X-Request-Window-Resets-After": "4 s", "Retry-After": "500"},
]
"""Refusals that name a time."""


@pytest.mark.parametrize("first", [*TOLD, {}])
@pytest.mark.parametrize("later", [*TOLD, {}])
def test_a_later_refusal_prolongs_the_hold_in_redis_as_here(
    blocking: redis.Redis, first: dict[str, str], later: dict[str, str]
) -> None:
    """Of one episode, the longest time counts."""
    books = BothBooks(blocking, Quota(10, 60.0), {})
    one, other = (cast("Ticket", books.try_acquire(0.0, "interactive", "PUT /x")) for _ in range(2))
    books.release(one, 1.0, ended(429, QuotaFeedback.from_headers(first, "refused")))
    books.release(other, 2.0, ended(429, QuotaFeedback.from_headers(later, "refused")))
    at = books.try_acquire(3.0, "interactive", "PUT /x")
    held = 1.0 + (refusal_delay(first) or 5.0)  # of a refusal without a time: overload
    prolonged = 2.0 + (refusal_delay(later) or 0.0)

    if "X-Rate-Limit-Time-Reset-Ms" not in {*first, *later}:  # which is another quota's
        assert at == pytest.approx(max(min(held, 121.0), min(prolonged, 122.0)), abs=0.11)


@settings(max_examples=2 * settings.default.max_examples)
@given(
    quota=QUOTAS,
    own=st.none() | QUOTAS,
    trips=TRIPS,
    workers=st.integers(1, 6),
    lane=LANES,
    model=st.sampled_from(sorted(MODELS)),
    neighbour=st.lists(st.floats(0, 60), max_size=6),
    odd=st.lists(st.sampled_from([None, None, None, {"X-Requests-Remaining": "3"}, {}, *TOLD]), max_size=6),
    headers=st.sampled_from(["as counted", "none", "too much"]),
)
def test_redis_and_python_decide_the_same(
    blocking: redis.Redis,
    quota: Quota,
    own: Quota | None,
    trips: list[Trip],
    workers: int,
    lane: Lane,
    model: str,
    neighbour: list[float],
    odd: list[dict[str, str] | None],
    *,
    headers: str,
) -> None:
    """The decisions are the same with neighbours, with refusals, without headers and with wrong ones."""
    endpoints = {} if own is None else {"PUT /x": own}
    server = MODELS[model](quota.limit, quota.window, 0.0)
    foreign = sorted(neighbour)

    turn = iter(range(10**9))

    def admit(now: float) -> tuple[bool, dict[str, str], float]:
        while foreign and foreign[0] <= now:
            server.admit(foreign.pop(0))
        refusal = [*odd, None][next(turn) % (len(odd) + 1)]
        if refusal is not None:
            return False, refusal, 0.0
        accepted, counted, wait = server.admit(now)
        wrong = told(1000, 10.0, 999, 0.01) if accepted else {}
        return accepted, {"as counted": counted, "none": {}, "too much": wrong}[headers], wait

    books = BothBooks(blocking, quota, endpoints)
    simulate(books, admit, trips, workers=workers, total=8, lane=lane, route="PUT /x", late=LATE)


# -- several processes ---------------------------------------------------------------------------------------------

SILENCE = QuotaFeedback()


def limiter_of(server: RedisServer, quota: Quota | None = None, **options: Any) -> RedisRateLimiter:
    """Give a limiter as one process has it, on the running loop's time; its client is to be closed."""
    options = {"uniform": random.Random(0).random, **options}
    limiter = RedisRateLimiter(patient(server), "store", quota or Quota(4, 60.0, "burst", reserve=0), **options)
    return on_loop_time(limiter)


async def close(*limiters: RedisRateLimiter) -> None:
    """Close limiters and their clients."""
    for limiter in limiters:
        await limiter.close()
        await limiter._connect().aclose()


def said(remaining: int, **more: Any) -> QuotaFeedback:
    """Give headers with *remaining*."""
    return QuotaFeedback(remaining=remaining, resets_after=0.4, **more)


async def use(limiter: RedisRateLimiter, server: DRFLog, lane: Lane = "bulk") -> int:
    """Make one request of a tenth of a second."""
    loop = asyncio.get_running_loop()
    ticket = await limiter.acquire(lane)
    await asyncio.sleep(0.05)
    accepted, headers, _ = server.admit(loop.time())
    await asyncio.sleep(0.05)
    status = 200 if accepted else 429
    limiter.release(
        ticket, ended(status, QuotaFeedback.from_headers(headers, "refused" if not accepted else "accepted"))
    )
    return status


async def test_several_processes_use_the_whole_quota_and_never_more(server: RedisServer) -> None:
    """Four of them, with eight calls at once each, and the fourth is killed with its calls under way."""
    throttle = DRFLog(20, 60.0)
    limiters = [limiter_of(server, Quota(20, 60.0, "burst")) for _ in range(4)]

    async def work(limiter: RedisRateLimiter) -> None:
        for _ in range(5):
            assert await use(limiter, throttle) == 200

    doomed = [asyncio.ensure_future(limiters[3].acquire("bulk")) for _ in range(2)]
    await asyncio.gather(*doomed)
    limiters[3]._closed = True  # it does nothing any more
    await limiters[3]._connect().aclose()
    async with asyncio.TaskGroup() as group:
        for limiter in limiters[:3]:
            for _ in range(8):
                group.create_task(work(limiter))

    # 120 requests; 18 slots in the first window and until the two of the dead process come back, then 20.
    assert throttle.refused == 0
    assert asyncio.get_running_loop().time() < 6.2 * 60.3
    assert limiters[0].snapshot().requests == 40
    assert limiters[0].snapshot().limit == 20
    await close(*limiters[:3])


async def test_one_process_knows_what_the_others_hold(server: RedisServer) -> None:
    """At once, without any header; the books of another store are others."""
    one, two = limiter_of(server), limiter_of(server)
    tickets = [await one.acquire() for _ in range(3)]
    other = on_loop_time(RedisRateLimiter(patient(server), "other-store", Quota(4, 60.0)))
    third = await two.acquire()
    seen = two.snapshot()
    assert (seen.used, seen.left, seen.next_in, seen.degraded) == (4, 0, None, False)
    one.release(tickets[0], ended(200, said(4)))
    await asyncio.sleep(0.1)
    with pytest.raises(QuotaWaitTooLongError) as caught:
        await two.acquire(until=asyncio.get_running_loop().time() + 10)

    assert caught.value.wait == pytest.approx(60.1, abs=0.2)
    assert other.snapshot().used == 0
    await other.acquire()
    assert other.snapshot().used == 1
    for limiter, ticket in ((one, tickets[1]), (one, tickets[2]), (two, third)):
        limiter.unsent(ticket)
        limiter.unsent(ticket)
        limiter.release(ticket, ended(200, SILENCE))
    await asyncio.sleep(0.1)
    two.unsent(await two.acquire())
    await asyncio.sleep(0.1)
    assert two.snapshot().used == 1, "the one that was answered"
    await close(one, two, other)


async def test_what_nobody_gives_back_comes_back_by_itself(server: RedisServer) -> None:
    """After the longest attempt, a window, the margin and the time for which a request may be under way."""
    killed, other = limiter_of(server), limiter_of(server)
    await asyncio.gather(*(killed.acquire() for _ in range(4)))
    killed._closed = True  # it does nothing any more
    await killed._connect().aclose()
    await other.acquire()

    assert asyncio.get_running_loop().time() == pytest.approx(30 + 60.1 + 5, abs=1.1)
    await close(other)


async def test_the_lanes_and_their_order_hold(server: RedisServer) -> None:
    """Interactive before bulk, first come first served, a refused call first; a cancelled one blocks nobody."""
    limiter = limiter_of(server, Quota(1, 60.0, "burst", reserve=0))
    limiter.release(await limiter.acquire(), ended(200, said(1)))
    order: list[str] = []

    async def call(name: str, lane: Lane, *, first: bool = False) -> None:
        ticket = await limiter.acquire(lane, first=first)
        order.append(name)
        limiter.release(ticket, ended(200, said(1)))

    asks: list[tuple[str, Lane, bool]] = [
        ("b1", "bulk", False),
        ("gone", "interactive", False),
        ("i1", "interactive", False),
        ("b2", "bulk", False),
        ("b0", "bulk", True),
        ("i0", "interactive", True),
    ]
    tasks = {}
    for name, lane, first in asks:
        tasks[name] = asyncio.ensure_future(call(name, lane, first=first))
        await asyncio.sleep(0.01)
    tasks.pop("gone").cancel()
    await asyncio.gather(*tasks.values())

    assert order == ["i0", "i1", "b0", "b1", "b2"]
    await close(limiter)


async def test_a_slot_for_a_call_that_is_gone_is_given_back(server: RedisServer) -> None:
    """It was cancelled while Redis was asked, or in the turn in which it was granted."""
    limiter = limiter_of(server, Quota(1, 60.0))
    loop = asyncio.get_running_loop()
    for turns in range(12):
        waiter = asyncio.ensure_future(limiter.acquire())
        for _ in range(turns):
            await asyncio.sleep(0)
        waiter.cancel()
        (result,) = await asyncio.gather(waiter, return_exceptions=True)
        if not isinstance(result, BaseException):
            limiter.unsent(result)
    limiter.unsent(await limiter.acquire())

    assert loop.time() < 5
    await asyncio.sleep(0.1)
    assert limiter.snapshot().used == 0
    await close(limiter)


async def test_an_endpoints_own_quota_is_shared_too(server: RedisServer) -> None:
    """And holds up nobody else."""
    own = {"PUT /x": Quota(1, 60.0)}
    one, two = (limiter_of(server, Quota(10, 60.0), endpoints=own) for _ in range(2))
    ticket = await one.acquire(route="PUT /x")
    blocked = asyncio.ensure_future(two.acquire(route="PUT /x"))
    await asyncio.sleep(0.1)
    two.unsent(await two.acquire(route="GET /y"))
    one.release(ticket, ended(200, said(1)))
    await asyncio.sleep(0.1)
    with pytest.raises(QuotaWaitTooLongError, match="own quota of PUT /x"):
        await two.acquire(route="PUT /x", until=asyncio.get_running_loop().time() + 10)
    assert not blocked.done()
    (seen,) = two.snapshot().endpoints
    assert (seen.route, seen.limit, seen.used) == ("PUT /x", 1, 1)
    await blocked

    assert asyncio.get_running_loop().time() == pytest.approx(60.2, abs=1.2)
    await close(one, two)


async def test_what_one_process_learns_all_know(server: RedisServer) -> None:
    """The limit, an endpoint's refusal, and the server's hold of the store."""
    one, two = (limiter_of(server, Quota(10, 60.0)) for _ in range(2))
    loop = asyncio.get_running_loop()
    for _ in range(3):
        one.release(await one.acquire(route="PUT /x"), ended(200, said(11, allocated=(12, 60.0))))
    await asyncio.sleep(0.1)
    two.unsent(await two.acquire(route="GET /y"))
    assert (two.snapshot().limit, two.snapshot().window) == (12, 60.0)
    one.release(await one.acquire(route="PUT /x"), ended(429, said(3, allocated=(12, 60.0), retry_after=20.0)))
    await asyncio.sleep(0.1)
    two.unsent(await two.acquire(route="GET /y"))
    assert loop.time() < 1
    blocked = await one.acquire(route="PUT /x")
    assert loop.time() == pytest.approx(20.2, abs=0.2)
    one.release(blocked, ended(429, said(0, allocated=(12, 60.0), retry_after=5.0)))
    await asyncio.sleep(0.1)
    two.unsent(await two.acquire(route="GET /y"))
    assert loop.time() == pytest.approx(25.3, abs=0.3)
    for _ in range(70):
        loop_time = loop.time()
        one.release(await one.acquire(route="PUT /x"), ended(200, said(11, allocated=(12, 60.0))))
        await asyncio.sleep(loop_time + 6 - loop.time())
    assert "PUT /x" not in one._buckets.endpoints, "it has healed"
    await close(one, two)


# -- when Redis is not well ----------------------------------------------------------------------------------------


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """Give a server that a test may stop."""
    server = RedisServer()
    server.start()
    yield server
    server.remove()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give what was said."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_without_redis_calls_go_on_and_it_is_said_once(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With an equal share; when it is back with empty hands, each process tells it what it holds."""
    one, two = (limiter_of(own_server, Quota(8, 60.0, "burst", reserve=0)) for _ in range(2))
    one.release(await one.acquire(), ended(200, said(8)))
    two.release(await two.acquire(), ended(200, said(7)))
    await asyncio.sleep(0.1)
    one.unsent(await one.acquire())
    await asyncio.sleep(0.1)
    own_server.stop()
    started = asyncio.get_running_loop().time()
    tickets = [await one.acquire() for _ in range(3)]

    assert asyncio.get_running_loop().time() - started < 1
    assert one.snapshot().degraded
    assert one.snapshot().left == 0, "4 of 8"
    assert 1 <= len(warnings_of(caplog)) <= 2, "once by each"
    assert "1/2 of the quota" in warnings_of(caplog)[0]
    one.release(tickets[0], ended(200, said(4)))
    one.release(tickets[1], ended(200, said(4)))
    one.unsent(tickets[2])
    one.unsent(await one.acquire())
    await one.acquire()
    with pytest.raises(QuotaWaitTooLongError):
        await one.acquire(until=started + 10)

    await asyncio.to_thread(own_server.start)
    await asyncio.sleep(11)
    assert not one.snapshot().degraded
    ends = [line.rpartition(" ")[2] for line in warnings_of(caplog)]
    assert ends in (["back", "Redis"], ["back", "back", "Redis", "Redis"])
    two.unsent(await two.acquire())
    await asyncio.sleep(1)
    assert two.snapshot().used == 5, "3 leases and a flight of one, a lease of two"
    await close(one, two)


async def test_a_limiter_whose_redis_never_was_there_says_so_once(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And takes the part of the quota that it was told to take."""
    own_server.stop()
    limiter = limiter_of(own_server, Quota(9, 60.0, "burst"), processes=3)
    for _ in range(3):
        limiter.release(await limiter.acquire("bulk"), ended(200, SILENCE))
    await asyncio.sleep(30)

    assert limiter.snapshot().left == 0
    assert len(warnings_of(caplog)) == 1
    await close(limiter)


async def test_a_slow_redis_costs_a_moment_once(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then calls go on without it, and what it may have granted meanwhile is given back."""
    limiter = limiter_of(own_server)
    limiter.unsent(await limiter.acquire())
    await asyncio.sleep(0.1)
    monkeypatch.setattr(PatientConnection, "patient", False)  # time passes while Redis is silent
    started = asyncio.get_running_loop().time()
    own_server.freeze()
    tickets = [await limiter.acquire() for _ in range(2)]
    assert asyncio.get_running_loop().time() - started == pytest.approx(0.5, abs=0.01)
    assert "TimeoutError" in warnings_of(caplog)[0]
    for ticket in tickets:
        limiter.unsent(ticket)
    own_server.thaw()
    monkeypatch.setattr(PatientConnection, "patient", True)
    await asyncio.sleep(12)
    limiter.unsent(await limiter.acquire())
    await asyncio.sleep(0.1)

    assert limiter.snapshot().used == 0
    await close(limiter)


async def test_redis_that_loses_its_data_is_told_again(server: RedisServer, blocking: redis.Redis) -> None:
    """Nothing that a process holds is forgotten, whether it goes on asking or only reports."""
    one, two = limiter_of(server), limiter_of(server)
    under_way = await one.acquire()
    one.release(await one.acquire(), ended(200, said(4)))
    held = await two.acquire()
    await asyncio.sleep(0.1)
    blocking.flushall()
    one.unsent(await one.acquire())
    two.release(held, ended(200, said(2)))
    await asyncio.sleep(0.1)
    one.unsent(await one.acquire())
    await asyncio.sleep(0.1)

    assert one.snapshot().used == 3
    one.release(under_way, ended(200, said(1)))
    await asyncio.sleep(0.1)
    assert one.snapshot().used == 3
    await close(one, two)


async def test_a_clock_that_goes_back_stops_nobody(server: RedisServer) -> None:
    """Redis moves to a machine whose clock is an hour behind: the books begin again, with what is held."""
    loop = asyncio.get_running_loop()
    limiter = limiter_of(server)
    behind = 0.0
    limiter._clock = lambda: 5000 + loop.time() - behind
    for _ in range(3):
        limiter.release(await limiter.acquire(), ended(200, said(4)))
    await asyncio.sleep(0.1)
    behind = 3600.0
    limiter.release(await limiter.acquire(), ended(200, said(1)))
    await asyncio.sleep(0.1)
    started = loop.time()
    await limiter.acquire()

    assert loop.time() - started == pytest.approx(59, abs=1.6), "up to 2 s of it until others had time to report"
    await close(limiter)


async def test_a_broken_answer_reaches_those_who_wait(server: RedisServer) -> None:
    """Nobody waits for a task that is gone."""
    limiter = limiter_of(server)
    limiter.unsent(await limiter.acquire())

    async def broken(*_: object) -> list[bytes]:
        raise KeyError

    limiter._script = broken
    with pytest.raises(KeyError):
        await limiter.acquire()
    await close(limiter)


async def test_closing_a_limiter_ends_the_calls_that_wait(own_server: RedisServer) -> None:
    """And the attempts to reach Redis again."""
    limiter = limiter_of(own_server, Quota(1, 60.0))
    await limiter.acquire()
    waiter = asyncio.ensure_future(limiter.acquire())
    await asyncio.sleep(0.1)
    own_server.stop()
    await asyncio.sleep(5)
    await close(limiter)
    with pytest.raises(ConfigurationError, match="was closed"):
        await waiter


def test_a_limiter_serves_one_loop_after_the_other(server: RedisServer) -> None:
    """With a connection for each, on the server's own clock."""
    limiter = RedisRateLimiter(server.url, "store", Quota(5, 60.0))

    async def take() -> int:
        async with limiter:
            limiter.release(await limiter.acquire(), ended(200, said(4)))
        return limiter.snapshot().used

    assert [asyncio.run(take()) for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("server_url", "store", "words"),
    [
        ("http://:secret@localhost", "store", "no URL that can be used"),
        ("redis://:secret@localhost", "a store", "store must be a name"),
        ("redis://:secret@localhost", "", "store must be a name"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_sent(server_url: str, store: str, words: str) -> None:
    """Without the password."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        RedisRateLimiter(server_url, store)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    ours = shown.partition("b2b_async/ratelimit/redis/limiter.py")[2]
    assert ours
    assert "secret" not in ours
    assert caught.value.__context__ is None


async def test_the_password_of_redis_is_nowhere(own_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """A server that does not know a command quotes it, with the password in it."""
    own_server.stop()
    await asyncio.to_thread(own_server.start, "--rename-command", "AUTH", "", "--rename-command", "HELLO", "")
    url = own_server.url.replace("redis://", "redis://:hunter2@")
    async with RedisRateLimiter(url, "store", processes=1) as limiter:
        limiter.unsent(await limiter.acquire())
        assert limiter.snapshot().degraded
        assert "hunter2" not in repr(vars(limiter))
    assert len(warnings_of(caplog)) == 1
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("loss", ["old file", "one key", "endpoint"])
async def test_a_part_that_is_lost_is_told_again(own_server: RedisServer, loss: str) -> None:
    """Redis starts again from an old file, or throws a key away since it is short of memory; its epoch stays."""
    own = {"PUT /x": Quota(20, 60.0, reserve=0)}
    one, two = (limiter_of(own_server, Quota(20, 60.0, "burst", reserve=0), endpoints=own) for _ in range(2))
    for _ in range(2):
        two.release(await two.acquire(route="PUT /x"), ended(200, said(20)))
    await asyncio.sleep(0.1)
    with own_server.client() as client:
        client.save()
        for _ in range(4):
            one.release(await one.acquire(route="PUT /x"), ended(200, said(20)))
        under_way = await one.acquire(route="PUT /x")
        await asyncio.sleep(0.1)
        if loss == "old file":
            own_server.stop()
            await asyncio.to_thread(own_server.start)
        else:
            key = "b2b-async:{store}:store:leases" if loss == "one key" else "b2b-async:{store}:PUT /x:flights"
            assert client.delete(key) == 1
    for _ in range(2):
        for limiter in (one, two):
            limiter.unsent(await limiter.acquire(route="PUT /x"))
            await asyncio.sleep(2)  # an old redis-py does not try a broken connection again

    seen = two.snapshot()
    assert (seen.used, seen.endpoints[0].used, seen.degraded) == (7, 7, False)
    one.unsent(under_way)
    await asyncio.sleep(0.1)
    await close(one, two)


async def test_a_hold_outlives_the_books_that_it_was_written_in(own_server: RedisServer) -> None:
    """Redis loses it, or goes away before others have asked, or a refusal comes while it is away."""
    loop = asyncio.get_running_loop()
    one, two = (limiter_of(own_server, Quota(10, 60.0)) for _ in range(2))
    one.unsent(await one.acquire())
    two.release(await two.acquire(), ended(429, said(0, retry_after=30.0)))
    await asyncio.sleep(0.1)
    with own_server.client() as client:
        client.flushall()
    two.unsent(await two.acquire())
    assert loop.time() == pytest.approx(31.2, abs=1.2)
    held = await one.acquire()
    own_server.stop()
    one.release(held, ended(429, said(0, retry_after=40.0)))
    waiter = asyncio.ensure_future(one.acquire())
    await asyncio.sleep(1)
    started = loop.time()
    await asyncio.to_thread(own_server.start)
    one.unsent(await waiter)

    assert loop.time() - started == pytest.approx(39, abs=1.6)
    assert not one.snapshot().degraded
    await close(one, two)


async def test_without_redis_what_others_held_is_theirs(own_server: RedisServer) -> None:
    """For a window: nobody knows what they have used since. Then half of the quota is ours."""
    one, two = (limiter_of(own_server, Quota(10, 60.0, "burst", reserve=0)) for _ in range(2))
    two.unsent(await two.acquire())
    for _ in range(8):
        one.release(await one.acquire(), ended(200, said(10)))
    await asyncio.sleep(0.1)
    two.unsent(await two.acquire())
    await asyncio.sleep(0.1)
    own_server.stop()
    stopped = asyncio.get_running_loop().time()
    with pytest.raises(QuotaWaitTooLongError):
        await asyncio.wait_for(two.acquire(until=stopped + 1), 2)
    for _ in range(5):
        await two.acquire()
    assert asyncio.get_running_loop().time() - stopped == pytest.approx(61, abs=1.6)
    with pytest.raises(QuotaWaitTooLongError):
        await asyncio.wait_for(two.acquire(until=asyncio.get_running_loop().time() + 1), 2)
    await close(one, two)


async def test_an_answer_under_way_may_free_a_call_in_time(server: RedisServer) -> None:
    """The cold start does not refuse a call whose slot depends on an answer."""
    limiter = limiter_of(server, Quota(10, 60.0))
    tickets = [await limiter.acquire() for _ in range(5)]
    for ticket in [await limiter.acquire() for _ in range(0)]:
        limiter.unsent(ticket)
    waiter = asyncio.ensure_future(limiter.acquire(until=asyncio.get_running_loop().time() + 10))
    await asyncio.sleep(5)
    limiter.release(tickets[0], ended(200, said(10)))
    limiter.unsent(await waiter)
    await close(limiter)


async def test_what_is_held_is_told_in_pieces(server: RedisServer, blocking: redis.Redis) -> None:
    """Thousands of slots, none forgotten."""
    limiter = limiter_of(server, Quota(5000, 60.0, "burst", reserve=0))
    limiter.release(await limiter.acquire(), ended(200, said(5000)))
    for _ in range(1200):
        limiter.release(await limiter.acquire(), ended(200, said(5000)))
    await asyncio.sleep(0.1)
    blocking.flushall()
    limiter.unsent(await limiter.acquire())
    await asyncio.sleep(0.1)

    assert limiter.snapshot().used == 1201
    await close(limiter)


async def test_a_closed_limiter_opens_nothing(server: RedisServer) -> None:
    """Those who wait are refused, reports go out, later ones are dropped, and no connection is left."""
    limiter = RedisRateLimiter(server.url, "store", Quota(2, 60.0))
    async with limiter:
        tickets = [await limiter.acquire() for _ in range(2)]
        waiters = [asyncio.ensure_future(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0.01)
        limiter.release(tickets[0], ended(200, said(2)))
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert all(isinstance(error, ConfigurationError) for error in results)
    limiter.release(tickets[1], ended(200, said(2)))
    with pytest.raises(ConfigurationError, match="closed"):
        await limiter.acquire()
    await asyncio.sleep(0)
    assert limiter._server is None
    assert limiter._worker is None


async def test_books_that_change_all_the_time_are_not_waited_for(server: RedisServer, blocking: redis.Redis) -> None:
    """The limiter goes on by itself instead."""
    limiter = limiter_of(server)
    limiter.unsent(await limiter.acquire())
    real = limiter._script

    async def restless(keys: list[str], arguments: list[str]) -> Any:
        blocking.flushall()
        return await real(keys, arguments)

    limiter._script = restless
    limiter.unsent(await limiter.acquire())

    assert limiter.snapshot().degraded
    await close(limiter)


async def test_what_answers_something_else_is_not_redis(server: RedisServer) -> None:
    """A script that does not answer as ours is like no answer."""
    limiter = limiter_of(server)
    limiter.unsent(await limiter.acquire())

    async def other(*_: object) -> list[bytes]:
        return [b"1"]

    limiter._script = other
    limiter.unsent(await limiter.acquire())
    assert limiter.snapshot().degraded
    await close(limiter)


async def test_a_frozen_redis_does_not_hold_up_the_end(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing takes no longer than the limiter's patience, and nothing comes back to life."""
    loop = asyncio.get_running_loop()
    one, two = (limiter_of(own_server, timeout=seconds) for seconds in (9.0, 5.0))
    one.unsent(await one.acquire())
    ticket = await one.acquire()
    two.release(await two.acquire(), ended(200, said(3)))
    await asyncio.sleep(0.1)
    monkeypatch.setattr(PatientConnection, "patient", False)
    own_server.freeze()
    waiters = [asyncio.ensure_future(two.acquire()) for _ in range(1)]
    await asyncio.sleep(5.5)
    assert two.snapshot().degraded
    one.release(ticket, ended(200, said(3)))
    waiting = asyncio.ensure_future(one.acquire())
    gone = asyncio.ensure_future(one.acquire())
    await asyncio.sleep(1)
    gone.cancel()
    started = loop.time()
    await asyncio.gather(one.close(), two.close())
    assert loop.time() - started <= 9.1
    own_server.thaw()
    await asyncio.sleep(20)
    with pytest.raises(ConfigurationError, match="was closed"):
        await waiting
    for waiter in waiters:
        two.unsent(await waiter)
    assert len(warnings_of(caplog)) == 2, "one of each"
    await close(one, two)


async def test_an_endpoints_own_quota_counts_without_redis_too(own_server: RedisServer) -> None:
    """Also one that is learnt meanwhile; and the attempts to reach Redis go on."""
    own_server.stop()
    limiter = limiter_of(own_server, Quota(20, 60.0), endpoints={"PUT /x": Quota(2, 60.0)}, processes=2)
    limiter.release(await limiter.acquire(route="PUT /x"), ended(200, said(20)))
    waiter = asyncio.ensure_future(limiter.acquire(route="PUT /x"))
    await asyncio.sleep(30)
    assert not waiter.done()
    limiter.release(await limiter.acquire(route="GET /y"), ended(429, said(5, retry_after=20.0)))
    assert limiter._buckets.endpoints["GET /y"].share == 0.5
    await asyncio.to_thread(own_server.start)
    await asyncio.sleep(15)
    assert not limiter.snapshot().degraded
    limiter.unsent(await limiter.acquire(route="GET /y"))
    assert 49 < asyncio.get_running_loop().time() < 52
    limiter.unsent(await waiter)
    await close(limiter)


async def test_what_hangs_is_cut_off(own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that is not answered when the limiter is closed; one who waited has gone in the same turn."""
    limiter = limiter_of(own_server, timeout=60.0)
    limiter.unsent(await limiter.acquire())
    await asyncio.sleep(0.1)
    monkeypatch.setattr(PatientConnection, "patient", False)
    own_server.freeze()
    waiters = [asyncio.ensure_future(limiter.acquire()) for _ in range(2)]
    await asyncio.sleep(1)
    limiter._timeout = 0.1
    waiters[0].cancel()
    await limiter.close()
    results = await asyncio.gather(*waiters, return_exceptions=True)

    assert [type(result) for result in results] == [asyncio.CancelledError, ConfigurationError]
    await limiter._connect().aclose()


@pytest.mark.parametrize("wrong", [{"attempt": 0}, {"timeout": -1.0}, {"processes": 0}, {"timeout": float("nan")}])
def test_numbers_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="must be numbers above 0"):
        RedisRateLimiter("redis://localhost", "store", **wrong)


@pytest.mark.parametrize("loss", ["data", "connection"])
async def test_nothing_is_granted_for_those_who_have_not_told_yet(own_server: RedisServer, loss: str) -> None:
    """Two processes with calls waiting hold half each; the first one that is back does not take what it cannot see."""
    loop = asyncio.get_running_loop()
    quota = Quota(20, 60.0, "burst", reserve=0)
    one, two = (limiter_of(own_server, quota, uniform=random.Random(seed).random) for seed in (1, 2))
    for limiter in (two, one):
        limiter.release(await limiter.acquire(), ended(200, SILENCE))
    await asyncio.sleep(0.1)
    for limiter in (one, two):
        limiter.unsent(await limiter.acquire())
    await asyncio.sleep(0.1)
    for limiter in (one, two):
        for _ in range(9):
            limiter.release(await limiter.acquire(), ended(200, SILENCE))
    if loss == "connection":
        await asyncio.sleep(0.1)
        own_server.stop()

    async def call(limiter: RedisRateLimiter) -> None:
        limiter.release(await limiter.acquire(), ended(200, SILENCE))

    waiters = [asyncio.ensure_future(call(limiter)) for limiter in (one, two) for _ in range(8)]
    if loss == "data":
        await asyncio.sleep(0.1)
        with own_server.client() as client:
            client.flushall()
    else:
        await asyncio.to_thread(own_server.start)
    await asyncio.sleep(40)

    assert not any(waiter.done() for waiter in waiters)
    assert not one.snapshot().degraded
    assert one.snapshot().used == 20
    await asyncio.gather(*waiters)
    assert loop.time() < 64
    await close(one, two)


async def test_joining_and_leaving_leaves_the_books_right(server: RedisServer, blocking: redis.Redis) -> None:
    """A hundred short-lived processes, and losses between them: what others hold is still told by the headers."""
    for number in range(30):
        limiter = limiter_of(server, Quota(50, 60.0), uniform=random.Random(number).random)
        limiter.unsent(await limiter.acquire())
        held = await limiter.acquire()
        if number % 3 == 0:
            await asyncio.sleep(0.1)
            blocking.delete("b2b-async:{store}:store")
        limiter.unsent(await limiter.acquire())
        limiter.unsent(held)
        await asyncio.sleep(0.1)
        await close(limiter)
    fields = blocking.hgetall("b2b-async:{store}:store")

    assert float(fields[b"granted"]) - float(fields[b"completed"]) == 0


async def test_an_old_file_is_noticed_by_a_process_that_never_saw_the_new_one(own_server: RedisServer) -> None:
    """It is another run of the server; so the others must tell again, whoever comes first."""
    quota = Quota(20, 60.0, "burst", reserve=0)
    one = limiter_of(own_server, quota)
    one.release(await one.acquire(), ended(200, SILENCE))
    await asyncio.sleep(0.1)
    with own_server.client() as client:
        client.save()
    for _ in range(9):
        one.release(await one.acquire(), ended(200, SILENCE))
    await asyncio.sleep(0.1)
    own_server.stop()
    await asyncio.to_thread(own_server.start)
    two = limiter_of(own_server, quota, processes=2)
    for _ in range(9):
        two.release(await two.acquire(), ended(200, SILENCE))
    await asyncio.sleep(0.1)
    one.unsent(await one.acquire())
    await asyncio.sleep(2)
    two.unsent(await two.acquire())
    await asyncio.sleep(0.1)

    assert two.snapshot().used == 19
    await close(one, two)


async def test_a_call_that_goes_while_redis_is_asked_gives_its_slot_back(server: RedisServer) -> None:
    """It is cancelled when the question is under way."""
    limiter = limiter_of(server, Quota(1, 60.0))
    limiter.unsent(await limiter.acquire())
    await asyncio.sleep(0.1)
    waiters: list[asyncio.Future[Ticket]] = []
    real = limiter._script

    async def cancelling(keys: list[str], arguments: list[str]) -> Any:
        answer = await real(keys, arguments)
        for waiter in waiters:
            waiter.cancel()
        return answer

    limiter._script = cancelling
    waiters.append(asyncio.ensure_future(limiter.acquire()))
    await asyncio.sleep(0.1)
    waiters.clear()
    limiter.unsent(await limiter.acquire())
    assert asyncio.get_running_loop().time() < 5
    await asyncio.sleep(0.1)
    assert limiter.snapshot().used == 0
    await close(limiter)


async def test_a_server_that_tells_nothing_of_itself_will_do(own_server: RedisServer) -> None:
    """INFO may be forbidden; then only what is missing shows that it has started again."""
    own_server.stop()
    await asyncio.to_thread(own_server.start, "--rename-command", "INFO", "")
    limiter = limiter_of(own_server)
    limiter.unsent(await limiter.acquire())
    assert not limiter.snapshot().degraded
    await close(limiter)


# -- what a process does not know -----------------------------------------------------------------------------------


async def test_an_empty_redis_grants_nothing_until_others_had_time_to_report(own_server: RedisServer) -> None:
    """A process without calls reports what it holds; one that has just started does not use it."""
    loop = asyncio.get_running_loop()
    idle, new = (limiter_of(own_server, Quota(10, 60.0, "burst", reserve=0)) for _ in range(2))
    for _ in range(8):
        idle.release(await idle.acquire(), ended(200, SILENCE))
    await asyncio.sleep(5)
    with own_server.client() as client:
        client.flushall()
    lost = loop.time()
    for _ in range(2):
        new.release(await new.acquire(), ended(200, SILENCE))
    assert 2 <= loop.time() - lost < 3.1
    waiter = asyncio.ensure_future(new.acquire())
    await asyncio.sleep(50)
    assert not waiter.done(), "eight and two are ten"
    new.unsent(await waiter)
    await close(idle, new)


async def test_a_clock_that_jumps_frees_nothing(own_server: RedisServer) -> None:
    """Each process compares it with its own."""
    loop = asyncio.get_running_loop()
    one, two = (limiter_of(own_server, Quota(10, 60.0, "burst", reserve=0)) for _ in range(2))
    ahead = 0.0
    for limiter in (one, two):
        limiter._clock = lambda: 5000 + loop.time() + ahead
        for _ in range(5):
            limiter.release(await limiter.acquire(), ended(200, SILENCE))
    await asyncio.sleep(0.1)
    for jump in (3.0, 64.0, 86_400.0):
        ahead = jump
        waiter = asyncio.ensure_future(one.acquire())
        await asyncio.sleep(10)
        assert not waiter.done()
        waiter.cancel()
        assert one.snapshot().used == 10
    one.unsent(await one.acquire())
    assert loop.time() == pytest.approx(62, abs=2.5)
    await close(one, two)


async def test_restarts_do_not_hide_how_many_share_the_quota(own_server: RedisServer) -> None:
    """The largest number of the last window stands, also when a process comes back first and alone."""
    one, two = (limiter_of(own_server, Quota(10, 60.0, "burst", reserve=0)) for _ in range(2))
    for limiter in (one, two):
        for _ in range(5):
            limiter.release(await limiter.acquire(), ended(200, SILENCE))
    one.release(ticket := await asyncio.wait_for(one.acquire(), 70), ended(200, SILENCE))
    del ticket
    two._closed = True  # it is frozen, and holds what it holds
    for _ in range(3):
        own_server.stop()
        await asyncio.to_thread(own_server.start)
        await asyncio.sleep(3)
    assert one._replica.processes == 2
    two._closed = False
    await close(one, two)


async def test_a_process_that_never_reached_redis_waits_for_it(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A call with a deadline is told so; one without goes on when Redis is there."""
    loop = asyncio.get_running_loop()
    own_server.stop()
    limiter = limiter_of(own_server, Quota(9, 60.0, "burst", reserve=0))
    patient_call = asyncio.ensure_future(limiter.acquire("bulk"))
    with pytest.raises(QuotaWaitTooLongError, match="Redis was not reached since the limiter was made"):
        await limiter.acquire(until=loop.time() + 3)
    assert loop.time() == pytest.approx(2.95, abs=0.1)
    assert "calls wait until it can be reached" in warnings_of(caplog)[0]
    await asyncio.to_thread(own_server.start)
    limiter.unsent(await patient_call)
    assert loop.time() < 7
    await close(limiter)


@pytest.mark.parametrize(
    "options",
    ["protocol=9", "retry=x", "encoding=nope", "ssl_cert_reqs=bad", "max_connections=-1", "foo=1", "db=x"],
)
def test_options_of_the_url_that_make_no_connection_are_refused(options: str) -> None:
    """When the limiter is made."""
    with pytest.raises(ConfigurationError, match="is no URL that can be used"):
        RedisRateLimiter(f"rediss://localhost/0?{options}", "store")


async def test_a_timer_of_another_loop_does_nothing(server: RedisServer) -> None:
    """The limiter serves this one now."""
    limiter = limiter_of(server)
    limiter.unsent(await limiter.acquire())
    other = asyncio.new_event_loop()
    limiter._worker = None
    limiter._dispatch_in(other)
    other.close()
    assert limiter._worker is None
    await close(limiter)
