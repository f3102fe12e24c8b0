"""Where items come from: CSV and JSONL files, read line by line."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import re
import reprlib
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn, cast

import attrs

from b2b_async import _arguments as arguments
from b2b_async.bulk.kinds import OrderRow
from b2b_async.bulk.outcome import Item
from b2b_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ORDER_COLUMNS = ("company_id", "customer_id", "order_id", "total_inc_tax", "po_number")
"""What a row of orders has."""
_OPTIONAL = "po_number"
_AMOUNT = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""What the bytes become that no UTF-8 text has."""
_LONGEST_LINE = 1_000_000
_NOWHERE = _LONGEST_LINE
_MOST_DIGITS = 18
_SHOWN = 500


def _refuse_constant(name: str) -> NoReturn:
    """Python's parser takes NaN and Infinity; JSON does not have them."""
    raise ValueError(name)


_decode = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant).decode


class SourceError(Exception):
    """The input cannot be read at all; the text names the file and, where there is one, the line."""


@attrs.frozen
class Row:
    """One line of the input: an item, or what is wrong with it."""

    item: Item | None
    """What was read, and its line."""
    problem: str | None = None
    """File, line and cause."""


def read_customer_ids(
    path: Path | str, column: str = "customer_id", *, name: str | None = None, after: int = -1
) -> Iterator[Row]:
    """Read customer ids lazily from a CSV or JSONL file.

    CSV has a header line with *column* in it, or is a bare list of ids. JSONL has an object with *column*,
    or an id, on each line. Which of the two it is shows in its first character. Blank lines are passed over.

    Args:
        path: The file.
        column: The column or key that holds the customer id.
        name: What to call the file in messages; its path if None.
        after: Pass over the lines up to this one, the last of a record that was read before.

    Yields:
        A row for each line, good or bad.

    Raises:
        SourceError: the file cannot be read, is empty, or lacks the column.
    """
    name = name or str(path)
    for line, values in _read(path, name, [column], after=after):
        if isinstance(values, _Misfit):
            yield Row(None, f"{name}, line {line}: {values.text}")
            continue
        value = values[0]
        number = _customer_id(value)
        if number is None:
            shown = reprlib.repr(value)
            yield Row(None, f"{name}, line {line}: {shown} is not a customer id (a positive whole number)")
        else:
            yield Row(Item(line, number))


def read_order_rows(
    path: Path | str, columns: Mapping[str, str] | None = None, *, name: str | None = None, after: int = -1
) -> Iterator[Row]:
    """Read orders to register lazily from a CSV or JSONL file.

    CSV has a header line, JSONL an object on each line, with company_id, customer_id, order_id, total_inc_tax and,
    if there is one, po_number. Amounts have digits and a point only. Blank lines are passed over.

    Args:
        path: The file.
        columns: Other names of the columns, by the names above.
        name: What to call the file in messages; its path if None.
        after: Pass over the lines up to this one, the last of a record that was read before.

    Yields:
        A row for each line, good or bad; its item holds an ``OrderRow``.

    Raises:
        SourceError: the file cannot be read, is empty, or lacks a column.
    """
    name = name or str(path)
    names = {column: (columns or {}).get(column, column) for column in ORDER_COLUMNS}
    # A column that is named must be there, even one that need not be.
    required = [names[column] for column in ORDER_COLUMNS if column != _OPTIONAL or column in (columns or {})]
    for line, values in _read(path, name, list(names.values()), required, after=after):
        if isinstance(values, _Misfit):
            yield Row(None, f"{name}, line {line}: {values.text}")
            continue
        try:
            yield Row(Item(line, _order_row(dict(zip(names, values, strict=True)))))
        except InvalidArgumentError as error:
            yield Row(None, f"{name}, line {line}: {error}")


def _order_row(values: dict[str, object]) -> OrderRow:
    """Check the values of one row as the call itself would."""
    for column in ("company_id", "customer_id"):
        arguments.path_id(values[column], column)
    order_id, po_number = values["order_id"], values[_OPTIONAL]
    if isinstance(order_id, int) and not isinstance(order_id, bool):
        order_id = str(order_id)
    arguments.path_id(order_id, "order_id")  # a look-up has it in its path
    amount = values["total_inc_tax"]
    if amount is None or isinstance(amount, str):
        if amount is None or not _AMOUNT.fullmatch(amount):
            is_not = "nothing" if amount is None else reprlib.repr(amount)
            message = f"total_inc_tax must be digits with a point, such as 259.99, not {is_not}"
            raise InvalidArgumentError(message)
        amount = Decimal(amount)
    return OrderRow(
        company_id=str(values["company_id"]),
        customer_id=str(values["customer_id"]),
        order_id=str(order_id),
        total_inc_tax=arguments.money(amount, "total_inc_tax"),
        po_number=None if po_number is None or po_number == "" else arguments.text(po_number, _OPTIONAL),
    )


