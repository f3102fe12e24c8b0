"""Single JSON values into Python values: the vendor sends most types in several forms.

Each reader returns the value or raises ``WrongTypeError``. Its text names types and never quotes a string, because the
text ends in errors and logs, and strings of an order are personal data.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from email.utils import parsedate_to_datetime
from typing import Any, cast

_INTEGER = re.compile(r"[+-]?[0-9]{1,30}(\.0{0,30})?")
_AMOUNT = re.compile(r"\s*[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})\s*")
_EMAIL = re.compile(r"([A-Za-z]{3}, *)?\d{1,2} [A-Za-z]{3} \d{4} \d\d:\d\d(:\d\d)? ([+-]\d{4}|[A-Z]{1,4})( *\(.*\))?")
"""A date of e-mail; its weekday and the comment behind its zone are optional (RFC 2822)."""
_ISO_UTC = re.compile(r"(.*\d) ?(UTC|GMT)")
_LARGEST_EXPONENT = 30
"""Beyond it an amount is nonsense, and dangerous to write out in digits."""
_EXACT = Context(prec=100)
"""For sums that no context of a caller's may round."""
_NOTHING: tuple[Any, ...] = ("", [], {})
_WORDS = {"true": True, "1": True, "false": False, "0": False}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UTC_BY_EMAIL = "-0000"
"""RFC 2822: the time is in UTC, and nothing is said about the sender's own zone."""
_TYPES: dict[type[object], str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    Decimal: "a number",
    str: "a string",
}


class WrongTypeError(TypeError):
    """A value is of another type than the field; the text says which."""

    def __init__(self, expected: str, value: object) -> None:
        """Name the types."""
        super().__init__(f"must be {expected}, not {type_name(value)}")


def type_name(value: object) -> str:
    """Return the name of a value's JSON type."""
    return _TYPES.get(type(value), "a list" if isinstance(value, list) else "an object")


def is_nothing(value: object) -> bool:
    """Return whether a value stands for no value; ``false`` does so in any field that is not a boolean."""
    return not value and (value is None or value is False or value in _NOTHING)


def read_int(value: object, _into: object) -> int:
    """Read 3, 3.0, "3" and "3.0000": the vendor sends ids, counts and times in all these forms."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value.partition(".")[0])
    if isinstance(value, Decimal) and _is_sane(value) and value == value.to_integral_value():
        return int(value)
    expected = "an integer"
    raise WrongTypeError(expected, value)


def read_decimal(value: object, _into: object) -> Decimal:
    """Read 100, 100.5 (which the parser makes a Decimal) and "100.5000"; no float stands in between."""
    written = isinstance(value, str) and _AMOUNT.fullmatch(value)
    if written or (isinstance(value, int | Decimal) and not isinstance(value, bool)):
        amount = Decimal(cast("str", value))
        if _is_sane(amount):
            return amount
    expected = "an amount"
    raise WrongTypeError(expected, value)


def _is_sane(number: Decimal) -> bool:
    return number.is_finite() and abs(number.adjusted()) <= _LARGEST_EXPONENT


def read_datetime(value: object, _into: object) -> datetime:
    """Read Unix seconds as a number or a string, ISO 8601, and the dates of e-mail, which the core API writes."""
    moment: datetime | None = None
    try:
        if type(value) is int:  # what v3 sends
            return _EPOCH + timedelta(seconds=value)
        if isinstance(value, str) and not _AMOUNT.fullmatch(value):
            text = value.strip()
            moment = _date_of_email(text) if _EMAIL.fullmatch(text) else _date_of_iso(text)
        else:
            # Not fromtimestamp(), which refuses some years on some machines.
            microseconds = _EXACT.multiply(read_decimal(value, Decimal), 1_000_000)
            moment = _EPOCH + timedelta(microseconds=int(microseconds))
    except (ValueError, TypeError, IndexError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:  # a time without its zone could be any of many
        expected = "a time, in Unix seconds or with its zone"
        raise WrongTypeError(expected, value)
    return moment


def _date_of_email(text: str) -> datetime:
    text = text.partition("(")[0].rstrip()
    moment = parsedate_to_datetime(text)
    return moment.replace(tzinfo=UTC) if text.endswith(_UTC_BY_EMAIL) else moment


def _date_of_iso(text: str) -> datetime:
    utc = _ISO_UTC.fullmatch(text)
    return datetime.fromisoformat(f"{utc[1]}+00:00" if utc else text)


def read_str(value: object, _into: object) -> str:
    """Read "BC1" and 2: the vendor sends order ids as either."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Decimal) and _is_sane(value):  # 731.0 is the id 731, as some serializers write it
        return str(int(value)) if value == value.to_integral_value() else format(value, "f")
    expected = "a string"
    raise WrongTypeError(expected, value)


def read_bool(value: object, _into: object) -> bool:
    """Read true and false, 1 and 0, also as strings; cattrs would hand a bool to the hook of int, its parent."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | str) and (word := str(value).lower()) in _WORDS:
        return _WORDS[word]
    expected = "true or false"
    raise WrongTypeError(expected, value)
