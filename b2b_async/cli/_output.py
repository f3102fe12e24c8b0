"""What look-ups share: their options, and lists as a table for people, as CSV, or as JSON."""

from __future__ import annotations

import asyncio
import csv
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import attrs
import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from b2b_async._arguments import to_json
from b2b_async._config import Timeouts
from b2b_async._envelope import writable
from b2b_async._record import Record, fields_of
from b2b_async.cli._common import (
    Exit,
    ParamType,
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
    visible,
)
from b2b_async.errors import B2BError, ConfigurationError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from io import TextIOWrapper

    from b2b_async._pagination import ItemIterator
    from b2b_async.client import Client
    from b2b_async.ratelimit.quota import Quota

_UNBOUNDED = 10_000
"""Characters of a line."""
F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")


class MomentType(ParamType[datetime]):
    """2026-01-31 or 2026-01-31T12:00 on the command line, in UTC unless it says another time zone."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401 -- click's
        """Read the time."""
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time; write 2026-01-31, 2026-01-31T12:00 or 2026-01-31T12:00+01:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Options:
    """The options of every look-up."""

    base_url: str | None
    proxy: str | None
    quota: Quota
    redis_url: str | None
    processes: int | None
    as_json: bool
    verbose: bool


@attrs.frozen(kw_only=True)
class ListOptions(Options):
    """The options of every look-up of many."""

    as_csv: bool
    limit: int
    offset: int
    everything: bool


@attrs.frozen
class Column:
    """A column of a table."""

    name: str
    """The field of the record."""
    wide: bool = False
    """It is only in CSV: a terminal has no room for it."""
    whole: bool = False
    """It is never cut off, however narrow the terminal is."""


def look_options(function: F) -> F:
    """Add the options of every look-up."""
    for option in (verbose_option, json_option, redis_option, quota_option, server_options):
        function = option(function)
    return function


def list_options(function: F) -> F:
    """Add the options of every look-up of many."""
    rows = "Print each row as a JSON object on a line, and one that counts them as the last line of stdout."
    for option in (
        verbose_option,
        click.option("--json", "as_json", is_flag=True, help=rows),
        redis_option,
        quota_option,
        server_options,
        click.option("--csv", "as_csv", is_flag=True, help="Print CSV."),
        click.option("--all", "everything", is_flag=True, help="All, page by page, instead of --limit."),
        click.option("--offset", type=click.IntRange(0), default=0, metavar="N", help="Pass over the first N."),
        click.option("--limit", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="At most N."),
    ):
        function = option(function)
    return function


def time_options(function: F) -> F:
    """Add the bounds of the times of what is listed."""
    moment = MomentType()
    for what, field in (("changed", "modified"), ("made", "created")):
        for word, bound in (("before", "max"), ("after", "min")):
            function = click.option(
                f"--{field}-{word}", f"{bound}_{field}", type=moment, help=f"Only those {what} {word} this time."
            )(function)
    return function


def look(command: str, options: Options, ask: Callable[[Client], Awaitable[T]]) -> T:
    """Ask with the credentials of the environment; end with an exit status if that fails."""
    start_logging(verbose=options.verbose)
    # A terminal may not know the signs of a name.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")

    async def asked() -> T:
        limiter = limiter_of(options.quota, options.redis_url, options.processes)
        timeout = Timeouts(call=300)
        async with limiter, client_of(options.base_url, options.proxy, limiter, timeout=timeout) as client:
            return await ask(client)

    try:
        return asyncio.run(asked())
    except InvalidArgumentError as error:
        refuse(command, Exit.USAGE, [str(error)], as_json=options.as_json)
    except ConfigurationError as error:
        refuse(command, Exit.FATAL, [str(error)], as_json=options.as_json)
    except B2BError as error:
        refuse(command, Exit.FATAL if is_fatal(error) else Exit.INCOMPLETE, [str(error)], as_json=options.as_json)


def show_list(
    command: str, options: ListOptions, columns: tuple[Column, ...], ask: Callable[[Client], ItemIterator[Any]]
) -> NoReturn:
    """Print what *ask* lists, row by row in CSV and JSON, and end.

    With --json, each row is a line with the server's own object, and the last line says how many there are. What was
    read before an error or Ctrl-C is shown, and where to go on is said.
    """
    if options.as_csv and options.as_json:
        message = "give one of --csv and --json"
        raise click.UsageError(message)
    shown = _Rows(options, columns)
    try:
        look(command, options, lambda client: shown.read(ask(client)))
    except KeyboardInterrupt:
        shown.stopped = "stopped"
    shown.end()
    facts: dict[str, Any] = {
        "count": shown.count,
        "total": shown.total,
        "next_offset": options.offset + shown.rows,
        "missed": shown.missed,
    }
    status = Exit.INCOMPLETE if shown.missed else Exit.DONE
    if shown.stopped is not None:
        status = Exit.FATAL if shown.fatal else Exit.STOPPED
        facts |= {"error": shown.stopped, "problems": [shown.stopped]}
        say(f"b2b-async {command}: {shown.stopped}")
    finish(command, status, facts, as_json=options.as_json)


class _Rows:
    """The rows of a list on their way to stdout."""

    def __init__(self, options: ListOptions, columns: tuple[Column, ...]) -> None:
        self.count = self.rows = self.missed = 0
        self.total: int | None = None
        self.stopped: str | None = None
        self.fatal = False
        self._options = options
        self._columns = columns
        self._table = Table(box=None, pad_edge=False)
        for column in columns:
            if not column.wide:
                # An amount that is cut off is another amount.
                self._table.add_column(column.name, no_wrap=True, min_width=len(column.name) if column.whole else None)

    async def read(self, items: ItemIterator[Any]) -> None:
        """Show the items as they come."""
        if self._options.as_csv:
            self._write([column.name for column in self._columns])
        async with items:
            try:
                async for item in items:
                    self.count += 1
                    self.rows, self.total = items.offset + 1 - self._options.offset, items.total
                    self._show(item)
                    self.missed = items.missed
                    if self.count == self._options.limit and not self._options.everything:
                        return
            except B2BError as error:
                if not self.count:
                    raise
                self.stopped, self.fatal = str(error), is_fatal(error)
        self.total, self.missed = items.total, items.missed

    def _show(self, item: Any) -> None:  # noqa: ANN401 -- a record
        if self._options.as_csv:
            self._write([_text(getattr(item, column.name)) for column in self._columns])
        elif self._options.as_json:
            click.echo(writable(to_json(dict(item.raw))))
        else:
            cells = [Text(visible(_text(getattr(item, column.name)))) for column in self._columns if not column.wide]
            self._table.add_row(*cells)
            for column, cell in zip(self._table.columns, cells, strict=True):
                if column.min_width is not None:
                    column.min_width = max(column.min_width, cell.cell_len)

    def _write(self, cells: list[str]) -> None:
        """Write a row of CSV; the module leaves a carriage return bare, and the row would fall in two."""
        bare = any("\r" in cell for cell in cells)
        csv.writer(sys.stdout, lineterminator="\n", quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL).writerow(
            cells
        )

    def end(self) -> None:
        """Print the table, and how much of the list it is."""
        if not self._options.as_csv and not self._options.as_json:
            whole = [column.min_width or 1 for column in self._table.columns]
            _print(self._table, least=sum(whole) + 2 * len(whole))
        following = self._options.offset + self.rows
        if not self._options.as_json:
            more = self.stopped is not None or (self.total is not None and self.total > following)
            rest = f"; --offset {following} goes on, --all lists all" if more else ""
            click.echo(f"{self.count:,} of {self.total or self.count:,}{rest}", err=True)


def show_one(command: str, options: Options, record: Record) -> NoReturn:
    """Print one record and end."""
    if not options.as_json:
        table = Table(show_header=False, box=None, pad_edge=False)
        for name in fields_of(type(record)):
            value = getattr(record, name)
            if value not in {None, ()}:
                table.add_row(name, Text(visible(_text(value))))
        for name, value in record.extra.items():
            table.add_row(Text(visible(name)), Text(visible(_text(value))))
        _print(table)
        finish(command, Exit.DONE, {}, as_json=False)
    click.echo(writable(to_json({"command": command, "exit": 0, "item": dict(record.raw)})))
    click.get_current_context().exit(Exit.DONE)


def _print(table: Table, least: int = 0) -> None:
    """Print a table: as wide as the terminal, but for what must be whole; and however wide for another program."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _UNBOUNDED)
    console.width = max(console.width, least)
    console.print(table)


def _text(value: object) -> str:
    """Write a value as people and spreadsheets read it."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, tuple):
        return "; ".join(map(_text, cast("tuple[object, ...]", value)))
    if isinstance(value, Record):
        fields = ((name, getattr(value, name)) for name in fields_of(type(value)))
        return ", ".join(f"{name} {_text(inner)}" for name, inner in fields if inner is not None)
    return str(value)
