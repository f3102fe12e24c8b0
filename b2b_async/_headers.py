"""Header values into Python values, or None. A malformed header never raises."""

from __future__ import annotations

import functools
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


@functools.lru_cache(maxsize=512)  # "149 times" comes again every window
def leading_number(value: str | None) -> float | None:
    """Read the number at the start of *value* (the vendor writes units behind it), or None."""
    if value is None:
        return None
    match = _NUMBER.match(value, 0, _MAX_DIGITS)
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
    """Seconds; after a 429, until the next slot. Otherwise a pacing hint. None also where it does not matter."""
    retry_after: float | None = None
    """Seconds, from the Retry-After header of a refusal."""
    core: bool = False
    """It is the quota of the core BigCommerce API, which this request was passed on to, and not that of B2B Edition."""

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], *, refused: bool) -> QuotaHeaders:
        """Read both header families: B2B Edition's own, else the core BigCommerce API's (in milliseconds).

        The times are read where they matter, after a refusal or when nothing is left.
        """
        own = headers.get("X-Requests-Remaining")
        remaining = leading_number(own or headers.get("X-Rate-Limit-Requests-Left"))
        allocated = _allocated(headers.get("X-Requests-Allocated")) if own else None
        if remaining is None:
            return cls(retry_after=retry_after(headers) if refused else None)
        left = int(min(remaining, _SANE_LIMIT[1]))
        if left > 1 and not refused:
            return cls(allocated, left, core=not own)
        if own:
            resets_after = leading_number(headers.get("X-Request-Window-Resets-After"))
        else:
            milliseconds = leading_number(headers.get("X-Rate-Limit-Time-Reset-Ms"))
            resets_after = None if milliseconds is None else milliseconds / _MILLISECONDS
        return cls(allocated, left, resets_after, retry_after(headers), not own)

    @property
    def delay(self) -> float | None:
        """Seconds after which a refused request may come again; None if the server did not say."""
        told = [seconds for seconds in (self.resets_after, self.retry_after) if seconds is not None]
        return max(told, default=None)


@functools.lru_cache(maxsize=16)  # it is the same in every answer
def _allocated(value: str | None) -> tuple[int, float] | None:
    match = _ALLOCATED.match(value) if value else None
    if match is None:
        return None
    limit, window = int(match[1]), float(match[2])
    sane = _SANE_LIMIT[0] <= limit <= _SANE_LIMIT[1] and _SANE_WINDOW[0] <= window <= _SANE_WINDOW[1]
    return (limit, window) if sane else None
