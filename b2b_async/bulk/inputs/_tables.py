"""Records out of a file: CSV in the dialects of spreadsheets, JSON Lines, or a JSON array, read piece by piece.

What a file is shows in its first bytes and its first line, not in its name.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
import reprlib
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_NO_TEXT: Mapping[bytes, str] = {
    b"PK": "is a zip archive, as Excel workbooks (.xlsx) are: open it and save the sheet as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook (.xls): open it and save the sheet as CSV in UTF-8",
    b"\x1f\x8b": "is compressed with gzip: unpack it, or pipe it in with 'gunzip -c FILE | b2b-async ... -'",
    b"BZh": "is compressed with bzip2: unpack it first",
    b"\xfd7zXZ": "is compressed with xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: unpack it first",
    b"Rar!": "is a RAR archive: unpack it first",
    b"7z\xbc\xaf": "is a 7z archive: unpack it first",
    b"\x89PNG": "is a picture: export the table as CSV in UTF-8",
    b"%PDF": "is a PDF: export the table as CSV in UTF-8",
}
"""Formats that are no text, by their first bytes, and the advice for each."""
_ENCODINGS: Mapping[bytes, str] = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""By the mark at the start; a file without one is UTF-8."""
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""Bytes that are no UTF-8, as the decoder escapes them."""
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)
"""The line by which Excel states the separator. It is no row."""
_SEPARATORS = (",", ";", "\t")
_FORMULA = r"['\s]*[=+\-@\t\r\n\0\uff1d\uff0b\uff0d\uff20]"
_RUNNABLE = re.compile(_FORMULA)
_NEUTRAL = re.compile(f"'{_FORMULA}")
_LONGEST_LINE = 1_000_000
_NOWHERE = _LONGEST_LINE
_SHOWN = 500
_CHUNK = 1 << 16
_BETWEEN = " \t\r\n"
"""Blanks of JSON."""


class SourceError(Exception):
    """The input cannot be read at all; the text names the file and, where there is one, the line."""


@attrs.frozen
class Record:
    """One record of a file."""

    position: int
    """Its line; the number of the item in a JSON array."""
    where: str
    """File and line, or item, for messages."""
    values: Sequence[object] = ()
    """The values of the columns asked for; None for those that are not there."""
    problem: str | None = None
    """Why it cannot have the columns, if it cannot."""


def read_records(
    path: Path | str, name: str, columns: Sequence[str], required: Sequence[str] | None = None, *, after: int = -1
) -> Iterator[Record]:
    """Read the values of *columns* of each record.

    Columns are found without regard to case, blanks, hyphens and underscores, unless one has the very name. In CSV,
    the apostrophe before a cell that ``neutralize`` would have changed is removed; any other apostrophe stays.

    Args:
        path: The file.
        name: What to call it in messages.
        columns: The columns, or keys; none for the whole value of each record, which only JSON has.
        required: Those that must be there; None for all.
        after: Pass over the records up to this position.

    Raises:
        SourceError: the file cannot be read, is empty, or lacks a column.
    """
    required = columns if required is None else required
    if len({_plain(column) for column in columns}) < len(columns):
        message = f"{name}: two columns are given the same name: {_listed(columns)}"
        raise SourceError(message)
    with contextlib.ExitStack() as stack:
        try:
            octets = stack.enter_context(Path(path).open("rb"))
            start = octets.peek(8)
        except OSError as error:
            message = f"{name}: {error.strerror}"
            raise SourceError(message) from None
        for first, what in _NO_TEXT.items():
            if start.startswith(first):
                message = f"{name} {what}"
                raise SourceError(message)
        encoding = next((known for mark, known in _ENCODINGS.items() if start.startswith(mark)), None)
        # utf-8-sig drops the mark that spreadsheets put at the start.
        text = stack.enter_context(
            io.TextIOWrapper(octets, encoding or "utf-8-sig", "strict" if encoding else "surrogateescape", newline="")
        )
        lines = _Lines(text, name, encoding)
        first_line = lines.first()
        match first_line.lstrip()[:1]:
            case "{":
                yield from _jsonl(lines, first_line, columns, required, after)
            case "[":
                yield from _array(lines, first_line, columns, required, after)
            case _ if not columns:
                yield from _jsonl(lines, first_line, columns, required, after)
            case _:
                yield from _csv(lines, first_line, columns, required, after)


class _Lines:
    """The lines of a file, with their number and with a bound on their length."""

    def __init__(self, file: IO[str], name: str, encoding: str | None) -> None:
        self._file = file
        self._encoding = encoding
        self.name = name
        self.number = 0

    def first(self) -> str:
        """Return the first line that is not blank; only the start of it if it is a long one of a JSON array."""
        while line := self._read(_LONGEST_LINE):
            if line.strip():
                return line if line.lstrip().startswith("[") else self._counted(line)
            self.number += 1
        message = f"{self.name}: the file is empty"
        raise SourceError(message)

    def skip_to(self, number: int) -> None:
        """Pass over the lines up to that number."""
        for _ in itertools.islice(self._file, max(0, number - self.number)):
            self.number += 1

    def where(self, number: int) -> str:
        return f"{self.name}, line {number}"

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._read(_LONGEST_LINE)
        if not line:
            raise StopIteration
        return self._counted(line)

    def _counted(self, line: str) -> str:
        self.number += 1
        if len(line) == _LONGEST_LINE:
            message = f"{self.where(self.number)}: the line is longer than {_LONGEST_LINE:,} characters"
            raise SourceError(message)
        return line

    def chunk(self) -> str:
        """Return the next characters, whatever lines they are on; "" at the end."""
        return self._read(_CHUNK)

    def _read(self, most: int) -> str:
        try:
            text = self._file.readline(most)
        except OSError as error:
            message = f"{self.name}, after line {self.number}: {error.strerror}"
            raise SourceError(message) from None
        except UnicodeError:
            message = f"{self.name}, after line {self.number}: it is not {self._encoding} text, though it begins so"
            raise SourceError(message) from None
        if (not text.isascii() and _NOT_UTF8.search(text) is not None) or "\0" in text:
            message = f"{self.where(self.number + 1)}: it is not UTF-8 text; save the file as UTF-8"
            raise SourceError(message)
        return text


# -- CSV ---------------------------------------------------------------------------------------------------------------


def neutralize(cell: str) -> str:
    """Return a cell of CSV with an apostrophe before it if a spreadsheet may run it as a formula.

    Those are the cells that begin with one of ``= + - @``, also in full width, a tab, a line break or a null
    character; numbers such as -5 are among them. Blanks and apostrophes before that character do not count, so that
    ``restore`` can tell an apostrophe added here from one that was there.

    Source: OWASP, "CSV Injection", https://owasp.org/www-community/attacks/CSV_Injection, and ASVS 5.0, 1.2.10.
    """
    return f"'{cell}" if _RUNNABLE.match(cell) else cell


def restore(cell: str) -> str:
    """Return the cell that ``neutralize`` was called with. A cell without such an apostrophe is returned unchanged."""
    return cell[1:] if _NEUTRAL.match(cell) else cell


def _csv(lines: _Lines, first: str, columns: Sequence[str], required: Sequence[str], after: int) -> Iterator[Record]:
    separator = None
    if (match := _SEPARATOR_LINE.fullmatch(first)) is not None:
        separator, first = match[1], lines.first()
    # csv takes any iterator of lines, quoted line breaks included; strict, it refuses a quote that is never closed.
    separator = separator or _separator(first, required)
    reader = csv.reader(itertools.chain([first], lines), strict=True, delimiter=separator, skipinitialspace=True)
    records = _cells(lines, reader)
    line, header = next(records)
    places = _places(header, columns, lines.where(line))
    missing = [column for column, place in zip(columns, places, strict=True) if place is None and column in required]
    if missing and len(columns) == 1 and len(header) == 1 and header[0].isdigit():
        places = [0]  # a bare list of ids
        if line > after:
            yield Record(line, lines.where(line), header)
    elif missing:
        raise SourceError(_missing(lines.where(line), missing, header))
    width = len(header)
    lines.skip_to(after)
    for line, cells in records:
        where = lines.where(line)
        if len(cells) > width and any(cells[width:]):
            # An amount with a comma that is not quoted would move all that follows.
            what = "a comma" if separator == "," else f"the separator {separator!r}"
            problem = f"there are {len(cells)} cells, but {width} in the header; put a cell with {what} in quotes"
            yield Record(line, where, problem=problem)
        elif any(cells):
            found = (cells[place] if place is not None and place < len(cells) else None for place in places)
            yield Record(line, where, list(found))


def _separator(header: str, required: Sequence[str]) -> str:
    """Return the separator of a header line: that by which it has the columns, or else the most cells."""
    names: dict[str, set[str]] = {}
    for separator in _SEPARATORS:
        with contextlib.suppress(csv.Error):
            cells = next(csv.reader([header], delimiter=separator))
            names[separator] = {_plain(cell) for cell in cells}
    wanted = {_plain(column) for column in required}
    return max(_SEPARATORS, key=lambda one: (len(wanted & names.get(one, set())), len(names.get(one, ()))))


def _plain(name: str) -> str:
    """Return a column's name as it is compared: "Customer ID", "customerId" and "customer_id" are one."""
    return "".join(character for character in name.casefold() if character.isalnum())


