"""The limiter: waiters on top of the quota's books, first come, first served, interactive before bulk.

No task, no lock, no event: the waiters stand in two queues as futures, and one function, the pump,
grants what the books allow and sets one timer for when they may allow more.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import deque
from typing import TYPE_CHECKING

from b2b_async.errors import ConfigurationError, QuotaWaitTooLongError
from b2b_async.quota import LeaseWindow, Quota, QuotaSnapshot, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async._headers import QuotaHeaders
    from b2b_async._messages import Lane


class RateLimiter:
    """Hands out the slots of one store's quota to the calls of one event loop, first come, first served.

    One limiter belongs to one store; share it between the clients of that store. Its books survive the end of an
    event loop; its waiters do not, so it serves one loop at a time.

    Args:
        quota: The quota and our part of it.
        uniform: A source of random numbers in [0, 1), for jitter.
    """

    def __init__(self, quota: Quota | None = None, *, uniform: Callable[[], float] = random.random) -> None:
        """Make a limiter with empty books."""
        self._books = LeaseWindow(quota or Quota(), uniform)
        self._interactive: deque[asyncio.Future[Ticket]] = deque()
        self._bulk: deque[asyncio.Future[Ticket]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def snapshot(self) -> QuotaSnapshot:
        """Show the books as they are now."""
        books, now = self._books, self._time()
        return QuotaSnapshot(
            limit=books.limit,
            window=books.window,
            left=books.left(now),
            used=books.active,
            foreign=books.foreign,
            held_for=max(0.0, books.held_until - now),
            waiting_interactive=len(self._interactive),
            waiting_bulk=len(self._bulk),
            requests=books.granted - books.returned,
            refused=books.refused,
        )

    async def acquire(self, lane: Lane = "interactive", *, first: bool = False, until: float | None = None) -> Ticket:
        """Wait for a slot.

        Args:
            lane: Whose turn it is: interactive calls go before bulk ones.
            first: Go before all others of the lane, after a refusal.
            until: The loop time after which the slot is of no use; None for never.

        Raises:
            QuotaWaitTooLongError: no slot can be free before *until*; nothing was waited for.
        """
        self._time()  # forgets the waiters of a loop that is closed
        interactive, bulk = len(self._interactive), len(self._bulk)
        ahead = interactive if lane == "bulk" else 0
        if not first:
            ahead += bulk if lane == "bulk" else interactive
        if not ahead and (ticket := self.try_acquire(lane)):
            return ticket
        if until is not None:
            self._refuse_hopeless(self._time(), ahead, until)
        return await self._wait(lane, first=first)

    def try_acquire(self, lane: Lane = "interactive") -> Ticket | None:
        """Take a slot if one is free now and nobody waits; else None."""
        now = self._time()
        if self._interactive or self._bulk:
            return None
        granted = self._books.try_acquire(now, lane)
        return granted if isinstance(granted, Ticket) else None

    def report(self, ticket: Ticket, status: int | None, headers: QuotaHeaders) -> None:
        """Give a slot back whose request was answered with *status*, or given up after it left (None)."""
        # Never raises: the request has been made, whatever loop that was in, and its answer must not get lost.
        loop = self._loop
        self._books.report(ticket, 0.0 if loop is None else loop.time(), status, headers)
        if self._interactive or self._bulk:
            self._pump()

    def unsent(self, ticket: Ticket) -> None:
        """Give a slot back whose request never left."""
        self._books.unsent(ticket)
        if self._interactive or self._bulk:
            self._pump()

    def _time(self) -> float:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and self._loop.is_closed():
                # Nobody can wake up in it any more.
                self._interactive.clear()
                self._bulk.clear()
                self._timer = None
            if self._interactive or self._bulk:
                message = "this RateLimiter has calls waiting in another event loop; make one limiter for each loop"
                raise ConfigurationError(message)
            self._loop = loop
        return loop.time()

    def _refuse_hopeless(self, now: float, ahead: int, until: float) -> None:
        at = self._books.earliest(now, ahead)
        if at > until:
            books = self._books
            message = (
                f"the quota of {books.limit} requests in {books.window:g} s leaves no slot for {at - now:.1f} s "
                f"({ahead} calls are waiting before this one), and the call ends in {max(0.0, until - now):.1f} s; "
                "nothing was sent. Give the call more time (Timeouts.call), or slow down what else uses the store"
            )
            raise QuotaWaitTooLongError(message, wait=at - now, limit=books.limit, window=books.window, queued=ahead)

    async def _wait(self, lane: Lane, *, first: bool) -> Ticket:
        queue = self._bulk if lane == "bulk" else self._interactive
        waiter: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        if first:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)
        self._pump()
        try:
            return await waiter
        except BaseException:  # cancelled, or its loop is closed
            if waiter.done() and not waiter.cancelled():
                # Granted and cancelled in the same turn of the loop: nobody will use the slot.
                self._books.unsent(waiter.result())
            else:
                with contextlib.suppress(ValueError):  # the pump may have met it first
                    queue.remove(waiter)
            self._pump()
            raise

    def _pump(self) -> None:
        """Grant what can be granted, in order, and come back when the next slot may be free."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop is None or self._loop.is_closed():
            return
        lanes: tuple[tuple[Lane, deque[asyncio.Future[Ticket]]], ...]
        lanes = (("interactive", self._interactive), ("bulk", self._bulk))
        for lane, queue in lanes:
            while queue:
                if queue[0].cancelled():
                    queue.popleft()
                    continue
                loop = queue[0].get_loop()
                granted = self._books.try_acquire(loop.time(), lane)
                if not isinstance(granted, Ticket):
                    # Bulk never passes a waiting interactive call, so the later lane is not asked.
                    if granted < math.inf:
                        self._timer = loop.call_at(granted, self._pump)
                    return
                queue.popleft().set_result(granted)
