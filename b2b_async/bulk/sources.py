"""Where items come from: CSV and JSONL files, read line by line."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import reprlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import attrs

from b2b_async.bulk.outcome import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_LINE = 1_000_000
_MOST_DIGITS = 18
_SHOWN = 500


class SourceError(Exception):
    """The input cannot be read at all; the text names the file and, where there is one, the line."""


@attrs.frozen
class Row:
    """One line of the input: an item, or what is wrong with it."""

    item: Item | None
    """The customer id and its line."""
    problem: str | None = None
    """File, line and cause."""


def read_customer_ids(path: Path | str, column: str = "customer_id", *, name: str | None = None) -> Iterator[Row]:
    """Read customer ids lazily from a CSV or JSONL file.

    CSV has a header line with *column* in it, or is a bare list of ids. JSONL has an object with *column*,
    or an id, on each line. Which of the two it is shows in its first character. Blank lines are passed over.

    Args:
        path: The file.
        column: The column or key that holds the customer id.
        name: What to call the file in messages; its path if None.

    Yields:
        A row for each line, good or bad.

    Raises:
        SourceError: the file cannot be read, is empty, or lacks the column.
    """
    name = name or str(path)
    with contextlib.ExitStack() as stack:
        try:
            # utf-8-sig drops the mark that spreadsheets put at the start.
            file = stack.enter_context(Path(path).open(encoding="utf-8-sig", newline=""))
        except OSError as error:
            message = f"{name}: {error.strerror}"
            raise SourceError(message) from None
        lines = _Lines(file, name)
        first = lines.first()
        values = _jsonl(lines, first, column) if first.lstrip()[:1] in {"{", "["} else _csv(lines, first, column)
        for line, value in values:
            number = _customer_id(value)
            if number is None:
                shown = reprlib.repr(value)
                yield Row(None, f"{name}, line {line}: {shown} is not a customer id (a positive whole number)")
            else:
                yield Row(Item(line, number))


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

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = self._file.readline(_LONGEST_LINE)
        except (OSError, UnicodeDecodeError) as error:
            reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
            message = f"{self.name}, after line {self.number}: {reason}"
            raise SourceError(message) from None
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == _LONGEST_LINE:
            message = f"{self.name}, line {self.number}: the line is longer than {_LONGEST_LINE:,} characters"
            raise SourceError(message)
        return line


def _csv(lines: _Lines, first: str, column: str) -> Iterator[tuple[int, object]]:
    # csv takes any iterator of lines, quoted line breaks included; strict, it refuses a quote that is never closed.
    records = _records(lines, csv.reader(itertools.chain([first], lines), strict=True))
    line, header = next(records)
    if column in header:
        place = header.index(column)
    elif len(header) == 1 and _customer_id(header[0]) is not None:
        place = 0
        yield line, header[0]
    else:
        message = f"{lines.name}, line {line}: there is no column {column!r}; there are {', '.join(header)[:_SHOWN]}"
        raise SourceError(message)
    for line, record in records:
        if any(record):
            yield line, record[place] if place < len(record) else None


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


def _jsonl(lines: _Lines, first: str, column: str) -> Iterator[tuple[int, object]]:
    line: str | None = first
    while line is not None:
        if line.strip():
            yield lines.number, _json_value(line, column)
        line = next(lines, None)


def _json_value(line: str, column: str) -> object:
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return line.strip()
    return cast("dict[str, Any]", value).get(column, value) if isinstance(value, dict) else value


def _customer_id(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**_MOST_DIGITS else None
