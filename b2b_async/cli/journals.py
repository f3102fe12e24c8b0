"""``b2b-async status`` and ``export``: what a journal holds."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from b2b_async.bulk import JournalError
from b2b_async.bulk.journal import read_outcomes, read_status
from b2b_async.bulk.report import write_csv, write_jsonl
from b2b_async.cli.common import Exit, finish, json_option, refuse


@click.command()
@click.argument("journal", type=click.Path(path_type=Path))
@json_option
def status(*, journal: Path, as_json: bool) -> None:
    """Say what JOURNAL holds, also while its job runs."""
    try:
        found = read_status(journal)
    except JournalError as error:
        refuse("status", Exit.USAGE, [str(error)], as_json=as_json)
    if not as_json:
        for name, value in {**found.about, **found.counts}.items():
            click.echo(f"{name}: {value}")
    finish("status", Exit.DONE, {"about": found.about, "counts": found.counts}, as_json=as_json)


@click.command()
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option("--only", type=click.Choice(["succeeded", "failed", "unknown"]), help="Only items that ended so.")
def export(*, journal: Path, form: str, only: str | None) -> None:
    """Print the outcomes in JOURNAL to stdout."""
    try:
        read_status(journal)  # a journal that cannot be read is refused before the first line is printed
        write = write_csv if form == "csv" else write_jsonl
        write(read_outcomes(journal, only), sys.stdout)
    except JournalError as error:
        refuse("export", Exit.USAGE, [str(error)], as_json=False)
