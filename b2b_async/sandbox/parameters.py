"""What a request asks for: its query and its body, checked as the vendor checks them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

__all__ = [
    "WrongParameterError",
    "body",
    "choice",
    "number",
    "numbers",
    "whole",
    "window",
]

_LARGEST = 2**53


class WrongParameterError(Exception):
    """A query parameter that the vendor refuses."""

    def __init__(self, name: str, message: str) -> None:
        """Say which one, and why."""
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


def number(request: web.Request, name: str, default: int | None = None) -> int | None:
    """Read a whole number that is not negative.

    Raises:
        WrongParameterError: it is none.
    """
    text = request.query.get(name, "")
    return whole(text, name) if text else default


def whole(text: str, name: str) -> int:
    """Read a whole number that is not negative.

    Raises:
        WrongParameterError: it is none.
    """
    if not text.isascii() or not text.isdigit() or len(text) > len(str(_LARGEST)):
        message = "A valid integer is required."
        raise WrongParameterError(name, message)
    return int(text)


def numbers(request: web.Request, *names: str) -> set[int]:
    """Read whole numbers, each in a parameter of its own or several in one, with commas between them.

    Raises:
        WrongParameterError: one is none.
    """
    texts = [(name, text) for name in names for text in request.query.getall(name, ())]
    return {whole(part.strip(), name) for name, text in texts for part in text.split(",")}


def choice(request: web.Request, name: str, allowed: Iterable[str], default: str) -> str:
    """Read one of a few words.

    Raises:
        WrongParameterError: it is another one.
    """
    word = request.query.get(name, default)
    if word not in allowed:
        message = f'"{word}" is not a valid choice.'
        raise WrongParameterError(name, message)
    return word


def window(request: web.Request, largest: int) -> tuple[int, int]:
    """Read limit and offset.

    Raises:
        WrongParameterError: they are beyond their bounds.
    """
    limit, offset = number(request, "limit", 10), number(request, "offset", 0)
    if limit is None or not 1 <= limit <= largest:
        message = f"Ensure this value is from 1 to {largest}."
        name = "limit"
        raise WrongParameterError(name, message)
    return limit, offset or 0


async def body(request: web.Request) -> dict[str, Any]:
    """Read a JSON object; anything else is as good as an empty one, which the endpoint then refuses."""
    try:
        value: object = json.loads(await request.read(), parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
