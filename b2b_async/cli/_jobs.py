"""What the commands that run a job share: options, signals, what is shown meanwhile, and what is said at the end."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import attrs
import click
from rich.console import Console

from b2b_async.bulk import BulkJob, JournalError, JournalMismatchError, SourceError, SQLiteJournal, read_status
from b2b_async.bulk._worker import is_fatal
from b2b_async.bulk.job import identity
from b2b_async.bulk.kinds import KINDS
from b2b_async.cli._common import (
    RESULT,
    Exit,
    calm_collector,
    client_of,
    finish,
    json_option,
    limiter_of,
    quota_option,
    redis_option,
    refuse,
    say,
    server_options,
    start_logging,
    verbose_option,
    wrong_store,
)
from b2b_async.cli._inputs import was_checked, whole
from b2b_async.cli._progress import Screen, summary_table
from b2b_async.errors import B2BError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from b2b_async.bulk import JobKind, JobSummary
    from b2b_async.cli._inputs import Input
    from b2b_async.client import Client
    from b2b_async.ratelimit.quota import Quota

F = TypeVar("F", bound="Callable[..., Any]")

_SERVER_ERROR = 500
_LOOKED_UP = {name for name, kind in KINDS.items() if kind.find is not None}
"""Jobs whose items are looked up before they are sent again."""


@attrs.frozen(kw_only=True)
class Options:
    """The options of every command that runs a job."""

    journal: Path | None
    concurrency: int | None
    max_failures: int | None
    max_throttled: float
    dry_run: bool
    base_url: str | None
    proxy: str | None
    quota: Quota
    redis_url: str | None
    processes: int | None
    as_json: bool
    verbose: bool


def job_options(function: F) -> F:
    """Add the options of every command that runs a job."""
    path, number = click.Path(path_type=Path), click.IntRange(1)
    minutes = click.FloatRange(0, min_open=True)
    throttled = "Stop once every request was refused for the rate of requests (429) for so long; 30 minutes by default."
    at_once = "Calls at once, at most; else as many as the quota needs."
    limit = "Only the first N items; goes with the journal, so keep it when you run again."
    kept = "Where outcomes are kept; else FILE.journal, or one named by the job and the time."
    origin = "The items of JOURNAL that failed or are unknown, in a journal of their own."
    only = "With --from: items that ended so."
    for option in (
        verbose_option,
        json_option,
        redis_option,
        quota_option,
        server_options,
        click.option("--dry-run", is_flag=True, help="Check all of the input and change nothing."),
        click.option("--max-throttled", type=minutes, default=30.0, metavar="MINUTES", help=throttled),
        click.option("--max-failures", type=number, metavar="N", help="Stop once N items failed or are unknown."),
        click.option("--limit", type=number, metavar="N", help=limit),
        click.option("--concurrency", type=click.IntRange(1, 1000), metavar="N", help=at_once),
        click.option("--journal", type=path, help=kept),
        click.option("--only", type=click.Choice(["failed", "unknown"]), help=only),
        click.option("--from", "origin", type=path, metavar="JOURNAL", help=origin),
    ):
        function = option(function)
    return function


def refuse_odd_words(origin: Path | None, only: str | None, journal: Path | None) -> None:
    """Refuse options that go with --from where they do not."""
    if only is not None and origin is None:
        message = "--only says which items of the journal in --from are meant; give both"
        raise click.UsageError(message)
    if origin is not None and journal is not None and origin.resolve() == journal.resolve():
        message = "--from and --journal name the same journal: to go on with it, run its own command again"
        raise click.UsageError(message)


@contextlib.contextmanager
def bad_input_refused(command: str, *, as_json: bool) -> Generator[None]:
    """End with the exit status of bad input, or of bad configuration."""
    try:
        yield
    except (SourceError, JournalError) as error:
        refuse(command, Exit.USAGE, [str(error)], as_json=as_json)
    except ConfigurationError as error:
        refuse(command, Exit.FATAL, [str(error)], as_json=as_json)


def _warn_of_no_rows(source: Input, rows: int) -> None:
    if not rows:
        say(f"{source.name} has no items: there is nothing to do")


def run_job(kind: JobKind, source: Input, options: Options, *, resend_if_absent: bool = False) -> NoReturn:
    """Check the input, run the job, and end the command."""
    start_logging(verbose=options.verbose)
    command, as_json = kind.name, options.as_json
    journal = options.journal or source.journal
    with bad_input_refused(command, as_json=as_json):
        # A journal that holds its whole input needs none, which is why what has gone by can be gone on with.
        held = whole(journal) if source.once and source.is_gone else None
        known = None if options.dry_run else was_checked(source, journal)
        checked = source.check() if held is None and known is None else None
    if held is not None and options.dry_run:
        _tell_dry_run(command, held.counts.all, held.counts.duplicate, as_json=as_json)
    if checked is not None and checked.problems:
        refuse(command, Exit.USAGE, checked.problems, as_json=as_json)
    if checked is not None:
        _warn_of_no_rows(source, checked.rows)
    if options.dry_run and checked is not None:
        _tell_dry_run(command, checked.rows, checked.duplicates, as_json=as_json)
    with bad_input_refused(command, as_json=as_json):
        limiter = limiter_of(options.quota, options.redis_url, options.processes)
        client = client_of(options.base_url, options.proxy, limiter, connections=options.concurrency)
        source.compare(identity(client))
    if options.dry_run:
        try:
            rows, duplicates = asyncio.run(_count(client, source))
        except B2BError as error:
            refuse(command, Exit.FATAL if is_fatal(error) else Exit.STOPPED, [str(error)], as_json=as_json)
        _tell_dry_run(command, rows, duplicates, as_json=as_json)
    with bad_input_refused(command, as_json=as_json):
        job = BulkJob(
            client,
            None if held is not None else source.items(client),
            journal=(opened := SQLiteJournal(journal)),
            kind=kind,
            preload=source.once,
            total=checked.rows if checked is not None else status.total if (status := held or known) else None,
            about=source.about,
            concurrency=options.concurrency,
            max_failures=options.max_failures,
            max_throttled=options.max_throttled * 60,
            resend_if_absent=resend_if_absent,
        )
    _outlive_terminal()
    say(f"Journal: {shlex.quote(str(journal))}")
    calm_collector()
    screen = Screen(client, job)
    try:
        summary, reason = asyncio.run(_run(client, opened, job, screen))
    except B2BError as error:
        refuse(command, Exit.FATAL, [f"{error}. Run 'b2b-async check'"], as_json=as_json)
    except JournalMismatchError as error:
        problems = [str(error), *source.differences(journal)]
        refuse(command, Exit.USAGE, problems, as_json=as_json)
    except JournalError as error:
        refuse(command, Exit.USAGE, [str(error)], as_json=as_json)
    if checked is None and summary is not None and not summary.stopped:
        _warn_of_no_rows(source, summary.total)
    again = "To go on, run the same command again"
    if source.once and options.journal is None:
        again += f" with --journal {shlex.quote(str(journal))}"
    _conclude(command, summary, reason=reason, screen=screen, journal=journal, again=again, as_json=as_json)


def _tell_dry_run(command: str, rows: int, duplicates: int, *, as_json: bool) -> NoReturn:
    facts = {"rows": rows, "duplicates": duplicates, "sent": 0}
    say("; ".join(f"{name} {value}" for name, value in facts.items()))
    finish(command, Exit.DONE, facts, as_json=as_json)


async def _count(client: Client, source: Input) -> tuple[int, int]:
    """Ask the server for the items, and count them."""
    seen = set[int]()
    rows = 0
    async with client.limiter, client:
        async for item in cast("AsyncGenerator[int]", source.items(client)):
            rows += 1
            seen.add(item)
    return rows, rows - len(seen)


def _outlive_terminal() -> None:
    """Finish the job although the terminal that it was begun in is closed: its outcomes are in the journal."""
    if hasattr(signal, "SIGHUP"):  # Windows has none
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def _run(
    client: Client, journal: SQLiteJournal, job: BulkJob, screen: Screen
) -> tuple[JobSummary | None, str | None]:
    """Run the job; give its summary, or why there is none: it could not stop in good order."""
    stop: str | None = None
    async with client.limiter, client, journal:
        running = asyncio.ensure_future(job.run(screen))

        def on_signal(name: str) -> None:
            nonlocal stop
            if stop is not None:
                running.cancel()
                return
            stop = name
            say(f"\n{name}: finishing what is under way; once more to stop at once")
            job.stop(name)

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Windows has no signal handlers in its loop; there Ctrl-C is a KeyboardInterrupt.
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, on_signal, number.name)
        async with screen:
            try:
                return await running, None
            except JournalMismatchError:
                raise
            except (JournalError, SourceError, B2BError) as error:  # something has been sent by now: no wrong usage
                if isinstance(error, B2BError) and is_fatal(error):
                    raise
                return None, str(error)
            except asyncio.CancelledError:
                if stop is None:
                    raise
                return None, f"{stop} twice"


def _conclude(
    command: str,
    summary: JobSummary | None,
    *,
    reason: str | None,
    screen: Screen,
    journal: Path,
    again: str,
    as_json: bool,
) -> NoReturn:
    if summary is None:
        say(f"Stopped at once by {reason}. {again}")
        facts: dict[str, Any] = {"stopped": True, "reason": reason, "journal": str(journal)}
        with contextlib.suppress(JournalError):
            found = read_status(journal)
            facts |= {"done": found.all - found.not_reached, "pending": found.not_reached, "total": found.all}
        finish(command, Exit.STOPPED, facts, as_json=as_json)
    status = _status_of(summary)
    RESULT[:] = [status]
    if not as_json:
        Console(highlight=False).print(summary_table(summary))
    for failure, items in screen.reasons.items():
        say(f"{items:,} times: {failure}")
    if summary.repeated:
        why = " They were absent at two look-ups, a minute apart (--resend-if-absent)." if command in _LOOKED_UP else ""
        say(f"{summary.repeated:,} items were sent again that an earlier run may have done already.{why}")
    if summary.fatal is not None:
        say(f"b2b-async {command}: stopped, since every other item would fail the same way: {summary.fatal}")
        say(f"Run 'b2b-async check', then: {again} (with another --journal for another store)")
    elif summary.stopped:
        say(f"Stopped: {summary.reason}. {again}")
    name = shlex.quote(str(journal))
    if summary.skipped_failed:
        retry = f"b2b-async {command} --from {name} --only failed"
        say(
            f"{summary.skipped_failed:,} items were refused by an earlier run and not tried again; they make the exit "
            f"status 1. To try them again: {retry}"
        )
    if summary.failed or summary.unknown or summary.skipped_failed:
        say(f"See why: b2b-async report {name} --html report.html, or b2b-async export {name}")
    server_errors = sum(items for code, items in screen.statuses.items() if code is not None and code >= _SERVER_ERROR)
    if server_errors and not summary.succeeded + summary.skipped - summary.skipped_failed:
        say(f"The server failed on {server_errors:,} items, and none succeeded. {wrong_store()}")
    if screen.pages and not summary.succeeded:
        say(f"{screen.pages:,} items got no answer of B2B Edition's. Check the address (B2B_BASE_URL): b2b-async check")
    facts = {
        **attrs.asdict(summary),
        "done": summary.done,
        "total": summary.total,
        "journal": str(journal),
    }
    finish(command, status, facts, as_json=as_json)


def _status_of(summary: JobSummary) -> Exit:
    if summary.fatal is not None:
        return Exit.FATAL
    if summary.stopped:
        return Exit.STOPPED
    return Exit.INCOMPLETE if summary.failed or summary.unknown or summary.skipped_failed else Exit.DONE
