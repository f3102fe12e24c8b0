"""The checks of what callers hand in, before anything is sent; and the body, written without a float."""

from __future__ import annotations

import enum
import json
import math
import reprlib
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast

from b2b_async._record import camel
from b2b_async.errors import InvalidArgumentError

T = TypeVar("T")


class Omitted(enum.Enum):
    """The type of ``OMITTED``."""

    OMITTED = enum.auto()

    def __repr__(self) -> str:
        """Show the name."""
        return self.name


OMITTED: Final = Omitted.OMITTED
"""Stands for a field that an update does not send, and so does not change; None is sent, as null."""

_LARGEST_ID = 2**63 - 1
_LONGEST = 200
"""Characters of a value that a message quotes."""
_LARGEST_EXPONENT = 30
"""Beyond it an amount written in digits is nonsense, or an attempt to fill the memory (1E+999999)."""


def number_id(value: object, name: str) -> int:
    """Check an id that is a positive integer.

    Raises:
        InvalidArgumentError: it is not, or is a bool.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST_ID:
        message = f"{name} must be an id, a positive integer, not {shown(value)}"
        raise InvalidArgumentError(message)
    return int(value)  # a member of an enum is written by its name


def within(value: object, name: str, least: int, most: int = _LARGEST_ID) -> int:
    """Check a whole number that has bounds.

    Raises:
        InvalidArgumentError: it is beyond them, or no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        bounds = f"from {least} to {most}" if most < _LARGEST_ID else f"of at least {least}"
        message = f"{name} must be a whole number {bounds}, not {shown(value)}"
        raise InvalidArgumentError(message)
    return int(value)


def page_bounds(limit: object, offset: object, largest: int) -> tuple[int | None, int]:
    """Check the size of a page, None for the usual one, and the number of items before it.

    Raises:
        InvalidArgumentError: they are beyond their bounds.
    """
    return None if limit is None else within(limit, "limit", 1, largest), within(offset, "offset", 0)


def path_id(value: object, name: str) -> str:
    """Check an id that becomes a part of the path.

    Raises:
        InvalidArgumentError: it is empty, would change the path ("." and ".."), or cannot be written in a URL.
    """
    text = str(number_id(value, name)) if isinstance(value, int) else value
    if not isinstance(text, str) or text in {"", ".", ".."} or not text.isprintable() or text != text.strip():
        message = f"{name} must be an id: a non-empty printable string without blanks around it, not {shown(value)}"
        raise InvalidArgumentError(message)
    return text


def text_id(value: object, name: str) -> str:
    """Check an id that the server takes as a string.

    Raises:
        InvalidArgumentError: it is empty, not printable, or an integer that is not positive.
    """
    return str(number_id(value, name)) if isinstance(value, int) else text(value, name)


def text(value: object, name: str) -> str:
    """Check a string that must not be empty.

    Raises:
        InvalidArgumentError: it is empty, not a string, or cannot be written as UTF-8.
    """
    if not isinstance(value, str) or not value.strip() or not _is_writable(value, ""):
        message = f"{name} must be a non-empty string without control characters, not {shown(value)}"
        raise InvalidArgumentError(message)
    return value


def _is_writable(text: str, besides: str) -> bool:
    """Whether a text has neither control characters, but for those *besides*, nor halves of surrogate pairs."""
    return text.isprintable() or all(
        character in besides or unicodedata.category(character) not in {"Cc", "Cs"} for character in text
    )


