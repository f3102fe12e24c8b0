"""Items from files: customer ids, orders, and the values of any kind, checked row by row."""

from __future__ import annotations

import json
import re
import reprlib
import unicodedata
from decimal import Decimal
from typing import TYPE_CHECKING, cast

import attrs

from b2b_async import _arguments as arguments
from b2b_async.bulk.inputs._tables import read_records
from b2b_async.bulk.kinds import OrderRow
from b2b_async.bulk.outcome import Item
from b2b_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from b2b_async.bulk.kinds import JobKind

__all__ = ["ORDER_COLUMNS", "Row", "read_customer_ids", "read_order_rows", "read_values"]

ORDER_COLUMNS = ("company_id", "customer_id", "order_id", "total_inc_tax", "po_number")
"""What a row of orders has."""
_OPTIONAL = "po_number"
_AMOUNT = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
_NUMERIC = re.compile(r"[+-]?[\d.,_ ']*\d[\d.,_ ']*( ?[eE] ?[+-]?\d+)?|0[xX][0-9a-fA-F]+")
_NO_VALUE = re.compile(
    r"nan|null|none|nil|nat|inf|infinity|undefined|true|false|n/?a|<na>|\(null\)|-|#+|#n/?[av]|#[a-z/0]+[!?]",
    re.IGNORECASE,
)
"""Values that spreadsheets and data frames write for numbers and for nothing: 4.0, 1.17E+2, nan, NULL, #REF!."""
_SIGNED = re.compile(r"[+-]\d+", re.ASCII)
_QUOTES = "'\"=$ \u00a0"
_MOST_DIGITS = 18
_TOO_LARGE = 10**_MOST_DIGITS


@attrs.frozen
class Row:
    """One row of the input: an item, or what is wrong with it."""

    item: Item | None
    """What was read, and its line."""
    problem: str | None = None
    """File, line and cause."""


def read_customer_ids(
    path: Path | str, column: str = "customer_id", *, name: str | None = None, after: int = -1
) -> Iterator[Row]:
    """Read customer ids lazily from a CSV, JSON Lines or JSON file.

    CSV has a header line with *column* in it, or is a bare list of ids; its separator may be a comma, a semicolon or a
    tab. JSON Lines has an object with *column*, or an id, on each line; a JSON array has them as its items. Columns are
    found without regard to case, blanks, hyphens and underscores. Blank lines are passed over.

    A CSV cell that begins with an apostrophe and then one of ``= + - @``, a tab or a line break is read without that
    apostrophe, which ``export --for-spreadsheet`` puts there. Of several apostrophes before such a character, one is
    removed. All other apostrophes stay.

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
    for record in read_records(path, name or str(path), [column], after=after):
        value = record.values[0] if record.values else None
        problem = record.problem or _spoiled(value)
        if problem is None and _is_number(value):
            yield Row(Item(record.position, int(str(value))))
        else:
            problem = problem or f"{reprlib.repr(value)} is not a customer id (a positive whole number)"
            yield Row(None, f"{record.where}: {problem}")


def read_order_rows(
    path: Path | str, columns: Mapping[str, str] | None = None, *, name: str | None = None, after: int = -1
) -> Iterator[Row]:
    """Read orders to register lazily from a CSV, JSON Lines or JSON file.

    CSV has a header line, JSON an object for each order, with company_id, customer_id, order_id, total_inc_tax and, if
    there is one, po_number. Amounts have digits and a point only. Separators, column names, blank lines and
    apostrophes are as in ``read_customer_ids``.

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
    names = {column: (columns or {}).get(column, column) for column in ORDER_COLUMNS}
    # A column that is named must be there, even one that need not be.
    required = [names[column] for column in ORDER_COLUMNS if column != _OPTIONAL or column in (columns or {})]
    for record in read_records(path, name or str(path), list(names.values()), required, after=after):
        problem = record.problem
        if problem is None:
            try:
                yield Row(Item(record.position, _order_row(dict(zip(names, record.values, strict=True)))))
                continue
            except InvalidArgumentError as error:
                problem = str(error)
        yield Row(None, f"{record.where}: {problem}")


