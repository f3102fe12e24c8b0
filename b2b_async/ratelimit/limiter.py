"""The limiter: waiters on top of the quota's state, first come, first served, interactive before bulk.

No task, no lock, no event: the waiters are futures in queues, and one function, ``_dispatch``, grants what the state
allows and sets one timer for when it may allow more.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs

from b2b_async._validation import instance_of, is_number, is_whole
from b2b_async.errors import ConfigurationError, InvalidArgumentError, QuotaWaitTooLongError
from b2b_async.ratelimit.buckets import Buckets
from b2b_async.ratelimit.quota import EndpointSnapshot, Quota, QuotaSnapshot
from b2b_async.ratelimit.window import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence
    from typing import Self

    from b2b_async.ratelimit.feedback import QuotaFeedback
    from b2b_async.ratelimit.quota import Lane
    from b2b_async.ratelimit.window import LeaseWindow

__all__ = ["RateLimiter"]

_ENDPOINTS_EXAMPLE = '{"GET /api/v3/io/orders": Quota(15)}'
_MOST_REMEMBERED = 100_000
"""Requests that any quota allows in a window, at most."""
LANES: tuple[Lane, ...] = ("interactive", "bulk")


@attrs.define(eq=False)
class Waiter:
    """A call that waits for a slot."""

    number: int
    """Counted in the order of coming."""
    lane: Lane
    """Its lane."""
    route: str
    """The endpoint that it wants."""
    until: float | None
    """The loop time after which the slot is of no use."""
    future: asyncio.Future[Ticket]
    """Where it waits."""
    urgent: bool = False
    """It goes before those who are not."""

    @property
    def rank(self) -> tuple[bool, int]:
        """Its place among all waiters of its lane: lower ones go first."""
        return not self.urgent, self.number


@attrs.define
class _Line:
    """The waiters for one endpoint. An OrderedDict forgets its first, its last, or any of them in constant time."""

    urgent: OrderedDict[int, Waiter] = attrs.field(factory=OrderedDict[int, Any])
    """Those who go before all others, after a refusal; by number."""
    others: OrderedDict[int, Waiter] = attrs.field(factory=OrderedDict[int, Any])
    """The others; by number."""

    def __len__(self) -> int:
        return len(self.urgent) + len(self.others)

    def __iter__(self) -> Iterator[Waiter]:
        return itertools.chain(self.urgent.values(), self.others.values())

    def first(self) -> Waiter | None:
        """Return the first waiter; those that gave up are forgotten."""
        for waiters in (self.urgent, self.others):
            while waiters:
                waiter = next(iter(waiters.values()))
                if not waiter.future.done():
                    return waiter
                del waiters[waiter.number]
        return None


class Queue:
    """The waiters of one lane in the order of their coming, with a line for each endpoint.

    Where an endpoint's own quota is used up, its line does not hold up the others.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._lines: dict[str, _Line] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        """Return the number of waiters."""
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[Waiter]:
        """Iterate over all waiters, line by line."""
        return itertools.chain.from_iterable(self._lines.values())

    def add(self, waiter: Waiter, *, first: bool) -> None:
        """Put *waiter* at the end, or before all others but those who came so before."""
        line = self._lines.setdefault(waiter.route, _Line())
        waiter.number, waiter.urgent = next(self._numbers), first
        (line.urgent if first else line.others)[waiter.number] = waiter

    def first(self, skip: Container[str] = ()) -> Waiter | None:
        """Return the first waiter, but none that wants an endpoint in *skip*; those that gave up are forgotten."""
        first: Waiter | None = None
        for route, line in list(self._lines.items()):
            waiter = line.first()
            if waiter is None:
                del self._lines[route]
            elif route not in skip and (first is None or waiter.rank < first.rank):
                first = waiter
        return first

    def first_of(self, route: str) -> Waiter | None:
        """Return the first waiter of those who want *route*."""
        line = self._lines.get(route)
        return None if line is None else line.first()

    def remove(self, waiter: Waiter) -> None:
        """Let *waiter* go, who has no slot; ``first`` may have met it before."""
        line = self._lines.get(waiter.route)
        if line is not None:
            (line.urgent if waiter.urgent else line.others).pop(waiter.number, None)

    def ahead(self, route: str, endpoints: Container[str]) -> int:
        """Count those who are certain to go before one who comes now and wants *route*."""
        # The lines of other endpoints with a quota of their own may be held back by it for long.
        return sum(len(line) for name, line in self._lines.items() if name == route or name not in endpoints)

    def waiting(self, route: str) -> int:
        """Count those who want *route*."""
        return len(self._lines.get(route, ()))