def new_text(value: object, name: str) -> str | None:
    """Check a string that takes the place of another one: it may be empty, or None, and have lines.

    Raises:
        InvalidArgumentError: it is not a string, or cannot be written as UTF-8.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not _is_writable(value, "\t\r\n"):
        message = f"{name} must be a string without control characters, or None, not {shown(value)}"
        raise InvalidArgumentError(message)
    return value


def choice(value: object, name: str, *allowed: T) -> T:
    """Check one of a few values.

    Raises:
        InvalidArgumentError: it is another one.
    """
    for one in allowed:
        if type(value) is type(one) and value == one:
            return one
    message = f"{name} must be {', '.join(map(repr, allowed[:-1]))} or {allowed[-1]!r}, not {shown(value)}"
    raise InvalidArgumentError(message)


def unix_seconds(value: object, name: str, *, rounded: Literal["up", "down"]) -> str:
    """Check an aware datetime and give it as whole Unix seconds.

    Raises:
        InvalidArgumentError: it is no datetime, has no time zone, or is before 1970.
    """
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        example = "datetime(2026, 1, 31, tzinfo=UTC)"
        message = f"{name} must be a datetime with a time zone, for example {example}, not {shown(value)}"
        raise InvalidArgumentError(message)
    seconds = (math.ceil if rounded == "up" else math.floor)(value.timestamp())
    if seconds < 0:
        message = f"{name} must not be before 1970, as {shown(value)} is"
        raise InvalidArgumentError(message)
    return str(seconds)


def time_filters(**bounds: datetime | None) -> dict[str, str]:
    """Check the bounds of times, such as min_created and max_created, and give them as query parameters.

    They are rounded outward: whether the server counts the bound itself is not told, and nothing shall be missed.

    Raises:
        InvalidArgumentError: one is no datetime with a time zone, or a lower bound is above its upper one.
    """
    query: dict[str, str] = {}
    for name, value in bounds.items():
        if value is not None:
            rounded: Literal["up", "down"] = "down" if name.startswith("min") else "up"
            query[camel(name)] = unix_seconds(value, name, rounded=rounded)
    for field in ("Created", "Modified"):
        least, most = query.get(f"min{field}"), query.get(f"max{field}")
        if least is not None and most is not None and int(least) > int(most):
            message = f"min_{field.lower()} must not be after max_{field.lower()}: nothing can be between them"
            raise InvalidArgumentError(message)
    return query


def days(begin: object, end: object) -> dict[str, str]:
    """Check the days that bound a v2 list, and give them as query parameters: 12/31/2026.

    Raises:
        InvalidArgumentError: one is no date, or has a time of day; or the first one is after the last.
    """
    query: dict[str, str] = {}
    for name, parameter, value in (("begin_date_at", "beginDateAt", begin), ("end_date_at", "endDateAt", end)):
        if value is not None:
            if not isinstance(value, date) or isinstance(value, datetime):
                message = f"{name} must be a date, for example date(2026, 1, 31), not {shown(value)}"
                raise InvalidArgumentError(message)
            query[parameter] = f"{value:%m/%d}/{value.year:04}"
    if isinstance(begin, date) and isinstance(end, date) and begin > end:
        message = "begin_date_at must not be after end_date_at: nothing can be between them"
        raise InvalidArgumentError(message)
    return query


def several(values: object, name: str, *, empty: bool = False) -> list[object]:
    """Check a list of values; an empty one would mean nothing, or everything, unless it may be *empty*.

    Raises:
        InvalidArgumentError: it is empty, or no list.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        message = f"{name} must be a list, not {shown(values)}"  # pyright: ignore[reportUnknownArgumentType]
        raise InvalidArgumentError(message)
    found = list(cast("Iterable[object]", values))
    if not found and not empty:
        message = f"{name} must not be empty; leave it out instead"
        raise InvalidArgumentError(message)
    return found


def flag(value: object, name: str) -> bool:
    """Check a choice: the string "false" would count as true.

    Raises:
        InvalidArgumentError: it is neither True nor False.
    """
    if not isinstance(value, bool):
        message = f"{name} must be True or False, not {shown(value)}"
        raise InvalidArgumentError(message)
    return value


def money(value: object, name: str) -> Decimal:
    """Check an amount of money and give it as the decimal number that it means.

    Raises:
        InvalidArgumentError: it is negative, not finite, no number, or a float that is not what it looks like.
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float):
        message = f"{name} must be a Decimal, for example Decimal('259.99'), not {shown(value)}"
        raise InvalidArgumentError(message)
    if isinstance(value, int) and abs(value) > _LARGEST_ID:
        message = f"{name} must be an amount of money, not {shown(value)}"
        raise InvalidArgumentError(message)
    amount = (
        Decimal.from_float(value)  # noqa: FURB164 -- a caller's decimal context may forbid Decimal(0.5)
        if isinstance(value, float)
        else Decimal(value)
    )
    if not amount.is_finite() or (amount.is_signed() and amount):
        message = f"{name} must be a finite amount of at least 0, not {shown(value)}"
        raise InvalidArgumentError(message)
    if isinstance(value, float) and amount != Decimal(repr(value)):
        message = f"{name} is the float {value!r}, which is not exactly that amount; pass Decimal('{value!r}')"
        raise InvalidArgumentError(message)
    if amount.adjusted() > _LARGEST_EXPONENT or cast("int", amount.as_tuple().exponent) < -_LARGEST_EXPONENT:
        message = f"{name} must be an amount of money, not {shown(value)}"
        raise InvalidArgumentError(message)
    return amount.copy_abs()  # abs() would round to the precision of the caller's decimal context


def shown(value: object) -> str:
    """Show what came, cut to a line; Python refuses to print integers of thousands of digits."""
    huge = isinstance(value, int) and abs(value) > _LARGEST_ID
    return "an integer that is too large" if huge else reprlib.repr(value)[:_LONGEST]


def encode_json(value: JSONOut) -> bytes:
    """Write *value* as the JSON of a body."""
    return to_json(value).encode()


def to_json(value: JSONOut) -> str:
    """Write *value* as JSON; a ``Decimal`` becomes the number with just its digits."""
    # The standard encoder can write a Decimal only by way of a float or a string.
    if isinstance(value, Decimal):
        return format(value, "f") if abs(value.adjusted()) <= _LARGEST_EXPONENT else str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(key)}:{to_json(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


if TYPE_CHECKING:
    JSONOut = Mapping[str, "JSONOut"] | list["JSONOut"] | str | int | Decimal | None
