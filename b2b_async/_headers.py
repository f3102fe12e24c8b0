"""Header values into Python values, or None. A malformed header never raises."""

from __future__ import annotations

import math
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)")
_ALLOCATED = re.compile(r"\s*(\d{1,9})\D{0,16}/\s*(\d{1,9}(?:\.\d{1,9})?)\s*s")
_SANE_LIMIT, _SANE_WINDOW = (1, 100_000), (1.0, 3_600.0)
_MILLISECONDS = 1000
# Digits of a header number that are worth reading; a longer one is garbage, and int() of it may raise.
_MAX_DIGITS = 32


def leading_number(value: str | None) -> float | None:
    """Read the number at the start of *value* (the vendor writes units behind it), or None."""
    if value is None:
        return None
    match = _NUMBER.match(value[:_MAX_DIGITS])
    return float(match[1]) if match else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After`` as seconds from now: a number or an HTTP date; None if absent or malformed.

    A date is compared with the answer's own ``Date``, so that the two machines' clocks need not agree.
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        until = _timestamp(value)
        if until is None:
            return None
        sent = _timestamp(headers.get("Date"))
        seconds = until - (time.time() if sent is None else sent)
        return max(0.0, seconds)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _timestamp(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


@attrs.frozen
class QuotaHeaders:
    """What one answer says about the quota; None where it says nothing (sensible) about it."""

    allocated: tuple[int, float] | None = None
    """Limit and window in seconds."""
    remaining: int | None = None
    """Slots that were left when the server looked, before it counted this request."""
    resets_after: float | None = None
    """Seconds; after a 429, until the next slot. Otherwise a pacing hint."""
    retry_after: float | None = None
    """Seconds, from the Retry-After header."""

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> QuotaHeaders:
        """Read both header families: B2B Edition's own, else the core BigCommerce API's (in milliseconds)."""
        allocated = resets_after = None
        remaining = leading_number(headers.get("X-Requests-Remaining"))
        if remaining is not None:
            resets_after = leading_number(headers.get("X-Request-Window-Resets-After"))
            allocated = _allocated(headers.get("X-Requests-Allocated"))
        else:
            remaining = leading_number(headers.get("X-Rate-Limit-Requests-Left"))
            if remaining is not None:
                milliseconds = leading_number(headers.get("X-Rate-Limit-Time-Reset-Ms"))
                resets_after = None if milliseconds is None else milliseconds / _MILLISECONDS
        left = None if remaining is None else int(min(remaining, _SANE_LIMIT[1]))
        return cls(allocated, left, resets_after, retry_after(headers))

    @property
    def delay(self) -> float | None:
        """Seconds after which a refused request may come again; None if the server did not say."""
        told = [seconds for seconds in (self.resets_after, self.retry_after) if seconds is not None]
        return max(told, default=None)


def _allocated(value: str | None) -> tuple[int, float] | None:
    match = _ALLOCATED.match(value) if value else None
    if match is None:
        return None
    limit, window = int(match[1]), float(match[2])
    sane = _SANE_LIMIT[0] <= limit <= _SANE_LIMIT[1] and _SANE_WINDOW[0] <= window <= _SANE_WINDOW[1]
    return (limit, window) if sane else None
