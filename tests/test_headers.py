"""Headers into values: both families, units, and every kind of garbage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from b2b_async.ratelimit.feedback import QuotaFeedback, retry_after

DOCUMENTED = {
    "x-requests-allocated": "150 times/60 s",
    "X-Requests-Window-Length": "0 times",
    "X-Requests-Remaining": "150 times",
    "X-Request-Window-Resets-After": "0.3973509933774834 s",
}


def test_the_documented_example_is_read() -> None:
    """Units are dropped, upper and lower case do not matter."""
    read = QuotaFeedback.from_headers(CIMultiDict(DOCUMENTED), "refused")

    assert read == QuotaFeedback((150, 60.0), 150, 0.3973509933774834, None, result="refused")
    assert read.delay == 0.3973509933774834
    assert QuotaFeedback.from_headers(DOCUMENTED).delay is None


def test_the_core_family_is_read_in_milliseconds() -> None:
    """The core API's names have other units."""
    headers = {"X-Rate-Limit-Requests-Left": "35", "X-Rate-Limit-Time-Reset-Ms": "15000"}

    assert QuotaFeedback.from_headers(headers, "refused") == QuotaFeedback(
        None, 35, 15.0, None, core=True, result="refused"
    )
    assert QuotaFeedback.from_headers(headers) == QuotaFeedback(None, 35, core=True)
    assert QuotaFeedback.from_headers({"X-Rate-Limit-Requests-Left": "0"}, "refused").resets_after is None


@pytest.mark.parametrize(
    "value", ["", "many", "0 times/60 s", "150 times", "150 times/0 s", "150/9999 s", "-5 times/60 s", "9" * 500]
)
def test_an_insane_allocation_is_none(value: str) -> None:
    """A limit or window that cannot be is not learned."""
    assert QuotaFeedback.from_headers({"X-Requests-Remaining": "1", "X-Requests-Allocated": value}).allocated is None


@given(st.dictionaries(st.sampled_from([*DOCUMENTED, "Retry-After", "Date"]), st.text()))
def test_no_header_crashes_a_call(headers: dict[str, str]) -> None:
    """Whatever is in them, there is a value or None."""
    read = QuotaFeedback.from_headers(CIMultiDict(headers), "refused")

    assert read.remaining is None or read.remaining >= 0
    assert read.delay is None or read.delay >= 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("2.5", 2.5),
        (" 7 ", 7.0),
        ("soon", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("", None),
        ("Fri, 31 Feb 2026 99:99:99 GMT", None),
        ("Sun, 22 Nov 2026 10:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 09:00:00 GMT", 0.0),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """A number or a date, compared with the answer's own Date; anything else is as good as absent."""
    assert retry_after({"Retry-After": value, "Date": "Sun, 22 Nov 2026 10:00:00 GMT"}) == seconds


def test_a_date_without_a_date_header_is_compared_with_our_clock() -> None:
    """A time long gone means now."""
    assert retry_after({"Retry-After": "Sun, 22 Nov 2015 10:00:30 GMT"}) == 0.0
    assert retry_after({}) is None
