"""``b2b-async status``, ``export`` and ``report``: the commands that read a journal."""

from __future__ import annotations

import functools
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs
import click

from b2b_async.bulk import JournalError, SQLiteReader, write_csv, write_html, write_jsonl
from b2b_async.cli._common import Exit, finish, json_option, refuse, say, visible

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    from b2b_async.bulk import JournalStatus
    from b2b_async.bulk.outcome import Status

_JOURNAL = click.argument("journal", type=click.Path(path_type=Path))
_FOR_SPREADSHEET = (
    "Put an apostrophe before each CSV cell that a spreadsheet may run as a formula: one that begins with = + - @, a "
    "tab or a line break. assign and create-orders remove it when they read the file. Open the file with a comma as "
    "the only separator. Without this option the cells are exact, and a spreadsheet may run formulas in them."
)


@click.command()
@_JOURNAL
@json_option
def status(*, journal: Path, as_json: bool) -> None:
    """Say what JOURNAL holds, also while its job runs."""
    try:
        found = SQLiteReader(journal).status()
    except JournalError as error:
        refuse("status", Exit.USAGE, [str(error)], as_json=as_json)
    if not as_json:
        for line in _lines(found):
            click.echo(visible(line))
    facts = {**attrs.asdict(found), "all": found.all, "not_reached": found.not_reached}
    finish("status", Exit.DONE, facts, as_json=as_json)


def _lines(found: JournalStatus) -> Iterator[str]:
    counts = found.counts
    yield from (f"{name}: {value}" for name, value in found.about.items())
    yield f"total: {found.all:,}"
    for name in ("succeeded", "failed", "unknown", "duplicate"):
        yield f"{name}: {getattr(counts, name):,}"
    yield f"not reached: {found.not_reached:,}"
    yield f"complete through line, or item: {found.low_water_mark:,}"
    if found.runs:
        run = found.runs[-1]
        state = "running" if found.running else run.how or "interrupted"
        until = "" if run.finished is None else f" to {_time(run.finished)}"
        yield f"run {run.run}: {state}; {_time(run.started)}{until} UTC, {run.process}"
    if found.minutes:
        requests = ", ".join(f"{minute.requests:,}" for minute in found.minutes)
        yield f"requests in its last minutes: {requests} (the quota: {found.minutes[-1].quota:,.4g})"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


@click.command()
@_JOURNAL
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="CSV with a header line, or one JSON object a line.",
)
@click.option("--only", type=click.Choice(["succeeded", "failed", "unknown"]), help="Only items that ended so.")
@click.option("--for-spreadsheet", is_flag=True, help=_FOR_SPREADSHEET)
def export(*, journal: Path, form: str, only: str | None, for_spreadsheet: bool) -> None:
    """Print the items of JOURNAL that have an outcome to stdout.

    Every cell is exactly the value, whoever chose it. A spreadsheet may run cells as formulas: open only a file
    written with --for-spreadsheet in one.
    """
    if for_spreadsheet and form != "csv":
        message = "--for-spreadsheet changes cells of CSV: leave it out, or leave --format out"
        raise click.UsageError(message)
    try:
        reader = SQLiteReader(journal)
        job = reader.status().about.get("job", "")  # refused, if it must be, before the first line is printed
        # Not in the terminal's own encoding, which may not have all that a server says.
        output = cast("io.TextIOWrapper", sys.stdout)
        # JSON may hold half of a surrogate pair, which UTF-8 cannot; it is written as JSON escapes it.
        output.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
        write: Callable[..., None] = write_csv if form == "csv" else write_jsonl
        if for_spreadsheet:
            write = functools.partial(write, for_spreadsheet=True)
        write(reader.outcomes(cast("Status | None", only)), output, job)
        output.flush()
    except JournalError as error:
        refuse("export", Exit.USAGE, [str(error)], as_json=False)


@click.command()
@_JOURNAL
@click.option("--html", "page", type=click.Path(path_type=Path), required=True, help="The page to write.")
def report(*, journal: Path, page: Path) -> None:
    """Write a report of JOURNAL as one HTML page, also while its job runs."""
    try:
        write_html(SQLiteReader(journal), page)
    except JournalError as error:
        refuse("report", Exit.USAGE, [str(error)], as_json=False)
    except OSError as error:
        refuse("report", Exit.USAGE, [f"{page} cannot be written: {error.strerror}"], as_json=False)
    say(f"{page} is written.")
