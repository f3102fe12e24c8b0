"""The code that does items: it takes pending items, does each through one endpoint function, and records each outcome.

It knows nothing of where items come from and where outcomes are kept. A feeder keeps a few items ready; workers do one
each at a time. The number of workers adapts: as many as keep the quota busy at the time that an item takes (Little's
law), with spare ones for some being slow, and no more.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import logging
import math
import time
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING

import attrs

from b2b_async._policy import ends_job
from b2b_async.bulk._worker import ABSENT, Worker
from b2b_async.bulk.journal.protocol import JournalError
from b2b_async.errors import B2BError, PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from b2b_async.bulk.journal.protocol import Journal, PendingItem
    from b2b_async.bulk.kinds import JobKind
    from b2b_async.bulk.outcome import ItemOutcome
    from b2b_async.client import Client

logger = logging.getLogger("b2b_async")

VERIFY_AGAIN = 60.0
"""Seconds between two verifications that must both find nothing before an item is sent again: records appear late."""
_FIRST_WORKERS = 4
"""Workers until it is known how long an item takes."""
_SPARE = 2.0
"""Times as many workers as would do if every item took the same time."""
_NEWEST = 0.1
"""The weight of the newest item in the mean time that an item takes."""
_OUTAGE = 100
"""So many items in a row that fail without the server having refused them mean that it is away."""
_DENIED_FIRST, _DENIED_IN_A_ROW = 5, 20
"""Items answered 403 that mean that all others would be: the first ones of a run, or so many in a row."""
_REFUSALS_APART = 300.0
"""Seconds between two refusals in which more than the limiter's longest hold has happened."""
_MOST_LATER = 1000
"""Items at most that wait for their second verification at the same time."""
_RATE_FOR = 1.0
"""Seconds for which the rate that the quota allows is taken for the same."""


@attrs.define
class Health:
    """What the outcomes so far say of the job and of the server. The slices of one run share it."""

    failures: int = 0
    """Items that failed or are unknown."""
    items: int = 0
    """Items that have an outcome."""
    denied: int = 0
    """Items in a row that were answered 403."""
    in_a_row: int = 0
    """Items that failed in passing since the server decided on one."""
    throttled_at: float = -math.inf
    """The time of the event loop at the last refusal for the rate of requests."""
    throttled_since: float | None = None
    """That since which every response was such a refusal."""


