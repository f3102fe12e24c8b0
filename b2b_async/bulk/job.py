"""A bulk job: items from anywhere, each through one endpoint function, each outcome into the journal first."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from os import PathLike
from typing import TYPE_CHECKING, cast

import attrs

from b2b_async._validation import is_number, is_whole
from b2b_async.bulk._loader import Loader
from b2b_async.bulk._runner import Health, Runner
from b2b_async.bulk.journal.protocol import PAUSED, JournalError, JournalMismatchError, NoJournal, Opened
from b2b_async.bulk.kinds import ASSIGN, kind_of
from b2b_async.bulk.outcome import ItemOutcome, JobSummary
from b2b_async.errors import ConfigurationError, InvalidArgumentError
from b2b_async.events import JobEnded, JobStarted, notify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from b2b_async.bulk._loader import Items
    from b2b_async.bulk.journal.protocol import Journal
    from b2b_async.bulk.kinds import JobKind
    from b2b_async.bulk.outcome import Skipped
    from b2b_async.client import Client
    from b2b_async.ratelimit.quota import QuotaSnapshot


__all__ = ["BulkJob", "JobProgress"]

_ENOUGH, _LONG_ENOUGH = 10, 5.0
"""Items and seconds from which on the rate so far says something."""


@attrs.frozen(kw_only=True)
class JobProgress:
    """How far a job is at one moment."""

    done: int
    """Items that this run has done, or need not do."""
    total: int | None
    """How many there are, if that is known."""
    failures: int
    """Items that failed in this run, or are unknown."""
    in_flight: int
    """Items that were sent and have no outcome yet."""
    verifying: int
    """Items that an earlier run sent, are absent, and wait for their second verification."""
    seconds: float
    """How long this run has taken so far."""
    eta: float | None
    """Seconds that it will still take: as the quota allows, or as the items went so far, if that is slower."""


class BulkJob:
    """One run over many items.

    Items are pulled as they are needed, so memory does not grow with their number. The calls wait for quota as long
    as it takes, and behind the client's interactive calls.

    Args:
        client: The client; its limiter decides the speed.
        items: What to do, from any iterable or async iterable: what the kind takes, or ``Item`` to say where in the
            input it stood. Another run of the job must get the same items from the beginning, or more of them, which
            are skipped quickly if the input is ``Rereadable``. None for those that the journal has.
        journal: The journal of items and outcomes, opened; None for none.
        kind: What to do with each: a ``JobKind``, the name of one of ``KINDS``, or "module:attribute".
        concurrency: Items in flight at once, at most; None for as many as the client has connections.
            Within that, the job takes as many as keep the quota busy.
        preload: Read all items into the journal before the first is done, for an input that does not come twice:
            another run then needs none.
        total: How many items there will be, for the progress; None if that is not known.
        about: What else makes this job what it is; a journal of a job with other facts is refused. No secrets.
        max_failures: Stop once so many items of this run have failed or are unknown; None for any number.
        max_throttled: Stop once the server has refused every request for so many seconds for the rate of requests
            (429); None for never. Until then a refusal costs time, and no item.
        resend_if_absent: What to do with an item of a kind that must not be done twice, if an earlier run sent it and
            did not learn its end, and verifications more than a minute apart do not show it: send it again, or leave
            it unknown.

    Raises:
        InvalidArgumentError: an argument cannot be used.
        ConfigurationError: the client has no credentials for what the kind does.
    """

    def __init__(
        self,
        client: Client,
        items: Items,
        *,
        journal: Journal | None,
        kind: JobKind | str = ASSIGN,
        concurrency: int | None = None,
        preload: bool = False,
        total: int | None = None,
        about: Mapping[str, str] | None = None,
        max_failures: int | None = None,
        max_throttled: float | None = 1800.0,
        resend_if_absent: bool = False,
    ) -> None:
        """Check the arguments without pulling anything."""
        kind = kind_of(kind)
        for name, number in (("concurrency", concurrency), ("max_failures", max_failures)):
            if number is not None and not is_whole(number, 1):
                message = f"{name} must be at least 1, not {number!r}"
                raise InvalidArgumentError(message)
        if max_throttled is not None and not is_number(max_throttled, above=0):
            message = f"max_throttled must be seconds above 0, or None, not {max_throttled!r}"
            raise InvalidArgumentError(message)
        if concurrency is not None and concurrency > client.connections:
            message = (
                f"concurrency {concurrency} is more than the {client.connections} connections of the client: "
                "calls would wait for a connection while they hold a slot of the quota; pass Client(connections=...)"
            )
            raise InvalidArgumentError(message)
        if isinstance(cast("object", journal), str | PathLike):
            message = f"journal must be an open journal: async with SQLiteJournal({str(journal)!r}) as journal"
            raise InvalidArgumentError(message)
        if kind.needs_legacy_token and client.credentials.legacy_token is None:
            message = (
                f"{kind.name} is a v2 operation and needs legacy_token (B2B_LEGACY_TOKEN); the credentials of this "
                "client are for v3 only, and nothing was sent"
            )
            raise ConfigurationError(message)
        if kind.find is not None and isinstance(journal, NoJournal | None):
            message = f"{kind.name} needs a journal: without one, it is not known what was sent when something breaks"
            raise InvalidArgumentError(message)
        self._client = client
        self._items = items
        self._journal = NoJournal() if journal is None else journal
        self._kind = kind
        self._concurrency = concurrency or client.connections
        self._preload = preload
        self._total = total
        self._facts = dict(about or {})
        self._max_failures = max_failures
        self._max_throttled = max_throttled
        self._resend_if_absent = resend_if_absent
        self._runner: Runner | None = None
        self._health = Health()
        self._begun = False
        self._stopped: str | None = None
        self._started: float | None = None
        self._opened = Opened()
        self._loading: asyncio.Future[None] | None = None

    def stop(self, reason: str = "stop() was called") -> None:
        """Take no more items; what is in flight finishes, what still waits for quota is given up.

        Args:
            reason: Why, for the summary and the journal.
        """
        self._stopped = self._stopped or reason
        if self._runner is not None:
            self._runner.stop(reason)
        if self._loading is not None:
            self._loading.cancel()

    @property
    def progress(self) -> JobProgress:
        """How far the job is. Must be read inside the running event loop."""
        counts = Counter[str]() if self._runner is None else self._runner.counts
        seconds = 0.0 if self._started is None else asyncio.get_running_loop().time() - self._started
        before = self._opened.counts
        sent = counts["succeeded"] + counts["failed"] + counts["unknown"]
        tried = before.succeeded + before.final_failed + self._opened.tried
        done = tried + self._journal.counts.duplicate + sent
        return JobProgress(
            done=done,
            total=self._total,
            failures=counts["failed"] + counts["unknown"],
            in_flight=0 if self._runner is None else self._runner.in_flight,
            verifying=0 if self._runner is None else self._runner.verifying,
            seconds=seconds,
            eta=None if self._total is None else seconds_left(self._total - done, sent, seconds, self._client.quota),
        )

    async def run(
        self, on_outcome: Callable[[ItemOutcome | Skipped], None] | None = None, *, until: float | None = None
    ) -> JobSummary:
        """Do all items that are not done yet.

        Args:
            on_outcome: Called with each outcome once it is in the journal, and with a ``Skipped`` for each duplicate.
                If it raises, the job stops and raises that.
            until: The time of the event loop, in seconds, at which no more items are taken; None for never. What is in
                flight then finishes, and input that is preloaded is read to its end. Another run of the same journal
                object goes on: it is the same run for the journal, and does not try again what failed in it. That of
                the same ``BulkJob`` also counts on towards *max_failures* and *max_throttled*.

        Returns:
            What became of the run. ``stopped``, ``reason`` and ``fatal`` say whether it ended early.

        Raises:
            JournalMismatchError: the journal is that of another job or input; nothing was sent.
            JournalLostError: another process has begun to run the journal.
            JournalError: the journal cannot be written; what was acknowledged is safe.
            InvalidArgumentError: an item cannot be written down, or stands at no greater position than the one before;
                or the input can be read only once, and an earlier run has begun it.
        """
        if self._begun and isinstance(self._items, Iterator | AsyncIterator):
            message = (
                "the input can be read only once, and an earlier run has begun it: make a new BulkJob with the input "
                "from its beginning, or with None if the journal has all of it"
            )
            raise InvalidArgumentError(message)
        if self._runner is None or self._runner.reason != PAUSED:
            self._health = Health()
        report = on_outcome or _ignore

        def report_repeat(repeat: ItemOutcome | Skipped) -> None:
            if isinstance(repeat, ItemOutcome):
                runner.count_outcome(repeat)
            report(repeat)

        loader = Loader(self._items, self._kind, self._journal, report_repeat)
        self._runner = runner = Runner(
            self._client,
            self._kind,
            self._journal,
            fetch=loader.next,
            on_outcome=report,
            health=self._health,
            concurrency=self._concurrency,
            max_failures=self._max_failures,
            max_throttled=self._max_throttled,
            resend_if_absent=self._resend_if_absent,
        )
        if self._stopped is not None:
            runner.stop(self._stopped)
        before, loop = self._client.quota, asyncio.get_running_loop()
        started = self._started = loop.time()
        self._opened = await self._journal.begin(self._about(), quota=(before.limit, before.window))
        self._begun = True
        timer = None if until is None else loop.call_at(until, runner.stop, PAUSED)
        self._notify_start()
        how = "broken off"
        try:
            await self._do(runner, loader)
            ending = "finished" if runner.finished else runner.reason or how
            await self._journal.end(ending)
            how = ending
        except BaseException as error:
            how = "cancelled" if isinstance(error, asyncio.CancelledError) else how
            await self._end_badly(loader, None if isinstance(error, JournalMismatchError) else how)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._notify_end(runner, how, loop.time() - started)
        return self._summary(runner, before, started)

    async def _do(self, runner: Runner, loader: Loader) -> None:
        if runner.reason is None:
            await self._load(loader)
        if runner.reason is None:
            await runner.run()
        await loader.aclose()

    async def _end_badly(self, loader: Loader, how: str | None) -> None:
        """End the run in the journal, whose errors add nothing to the one that ends it here."""
        if how == "cancelled":
            self._journal.interrupt()
        try:
            with contextlib.suppress(JournalError):
                await self._journal.end(how)
        finally:
            await loader.aclose()

    def _notify_start(self) -> None:
        if self._client.listeners:
            store, about = self._client.credentials.store, self._about()
            started = JobStarted(job=self._kind.name, store=store, time=time.time(), about=about, total=self._total)
            notify(self._client.listeners, started)

    def _notify_end(self, runner: Runner, reason: str, elapsed: float) -> None:
        if self._client.listeners:
            ended = JobEnded(
                job=self._kind.name,
                store=self._client.credentials.store,
                time=time.time(),
                reason=reason,
                succeeded=runner.counts["succeeded"],
                failed=runner.counts["failed"],
                unknown=runner.counts["unknown"],
                elapsed=elapsed,
            )
            notify(self._client.listeners, ended)

    def _about(self) -> dict[str, str]:
        return {**self._facts, "job": self._kind.name, **identity(self._client)}

    async def _load(self, loader: Loader) -> None:
        """Bring the input to where the journal is, or all of it into the journal, unless ``stop`` is called."""
        self._loading = asyncio.ensure_future(self._preload_all(loader) if self._preload else self._skip(loader))
        try:
            await asyncio.wait([self._loading])
        except asyncio.CancelledError:
            self._journal.interrupt()
            self._loading.cancel()
            await asyncio.wait([self._loading])
            raise
        try:
            self._loading.result()
        except asyncio.CancelledError:
            if self._runner is None or self._runner.reason is None:
                message = "the input was cancelled from outside"
                raise RuntimeError(message) from None

    async def _skip(self, loader: Loader) -> None:
        await loader.skip(self._opened)
        # Whether the input goes on behind what the journal has is known only when it has been read to its end.
        complete = self._opened.complete and self._items is None
        await self._journal.expect(self._total, complete=complete, fingerprint=loader.fingerprint)

    async def _preload_all(self, loader: Loader) -> None:
        if self._items is None:
            return
        if self._opened.complete or self._opened.begun:
            await loader.skip(self._opened)
            await self._journal.expect(None, complete=False, fingerprint=loader.fingerprint)
        else:
            await self._journal.reset()  # what an earlier run had read of an input that does not come twice
            self._opened = Opened()
            await loader.skip(self._opened)
        while await loader.load():
            pass
        self._total = self._journal.counts.all
        await self._journal.expect(self._total, complete=True, fingerprint=loader.fingerprint)

    def _summary(self, runner: Runner, before: QuotaSnapshot, started: float) -> JobSummary:
        after, ended, opened = self._client.quota, self._journal.counts, self._opened.counts
        refused = opened.final_failed + self._opened.tried
        summary = JobSummary(
            succeeded=runner.counts["succeeded"],
            failed=runner.counts["failed"],
            unknown=runner.counts["unknown"],
            skipped=opened.succeeded + refused,
            skipped_failed=refused,
            duplicates=ended.duplicate,
            repeated=runner.counts["repeated"],
            reconciled=runner.counts["reconciled"],
            pending=0,
            requests=after.requests - before.requests,
            refused=after.refused - before.refused,
            seconds=asyncio.get_running_loop().time() - started,
            stopped=not runner.finished,
            reason=None if runner.finished else runner.reason,
            fatal=None if runner.fatal is None else str(runner.fatal),
        )
        # The input may have more than has been read of it, if it was said how much it has.
        return attrs.evolve(summary, pending=max(ended.all, self._total or 0) - summary.done)


def identity(client: Client) -> dict[str, str]:
    """Return which store of which server a client works on."""
    return {"server": client.base_url, "store": client.credentials.store}


def seconds_left(items: int, done: int, seconds: float, quota: QuotaSnapshot) -> float:
    """Estimate how long *items* take, of which *done* took *seconds*.

    A job begins with what the quota has free and is soon held back by it, so its rate so far says little.
    """
    return max(
        max(0, items - quota.left) * quota.window / max(1, quota.limit - quota.foreign),
        *(max(0, items - own.limit + own.used) * own.window / own.limit for own in quota.endpoints),
        items * seconds / done if done >= _ENOUGH and seconds >= _LONG_ENOUGH else 0.0,
    )


def _ignore(_outcome: ItemOutcome | Skipped) -> None:
    """Do nothing."""
