"""A bulk job: workers on one iterator, each item through one endpoint function, each outcome to the journal first."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any

import attrs

from b2b_async.bulk.outcome import Failure, Item, ItemOutcome, JobSummary, Skipped
from b2b_async.errors import (
    AuthenticationError,
    B2BError,
    ConfigurationError,
    InvalidArgumentError,
    PermissionDeniedError,
)
from b2b_async.v3 import orders

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping

    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async.bulk.journal import Journal
    from b2b_async.bulk.outcome import Status
    from b2b_async.client import Client


_TOO_MANY_REQUESTS = 429
_PASSING = frozenset({_TOO_MANY_REQUESTS, 503})
"""Statuses that say "not now", which another run may meet at a better time."""


@attrs.frozen
class JobKind:
    """What a job does with each item."""

    name: str
    """Its name, in the journal and on the command line."""
    run: Callable[[Client, Any], Awaitable[Mapping[str, Any]]]
    """Does one item and gives its result as plain values."""
    key: Callable[[Any], str] = str
    """What an item is known by; two items with the same key are one."""


async def _assign(client: Client, customer_id: int) -> Mapping[str, Any]:
    assigned = await orders.assign_customer_orders(client, customer_id)
    return {"total": assigned.total}


ASSIGN = JobKind("assign", _assign)
"""v3 Assign Customer Orders to Company, for each customer id."""


class BulkJob:
    """One run over many items.

    Items are pulled one by one as workers get free, so memory does not grow with their number.
    The calls wait for quota as long as it takes, and behind the client's interactive calls.

    Args:
        client: The client; its limiter decides the speed.
        items: What to do, from any iterable or async iterable: customer ids, or ``Item`` to keep a position.
        journal: Where outcomes are kept, opened; what it has as settled is skipped.
        kind: What to do with each.
        concurrency: Items under way at once, at most; no more than the client has connections.
    """

    def __init__(
        self,
        client: Client,
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        journal: Journal,
        kind: JobKind = ASSIGN,
        concurrency: int = 32,
    ) -> None:
        """Check the arguments without pulling anything."""
        if isinstance(concurrency, bool) or concurrency < 1:
            message = f"concurrency must be at least 1, not {concurrency!r}"
            raise InvalidArgumentError(message)
        if concurrency > client.connections:
            message = (
                f"concurrency {concurrency} is more than the {client.connections} connections of the client: "
                "calls would wait for a connection while they hold a slot of the quota; pass Client(connections=...)"
            )
            raise InvalidArgumentError(message)
        self._client = client
        self._items = items
        self._journal = journal
        self._kind = kind
        self._concurrency = concurrency
        self._pulling = asyncio.Lock()
        self._workers: list[_Worker] = []
        self._counts: Counter[str] = Counter()
        self._stopping = self._ended = False
        self._open = 0  # items that were taken and have no outcome yet
        self._fatal: B2BError | None = None

    def stop(self) -> None:
        """Take no more items; what has left for the server finishes, what still waits for quota is given up."""
        self._stopping = True
        for worker in self._workers:
            worker.stop()

    async def run(self, on_outcome: Callable[[ItemOutcome | Skipped], None] | None = None) -> JobSummary:
        """Do all items.

        Args:
            on_outcome: Called with each outcome once it is in the journal, and with a ``Skipped`` for each
                item that needs nothing: a duplicate, or one that an earlier run settled.

        Returns:
            What became of the run. ``stopped`` and ``fatal`` say whether it ended early.

        Raises:
            JournalError: the journal cannot be written; what was acknowledged is safe.
        """
        loop = asyncio.get_running_loop()
        started, before = loop.time(), self._client.quota
        report = on_outcome or _ignore
        source = self._numbered()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    worker = _Worker(self._client)
                    self._workers.append(worker)
                    worker.task = group.create_task(self._work(worker, source, report))
        except ExceptionGroup as failures:
            # Workers fail together and for one reason: the disk is full, the callback is broken.
            raise failures.exceptions[0] from None
        finally:
            await source.aclose()
        after = self._client.quota
        return JobSummary(
            succeeded=self._counts["succeeded"],
            failed=self._counts["failed"],
            unknown=self._counts["unknown"],
            skipped=self._counts["skipped succeeded"] + self._counts["skipped failed"],
            skipped_failed=self._counts["skipped failed"],
            duplicates=self._counts["skipped duplicate"],
            requests=after.requests - before.requests,
            refused=after.refused - before.refused,
            seconds=loop.time() - started,
            stopped=not self._ended or self._open > 0,
            fatal=None if self._fatal is None else str(self._fatal),
        )

    async def _numbered(self) -> AsyncGenerator[Item]:
        position = 0
        if isinstance(self._items, AsyncIterable):
            async for value in self._items:
                position += 1
                yield value if isinstance(value, Item) else Item(position, value)
        else:
            for value in self._items:
                position += 1
                yield value if isinstance(value, Item) else Item(position, value)
        self._ended = True

    async def _work(
        self, worker: _Worker, source: AsyncGenerator[Item], report: Callable[[ItemOutcome | Skipped], None]
    ) -> None:
        while not self._stopping:
            async with self._pulling:
                item = await anext(source, None)
                if item is None:
                    return
                key = self._kind.key(item.value)
                claim = await self._journal.claim(key, item.position)
            if claim != "new":
                self._counts[f"skipped {claim}"] += 1
                report(Skipped(key=key, position=item.position, reason=claim))
                continue
            self._open += 1
            outcome = await worker.do(key, item, self._kind)
            if isinstance(outcome, B2BError):
                self._fatal = self._fatal or outcome
                self.stop()
                return
            # Into the journal before anybody hears of it.
            await self._journal.record(outcome)
            worker.sent = False
            self._open -= 1
            self._counts[outcome.status] += 1
            report(outcome)


class _Worker:
    """Does one item at a time, and knows whether it has left for the server."""

    def __init__(self, client: Client) -> None:
        self._client = client.with_options(lane="bulk", per_attempt=[self._leave])
        self.sent = False
        self.attempts = 0
        self.task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Give up waiting, unless an item is under way or its outcome is being written."""
        if self.task is not None and not self.sent:
            self.task.cancel()

    async def do(self, key: str, item: Item, kind: JobKind) -> ItemOutcome | B2BError:
        """Do one item; an error that no other item can escape comes back as itself."""
        started, self.attempts = time.time(), 0
        result: Mapping[str, Any] | None = None
        failure: Failure | None = None
        status: Status = "succeeded"
        try:
            result = await kind.run(self._client, item.value)
        except InvalidArgumentError as error:
            status, failure = "failed", _failure(error)
        except (AuthenticationError, PermissionDeniedError, ConfigurationError) as error:
            return error
        except B2BError as error:
            status = "failed" if error.outcome in {"not_sent", "rejected"} else "unknown"
            failure = _failure(error)
        self.sent = True  # it may have been refused before it left; either way it is now to be written down
        return ItemOutcome(
            key=key,
            position=item.position,
            status=status,
            result=result,
            failure=failure,
            attempts=self.attempts,
            started=started,
            finished=time.time(),
        )

    async def _leave(self, request: Request, handler: Handler) -> Response:
        """Note, as the last middleware before the wire, that an attempt leaves."""
        self.sent = True
        self.attempts += 1
        response = await handler(request)
        # A refused request is not under way any more; it waits for quota like one that never left.
        self.sent = response.status != _TOO_MANY_REQUESTS
        return response


def _failure(error: B2BError) -> Failure:
    return Failure(
        error=type(error).__name__,
        text=str(error),
        outcome=error.outcome,
        status=error.status,
        code=error.code,
        message=error.message,
        request_id=error.request_id,
        final=isinstance(error, InvalidArgumentError) or (error.outcome == "rejected" and error.status not in _PASSING),
    )


def _ignore(_outcome: ItemOutcome | Skipped) -> None:
    """Report to nobody."""
