"""The commands that run a job: plan, check, run, conclude; and their options and signals."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import attrs
import click

from b2b_async.bulk import BulkJob, JournalError, JournalMismatchError, SourceError, SQLiteJournal
from b2b_async.bulk.job import identity
from b2b_async.cli._common import (
    Exit,
    calm_collector,
    client_of,
    finish,
    is_fatal,
    json_option,
    limiter_of,
    quota_option,
    redis_option,
    refuse,
    say,
    server_options,
    start_logging,
    verbose_option,
)
from b2b_async.cli._conclusion import conclude, conclude_abruptly
from b2b_async.cli._progress import Screen
from b2b_async.errors import B2BError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from b2b_async.bulk import JobKind, JobSummary
    from b2b_async.cli._inputs import Input, Plan
    from b2b_async.client import Client
    from b2b_async.ratelimit.quota import Quota

F = TypeVar("F", bound="Callable[..., Any]")


@attrs.frozen(kw_only=True)
class Options:
    """The command, and the options of every command that runs a job."""

    command: str
    """Its name, and what else must be said to repeat it, beside these options."""
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
def bad_input_refused(options: Options) -> Generator[None]:
    """End with the exit status of bad input, or of bad configuration."""
    try:
        yield
    except (SourceError, JournalError) as error:
        refuse(options.command, Exit.USAGE, [str(error)], as_json=options.as_json)
    except ConfigurationError as error:
        refuse(options.command, Exit.FATAL, [str(error)], as_json=options.as_json)


def run_job(kind: JobKind, source: Input, options: Options, *, resend_if_absent: bool = False) -> NoReturn:
    """Plan, check, run, conclude: the whole of a command that runs a job."""
    start_logging(verbose=options.verbose)
    journal = options.journal or source.journal
    plan = _plan(source, journal, options)
    client = _check(source, plan, options)
    opened = SQLiteJournal(journal)
    job = _prepare(client, kind, source, opened, plan=plan, options=options, resend_if_absent=resend_if_absent)
    _outlive_terminal()
    say(f"Journal: {shlex.quote(str(journal))}")
    calm_collector()
    screen = Screen(client, job)
    summary, reason = _run_all(source, client, job, screen=screen, journal=opened, options=options)
    if (plan.rows is None or not plan.checked) and summary is not None and not summary.stopped:
        _warn_of_no_rows(source, summary.total)
    again = "To go on, run the same command again"
    if source.once and options.journal is None:
        again += f" with --journal {shlex.quote(str(journal))}"
    if summary is None:
        conclude_abruptly(options.command, str(reason), journal=journal, again=again, as_json=options.as_json)
    conclude(kind, summary, screen, command=options.command, journal=journal, again=again, as_json=options.as_json)


# -- plan and check ------------------------------------------------------------------------------------------------


def _plan(source: Input, journal: Path, options: Options) -> Plan:
    """Find out what the run will do; refuse input that is wrong."""
    with bad_input_refused(options):
        plan = source.plan(journal, afresh=options.dry_run)
    if plan.problems:
        refuse(options.command, Exit.USAGE, list(plan.problems), as_json=options.as_json)
    if plan.checked and plan.rows is not None:
        _warn_of_no_rows(source, plan.rows)
    if plan.done:
        rows = "" if plan.rows is None else f" of {plan.rows:,}"
        say(f"{plan.done:,}{rows} items are done by earlier runs, and skipped")
    return plan


def _check(source: Input, plan: Plan, options: Options) -> Client:
    """Make the client, whose store must be that of the input; a dry run ends here."""
    command, as_json = options.command, options.as_json
    if options.dry_run and plan.rows is not None:
        _end_dry_run(command, plan.rows, plan.duplicates, as_json=as_json)
    with bad_input_refused(options):
        limiter = limiter_of(options.quota, options.redis_url, options.processes)
        client = client_of(options.base_url, options.proxy, limiter, connections=options.concurrency)
        source.compare(identity(client))
    if options.dry_run:
        try:
            rows, duplicates = asyncio.run(_count(client, source))
        except B2BError as error:
            refuse(command, Exit.FATAL if is_fatal(error) else Exit.STOPPED, [str(error)], as_json=as_json)
        _end_dry_run(command, rows, duplicates, as_json=as_json)
    return client


def _prepare(
    client: Client,
    kind: JobKind,
    source: Input,
    journal: SQLiteJournal,
    *,
    plan: Plan,
    options: Options,
    resend_if_absent: bool,
) -> BulkJob:
    with bad_input_refused(options):
        return BulkJob(
            client,
            source.items(client) if plan.reads_input else None,
            journal=journal,
            kind=kind,
            preload=source.once,
            total=plan.rows,
            about=source.about,
            concurrency=options.concurrency,
            max_failures=options.max_failures,
            max_throttled=options.max_throttled * 60,
            resend_if_absent=resend_if_absent,
        )


def _warn_of_no_rows(source: Input, rows: int) -> None:
    if not rows:
        say(f"{source.name} has no items: there is nothing to do")


def _end_dry_run(command: str, rows: int, duplicates: int, *, as_json: bool) -> NoReturn:
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


# -- run -----------------------------------------------------------------------------------------------------------


def _run_all(
    source: Input,
    client: Client,
    job: BulkJob,
    *,
    screen: Screen,
    journal: SQLiteJournal,
    options: Options,
) -> tuple[JobSummary | None, str | None]:
    """Run the job; end the command where nothing could be sent."""
    command, as_json = options.command, options.as_json
    try:
        return asyncio.run(_run(client, journal, job, screen))
    except B2BError as error:
        refuse(command, Exit.FATAL, [f"{error}. Run 'b2b-async check'"], as_json=as_json)
    except JournalMismatchError as error:
        refuse(command, Exit.USAGE, [str(error), *source.differences(journal.path)], as_json=as_json)
    except JournalError as error:
        refuse(command, Exit.USAGE, [str(error)], as_json=as_json)


def _outlive_terminal() -> None:
    """Finish the job although the terminal that it was begun in is closed: its outcomes are in the journal."""
    if hasattr(signal, "SIGHUP"):  # Windows has none
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def _run(
    client: Client, journal: SQLiteJournal, job: BulkJob, screen: Screen
) -> tuple[JobSummary | None, str | None]:
    """Run the job; return its summary, or why there is none: it could not stop in good order."""
    stop: str | None = None
    async with client.limiter, client, journal:
        running = asyncio.ensure_future(job.run(screen))

        def on_signal(name: str) -> None:
            nonlocal stop
            if stop is not None:
                running.cancel()
                return
            stop = name
            say(f"\n{name}: finishing what is in flight; once more to stop at once")
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
