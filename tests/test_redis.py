"""The limiter shared over a real Redis: the same decisions as alone, and none lost when Redis is."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_server import BINARY, MISSING, PatientConnection, RedisServer, on_loop_time, patient
from servers import MODELS, DRFLog, Trip, simulate
from test_quota import LANES, LATE, MANY, QUOTAS, TRIPS

from b2b_async import ConfigurationError, Quota, QuotaWaitTooLongError
from b2b_async._buckets import Buckets
from b2b_async._headers import QuotaHeaders
from b2b_async.redis import RedisRateLimiter
from b2b_async.redis.mirror import Mirror, script

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from b2b_async._messages import Lane
    from b2b_async.quota import Ticket
    from b2b_async.redis.mirror import Answer, Call

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
    return module_server


@pytest.fixture(scope="module")
def blocking(module_server: RedisServer) -> Iterator[redis.Redis]:
    """Give a client that blocks."""
    with module_server.client() as client:
        yield client


# -- the same decisions --------------------------------------------------------------------------------------------


class BothBooks:
    """The books in Redis, asked as a limiter asks them, beside those in Python, asked the same at the same time."""

    def __init__(self, client: redis.Redis, quota: Quota, endpoints: dict[str, Quota]) -> None:
        """Start with empty books."""
        client.flushdb()
        self._script = client.register_script(script())
        self._python = Buckets(quota, endpoints, lambda: 0.5)
        own = Buckets(quota, endpoints, lambda: 0.5)
        self._mirror = Mirror(own, prefix="{test}", process="one", attempt=1e6, uniform=lambda: 0.5)
        self._tickets: dict[Ticket, Ticket] = {}

    def _run(self, call: Call, now: float) -> Answer:
        return self._mirror.read(call, self._script(*self._mirror.write(call, now)))  # type: ignore[arg-type]

    def try_acquire(self, now: float, lane: Lane, route: str) -> Ticket | float:
        """Grant a slot, or say when to ask again."""
        call = self._mirror.ask(lane, route)
        answer = self._run(call, now)
        here = self._python.try_acquire(now, lane, route)
        if isinstance(here, float):
            assert not answer.granted
            assert answer.wait == pytest.approx(here - now, abs=1e-6)
        else:
            assert answer.granted
            self._tickets[here] = self._mirror.granted(call, answer, now)
        return here

    def report(self, ticket: Ticket, now: float, status: int | None, headers: QuotaHeaders) -> None:
        """Take a slot back."""
        self._python.report(ticket, now, status, headers)
        call = self._mirror.report(self._tickets.pop(ticket), now, status, headers)
        assert call is not None
        store = self._run(call, now).books[0]
        books = self._python.store
        assert (store.limit, store.active, store.foreign) == (books.limit, books.active, books.foreign)


@MANY
@given(
    quota=QUOTAS,
    own=st.none() | QUOTAS,
    trips=TRIPS,
    workers=st.integers(1, 6),
    lane=LANES,
    model=st.sampled_from(sorted(MODELS)),
    neighbour=st.lists(st.floats(0, 60), max_size=6),
    silent=st.booleans(),
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
    *,
    silent: bool,
) -> None:
    """For the same questions and answers: with neighbours, refusals, and without headers."""
    endpoints = {} if own is None else {"PUT /x": own}
    server = MODELS[model](quota.limit, quota.window, 0.0)
    foreign = sorted(neighbour)

    def admit(now: float) -> tuple[bool, dict[str, str], float]:
        while foreign and foreign[0] <= now:
            server.admit(foreign.pop(0))
        accepted, headers, wait = server.admit(now)
        return accepted, {} if silent else headers, wait

    books = BothBooks(blocking, quota, endpoints)
    simulate(books, admit, trips, workers=workers, total=8, lane=lane, route="PUT /x", late=LATE)