def _places(header: Sequence[str], columns: Sequence[str], where: str) -> list[int | None]:
    """Return the place of each column; None for one that is not there."""
    places: list[int | None] = []
    for column in columns:
        alike = [place for place, cell in enumerate(header) if cell == column]
        alike = alike or [place for place, cell in enumerate(header) if _plain(cell) == _plain(column) != ""]
        if len(alike) > 1:
            names = [header[place] for place in alike]
            if len(set(names)) == 1:
                message = f"{where}: the column {names[0]!r} is there {len(names)} times"
            else:
                message = f"{where}: {_listed(names)} could all be {column!r}; name the one that is meant with --column"
            raise SourceError(message)
        places.append(alike[0] if alike else None)
    return places


def _missing(where: str, missing: Sequence[str], header: Sequence[str]) -> str:
    there = _listed(header)[:_SHOWN]
    columns = "is no column" if len(missing) == 1 else "are no columns"
    return (
        f"{where}: there {columns} {_listed(missing, 'or')}; there {'is' if len(header) == 1 else 'are'} {there}. "
        "If a column has another name, give it with --column"
    )


def _listed(names: Sequence[str], word: str = "and") -> str:
    shown = [repr(name) for name in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {word} {shown[-1]}"


def _cells(lines: _Lines, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each record with the number of its last line."""
    begun = lines.number
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            message = f"{lines.name}, in the record that begins on line {begun}: {error}"
            raise SourceError(message) from None
        if record is None:
            return
        # An apostrophe may protect blanks, so it is removed before they are.
        yield lines.number, [(restore(cell) if cell.startswith("'") else cell).strip() for cell in record]
        begun = lines.number + 1


# -- JSON --------------------------------------------------------------------------------------------------------------


def _refuse_constant(name: str) -> NoReturn:
    """Python's parser takes NaN and Infinity; JSON does not have them."""
    raise ValueError(name)


_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant)


def _jsonl(lines: _Lines, first: str, columns: Sequence[str], required: Sequence[str], after: int) -> Iterator[Record]:
    line: str | None = first
    if lines.number <= after:
        lines.skip_to(after)
        line = next(lines, None)
    while line is not None:
        if line.strip():
            where = lines.where(lines.number)
            try:
                value = cast("object", _decoder.decode(line))
            except (ValueError, RecursionError, ArithmeticError) as error:
                yield Record(lines.number, where, problem=f"{reprlib.repr(line.strip())} is no JSON ({_why(error)})")
            else:
                yield _json_record(lines.number, where, value, columns, required)
        line = next(lines, None)


def _json_record(position: int, where: str, value: object, columns: Sequence[str], required: Sequence[str]) -> Record:
    if not columns:
        return Record(position, where, [value])
    if not isinstance(value, dict):
        if len(columns) > 1:
            text = reprlib.repr(json.dumps(value, default=str))
            return Record(position, where, problem=f"{text} is not a JSON object")
        return Record(position, where, [value])  # an id alone, or what will be refused as one
    record = cast("dict[str, object]", value)
    if all(column in record for column in columns):
        return Record(position, where, [record[column] for column in columns])
    names, twice = _keys(record, columns)
    if twice:
        return Record(position, where, problem=f"{_listed(twice)} could all be meant: keep one of them")
    missing = [column for column, key in zip(columns, names, strict=True) if key is None and column in required]
    if missing:
        keys = "is no key" if len(missing) == 1 else "are no keys"
        return Record(position, where, problem=f"there {keys} {_listed(missing, 'or')}")
    return Record(position, where, [None if key is None else record[key] for key in names])


def _keys(record: Iterable[str], columns: Sequence[str]) -> tuple[list[str | None], list[str]]:
    """Return the key of each column, None for one that is not there; and keys of which any could be the column."""
    plain: dict[str, list[str]] = {}
    for key in record:
        plain.setdefault(_plain(key), []).append(key)
    found: list[str | None] = []
    for column in columns:
        alike = plain.get(_plain(column), [])
        if column not in alike and len(alike) > 1:
            return [], alike
        found.append(column if column in alike else alike[0] if alike else None)
    return found, []


def _array(lines: _Lines, first: str, columns: Sequence[str], required: Sequence[str], after: int) -> Iterator[Record]:
    for number, value in enumerate(_items(lines, first.lstrip()[1:]), 1):
        if number > after:
            yield _json_record(number, f"{lines.name}, item {number}", value, columns, required)


def _items(lines: _Lines, text: str) -> Iterator[object]:
    """Yield the items of a JSON array, whose "[" has been read, without reading all of it at once."""
    number, at = 0, 0
    while True:
        at, text = _skip(lines, text, at)
        if text[at : at + 1] == "]":
            _end(lines, text[at + 1 :])
            return
        number += 1
        value, end, text = _item(lines, text, at, number)
        yield value
        at, text = _skip(lines, text, end)
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1] != "]":
            message = f"{lines.name}: a ',' or a ']' is missing after item {number} of the array"
            raise SourceError(message)


