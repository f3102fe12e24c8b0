"""``b2b-async run``: a job of any kind, named as module:attribute."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import click

from b2b_async.bulk import ASSIGN, CREATE_ORDERS, SQLiteReader, read_customer_ids, read_order_rows, read_values
from b2b_async.bulk.kinds import KINDS, kind_of
from b2b_async.cli._inputs import STDIN, FileInput, JournalInput, readable_twice
from b2b_async.cli._jobs import Options, bad_input_refused, job_options, refuse_odd_words, run_job
from b2b_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from b2b_async.bulk import JobKind, Row
    from b2b_async.bulk.outcome import Status
    from b2b_async.cli._inputs import Input


_READERS: Mapping[str, Callable[..., Iterator[Row]]] = {
    ASSIGN.name: read_customer_ids,
    CREATE_ORDERS.name: read_order_rows,
}
"""Kinds of this package have readers that check more."""


def _kind(name: str) -> JobKind:
    if ":" in name:
        # The module may be in the folder where the command runs. It comes last, since a file there must not stand in
        # for a module that is imported later.
        sys.path.append(os.getcwd())  # noqa: PTH109 -- sys.path holds strings
    try:
        return kind_of(name)
    except InvalidArgumentError as error:
        raise click.BadParameter(str(error), param_hint="--kind") from error


@click.command()
@click.argument("file", required=False)
@click.option(
    "--kind",
    "reference",
    required=True,
    metavar="MODULE:ATTRIBUTE",
    help="The JobKind to run, which is imported: assign, create-orders, or one of your own.",
)
@click.option("--resend-if-absent", is_flag=True, help="Send an item again that two verifications do not show.")
@job_options
def run(
    *,
    file: str | None,
    reference: str,
    resend_if_absent: bool,
    origin: Path | None,
    only: str | None,
    limit: int | None,
    **options: Any,  # noqa: ANN401 -- those of job_options
) -> None:
    """Run a job of your own kind over the items in FILE: JSON Lines, a JSON array, or - for stdin.

    Each value is what the kind's dump returns; files for assign and create-orders are as for their own commands. All of
    it is checked before anything is sent. The same command again skips what is done.
    """
    kind = _kind(reference)
    chosen = Options(command=f"run --kind {shlex.quote(reference)}", **options)
    refuse_odd_words(origin, only, chosen.journal)
    with contextlib.ExitStack() as stack, bad_input_refused(chosen):
        source: Input
        if file is not None and origin is None:
            path, once = stack.enter_context(readable_twice(file, chosen.journal))
            name = "stdin" if file in STDIN else file
            reader = _READERS[kind.name] if kind in KINDS.values() else partial(read_values, kind=kind)
            read = partial(reader, path, name=name)
            source = FileInput(name=name, path=path, kind=kind, read=read, limit=limit, once=once, columns="values")
        elif origin is not None and file is None:
            source = JournalInput(origin=SQLiteReader(origin), kind=kind, only=cast("Status | None", only), limit=limit)
        else:
            message = "give one of FILE and --from"
            raise click.UsageError(message)
        run_job(kind, source, chosen, resend_if_absent=resend_if_absent)
