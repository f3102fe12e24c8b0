"""What a running job looks like: the bar, and the table at its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from b2b_async.bulk.outcome import ItemOutcome
from b2b_async.cli.common import errors_console

if TYPE_CHECKING:
    from typing import Self

    from b2b_async.bulk.outcome import JobSummary, Skipped
    from b2b_async.client import Client
    from b2b_async.quota import EndpointSnapshot, QuotaSnapshot

_MINUTE = 60.0
_SHOWN_DUPLICATES = 5


class JobProgress:
    """A bar on stderr with done/total, rate, quota, failures and time left. Use it as a context manager.

    Args:
        client: Its limiter knows the quota.
        total: How many items there are.
    """

    def __init__(self, client: Client, total: int) -> None:
        """Prepare the bar without showing it."""
        self._client = client
        self._total = total
        self._done = self._called = self._failures = self._duplicates = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]:.0f}/min"),
            TextColumn("quota {task.fields[quota]:.0%}"),
            TextColumn("failures {task.fields[failures]},"),
            TextColumn("{task.fields[left]}"),
            console=errors_console(),
        )
        self._task = self._bar.add_task("assigning", total=total, rate=0.0, quota=0.0, failures=0, left="")
        self._started = 0.0

    def __enter__(self) -> Self:
        """Show the bar."""
        self._started = asyncio.get_running_loop().time()
        self._bar.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        """Leave the bar as it is."""
        self._bar.stop()

    def __call__(self, outcome: ItemOutcome | Skipped) -> None:
        """Count one outcome, and tell of the first duplicates."""
        self._done += 1
        if isinstance(outcome, ItemOutcome):
            self._called += 1
            self._failures += outcome.status != "succeeded"
        elif outcome.reason == "duplicate" and (room := _SHOWN_DUPLICATES - self._duplicates) > 0:
            self._duplicates += 1
            more = " (further ones are only counted)" if room == 1 else ""
            self._bar.console.print(f"line {outcome.position}: {outcome.key} was met before and is done once{more}")
        store = self._client.quota
        quotas: list[QuotaSnapshot | EndpointSnapshot] = [store, *store.endpoints]
        books = min(quotas, key=lambda quota: quota.limit / quota.window)
        elapsed = max(1e-3, asyncio.get_running_loop().time() - self._started)
        # What the quota allows, or what was seen, whichever is slower.
        seconds = (self._total - self._done) * max(books.window / books.limit, elapsed / max(1, self._done))
        self._bar.update(
            self._task,
            completed=self._done,
            rate=self._called / elapsed * _MINUTE,
            quota=books.used / books.limit,
            failures=self._failures,
            left=f"{seconds:.0f} s left" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} min left",
        )


def summary_table(summary: JobSummary) -> Table:
    """Show a summary to people."""
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        "succeeded": summary.succeeded,
        "failed": summary.failed,
        "unknown": summary.unknown,
        "settled by an earlier run": summary.skipped,
        "duplicates": summary.duplicates,
        "requests": summary.requests,
        "refused by the server (429)": summary.refused,
    }
    for name, number in rows.items():
        table.add_row(name, f"{number:,}")
    table.add_row("seconds", f"{summary.seconds:.1f}")
    return table
