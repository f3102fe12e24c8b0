"""One limiter for all processes of a store: the same books, kept in Redis or Valkey, on the server's clock.

One task, there only while there is something to do, talks to Redis: it hands in the reports, then asks for a slot for
the first waiter, then sleeps until the books may have one. So a call never waits for Redis after its answer,
and a cancellation needs no round trip.

**When Redis is away** (down, slow, out of memory), calls go on with books of this process's own, which are kept warm
all the time, and with an equal part of the quota: as many processes as were seen last share it. That is said once.
Every process knows what it holds. When Redis is back, or has lost its data or a part of them, or has gone back to an
old file, the first process that meets it tells what it holds before it asks, and so do the others when they come.
A slot is known by an id that is made here: what was asked twice, or told twice, counts once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from b2b_async._limiter import LANES, RateLimiter
from b2b_async.errors import ConfigurationError
from b2b_async.quota import EndpointSnapshot, Ticket
from b2b_async.redis.mirror import Mirror, script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from b2b_async._headers import QuotaHeaders
    from b2b_async._messages import Lane
    from b2b_async.quota import Quota, QuotaSnapshot
    from b2b_async.redis.mirror import Answer, Call

logger = logging.getLogger("b2b_async.redis")

_STORE = re.compile(r"[\w.-]{1,200}")
_LONGEST_PAUSE = 1 / 60
"""Part of the window after which a waiter asks again at the latest: another process may have given a slot back."""
_SPREAD = 1 / 3000
"""Part of the window over which processes that wait for the same slot spread their questions."""
_REJOIN_FIRST, _REJOIN_MOST = 0.5, 10.0
"""Seconds between attempts to reach Redis again; doubling."""
_AWAY = (RedisError, OSError, ValueError)
"""What it looks like when Redis cannot be used; a ValueError is an answer that is none."""
_PATIENCE = 5
"""Questions in a row that may be lost because the books have just become others."""


class _UnsteadyError(Exception):
    """The books become others all the time."""


class RedisRateLimiter(RateLimiter):
    """A ``RateLimiter`` that shares the quota of a store with all processes that use the same Redis.

    Use it as an async context manager around the clients that it is for, or close it.
    All processes should be given the same quota and endpoints. Tested with Redis 7; Valkey has the same commands.

    Args:
        server: The URL of a Redis or Valkey server ("redis://host:6379/0"), or a ``redis.asyncio.Redis`` client,
            which stays yours and, like its connections, belongs to one event loop.
        store: The name of the store, as part of the keys; its store hash, for example.
        quota: The quota and our part of it, which all processes share.
        endpoints: The quotas of single endpoints; None for those that the vendor documents.
        processes: How many processes share the quota at least, for the time that Redis cannot tell.
        timeout: Seconds to wait for Redis before going on without it.
        attempt: Seconds after which the slot of a request counts as given up if nobody gives it back, because its
            process was killed; not less than ``Timeouts.attempt``.
        uniform: A source of random numbers in [0, 1), for jitter.

    Raises:
        ConfigurationError: the URL or the store cannot be used.
    """

    def __init__(
        self,
        server: str | redis.asyncio.Redis,
        store: str,
        quota: Quota | None = None,
        *,
        endpoints: Mapping[str, Quota] | None = None,
        processes: int = 1,
        timeout: float = 0.5,
        attempt: float = 30.0,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        """Set everything up without connecting."""
        connect = _connector(server, timeout)
        owned = isinstance(server, str)
        del server  # there may be a password in it, and tracebacks show variables
        super().__init__(quota, endpoints=endpoints, uniform=uniform)
        if connect is None:
            message = "limiter: the address of Redis is no URL that can be used; for example redis://localhost:6379/0"
            raise ConfigurationError(message)
        if not (0 < timeout < math.inf and 0 < attempt < math.inf and processes > 0):
            message = f"limiter: {timeout=}, {attempt=} and {processes=} must be numbers above 0"
            raise ConfigurationError(message)
        if not _STORE.fullmatch(store):
            message = f"limiter: store must be a name of letters, digits, '.', '-' and '_', not {store!r}"
            raise ConfigurationError(message)
        self._connect = connect
        self._owned = owned
        self._store_name = store
        self._uniform = uniform
        self._timeout = timeout
        self._least_processes = processes
        self._mirror = Mirror(
            self._buckets,
            prefix=f"b2b-async:{{{store}}}",
            process=secrets.token_hex(6),
            attempt=attempt,
            uniform=uniform,
        )
        self._mirror.processes = processes
        self._server: redis.asyncio.Redis | None = None
        self._script: Any = None
        self._reports: deque[Call] = deque()
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._degraded = self._rejoining = self._closed = False
        self._pause = _REJOIN_FIRST
        self._rejoin_at = math.inf
        self._earliest = 0.0  # seconds before which the last one who asked can have no slot
        self._clock: Callable[[], float] | None = None  # tests put their own time here

    async def __aenter__(self) -> Self:
        """Give the limiter; it connects when the first call needs it."""
        self._closed = False
        return self

    async def close(self) -> None:
        """Refuse those who wait, hand in the reports that are left, and close the connection if it is our own."""
        self._closed = True
        self._time()  # forgets what belongs to a loop that is gone
        closed = ConfigurationError("the limiter was closed while calls were waiting; close the clients first")
        self._refuse_all(closed)
        worker, server = self._worker, self._server
        if worker is not None:
            self._wake.set()
            await asyncio.wait([worker], timeout=self._timeout)
            worker.cancel()
            await asyncio.wait([worker])
        if server is not None and self._owned:
            await server.aclose()
        self._server = None
        self._leave_degraded()

    def snapshot(self) -> QuotaSnapshot:
        """Show the shared books as they were at the last word from Redis, or our own while that is away."""
        own, seen = super().snapshot(), self._mirror.seen
        store = seen.get("")
        degraded = self._degraded or self._rejoining
        if degraded or store is None:
            return attrs.evolve(own, degraded=degraded)
        return attrs.evolve(
            own,
            limit=int(store.limit),
            window=store.window,
            used=int(store.active),
            foreign=int(store.foreign),
            left=int(store.left),
            held_for=store.held_for,
            next_in=store.next_seconds,
            endpoints=tuple(
                EndpointSnapshot(route, int(book.limit), book.window, int(book.active), book.next_seconds)
                for route, book in seen.items()
                if route
            ),
        )

    def try_acquire(self, lane: Lane = "interactive", route: str = "") -> Ticket | None:
        """Give None: the shared books can only be asked by waiting."""
        del lane, route
        self._time()
        if self._closed:
            message = "the limiter is closed"
            raise ConfigurationError(message)
        return None

    def report(self, ticket: Ticket, status: int | None, headers: QuotaHeaders) -> None:
        """Give a slot back whose request was answered with *status*, or given up after it left (None)."""
        self._tell(self._mirror.report(ticket, self._now(), status, headers))

    def unsent(self, ticket: Ticket) -> None:
        """Give a slot back whose request never left."""
        self._tell(self._mirror.unsent(ticket, self._now()))

    # -- inside ------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return 0.0 if self._loop is None else self._loop.time()

    def _tell(self, call: Call | None) -> None:
        if call is not None and not self._closed:
            if not self._degraded:  # else all is told when Redis is back
                self._reports.append(call)
            self._pump()

    def _forget(self) -> None:
        super()._forget()
        self._reports.clear()
        self._worker = self._server = None
        self._wake = asyncio.Event()
        self._leave_degraded()

    def _refuse_hopeless(self, lane: Lane, route: str, *, first: bool, until: float) -> None:
        if self._degraded:  # else the shared books will tell, when they are asked
            super()._refuse_hopeless(lane, route, first=first, until=until)

    def _pump(self) -> None:
        loop = self._loop
        if loop is None or loop.is_closed() or self._closed:
            return
        self._wake.set()
        if self._worker is None and (self._reports or self._waiting or self._rejoin_at <= loop.time()):
            self._worker = loop.create_task(self._work(), name="b2b-async shared limiter")
            self._worker.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for a task that is gone."""
        if self._worker is task:
            self._worker = None
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._refuse_all(error)

    def _refuse_all(self, error: BaseException) -> None:
        for queue in self._queues.values():
            for waiter in queue:
                if not waiter.future.done():
                    waiter.future.set_exception(error)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if self._rejoin_at <= loop.time():
                await self._rejoin()
            while self._reports:
                await self._call(self._reports.popleft())
            pause = await self._serve()
            if self._reports:
                continue
            if pause is None:
                self._worker = None
                return
            timer = loop.call_later(pause, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    async def _serve(self) -> float | None:
        """Ask for those who wait, in order.

        Returns:
            The seconds until it may be worth asking again; None if nobody waits.
        """
        window = self._buckets.store.window
        wait = math.inf
        held = set[str]()
        place = 0
        while place < len(LANES):
            lane = LANES[place]
            waiter = self._queues[lane].first(held)
            if waiter is None:
                place += 1
                continue
            granted, of_endpoint = await self._ask(lane, waiter.route)
            if isinstance(granted, Ticket):
                self._hand_out(lane, granted)
                place, held = 0, set[str]() if place else held
                continue
            self._refuse_those_without_time(lane, waiter.route if of_endpoint else None)
            wait = min(wait, granted)
            if not of_endpoint:
                break
            held.add(waiter.route)
        if wait == math.inf and not any(len(queue) for queue in self._queues.values()):
            return None
        return min(wait, window * _LONGEST_PAUSE) + self._uniform() * window * _SPREAD

    def _hand_out(self, lane: Lane, ticket: Ticket) -> None:
        """Give a slot to the first who wants it; who asked may have gone, or another may have come first."""
        waiter = self._queues[lane].first_of(ticket.route)
        if waiter is None:
            self.unsent(ticket)
        else:
            waiter.future.set_result(ticket)

    def _refuse_those_without_time(self, lane: Lane, route: str | None) -> None:
        """Refuse those of *lane* and later ones, or of an endpoint, who cannot have a slot in time."""
        loop_time, wait = self._now(), self._earliest
        books = self._buckets.endpoints.get(route or "", self._buckets.store)
        queued = 0
        for other in LANES[LANES.index(lane) :]:
            for waiter in list(self._queues[other]):
                if waiter.future.done() or (route is not None and waiter.route != route):
                    continue
                if waiter.until is not None and loop_time + wait > waiter.until:
                    error = self._too_long(books, waiter.route, wait, queued, waiter.until - loop_time)
                    waiter.future.set_exception(error)
                else:
                    queued += 1

    async def _ask(self, lane: Lane, route: str) -> tuple[Ticket | float, bool]:
        """Ask for a slot: a ticket, or the seconds to wait; and whether the endpoint's own quota says so."""
        self._earliest = 0.0
        for _ in range(_PATIENCE):
            if self._degraded:
                break
            call = self._mirror.ask(lane, route)
            answer = await self._call(call)
            if answer is not None and answer.granted:
                return self._mirror.granted(call, answer, self._now()), False
            if answer is not None:
                self._earliest = answer.earliest
                return answer.wait, answer.of_endpoint
        else:
            self._degrade(_UnsteadyError())
        now = self._now()
        at = self._buckets.held_back(now, lane, route)
        if at > now:
            return at - now, True
        granted = self._buckets.try_acquire(now, lane, route)
        if not isinstance(granted, Ticket):
            return granted - now, False
        self._mirror.granted_here(granted)
        return granted, False

    async def _call(self, call: Call) -> Answer | None:
        """Run the script; None if there is no answer that can be used.

        Then Redis is away, which makes this limiter go on by itself; or its books were not the ones that know what
        this process holds, which they now do.
        """
        try:
            answer = await self._run(call)
            if self._mirror.knows(call, answer):
                self._mirror.take_over(call, answer, self._now())
                return answer
            self._give_up(call)
            await self._join(call.held.routes)
        except _AWAY as error:
            self._give_up(call)
            self._degrade(error)
        return None

    def _give_up(self, call: Call) -> None:
        if call.verb == "acquire" and call.held.until is None:
            self._mirror.lost(call, self._now())

    async def _join(self, routes: tuple[str, ...] = ()) -> None:
        """Tell Redis what this process holds."""
        server = self._opened()
        try:
            async with asyncio.timeout(self._timeout):
                facts = await server.info("server")  # pyright: ignore[reportUnknownMemberType] -- its **kwargs have no type
                run = str(facts.get("run_id", ""))
        except ResponseError:  # it is not allowed to
            run = ""
        for call in self._mirror.tell(self._now(), routes, run):
            answer = await self._run(call)
            self._mirror.take_over(call, answer, self._now())
            self._mirror.joined(call, answer)

    def _opened(self) -> redis.asyncio.Redis:
        if self._server is None:
            self._server = self._connect()
            self._script = self._server.register_script(script())
        return self._server

    async def _run(self, call: Call) -> Answer:
        self._opened()
        keys, arguments = self._mirror.write(call, None if self._clock is None else self._clock())
        async with asyncio.timeout(self._timeout):
            values = await self._script(keys, arguments)
        answer = self._mirror.read(call, values, self._now())
        self._mirror.processes = max(self._least_processes, answer.processes)
        return answer

    def _degrade(self, error: Exception, *, again: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._degraded = True
        self._reports.clear()  # all that they say is told again
        self._mirror.go_alone(loop.time())
        if not again:
            # Without its words: the server may quote a command with the password in it.
            logger.warning(
                "the shared limiter of store %s cannot use Redis (%s): calls go on with books of this process, "
                "and with 1/%d of the quota, until it is back",
                self._store_name,
                type(error).__name__,
                self._mirror.processes,
            )
        pause = self._pause * (0.75 + 0.5 * self._uniform())
        self._pause = min(_REJOIN_MOST, 2 * self._pause)
        self._rejoin_at = loop.time() + pause
        loop.call_later(pause, self._try_again, loop)

    def _try_again(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._degraded and self._loop is loop:
            self._pump()

    async def _rejoin(self) -> None:
        # From here on reports are kept; and nobody is granted anything until this is over.
        self._degraded, self._rejoining, self._rejoin_at = False, True, math.inf
        self._mirror.go_together()
        try:
            await self._join()
        except _AWAY as error:
            self._degrade(error, again=True)
        else:
            self._pause = _REJOIN_FIRST
            logger.warning("the shared limiter of store %s is back with Redis", self._store_name)
        finally:
            self._rejoining = False

    def _leave_degraded(self) -> None:
        self._degraded = False
        self._pause, self._rejoin_at = _REJOIN_FIRST, math.inf
        self._mirror.go_together()


def _connector(server: str | redis.asyncio.Redis, timeout: float) -> Callable[[], redis.asyncio.Redis] | None:
    """Give what makes a client; None if *server* is no URL that can be used."""
    if not isinstance(server, str):
        return lambda: server

    def connect() -> redis.asyncio.Redis:
        return redis.asyncio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType] -- its **kwargs have no type
            server, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 1)
        )

    try:
        pool: Any = connect().connection_pool
        pool.make_connection()  # which knows the options of the URL, and opens nothing yet
    except (ValueError, TypeError):
        return None
    return connect
