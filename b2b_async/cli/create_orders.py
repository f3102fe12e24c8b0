"""``b2b-async create-orders``: register many orders with companies, none of them twice."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import click

from b2b_async.bulk import CREATE_ORDERS, ORDER_COLUMNS, SQLiteReader, read_order_rows
from b2b_async.cli._inputs import STDIN, FileInput, JournalInput, readable_twice
from b2b_async.cli._jobs import Options, bad_input_refused, job_options, refuse_odd_words, run_job

if TYPE_CHECKING:
    from pathlib import Path

    from b2b_async.bulk.outcome import Status
    from b2b_async.cli._inputs import Input


def _columns(_context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for word in words:
        name, _, header = word.partition("=")
        if name not in ORDER_COLUMNS or not header:
            message = f"write NAME=HEADER with a NAME of {', '.join(ORDER_COLUMNS)}, not {word!r}"
            raise click.BadParameter(message)
        columns[name] = header
    return columns


@click.command("create-orders")
@click.argument("file", required=False)
@click.option(
    "--column",
    "columns",
    multiple=True,
    callback=_columns,
    metavar="NAME=HEADER",
    help="Column NAME is called HEADER in FILE; may be given several times.",
)
@click.option(
    "--resend-if-absent/--no-resend-if-absent",
    default=True,
    show_default=True,
    help="Send an order again that an earlier run sent and did not learn the end of, "
    "if look-ups more than a minute apart do not show it.",
)
@job_options
def create_orders(
    *,
    file: str | None,
    columns: dict[str, str],
    resend_if_absent: bool,
    origin: Path | None,
    only: str | None,
    limit: int | None,
    **options: Any,  # noqa: ANN401 -- those of job_options
) -> None:
    """Register the orders in FILE, which exist in BigCommerce, with companies.

    FILE is CSV with a header line, JSONL, or - for stdin; its columns are company_id, customer_id, order_id,
    total_inc_tax and, if there is one, po_number. All of it is checked before anything is sent. An order whose answer
    is lost is looked up and not sent again. The same command again skips what is done.
    """
    chosen = Options(command=CREATE_ORDERS.name, **options)
    refuse_odd_words(origin, only, chosen.journal)
    with contextlib.ExitStack() as stack, bad_input_refused(chosen):
        source: Input
        if file is not None and origin is None:
            path, once = stack.enter_context(readable_twice(file, chosen.journal))
            name = "stdin" if file in STDIN else file
            read = partial(read_order_rows, path, columns, name=name)
            source = FileInput(
                name=name, path=path, kind=CREATE_ORDERS, read=read, limit=limit, once=once, columns=str(columns)
            )
        elif origin is not None and file is None:
            source = JournalInput(
                origin=SQLiteReader(origin), kind=CREATE_ORDERS, only=cast("Status | None", only), limit=limit
            )
        else:
            message = "give one of FILE and --from"
            raise click.UsageError(message)
        run_job(CREATE_ORDERS, source, chosen, resend_if_absent=resend_if_absent)
