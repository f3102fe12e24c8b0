"""Parse the headers about quotas and delays into values. A malformed header is None and never raises."""

from __future__ import annotations

import functools
import math
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "LOST",
    "QuotaFeedback",
    "Result",
    "leading_number",
    "refusal_delay",
    "retry_after",
]

_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)")
_SECONDS = re.compile(r"\s*(\d+(?:\.\d+)?(?:e\+?\d{1,3})?)\s*(?:s|secs?|seconds?)?\s*(?:,.*)?", re.IGNORECASE)
"""A number of seconds, perhaps with its unit; a second one, of a header that came twice, does not count."""
_ALLOCATED = re.compile(r"\s*(\d{1,9})\D{0,16}/\s*(\d{1,9}(?:\.\d{1,9})?)\s*s")
_SANE_LIMIT, _SANE_WINDOW = (1, 100_000), (1.0, 3_600.0)
_MILLISECONDS = 1000
_RETRY_AFTER = ("Retry-After", "X-Retry-After")
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
    """Return the longer of ``Retry-After`` and ``X-Retry-After`` in seconds from now; None without a valid one."""
    return _longest(_delay(headers.get(name), headers) for name in _RETRY_AFTER)


def refusal_delay(headers: Mapping[str, str]) -> float | None:
    """Return the longest delay, in seconds, that any header of a refusal (429) names; None if none does."""
    return _longest((retry_after(headers), *_resets(headers)))


def _resets(headers: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Return the resets of B2B Edition's quota and of the core API's, in seconds."""
    milliseconds = leading_number(headers.get("X-Rate-Limit-Time-Reset-Ms"))
    core = None if milliseconds is None else milliseconds / _MILLISECONDS
    return leading_number(headers.get("X-Request-Window-Resets-After")), core


def _longest(delays: Iterable[float | None]) -> float | None:
    return max((delay for delay in delays if delay is not None), default=None)


def _delay(value: str | None, headers: Mapping[str, str]) -> float | None:
    """Read a number of seconds or an HTTP date; None if absent or malformed.

    A date is compared with the response's own ``Date``, so that the two machines' clocks need not agree.
    """
    if value is None:
        return None
    match = _SECONDS.fullmatch(value)
    if match is not None:
        seconds = float(match[1])
        return seconds if math.isfinite(seconds) else None
    until = _timestamp(value)
    if until is None:
        return None
    sent = _timestamp(headers.get("Date"))
    return max(0.0, until - (time.time() if sent is None else sent))


def _timestamp(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


Result = Literal["accepted", "refused", "failed", "lost"]
"""How an attempt ended for the quota: counted; refused for its rate, and so not counted; answered by a server error,
which may come from a gateway and says nothing about the quota; or without a response, perhaps counted."""


@attrs.frozen
class QuotaFeedback:
    """What the end of one attempt says about the quota; None where it says nothing sensible."""

    allocated: tuple[int, float] | None = None
    """Limit and window in seconds."""
    remaining: int | None = None
    """Slots that were left at the server before it counted this request."""
    resets_after: float | None = None
    """Seconds; after a refusal, until the next slot. Otherwise a pacing hint. None also where it does not matter."""
    retry_after: float | None = None
    """Seconds, from the headers Retry-After and X-Retry-After of a refusal."""
    core: bool = False
    """It is the quota of the core BigCommerce API, to which this request was passed on, and not that of B2B Edition."""
    result: Result = "accepted"
    """How the attempt ended."""

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], result: Result = "accepted") -> QuotaFeedback:
        """Read both header families: B2B Edition's own, else the core BigCommerce API's (in milliseconds).

        The times are read where they matter, after a refusal or when nothing is left. After a refusal each is read
        on its own, since gateways send any one of them without the others.
        """
        own = headers.get("X-Requests-Remaining")
        remaining = leading_number(own or headers.get("X-Rate-Limit-Requests-Left"))
        allocated = _allocated(headers.get("X-Requests-Allocated")) if own else None
        left = None if remaining is None else int(min(remaining, _SANE_LIMIT[1]))
        if result == "refused":
            own_reset, core_reset = resets = _resets(headers)
            core = not own and own_reset is None and (left is not None or core_reset is not None)
            return cls(allocated, left, _longest(resets), retry_after(headers), core, result)
        if left is None:
            return cls(result=result)
        if left > 1:
            return cls(allocated, left, core=not own, result=result)
        own_reset, core_reset = _resets(headers)
        return cls(allocated, left, own_reset if own else core_reset, retry_after(headers), not own, result)

    @property
    def is_refusal(self) -> bool:
        """True if the request was refused for its rate, so that it was not counted."""
        return self.result == "refused"

    @property
    def delay(self) -> float | None:
        """Seconds after which a refused request may be sent again; None if the server did not say."""
        return _longest((self.resets_after, self.retry_after))

    def silent(self, retry_after: float | None = None) -> QuotaFeedback:
        """Return the result alone, and perhaps a delay in seconds: nothing about limits and slots."""
        return QuotaFeedback(retry_after=retry_after, result=self.result)


LOST = QuotaFeedback(result="lost")
"""The feedback of an attempt without a response."""


@functools.lru_cache(maxsize=16)  # it is the same in every answer
def _allocated(value: str | None) -> tuple[int, float] | None:
    match = _ALLOCATED.match(value) if value else None
    if match is None:
        return None
    limit, window = int(match[1]), float(match[2])
    sane = _SANE_LIMIT[0] <= limit <= _SANE_LIMIT[1] and _SANE_WINDOW[0] <= window <= _SANE_WINDOW[1]
    return (limit, window) if sane else None
