"""The checks of what callers hand in, before anything is sent; and the body, written without a float."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from b2b_async.errors import InvalidArgumentError

_LARGEST_ID = 2**63 - 1
_LARGEST_EXPONENT = 30
"""Beyond it an amount written in digits is nonsense, or an attempt to fill the memory (1E+999999)."""


def customer_number(value: object, name: str) -> int:
    """Check a BigCommerce id that is a positive integer.

    Raises:
        InvalidArgumentError: it is not, or is a bool.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST_ID:
        message = f"{name} must be a positive integer (a BigCommerce id), not {shown(value)}"
        raise InvalidArgumentError(message)
    return value


def within(value: object, name: str, least: int, most: int = _LARGEST_ID) -> int:
    """Check a whole number that has bounds.

    Raises:
        InvalidArgumentError: it is beyond them, or no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        bounds = f"from {least} to {most}" if most < _LARGEST_ID else f"of at least {least}"
        message = f"{name} must be a whole number {bounds}, not {shown(value)}"
        raise InvalidArgumentError(message)
    return value


def path_id(value: object, name: str) -> str:
    """Check an id that becomes a part of the path, and percent-encode it.

    Raises:
        InvalidArgumentError: it is empty, would change the path ("." and ".."), or cannot be written in a URL.
    """
    text = str(customer_number(value, name)) if isinstance(value, int) else value
    if not isinstance(text, str) or text in {"", ".", ".."} or not text.isprintable() or text != text.strip():
        message = f"{name} must be an id: a non-empty printable string without blanks around it, not {shown(value)}"
        raise InvalidArgumentError(message)
    return quote(text, safe="")


def text(value: object, name: str) -> str:
    """Check a string that must not be empty.

    Raises:
        InvalidArgumentError: it is empty, not a string, or cannot be written as UTF-8.
    """
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        message = f"{name} must be a non-empty printable string, not {shown(value)}"
        raise InvalidArgumentError(message)
    return value


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
    return "an integer that is too large" if huge else reprlib.repr(value)


def encode_json(value: JSONOut) -> bytes:
    """Write *value* as JSON; a ``Decimal`` becomes the number with just its digits."""
    return _encode(value).encode()


def _encode(value: JSONOut) -> str:
    # The standard encoder can write a Decimal only by way of a float or a string.
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(key)}:{_encode(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


if TYPE_CHECKING:
    JSONOut = Mapping[str, "JSONOut"] | str | int | Decimal | None
