"""``b2b-async assign``: assign the orders of many customers to their companies."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import click

from b2b_async.bulk import ASSIGN, SQLiteReader, read_customer_ids
from b2b_async.cli._inputs import STDIN, FileInput, JournalInput, StoreInput, readable_twice
from b2b_async.cli._jobs import Options, bad_input_refused, job_options, refuse_odd_words, run_job
from b2b_async.ids import CompanyId

if TYPE_CHECKING:
    from pathlib import Path

    from b2b_async.bulk.outcome import Status
    from b2b_async.cli._inputs import Input


@click.command()
@click.argument("file", required=False)
@click.option("--column", default="customer_id", show_default=True, help="The column or key with the customer id.")
@click.option(
    "--company",
    "companies",
    type=click.IntRange(1),
    multiple=True,
    metavar="ID",
    help="The customers of this B2B company; may be given several times.",
)
@click.option("--all-companies", is_flag=True, help="The customers of all companies.")
@job_options
def assign(
    *,
    file: str | None,
    column: str,
    companies: tuple[int, ...],
    all_companies: bool,
    origin: Path | None,
    only: str | None,
    limit: int | None,
    **options: Any,  # noqa: ANN401 -- those of job_options
) -> None:
    """Assign the orders of the customers in FILE to the companies that they belong to.

    FILE is CSV with a column of BigCommerce customer ids, a bare list of ids, JSONL, or - for stdin.
    All of it is checked before anything is sent. In its place, --company and --all-companies ask the store for the
    customers, and --from takes those of another journal. The same command again skips what is done.
    """
    given = [file is not None, bool(companies), all_companies, origin is not None]
    if sum(given) != 1:
        message = "give one of FILE, --company, --all-companies and --from"
        raise click.UsageError(message)
    chosen = Options(command=ASSIGN.name, **options)
    refuse_odd_words(origin, only, chosen.journal)
    with contextlib.ExitStack() as stack, bad_input_refused(chosen):
        source: Input
        if file is not None:
            path, once = stack.enter_context(readable_twice(file, chosen.journal))
            name = "stdin" if file in STDIN else file
            read = partial(read_customer_ids, path, column, name=name)
            source = FileInput(name=name, path=path, kind=ASSIGN, read=read, columns=column, limit=limit, once=once)
        elif origin is not None:
            source = JournalInput(
                origin=SQLiteReader(origin), kind=ASSIGN, only=cast("Status | None", only), limit=limit
            )
        else:
            source = StoreInput(companies=tuple(map(CompanyId, companies)), limit=limit)
        run_job(ASSIGN, source, chosen)
