"""The progress of a running job: a bar or a line a minute, and the table at its end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, cast

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from b2b_async.bulk.outcome import ItemOutcome, Skipped
from b2b_async.cli._common import errors_console, visible

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from b2b_async.bulk import BulkJob, JobProgress
    from b2b_async.bulk.outcome import JobSummary
    from b2b_async.client import Client

_MINUTE = 60.0
_SHOWN_DUPLICATES = 5
_SHOWN_REASONS = 3
_WIDE = 80
"""Characters of a terminal that has room for everything."""
_TICK = 0.5
"""Seconds between two updates of a bar."""


class Screen:
    """Shows on stderr how far a job is: a bar on a terminal, elsewhere a line a minute.

    Use it as an async context manager, and hand it to ``BulkJob.run``.

    Args:
        client: Its limiter knows the quota.
        job: What is watched.
    """

    def __init__(self, client: Client, job: BulkJob) -> None:
        """Prepare the bar without showing it."""
        self._client = client
        self._job = job
        self._duplicates = 0
        self._told_of_verifications = False
        self.totals: dict[str, float] = defaultdict(int)
        """The sums of the numbers in the results, by name."""
        self.statuses: Counter[int | None] = Counter()
        """The number of failed items by HTTP status; None stands for no response."""
        self.pages = 0
        """The number of items that something other than the API has refused."""
        self.reasons: Counter[str] = Counter()
        """The first reasons why items failed, and how often."""
        self._console = errors_console()
        wide = (BarColumn(), TextColumn("{task.fields[rate]:.0f}/min"), TextColumn("quota {task.fields[quota]:.0%}"))
        self._bar = Progress(
            MofNCompleteColumn(),
            TaskProgressColumn(),
            *(wide if self._console.width >= _WIDE else ()),
            TextColumn("{task.fields[failures]} failures,"),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, rate=0.0, quota=0.0, failures=0, left="")
        # When how many requests had left: the rate is that of the last minute.
        self._requests: deque[tuple[float, int]] = deque()
        self._ticker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Show it."""
        self._rate()
        if self._console.is_terminal:  # elsewhere some versions of rich print an empty line at its end
            self._bar.start()
        self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Leave the bar as it is."""
        ticker = cast("asyncio.Task[None]", self._ticker)
        ticker.cancel()
        await asyncio.wait([ticker])
        self._update()
        if self._console.is_terminal:
            self._bar.stop()

    def __call__(self, outcome: ItemOutcome | Skipped) -> None:
        """Show the first duplicates, and keep the first reasons of failures."""
        if isinstance(outcome, ItemOutcome) and outcome.result is not None:
            for name, value in outcome.result.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    self.totals[name] += value
        if isinstance(outcome, ItemOutcome) and outcome.failure is not None:
            failure = outcome.failure
            self.statuses[failure.status] += 1
            self.pages += failure.outcome == "rejected" and failure.code is None and not failure.final
            reason = f"{failure.error} {failure.status or ''}".strip() + f": {failure.message or failure.text}"
            if reason in self.reasons or len(self.reasons) < _SHOWN_REASONS:
                self.reasons[reason] += 1
        if isinstance(outcome, Skipped) and (room := _SHOWN_DUPLICATES - self._duplicates) > 0:
            self._duplicates += 1
            more = " (further ones are only counted)" if room == 1 else ""
            text = f"line {outcome.position}: {outcome.key} was met on line {outcome.first} and is done once{more}"
            self._console.print(visible(text), soft_wrap=True, markup=False)

    async def _tick(self) -> None:
        clock = asyncio.get_running_loop().time
        line = clock() + _MINUTE
        while True:
            self._update()
            await asyncio.sleep(_TICK)
            if not self._console.is_terminal and clock() >= line:
                line += _MINUTE
                self._print_line()

    def _progress(self) -> JobProgress:
        """Return how far the job is; report if it waits, since that looks like standing still."""
        progress = self._job.progress
        if progress.verifying and not self._told_of_verifications:
            self._told_of_verifications = True
            self._console.print(
                f"{progress.verifying:,} items that an earlier run sent are not found. Each is verified again a minute "
                "later, and sent again only if it is still absent (--resend-if-absent).",
                soft_wrap=True,
            )
        return progress

    def _update(self) -> None:
        progress = self._progress()
        narrowest = self._client.quota.narrowest
        self._bar.update(
            self._task,
            completed=progress.done,
            total=progress.total,
            rate=self._rate(),
            quota=narrowest.used / narrowest.limit,
            failures=progress.failures,
            left="" if progress.eta is None else f"{_span(progress.eta)} left",
        )

    def _print_line(self) -> None:
        progress = self._progress()
        quota = self._client.quota.narrowest
        of = "" if progress.total is None else f" of {progress.total:,}"
        left = "" if progress.eta is None else f", about {_span(progress.eta)} left"
        self._console.print(
            f"{time.strftime('%H:%M:%S')} {progress.done:,}{of} done, {progress.failures:,} failures, "
            f"{self._rate():.0f} requests a minute (the quota: {quota.limit / quota.window * _MINUTE:.0f}){left}",
            soft_wrap=True,
        )

    def _rate(self) -> float:
        """Requests a minute, over the last minute."""
        now, requests = asyncio.get_running_loop().time(), self._client.quota.requests
        self._requests.append((now, requests))
        while len(self._requests) > 2 and self._requests[1][0] <= now - _MINUTE:
            self._requests.popleft()
        since, before = self._requests[0]
        return (requests - before) * _MINUTE / (now - since) if now > since else 0.0


def _span(seconds: float) -> str:
    """Return a time as people say it."""
    minutes, hours = round(seconds / _MINUTE), round(seconds / 3600)
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{hours} h"


def summary_table(summary: JobSummary, results: Mapping[str, float]) -> Table:
    """Return a summary as a table for people, the totals of the *results* first."""
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        **results,
        "succeeded": summary.succeeded,
        "failed": summary.failed,
        "unknown": summary.unknown,
        "done by an earlier run": summary.skipped - summary.skipped_failed,
        "refused by an earlier run, and not tried again": summary.skipped_failed,
        "duplicates": summary.duplicates,
        "of them found done by a verification": summary.reconciled,
        "not reached by this run": summary.pending,
        "total": summary.total,
        "requests": summary.requests,
        "refused by the server (429)": summary.refused,
    }
    for name, number in rows.items():
        table.add_row(name, f"{number:,}" if isinstance(number, int) else f"{number:,.2f}")
    table.add_row("seconds", f"{summary.seconds:.1f}")
    return table