class Runner:
    """Does what *fetch* returns until there is no more.

    Args:
        client: Makes the calls.
        kind: What is done with each item.
        journal: Records the outcomes.
        fetch: Returns some pending items, at most as many as it is asked for; none if there are no more.
        on_outcome: Called with each outcome once it is recorded.
        health: What is known of the job and the server so far.
        concurrency: Workers at most.
        max_failures: Stop once so many items have failed or are unknown; None for any number.
        max_throttled: Stop once every request for so many seconds was refused for the rate of requests; None for never.
        resend_if_absent: Send an item again that an earlier run may have done, if verifications find nothing.
    """

    def __init__(
        self,
        client: Client,
        kind: JobKind,
        journal: Journal,
        *,
        fetch: Callable[[int], Awaitable[Sequence[PendingItem]]],
        on_outcome: Callable[[ItemOutcome], None],
        health: Health,
        concurrency: int,
        max_failures: int | None,
        max_throttled: float | None,
        resend_if_absent: bool,
    ) -> None:
        """Start nothing yet."""
        self.counts: Counter[str] = Counter()
        """Outcomes of this run by status, and among them those "repeated" and "reconciled"."""
        self.reason: str | None = None
        """Why it stopped, if it did."""
        self.fatal: B2BError | None = None
        """The error that no other item could have escaped, if there was one."""
        self._broken: Exception | None = None
        self._client = client
        self._kind = kind
        self._journal = journal
        self._fetch = fetch
        self._on_outcome = on_outcome
        self._health = health
        self._concurrency = concurrency
        self._max_failures = max_failures
        self._max_throttled = math.inf if max_throttled is None else max_throttled
        self._resend_if_absent = resend_if_absent
        self._ready: deque[PendingItem] = deque()
        self._later: list[tuple[float, PendingItem]] = []  # by time
        self._awaited = 0  # workers that wait for the second verification of one
        self._has_ready, self._wants_more = asyncio.Event(), asyncio.Event()
        self._ended = False  # there are no more items to come
        self._open = 0  # items that have come and have no outcome yet
        self._feeder: asyncio.Task[None] | None = None
        self._workers: set[Worker] = set()
        self._mean: float | None = None  # seconds that an item takes from its first send on
        self._loop = asyncio.get_running_loop()
        self._rate, self._rate_until = 0.0, -math.inf

    @property
    def rate(self) -> float:
        """Requests a second that the quota allows."""
        now = self._loop.time()
        if now >= self._rate_until:
            quota = self._client.quota.narrowest
            self._rate = quota.limit / quota.window
            self._rate_until = now + _RATE_FOR
        return self._rate

    @property
    def wanted(self) -> int:
        """How many workers keep the quota busy."""
        enough = _FIRST_WORKERS if self._mean is None else math.ceil(_SPARE * self.rate * self._mean) + 2
        return min(self._concurrency, enough)

    @property
    def finished(self) -> bool:
        """Everything has an outcome."""
        return self._ended and not self._open

    @property
    def verifying(self) -> int:
        """How many items wait for their second verification."""
        return len(self._later) + self._awaited

    @property
    def in_flight(self) -> int:
        """How many items were sent and have no outcome yet."""
        return sum(worker.sent for worker in self._workers)

    async def run(self) -> None:
        """Do items until all are done or ``stop`` is called.

        Raises:
            Exception: what the input, the journal or the callback raised, once what was in flight has finished.
        """
        async with asyncio.TaskGroup() as group:
            self._feeder = group.create_task(self._feed())
            self._spawn_workers(group)
            try:
                while running := {worker.job for worker in self._workers if worker.job is not None}:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                self._journal.interrupt()  # before the workers are cancelled, which may be writing
                raise
        if self._broken is not None:
            raise self._broken

    def stop(self, reason: str) -> None:
        """Take no more items; what is in flight finishes, what still waits for quota is given up."""
        self.reason = self.reason or reason
        if self._feeder is not None:
            self._feeder.cancel()
        for worker in self._workers:
            worker.stop()

    # -- supply ----------------------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        """Keep about as many items ready as half of the workers."""
        try:
            while items := await self._fetch(self.wanted):
                self._ready.extend(items)
                self._open += len(items)
                self._has_ready.set()
                while len(self._ready) > self.wanted // 2:
                    self._wants_more.clear()
                    await self._wants_more.wait()
        except asyncio.CancelledError:
            if _is_ours():
                raise
            self._break(RuntimeError("the input was cancelled from outside"))
        except Exception as error:  # noqa: BLE001 -- whatever the caller's iterable raises; run() raises it at its end
            self._break(error)
        self._ended = True
        self._has_ready.set()

    async def _next(self) -> tuple[PendingItem, bool] | None:
        """Return the next item, and whether it has been absent for long enough; None if there are no more."""
        while True:
            later = self._later
            if later and (later[0][0] <= self._loop.time() or len(later) >= _MOST_LATER):
                return await self._wait_for_later()
            if self._ready:
                self._wants_more.set()
                item = self._ready.popleft()
                if item.absent is None:
                    return item, False
                # An earlier run found it absent: it is due a minute after that.
                wait = min(VERIFY_AGAIN, item.absent + VERIFY_AGAIN - time.time())
                if wait <= 0:
                    return item, True
                self._put_off(item, wait)
            elif self._ended:
                return await self._wait_for_later() if later else None
            else:
                self._has_ready.clear()
                with contextlib.suppress(TimeoutError):
                    # Where the input is slow, a second verification may come before it.
                    async with asyncio.timeout_at(later[0][0] if later else None):
                        await self._has_ready.wait()

    def _put_off(self, item: PendingItem, seconds: float) -> None:
        bisect.insort(self._later, (self._loop.time() + seconds, item), key=lambda later: later[0])

    async def _wait_for_later(self) -> tuple[PendingItem, bool]:
        due, item = self._later.pop(0)
        self._awaited += 1
        try:
            await asyncio.sleep(due - self._loop.time())
        finally:
            self._awaited -= 1
        return item, True

    # -- work ------------------------------------------------------------------------------------------------------

    def _spawn_workers(self, group: asyncio.TaskGroup) -> None:
        """Start workers until there are as many as are wanted."""
        while self.reason is None and (self._ready or not self._ended) and len(self._workers) < self.wanted:
            worker = Worker(
                self._client,
                self._kind,
                self._journal,
                count=self._count,
                observe_throttling=self._observe_throttling,
                resend_if_absent=self._resend_if_absent,
            )
            self._workers.add(worker)
            worker.job = group.create_task(self._work(worker, group))
            # A coroutine that is cancelled before its first step has no end.
            worker.job.add_done_callback(partial(self._forget, worker))

    def _forget(self, worker: Worker, _job: asyncio.Task[None]) -> None:
        self._workers.discard(worker)

    async def _work(self, worker: Worker, group: asyncio.TaskGroup) -> None:
        try:
            while self.reason is None and len(self._workers) <= self.wanted:
                following = await self._next()
                if following is None:
                    return
                await self._do(worker, *following)
                self._spawn_workers(group)
        finally:
            self._workers.discard(worker)  # at once, or all workers would take themselves for surplus

    async def _do(self, worker: Worker, item: PendingItem, absent: bool) -> None:  # noqa: FBT001 -- as _next gives them
        outcome: ItemOutcome | None = None
        try:
            outcome = await worker.do(item, absent=absent)
            if outcome is None:
                await self._journal.mark_absent(item, time.time())
                self._put_off(item, VERIFY_AGAIN)
                return
            # Into the journal before it is reported.
            await self._journal.record(item, outcome)
            self._open -= 1
            self._note_outage(outcome)
            self._note_denial(outcome)
            self.count_outcome(outcome)
            self._on_outcome(outcome)
        except asyncio.CancelledError:
            if _is_ours():
                raise
            self._break(RuntimeError(f"item {item.key} was cancelled from outside"))
        except Exception as error:  # noqa: BLE001 -- whatever the caller's functions raise; run() raises it at its end
            if outcome is None:
                error.add_note(f"while item {item.key} at position {item.position} was done; it may have been")
            elif isinstance(error, JournalError):
                failure = outcome.failure and outcome.failure.text
                text = "%s (%s) is not in the journal, so the next run does it again: %s"
                logger.error(text, item.key, outcome.status, failure)  # noqa: TRY400 -- run() raises it
            if isinstance(error, B2BError) and ends_job(error):
                self.fatal = self.fatal or error
                self.stop(str(error))
            else:
                self._break(error)
        finally:
            worker.sent = False

    def _break(self, error: Exception) -> None:
        self._broken = self._broken or error
        self.stop(str(error))

    def count_outcome(self, outcome: ItemOutcome) -> None:
        """Count *outcome*, and stop if there are too many like it."""
        self.counts[outcome.status] += 1
        self.counts["repeated"] += outcome.repeated
        self.counts["reconciled"] += bool(outcome.result and outcome.result.get("reconciled"))
        if outcome.seconds is not None:
            mean = outcome.seconds if self._mean is None else self._mean
            self._mean = mean + _NEWEST * (outcome.seconds - mean)
        self._health.failures += outcome.status != "succeeded"
        failures = self._health.failures
        if self._max_failures is not None and failures >= self._max_failures:
            self.stop(f"{failures:,} items failed or are unknown, as many as were allowed")

    def _note_outage(self, outcome: ItemOutcome) -> None:
        """Stop if the server has been away for many items in a row."""
        failure = outcome.failure
        if failure is not None and failure.final and failure.status is None:
            return  # the item is bad, which says nothing of the server
        if failure is None or failure.final or failure.error == ABSENT:
            self._health.in_a_row = 0  # whatever it said, the server was there
            return
        self._health.in_a_row += 1
        if self._health.in_a_row >= _OUTAGE:
            self.stop(f"{self._health.in_a_row:,} items in a row failed, the last one so: {failure.text}")

    def _note_denial(self, outcome: ItemOutcome) -> None:
        """Stop if the credentials, and not single items, seem to lack the permission."""
        failure = outcome.failure
        self._health.items += 1
        if failure is None or failure.error != PermissionDeniedError.__name__:
            self._health.denied = 0
            return
        self._health.denied += 1
        if self._health.denied == self._health.items == _DENIED_FIRST or self._health.denied == _DENIED_IN_A_ROW:
            which = "the first" if self._health.denied == self._health.items else "the last"
            text = f"{which} {self._health.denied} items were all answered 403, the last one so: {failure.text}"
            self.fatal = self.fatal or PermissionDeniedError(text, outcome="rejected")
            self.stop(text)

    def _observe_throttling(self, throttled: bool) -> None:  # noqa: FBT001 -- a callback
        """Stop if the server has refused every request for the rate of requests for too long."""
        if not throttled:
            self._health.throttled_since = None
            return
        now = self._loop.time()
        if self._health.throttled_since is None or now - self._health.throttled_at > _REFUSALS_APART:
            self._health.throttled_since = now  # between the two there was something else, such as no connection
        self._health.throttled_at = now
        seconds = now - self._health.throttled_since
        if seconds >= self._max_throttled:
            self.stop(
                f"the server has refused every request for {seconds / 60:.0f} minutes for the rate of requests (429). "
                "Another integration may use up the store's quota"
            )

    def _count(self) -> None:
        self._journal.count_request(time.time(), self.rate * 60)


def _is_ours() -> bool:
    """Return whether this task was cancelled, and not something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
