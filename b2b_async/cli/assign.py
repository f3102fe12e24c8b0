"""``b2b-async assign``: assign the orders of many customers to their companies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from rich.console import Console

from b2b_async.bulk import BulkJob, Journal, JournalError, SourceError, read_customer_ids
from b2b_async.cli.common import (
    Exit,
    base_url_option,
    finish,
    json_option,
    limiter_of,
    quota_option,
    redis_option,
    refuse,
    start_logging,
    verbose_option,
)
from b2b_async.cli.screen import JobProgress, summary_table
from b2b_async.client import Client
from b2b_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from b2b_async.bulk import Item, JobSummary, Row
    from b2b_async.quota import Quota

_SHOWN_PROBLEMS = 20


@attrs.frozen
class _Input:
    """A file that can be read twice, whatever it came from."""

    path: Path
    name: str
    column: str
    limit: int | None

    def rows(self) -> Iterator[Row]:
        return itertools.islice(read_customer_ids(self.path, self.column, name=self.name), self.limit)

    def items(self) -> Iterator[Item]:
        for row in self.rows():
            if row.item is None:  # all was good when it was checked
                message = f"{row.problem}; the file has changed since it was checked"
                raise SourceError(message)
            yield row.item


@click.command()
@click.argument("file")
@click.option("--column", default="customer_id", show_default=True, help="The column or key with the customer id.")
@click.option("--journal", type=click.Path(path_type=Path), help="Where outcomes are kept; else FILE.journal.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=32, show_default=True, help="Calls at once.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N rows.")
@click.option("--dry-run", is_flag=True, help="Check all of FILE and send nothing.")
@base_url_option
@quota_option
@redis_option
@json_option
@verbose_option
def assign(
    *,
    file: str,
    column: str,
    journal: Path | None,
    concurrency: int,
    limit: int | None,
    dry_run: bool,
    base_url: str | None,
    quota: Quota,
    redis_url: str | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Assign the orders of the customers in FILE to the companies that they belong to.

    FILE is CSV with a column of BigCommerce customer ids, a bare list of ids, JSONL, or - for stdin.
    All of it is checked before anything is sent. The same command again skips what is done.
    """
    start_logging(verbose=verbose)
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(_readable_twice(file))
        source = _Input(path, "stdin" if file == "-" else file, column, limit)
        try:
            total, problems = _check(source)
            if problems:
                refuse("assign", Exit.USAGE, problems, as_json=as_json)
            if not total:
                click.echo(f"{source.name} has no customer ids: there is nothing to do", err=True)
            if dry_run:
                facts = {"rows": total, "duplicates": _duplicates(source), "sent": 0}
                click.echo("; ".join(f"{name} {value}" for name, value in facts.items()), err=True)
                finish("assign", Exit.DONE, facts, as_json=as_json)
            client = Client.from_env(base_url=base_url, limiter=limiter_of(quota, redis_url), connections=concurrency)
        except SourceError as error:
            refuse("assign", Exit.USAGE, [str(error)], as_json=as_json)
        except ConfigurationError as error:
            refuse("assign", Exit.FATAL, [str(error)], as_json=as_json)
        if journal is None:
            journal = Path(f"{file}.journal" if file != "-" else f"b2b-assign-{time.strftime('%Y%m%dT%H%M%S')}.journal")
        run = _run(client, source, total, journal, concurrency)
        try:
            summary, stop = asyncio.run(run)
        except JournalError as error:
            refuse("assign", Exit.USAGE, [str(error)], as_json=as_json)
        _conclude(summary, stop, journal, as_json=as_json)


@contextlib.contextmanager
def _readable_twice(file: str) -> Generator[Path]:
    """Keep stdin, or what comes from a pipe, in a file, so that all of it is checked before anything is sent."""
    if file != "-" and not Path(file).is_fifo():
        yield Path(file)
    else:
        source = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115 -- closed by the next line
        with source as stream, tempfile.TemporaryDirectory(prefix="b2b-async-") as folder:
            path = Path(folder) / "input"
            with path.open("wb") as copy:
                shutil.copyfileobj(stream, copy)
            yield path


def _check(source: _Input) -> tuple[int, list[str]]:
    """Read all of the input; give the number of its rows and what is wrong with it."""
    total = bad = 0
    problems: list[str] = []
    for row in source.rows():
        total += 1
        if row.problem is not None:
            bad += 1
            if len(problems) < _SHOWN_PROBLEMS:
                problems.append(row.problem)
    if bad > len(problems):
        problems.append(f"{source.name}: {bad - len(problems):,} more lines are wrong")
    return total, problems


def _duplicates(source: _Input) -> int:
    """Count repeated ids in a temporary database on the disk, since there may be more than fit into memory."""
    with contextlib.closing(sqlite3.connect("")) as seen:
        seen.execute("CREATE TABLE ids (id INTEGER PRIMARY KEY)")
        total = 0
        for item in source.items():
            total += 1
            seen.execute("INSERT OR IGNORE INTO ids VALUES (?)", (item.value,))
        (different,) = seen.execute("SELECT count(*) FROM ids").fetchone()
        return total - int(different)


async def _run(
    client: Client, source: _Input, total: int, journal_path: Path, concurrency: int
) -> tuple[JobSummary | None, str | None]:
    """Run the job; give its summary and why it stopped early, if it did.

    There is no summary of a job that could not stop in good order.
    """
    store = client.credentials.store_hash or f"of legacy token {client.credentials.fingerprint()}"
    about = {"job": "assign", "server": client.base_url, "store": store}
    stop: str | None = None
    async with client.limiter, client, Journal(journal_path, about) as journal:
        job = BulkJob(client, source.items(), journal=journal, concurrency=concurrency)
        progress = JobProgress(client, total)
        running = asyncio.ensure_future(job.run(progress))

        def on_signal(name: str) -> None:
            nonlocal stop
            if stop is not None:
                running.cancel()
                return
            stop = name
            click.echo(f"\n{name}: finishing what is under way; once more to stop at once", err=True)
            job.stop()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Windows has no signal handlers in its loop; there Ctrl-C is a KeyboardInterrupt.
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, on_signal, number.name)
        with progress:
            try:
                return await running, stop
            except (JournalError, SourceError) as error:  # something has been sent by now, so it is no wrong usage
                return None, str(error)
            except asyncio.CancelledError:
                if stop is None:
                    raise
                return None, f"{stop} twice"


def _conclude(summary: JobSummary | None, stop: str | None, journal: Path, *, as_json: bool) -> None:
    again = f"To go on, run the same command again with --journal {journal}"
    if summary is None:
        click.echo(f"Stopped at once by {stop}. {again}", err=True)
        finish("assign", Exit.STOPPED, {"stopped": True, "reason": stop, "journal": str(journal)}, as_json=as_json)
    if not as_json:
        Console(highlight=False).print(summary_table(summary))
    if summary.fatal is not None:
        status = Exit.FATAL
        click.echo(
            f"b2b-async assign: stopped by an error that no other customer could escape: {summary.fatal}", err=True
        )
        click.echo(f"Run 'b2b-async check', then: {again}", err=True)
    elif summary.stopped:
        status = Exit.STOPPED
        click.echo(f"Stopped by {stop}. {again}", err=True)
    elif summary.failed or summary.unknown or summary.skipped_failed:
        status = Exit.INCOMPLETE
        click.echo(f"See why: b2b-async export {journal}", err=True)
    else:
        status = Exit.DONE
    facts: dict[str, Any] = {**attrs.asdict(summary), "total": summary.total, "journal": str(journal)}
    finish("assign", status, facts, as_json=as_json)