def _read(
    path: Path | str, name: str, columns: Sequence[str], required: Sequence[str] | None = None, *, after: int
) -> Iterator[tuple[int, Sequence[object] | _Misfit]]:
    """Give the line and the values of *columns* of each record; None for those that are not there."""
    with contextlib.ExitStack() as stack:
        try:
            # utf-8-sig drops the mark that spreadsheets put at the start.
            file = stack.enter_context(Path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline=""))
        except OSError as error:
            message = f"{name}: {error.strerror}"
            raise SourceError(message) from None
        lines = _Lines(file, name)
        first = lines.first()
        if first.lstrip()[:1] in {"{", "["}:
            records: Iterator[tuple[int, Sequence[object] | _Misfit]] = _jsonl(lines, first, columns, after)
        else:
            records = _csv(lines, first, columns, columns if required is None else required, after)
        yield from records


@attrs.frozen
class _Misfit:
    """A record that cannot have the columns; the text says why."""

    text: str


class _Lines:
    """The lines of a file, with their number and with a bound on their length."""

    def __init__(self, file: IO[str], name: str) -> None:
        self._file = file
        self.name = name
        self.number = 0

    def first(self) -> str:
        """Give the first line that is not blank."""
        line = next((line for line in self if line.strip()), None)
        if line is None:
            message = f"{self.name}: the file is empty"
            raise SourceError(message)
        return line

    def skip_to(self, number: int) -> None:
        """Pass over the lines up to that number."""
        for _ in itertools.islice(self._file, max(0, number - self.number)):
            self.number += 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = self._file.readline(_LONGEST_LINE)
        except OSError as error:
            message = f"{self.name}, after line {self.number}: {error.strerror}"
            raise SourceError(message) from None
        if not line:
            raise StopIteration
        self.number += 1
        if (not line.isascii() and _NOT_UTF8.search(line) is not None) or "\0" in line:
            message = f"{self.name}, line {self.number}: it is not UTF-8 text; save the file as UTF-8"
            raise SourceError(message)
        if len(line) == _LONGEST_LINE:
            message = f"{self.name}, line {self.number}: the line is longer than {_LONGEST_LINE:,} characters"
            raise SourceError(message)
        return line


def _csv(
    lines: _Lines, first: str, columns: Sequence[str], required: Sequence[str], after: int
) -> Iterator[tuple[int, Sequence[object] | _Misfit]]:
    # csv takes any iterator of lines, quoted line breaks included; strict, it refuses a quote that is never closed.
    records = _records(lines, csv.reader(itertools.chain([first], lines), strict=True))
    line, header = next(records)
    if twice := [column for column in columns if header.count(column) > 1]:
        message = f"{lines.name}, line {line}: the column {twice[0]!r} is there {header.count(twice[0])} times"
        raise SourceError(message)
    missing = [column for column in required if column not in header]
    if not missing:
        places = [header.index(column) if column in header else _NOWHERE for column in columns]
    elif len(columns) == 1 and len(header) == 1 and _customer_id(header[0]) is not None:
        places = [0]
        if line > after:
            yield line, header
    else:
        there = f"there are {', '.join(header)[:_SHOWN]}"
        message = f"{lines.name}, line {line}: there is no column {' and no column '.join(map(repr, missing))}; {there}"
        raise SourceError(message)
    width = len(header)
    lines.skip_to(after)
    for line, record in records:
        if len(record) > width and any(record[width:]):
            # An amount with a comma that is not quoted would move all that follows.
            yield (
                line,
                _Misfit(f"there are {len(record)} cells, but {width} in the header; put a cell with a comma in quotes"),
            )
        elif any(record):
            yield line, [record[place] if place < len(record) else None for place in places]


def _records(lines: _Lines, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Give each record with the number of its last line."""
    begun = lines.number
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            message = f"{lines.name}, in the record that begins on line {begun}: {error}"
            raise SourceError(message) from None
        if record is None:
            return
        yield lines.number, [cell.strip() for cell in record]
        begun = lines.number + 1


def _jsonl(
    lines: _Lines, first: str, columns: Sequence[str], after: int
) -> Iterator[tuple[int, Sequence[object] | _Misfit]]:
    line: str | None = first
    if lines.number <= after:
        lines.skip_to(after)
        line = next(lines, None)
    while line is not None:
        if line.strip():
            yield lines.number, _json_values(line, columns)
        line = next(lines, None)


def _json_values(line: str, columns: Sequence[str]) -> Sequence[object] | _Misfit:
    value = _json_value(line)
    if isinstance(value, dict):
        record = cast("dict[str, object]", value)
        if len(columns) > 1 or columns[0] in record:
            return [record.get(column) for column in columns]
    if len(columns) > 1:
        return _Misfit(f"{reprlib.repr(line.strip())} is not a JSON object")
    whole: list[object] = [value]
    return whole  # is told to be no id


def _json_value(line: str) -> object:
    try:
        return cast("object", _decode(line))
    except (ValueError, RecursionError, ArithmeticError):
        return line.strip()


def _customer_id(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**_MOST_DIGITS else None