class RateLimiter:
    """The slots of one store's quota for the calls of one event loop, first come, first served.

    One limiter belongs to one store; share it between the clients of that store. Its state survives the end of an
    event loop; its waiters do not, so it serves one loop at a time.

    Args:
        quota: The quota and our part of it.
        endpoints: The quotas of single endpoints, on top of the store's, by method and path
            (``{"GET /api/v3/io/orders": Quota(concurrency=4)}``). They win over those that operations state.
        uniform: A source of random numbers in [0, 1), for jitter.

    Raises:
        ConfigurationError: an endpoint is not named as method and path.
    """

    def __init__(
        self,
        quota: Quota | None = None,
        *,
        endpoints: Mapping[str, Quota] | None = None,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        """Start without any slot taken."""
        quota = Quota() if quota is None else instance_of(Quota, quota, "quota", "Quota(150, 60.0)")
        endpoints = {} if endpoints is None else endpoints
        instance_of(cast("type[Mapping[str, Quota]]", Mapping), endpoints, "endpoints", _ENDPOINTS_EXAMPLE)
        for own in endpoints.values():
            instance_of(Quota, own, "each of endpoints", "Quota(15, 60.0)")
        self._buckets = Buckets(quota, endpoints, uniform)
        self._queues: dict[Lane, Queue] = {lane: Queue() for lane in LANES}
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        """Return the limiter; there is nothing to open."""
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Close it."""
        await self.close()

    @property
    def limit(self) -> int:
        """Requests that the store allows in a window, as far as is known."""
        return self._buckets.overall.limit

    async def close(self) -> None:
        """Do nothing; a limiter that is shared over a network has a connection to close."""

    def snapshot(self) -> QuotaSnapshot:
        """Return the state as it is now."""
        store, now = self._buckets.overall, self._time()
        return QuotaSnapshot(
            limit=store.limit,
            window=store.window,
            left=store.left(now),
            used=store.active,
            foreign=store.others(now),
            next_in=store.next_in(now),
            held_for=max(0.0, store.held_until - now),
            waiting_interactive=len(self._queues["interactive"]),
            waiting_bulk=len(self._queues["bulk"]),
            requests=store.granted - store.returned,
            refused=self._buckets.refused,
            endpoints=tuple(
                EndpointSnapshot(route, own.limit, own.window, next_in=own.next_in(now), used=own.active)
                for route, own in self._buckets.endpoints.items()
                if own.granted
            ),
        )

    def held_for(self, route: str = "") -> float:
        """Return the seconds for which refusals hold back requests to *route*; 0 if none does."""
        # Never raises, as `release` does not: it is asked about a response that has come.
        endpoint = self._buckets.endpoints.get(route)
        until = max(window.held_until for window in (self._buckets.overall, endpoint) if window is not None)
        return max(0.0, until - (0.0 if self._loop is None else self._loop.time()))

    async def acquire(
        self, lane: Lane = "interactive", *, first: bool = False, until: float | None = None, route: str = ""
    ) -> Ticket:
        """Wait for a slot.

        Args:
            lane: Whose turn it is: interactive calls go before bulk ones.
            first: Go before all others of the lane, after a refusal.
            until: The loop time after which the slot is of no use; None for never.
            route: Method and path of the endpoint, which may have a quota of its own.

        Raises:
            QuotaWaitTooLongError: no slot can be free before *until*; nothing was waited for.
        """
        ticket = self.try_acquire(lane, route)
        if ticket is not None:
            return ticket
        if until is not None:
            self._refuse_past_deadline(lane, route, first=first, until=until)
        return await self._wait(lane, route, first=first, until=until)

    def try_acquire(self, lane: Lane = "interactive", route: str = "") -> Ticket | None:
        """Take a slot if one is free now and no call waits; else None."""
        now = self._time()
        if self._waiting:
            return None
        granted = self._buckets.try_acquire(now, lane, route)
        return granted if isinstance(granted, Ticket) else None

    def release(self, ticket: Ticket, feedback: QuotaFeedback) -> None:
        """Release the slot of a request that has ended.

        Args:
            ticket: The slot.
            feedback: What the end of the request says about the quota.
        """
        # Never raises: the request has been made, whatever loop that was in, and its response must not get lost.
        loop = self._loop
        self._buckets.release(ticket, 0.0 if loop is None else loop.time(), feedback)
        if self._waiting:
            self._dispatch()

    def unsent(self, ticket: Ticket) -> None:
        """Release the slot of a request that was never sent."""
        self._buckets.unsent(ticket)
        if self._waiting:
            self._dispatch()

    def declare(self, route: str, quota: Quota) -> None:
        """State the quota of one endpoint, on top of the store's, unless one is stated already.

        Args:
            route: Method and path of the endpoint: ``Operation.route``.
            quota: Its quota.
        """
        self._buckets.declare(route, quota, 0.0 if self._loop is None else self._loop.time())

    def remember(self, sent: Iterable[tuple[float, int]]) -> None:
        """Take over the requests that another process sent for this store in the last window.

        A process that takes a store over from another one does not exceed the quota then, whose window the other one
        has used. Call it inside the running event loop, before the first request.

        Args:
            sent: Pairs: how many seconds ago the last of some requests was sent, and how many they were.

        Raises:
            InvalidArgumentError: a pair is none of a number of seconds and a whole number, each of at least 0.
        """
        pairs = [self._checked_pair(pair) for pair in sent]
        now = self._time()
        for seconds_ago, count in pairs:
            self._buckets.remember(now, seconds_ago, count)

    @staticmethod
    def _checked_pair(pair: object) -> tuple[float, int]:
        if isinstance(pair, tuple | list):
            values = tuple(cast("Sequence[object]", pair))
            if len(values) == 2:
                seconds_ago, count = values
                if is_number(seconds_ago, least=0) and is_whole(count, 0, _MOST_REMEMBERED):
                    return seconds_ago, count
        message = (
            f"remember takes pairs of seconds and requests, each of at least 0, for example [(5.0, 12)], not {pair!r}"
        )
        raise InvalidArgumentError(message)

    # -- waiting ---------------------------------------------------------------------------------------------------

    def _time(self) -> float:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                if self._waiting and not self._loop.is_closed():
                    message = "this RateLimiter has calls waiting in another event loop; make one limiter for each loop"
                    raise ConfigurationError(message)
                self._forget()
            self._loop = loop
        return loop.time()

    def _forget(self) -> None:
        """Forget what belongs to another loop, in which no waiter will wake up any more."""
        self._queues = {lane: Queue() for lane in LANES}
        self._waiting = 0
        self._timer = None

    def _refuse_past_deadline(self, lane: Lane, route: str, *, first: bool, until: float) -> None:
        now, endpoints = self._time(), self._buckets.endpoints
        before = [self._queues[other] for other in LANES[: LANES.index(lane) + (not first)]]
        ahead = sum(queue.ahead(route, endpoints) for queue in before)
        ahead_here = sum(queue.waiting(route) for queue in before)
        at, window = self._buckets.earliest(now, ahead, ahead_here, route)
        if at > until:
            raise self._too_long(window, route, at - now, ahead, until - now)

    def _too_long(
        self, window: LeaseWindow, route: str, wait: float, queued: int, left: float
    ) -> QuotaWaitTooLongError:
        whose = "the quota" if window is self._buckets.overall else f"the own quota of {route},"
        message = (
            f"{whose} of {window.limit} requests in {window.window:g} s leaves no slot for {wait:.1f} s "
            f"({queued} calls are waiting before this one), and the call ends in {max(0.0, left):.1f} s; "
            "nothing was sent. Give the call more time (Timeouts.call), or slow down what else uses the store"
        )
        return QuotaWaitTooLongError(message, wait=wait, limit=window.limit, window=window.window, queued=queued)

    async def _wait(self, lane: Lane, route: str, *, first: bool, until: float | None) -> Ticket:
        queue = self._queues[lane]
        waiter = Waiter(0, lane, route, until, asyncio.get_running_loop().create_future())
        queue.add(waiter, first=first)
        self._waiting += 1
        try:
            self._dispatch()
            ticket = await waiter.future
        except BaseException:  # cancelled, refused, or its loop is closed
            future = waiter.future
            granted = future.done() and not future.cancelled() and future.exception() is None
            if queue is self._queues[lane]:  # and not that of a loop which was closed meanwhile
                self._waiting -= 1
                queue.remove(waiter)
            if granted:  # and cancelled in the same iteration of the loop: the slot will not be used
                self.unsent(future.result())
            elif self._waiting:
                self._dispatch()
            raise
        self._waiting -= 1
        return ticket

    def _dispatch(self) -> None:
        """Grant what can be granted, in order, and wake up again when the next slot may be free."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        wake = math.inf
        held: set[str] = set()  # endpoints whose own quota is used up
        for lane in LANES:
            queue = self._queues[lane]
            while (waiter := queue.first(held)) is not None:
                now = loop.time()
                at = self._buckets.held_back(now, lane, waiter.route)
                if at > now:
                    held.add(waiter.route)
                    wake = min(wake, at)
                    continue
                granted = self._buckets.try_acquire(now, lane, waiter.route)
                if not isinstance(granted, Ticket):
                    # The store has no slot. Bulk never passes a waiting interactive call, so no other lane is asked.
                    self._schedule_wakeup(loop, min(wake, granted))
                    return
                waiter.future.set_result(granted)
        self._schedule_wakeup(loop, wake)

    def _schedule_wakeup(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if at < math.inf:
            self._timer = loop.call_at(at, self._dispatch)