def _end(lines: _Lines, text: str) -> None:
    """Make sure that nothing follows the end of the array: it would be lost."""
    while not text.strip(_BETWEEN):
        text = lines.chunk()
        if not text:
            return
    message = f"{lines.name}: something follows the end of the JSON array: {reprlib.repr(text.strip())}"
    raise SourceError(message)


def _item(lines: _Lines, text: str, at: int, number: int) -> tuple[object, int, str]:
    """Return the item at that place of *text*, its end, and the text, which is another if more had to be read."""
    while True:
        try:
            value, end = cast("tuple[object, int]", _decoder.raw_decode(text, at))
        except (ValueError, RecursionError, ArithmeticError) as error:
            more = lines.chunk() if len(text) - at < _LONGEST_LINE else ""
            message = f"{lines.name}, item {number} of the array: it is no JSON ({_why(error)})"
        else:
            if end < len(text):
                return value, end, text
            more = lines.chunk()  # where what has been read ends with a number, that may go on
            message = f"{lines.name}: the array is not closed with a ']' after item {number}"
        if not more:
            raise SourceError(message)
        text, at = text[at:] + more, 0


def _skip(lines: _Lines, text: str, at: int) -> tuple[int, str]:
    """Return the place of what comes after blanks, reading on where it must."""
    while True:
        while at < len(text) and text[at] in _BETWEEN:
            at += 1
        if at < len(text):
            return at, text
        text, at = lines.chunk(), 0
        if not text:
            message = f"{lines.name}: the array is not closed with a ']'"
            raise SourceError(message)


def _why(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
