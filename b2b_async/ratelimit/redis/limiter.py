"""One limiter for all processes of a store: the same state, kept in Redis or Valkey, on the server's clock.

One task, there only while there is something to do, talks to Redis: it sends the releases, then asks for a slot for the
first waiter, then sleeps until there may be one. So a call never waits for Redis after its response, and a cancellation
needs no round trip.

**When Redis is away** (down, slow, out of memory), calls go on with a limiter state of this process's own, which is
kept current all the time, and with an equal part of the quota: as many processes as were seen in the last window share
it. In the first window a process uses no more slots than it holds, since the others may hold all the rest. This is
logged once. A process that has never reached Redis does not know how many share the quota: it waits, unless it was
told.

Every process knows what it holds. When Redis is back, or has lost its data or a part of them, or has gone back to an
old file, or its clock has jumped, the first process that notices reports what it holds before it asks, and so do the
others; a process without calls notices it as well, as long as it holds a slot. Until all have reported, those who have
may only use again what they held. A slot is known by an id that is made here: what was reported twice counts once.
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
from urllib.parse import parse_qsl, urlsplit

import attrs
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from b2b_async.errors import ConfigurationError, QuotaWaitTooLongError
from b2b_async.ratelimit.limiter import LANES, RateLimiter
from b2b_async.ratelimit.quota import EndpointSnapshot
from b2b_async.ratelimit.redis.replica import Replica, script
from b2b_async.ratelimit.window import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from b2b_async.ratelimit.feedback import QuotaFeedback
    from b2b_async.ratelimit.quota import Lane, Quota, QuotaSnapshot
    from b2b_async.ratelimit.redis.replica import Reply, ScriptCall

__all__ = [
    "RedisRateLimiter",
]

_logger = logging.getLogger("b2b_async.ratelimit.redis")

_STORE = re.compile(r"[\w.-]{1,200}")
_LONGEST_PAUSE = 1 / 60
"""Part of the window after which a waiter asks again at the latest: another process may have given a slot back."""
_SPREAD = 1 / 3000
"""Part of the window over which processes that wait for the same slot spread their questions."""
_WATCH = 1 / 120
"""Part of the window after which a process that holds slots asks whether Redis still knows of them."""
_REJOIN = 0.5
"""Seconds between attempts to reach Redis again, at most; a part of the window like that, if it is less."""
_BEFORE_DEADLINE = 0.05
"""Seconds before its deadline at which a call learns that Redis was never reached."""
_OPTIONS = frozenset(
    {
        "client_name",
        "db",
        "health_check_interval",
        "max_connections",
        "password",
        "protocol",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_timeout",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_keyfile",
        "ssl_password",
        "username",
    }
)
"""Options of a URL; those left out need Python objects, or change what answers look like."""
_AWAY = (RedisError, OSError, ValueError)
"""Errors that mean Redis is unusable. An unparsable reply raises ValueError."""
_PATIENCE = 5
"""Questions in a row that may be lost because the state has just been replaced."""


class _UnsteadyError(Exception):
    """The state in Redis is replaced all the time."""


class RedisRateLimiter(RateLimiter):
    """A ``RateLimiter`` that shares the quota of a store with all processes that use the same Redis.

    Use it as an async context manager around the clients that it is for, or close it.
    All processes should be given the same quota and endpoints. Tested with Redis 7; Valkey has the same commands.

    Args:
        server: The URL of a Redis or Valkey server ("redis://host:6379/0"), or a ``redis.asyncio.Redis`` client,
            which stays yours and, like its connections, belongs to one event loop.
        store: The name of the store, as part of the keys; its store hash, for example.
        quota: The quota and our part of it, which all processes share.
        endpoints: The quotas of single endpoints, by method and path; they win over those that operations state.
        processes: How many processes share the quota, at least. While Redis cannot be reached, this process uses that
            part of the quota. None to use as many as were seen, and to wait for Redis at the start: calls end at their
            deadline then.
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
        processes: int | None = None,
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
            message = (
                "limiter: the address of Redis is no URL that can be used; for example redis://localhost:6379/0. "
                f"Its options may be {', '.join(sorted(_OPTIONS))}"
            )
            raise ConfigurationError(message)
        if not (0 < timeout < math.inf and 0 < attempt < math.inf and (processes is None or processes > 0)):
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
        self._processes = processes
        self._was_reached = False
        self._replica = Replica(
            self._buckets,
            prefix=f"b2b-async:{{{store}}}",
            process=secrets.token_hex(6),
            attempt=attempt,
            uniform=uniform,
            processes=processes or 1,
        )
        self._server: redis.asyncio.Redis | None = None
        self._script: Any = None
        self._releases: deque[ScriptCall] = deque()
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._degraded = self._rejoining = self._closed = False
        self._watch_at = math.inf
        self._rejoin_at = math.inf
        self._earliest = 0.0  # seconds before which the last one who asked can have no slot
        self._clock: Callable[[], float] | None = None  # tests put their own time here

    async def __aenter__(self) -> Self:
        """Return the limiter; it connects when the first call needs it."""
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
        """Return the shared state by the last reply of Redis, or that of this process while Redis is away."""
        own, seen = super().snapshot(), self._replica.seen
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
                EndpointSnapshot(route, int(window.limit), window.window, int(window.active), window.next_seconds)
                for route, window in seen.items()
                if route
            ),
        )

    def try_acquire(self, lane: Lane = "interactive", route: str = "") -> Ticket | None:
        """Return None: the shared state can only be asked by waiting."""
        del lane, route
        self._time()
        if self._closed:
            message = "the limiter is closed"
            raise ConfigurationError(message)
        return None

    def release(self, ticket: Ticket, feedback: QuotaFeedback) -> None:
        """Release the slot of a request that has ended."""
        self._post(self._replica.release(ticket, self._now(), feedback))

    def unsent(self, ticket: Ticket) -> None:
        """Release the slot of a request that was never sent."""
        self._post(self._replica.unsent(ticket, self._now()))

    # -- talking to Redis ------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return 0.0 if self._loop is None else self._loop.time()

    def remember(self, sent: Iterable[tuple[float, int]]) -> None:
        """Do nothing: the state in Redis has the requests of all processes."""
        del sent

    def _post(self, call: ScriptCall | None) -> None:
        if call is not None and not self._closed:
            if not self._degraded:  # else all is told when Redis is back
                self._releases.append(call)
            self._dispatch()

    def _forget(self) -> None:
        super()._forget()
        self._releases.clear()
        self._worker = self._server = None
        self._wake = asyncio.Event()
        self._leave_degraded()

    def _refuse_past_deadline(self, lane: Lane, route: str, *, first: bool, until: float) -> None:
        if self._degraded:  # else the shared state decides, when it is asked
            super()._refuse_past_deadline(lane, route, first=first, until=until)

    def _dispatch(self) -> None:
        loop = self._loop
        if loop is None or loop.is_closed() or self._closed:
            return
        self._wake.set()
        is_due = min(self._rejoin_at, self._watch_at) <= loop.time()
        if self._worker is None and (self._releases or self._waiting or is_due):
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
            if self._watch_at <= loop.time():
                self._watch_at = math.inf
                if not self._degraded:
                    await self._call(self._replica.watch())
            while self._releases:
                await self._call(self._releases.popleft())
            pause = await self._serve()
            if self._releases:
                continue
            if pause is None:
                self._watch(loop)
                self._worker = None
                return
            timer = loop.call_later(pause, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask again soon whether Redis knows what this process holds: another process may use what it has forgotten."""
        if self._watch_at == math.inf and not self._degraded and self._replica.holds(loop.time()):
            pause = self._buckets.overall.window * _WATCH
            self._watch_at = loop.time() + pause
            loop.call_later(pause, self._dispatch_in, loop)

    def _dispatch_in(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is loop:
            self._dispatch()

    async def _serve(self) -> float | None:
        """Ask for those who wait, in order.

        Returns:
            The seconds until it may be worth asking again; None if nobody waits.
        """
        window = self._buckets.overall.window
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
            if self._waits_for_redis:
                return self._refuse_at_deadlines()
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

    @property
    def _waits_for_redis(self) -> bool:
        return self._degraded and self._processes is None and not self._was_reached

    def _refuse_at_deadlines(self) -> float:
        """Refuse those whose time is over; return the seconds until the next one's is, or Redis is tried again."""
        now, next_at = self._now(), self._rejoin_at
        for waiter in [waiter for queue in self._queues.values() for waiter in queue if not waiter.future.done()]:
            if waiter.until is None:
                continue
            if waiter.until - _BEFORE_DEADLINE > now:
                next_at = min(next_at, waiter.until - _BEFORE_DEADLINE)
                continue
            store = self._buckets.overall
            message = (
                "Redis was not reached since the limiter was made, so that it is not known how many processes share "
                "the quota; nothing was sent. Start Redis, or go on without it by saying how many there are "
                "(RedisRateLimiter(processes=...), --processes)"
            )
            error = QuotaWaitTooLongError(message, wait=0.0, limit=store.limit, window=store.window, queued=0)
            waiter.future.set_exception(error)
        return max(0.0, next_at - now)

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
        window = self._buckets.endpoints.get(route or "", self._buckets.overall)
        queued = 0
        for other in LANES[LANES.index(lane) :]:
            for waiter in list(self._queues[other]):
                if waiter.future.done() or (route is not None and waiter.route != route):
                    continue
                if waiter.until is not None and loop_time + wait > waiter.until:
                    error = self._too_long(window, waiter.route, wait, queued, waiter.until - loop_time)
                    waiter.future.set_exception(error)
                else:
                    queued += 1

    async def _ask(self, lane: Lane, route: str) -> tuple[Ticket | float, bool]:
        """Ask for a slot: a ticket, or the seconds to wait; and whether the endpoint's own quota says so."""
        self._earliest = 0.0
        for _ in range(_PATIENCE):
            if self._degraded:
                break
            call = self._replica.ask(lane, route)
            answer = await self._call(call)
            if answer is not None and answer.granted:
                return self._replica.granted(call, answer, self._now()), False
            if answer is not None:
                self._earliest = answer.earliest
                return answer.wait, answer.of_endpoint
        else:
            self._degrade(_UnsteadyError())
        if self._waits_for_redis:
            return math.inf, False
        now = self._now()
        at = self._buckets.held_back(now, lane, route)
        if at > now:
            return at - now, True
        granted = self._buckets.try_acquire(now, lane, route)
        if not isinstance(granted, Ticket):
            return granted - now, False
        self._replica.granted_here(granted)
        return granted, False

    async def _call(self, call: ScriptCall) -> Reply | None:
        """Run the script; None if there is no answer that can be used.

        Then Redis is away, which makes this limiter go on by itself; or its state was not the one that knows what
        this process holds, which they now do.
        """
        try:
            answer = await self._run(call)
            if self._replica.knows(call, answer):
                self._replica.take_over(call, answer, self._now())
                return answer
            self._give_up(call)
            await self._join(call.lease.routes)
        except _AWAY as error:
            self._give_up(call)
            self._degrade(error)
        return None

    def _give_up(self, call: ScriptCall) -> None:
        if call.verb == "acquire" and call.lease.until is None:
            self._replica.lost(call, self._now())

    async def _join(self, routes: tuple[str, ...] = ()) -> None:
        """Report to Redis what this process holds."""
        server = self._opened()
        try:
            async with asyncio.timeout(self._timeout):
                facts = await server.info("server")  # pyright: ignore[reportUnknownMemberType] -- its **kwargs have no type
                run = str(facts.get("run_id", ""))
        except ResponseError:  # it is not allowed to
            run = ""
        for call in self._replica.tell(self._now(), routes, run):
            answer = await self._run(call)
            self._replica.take_over(call, answer, self._now())
            self._replica.joined(call, answer)

    def _opened(self) -> redis.asyncio.Redis:
        if self._server is None:
            self._server = self._connect()
            self._script = self._server.register_script(script())
        return self._server

    async def _run(self, call: ScriptCall) -> Reply:
        self._opened()
        asked = self._now()
        keys, arguments = self._replica.write(call, None if self._clock is None else self._clock())
        async with asyncio.timeout(self._timeout):
            values = await self._script(keys, arguments)
        answer = self._replica.read(call, values, self._now(), asked)
        self._was_reached = True
        return answer

    def _degrade(self, error: Exception, *, again: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._degraded = True
        self._releases.clear()  # all that they say is told again
        self._replica.enter_fallback(loop.time(), again=again)
        if not again:
            # Without its words: the server may quote a command with the password in it.
            _logger.warning(
                "the shared limiter of store %s cannot use Redis (%s): %s",
                self._store_name,
                type(error).__name__,
                "calls wait until it can be reached"
                if self._waits_for_redis
                else f"calls go on with 1/{self._replica.processes} of the quota, until it is back",
            )
        pause = min(_REJOIN, self._buckets.overall.window * _WATCH) * (0.75 + 0.5 * self._uniform())
        self._rejoin_at = loop.time() + pause
        loop.call_later(pause, self._dispatch_in, loop)

    async def _rejoin(self) -> None:
        # From here on reports are kept; and nobody is granted anything until this is over.
        self._degraded, self._rejoining, self._rejoin_at = False, True, math.inf
        self._replica.leave_fallback()
        try:
            await self._join()
        except _AWAY as error:
            self._degrade(error, again=True)
        else:
            _logger.warning("the shared limiter of store %s is back with Redis", self._store_name)
        finally:
            self._rejoining = False

    def _leave_degraded(self) -> None:
        self._degraded = False
        self._rejoin_at = self._watch_at = math.inf
        self._replica.leave_fallback()


def _connector(server: str | redis.asyncio.Redis, timeout: float) -> Callable[[], redis.asyncio.Redis] | None:
    """Return what makes a client; None if *server* is no URL that can be used."""
    if not isinstance(server, str):
        return lambda: server

    def connect() -> redis.asyncio.Redis:
        return redis.asyncio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType] -- its **kwargs have no type
            server, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 1)
        )

    try:
        if not {name for name, _ in parse_qsl(urlsplit(server).query, keep_blank_values=True)} <= _OPTIONS:
            return None
        pool: Any = connect().connection_pool
        pool.make_connection()  # which knows the options of the URL, and opens nothing yet
    except (ValueError, TypeError, LookupError, RedisError):
        return None
    return connect