def read_values(path: Path | str, kind: JobKind, *, name: str | None = None, after: int = -1) -> Iterator[Row]:
    """Read the items of any kind lazily from a JSON Lines or JSON file: each value is what the kind's ``dump`` returns.

    Values that are lists must stand in a JSON array, since a file that begins with "[" is one.

    Args:
        path: The file.
        kind: Its ``load`` makes an item of a value.
        name: What to call the file in messages; its path if None.
        after: Skip the lines up to this one, the last of a record that was read before.

    Yields:
        A row for each line, good or bad.

    Raises:
        SourceError: the file cannot be read, is empty, or is no JSON.
    """
    for record in read_records(path, name or str(path), (), after=after):
        problem = record.problem
        if problem is None:
            try:
                yield Row(Item(record.position, _value(kind, record.values[0])))
                continue
            except Exception as error:  # noqa: BLE001 -- whatever the user's functions raise; the row names it
                problem = (
                    f"{reprlib.repr(record.values[0])} is no item of {kind.name} ({type(error).__name__}: {error})"
                )
        yield Row(None, f"{record.where}: {problem}")


def _value(kind: JobKind, plain: object) -> object:
    """Return the item that a JSON value stands for, one that can be written into a journal."""
    value: object = kind.load(_as_json(plain))
    key = cast("object", kind.key(value))
    if not isinstance(key, str) or not key or not key.isprintable():
        message = f"its key must be text that can be printed, not {key!r}"
        raise TypeError(message)
    json.dumps(kind.dump(value), allow_nan=False)
    return value


def _as_json(value: object) -> object:
    """Return a value as ``json.loads`` makes it, as it also comes out of a journal: decimal numbers are floats."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [_as_json(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in cast("dict[str, object]", value).items()}
    return value


def _is_number(value: object) -> bool:
    """Return whether a value is a whole number, or a string of digits."""
    if isinstance(value, str):
        return value.isascii() and value.isdigit()
    return isinstance(value, int) and not isinstance(value, bool)


def _spoiled(value: object) -> str | None:
    """Return what is wrong with an id that a spreadsheet has changed, or that is no id; None if nothing is."""
    what = None
    if _is_number(value):
        digits = str(value).lstrip("0") if isinstance(value, str) or abs(cast("int", value)) < _TOO_LARGE else "9" * 99
        if len(digits) > _MOST_DIGITS:
            what = "is too large for an id"
        elif not digits.isdigit():
            what = "is not an id: a positive whole number"
    elif isinstance(value, str) and _SIGNED.fullmatch(value):
        what = "is not an id: a positive whole number"
    else:
        text = unicodedata.normalize("NFKC", value).strip(_QUOTES) if isinstance(value, str) else ""
        if isinstance(value, Decimal) or _NUMERIC.fullmatch(text) or _NO_VALUE.fullmatch(text):
            what = "is what a spreadsheet or data frame made of an id: export ids as text, without decimals"
    if what is None:
        return None
    return f"{reprlib.repr(str(value) if isinstance(value, Decimal) else value)} {what}"


def _order_row(values: dict[str, object]) -> OrderRow:
    """Check the values of one row as the call itself would."""
    for column in ("company_id", "customer_id", "order_id"):
        problem = _spoiled(values[column])
        if problem is not None:
            message = f"{column} {problem}"
            raise InvalidArgumentError(message)
        arguments.path_id(values[column], column)
    order_id, po_number = values["order_id"], values[_OPTIONAL]
    if isinstance(po_number, int) and not isinstance(po_number, bool):
        po_number = str(po_number)
    if isinstance(po_number, str) and po_number != "-" and _NO_VALUE.fullmatch(po_number):
        message = f"po_number {po_number!r} is what a data frame writes for no value: leave the cell empty"
        raise InvalidArgumentError(message)
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
