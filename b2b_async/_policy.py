"""What is tried again: the outcome table as one pure function, without clock, I/O or randomness.

The question is never "which exception was it" but "what may have reached the server":

=====================================  =======================  =================================
event                                  idempotent (GET, PUT)    not idempotent (POST)
=====================================  =======================  =================================
nothing was sent                       again                    again
an untrusted certificate               raise                    raise
no answer after sending                again, after a pause     ambiguous, unknown
429, a web page under 403              again, once the limiter lets it; costs no attempt
408, 500, 502-504, 509, 520-524, 527   again, after a pause     ambiguous, unknown
101, 304 (to no request of this API)   again, after a pause     ambiguous, unknown
529                                    again, after a pause     ambiguous, unknown
525, 526, 530 (never at the origin)    again, after a pause     again, after a pause
503 with a delay                       again, after that delay  again, after that delay
2xx with a broken JSON body            again, after a pause     ambiguous, applied if its code is there
2xx with another body (HTML)           again, after a pause     ambiguous, unknown
2xx with a body that does not fit      raise                    raise
2xx with JSON that does not say yes    again, without data      ambiguous, unknown
any other 5xx, 1xx                     raise                    ambiguous, unknown
302, 303                               raise                    raise, unknown
501, 505, 4xx, other 3xx               raise                    raise
an error in the envelope of a 200      as its status            as its status, but never sent again
=====================================  =======================  =================================

A retry that the table allows is given up, with a typed reason, when the policy's attempts are used up or when the
server asks for a longer delay than the policy allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from b2b_async._envelope import opens_with_success
from b2b_async.errors import (
    APIConnectionError,
    APIStatusError,
    ConfigurationError,
    RateLimitError,
    ResponseValidationError,
    UnexpectedRedirectError,
)

if TYPE_CHECKING:
    from b2b_async._call import Outcome
    from b2b_async._messages import Response
    from b2b_async.errors import B2BError, StopReason

_FORBIDDEN, _TOO_MANY_REQUESTS = 403, 429
_INTERNAL_SERVER_ERROR = 500
_SERVICE_UNAVAILABLE = 503
_ENOUGH_DOUBLINGS = 100
"""Beyond a thousand, a float overflows."""
_BEFORE_ORIGIN = frozenset({525, 526, 530})
"""An edge's statuses for a connection to the origin that it could not make: TLS handshake, certificate, name."""
_TRANSIENT = _BEFORE_ORIGIN | {
    101,
    304,
    408,
    _INTERNAL_SERVER_ERROR,
    502,
    _SERVICE_UNAVAILABLE,
    504,
    509,
    *range(520, 525),
    527,
    529,
}
_NOT_ACTED = frozenset({301, 307, 308, 501, 505})
"""Statuses by which a server has not acted. With 302 and 303 some answer what they have carried out."""
_CLIENT_ERROR = range(400, 500)


def _check_count(_instance: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < (attribute.name == "attempts"):
        least = 1 if attribute.name == "attempts" else 0
        message = f"retry: {attribute.name} must be a whole number of at least {least}, not {value!r}"
        raise ConfigurationError(message)


def _check_seconds(_instance: object, attribute: attrs.Attribute[float], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        message = f"retry: {attribute.name} must be a number of seconds of at least 0, not {value!r}"
        raise ConfigurationError(message)


@attrs.frozen
class RetryPolicy:
    """How often and how fast a failed attempt is followed by another."""

    attempts: int = attrs.field(default=4, validator=_check_count)
    """Attempts per call, the first one counted; 1 for none but the first."""
    backoff: float = attrs.field(default=0.5, validator=_check_seconds)
    """Pause after the first failure in seconds, doubled after each further one; half of it is random."""
    backoff_max: float = attrs.field(default=8.0, validator=_check_seconds)
    """The longest such pause in seconds."""
    internal_errors: int = attrs.field(default=2, validator=_check_count)
    """How often a plain 500 is tried again, within ``attempts``."""
    throttled: int = attrs.field(default=6, validator=_check_count)
    """How often a 429 is tried again; these do not count as attempts, since the server did nothing."""
    max_delay: float = attrs.field(default=120.0, validator=_check_seconds)
    """The longest delay in seconds that a server may ask for; above it the error is raised at once."""
    budget: int = attrs.field(default=100, validator=_check_count)
    """Units that all calls of a client share, so that an outage does not eat the quota: a retry costs 10
    (4 after a 429 that no limiter holds back), a success gives 1 back, and a retry that helps what it cost."""


@attrs.frozen
class Tally:
    """What a call has spent so far, the attempt just failed included."""

    attempts: int = 0
    """Attempts that count."""
    internal_errors: int = 0
    """Attempts that ended with a plain 500."""
    throttled: int = 0
    """Attempts that ended with 429."""

    def after(self, error: B2BError) -> Tally:
        """Count an attempt that ended with *error*."""
        if isinstance(error, RateLimitError):
            return attrs.evolve(self, throttled=self.throttled + 1)
        internal = error.status == _INTERNAL_SERVER_ERROR
        return attrs.evolve(self, attempts=self.attempts + 1, internal_errors=self.internal_errors + internal)


@attrs.frozen
class Verdict:
    """What to do after a failed attempt."""

    action: Literal["retry", "raise", "ambiguous"]
    """Try again, raise the error, or raise ``AmbiguousOutcomeError``."""
    kind: Literal["transient", "throttled", "told"] = "transient"
    """Why trying again may help: it passes, the quota refills, or the server said when to come."""
    delay: float = 0.0
    """Seconds to wait: the least for "told" and "throttled", the most for "transient"."""
    stopped: StopReason | None = None
    """Why there is no retry where there could have been one."""


RAISE = Verdict("raise")
AMBIGUOUS = Verdict("ambiguous")


def decide(
    error: B2BError, *, idempotent: bool, tally: Tally, policy: RetryPolicy, outwaits_throttling: bool = False
) -> Verdict:
    """Decide what follows an attempt that ended with *error*.

    Args:
        error: How the attempt ended; its ``outcome`` is that of this attempt alone.
        idempotent: Whether the operation may be sent twice.
        tally: What the call has spent, this attempt included.
        policy: The limits.
        outwaits_throttling: No limit applies to refusals for the rate of requests.
    """
    settled = error.outcome in {"not_sent", "rejected"}
    give_up = RAISE if idempotent or settled else AMBIGUOUS
    verdict = _worth(error, tally, policy)
    if verdict is None:
        # A body that does not fit is the plain truth about an answered call, not a lost answer; so is a redirect.
        fits_not = isinstance(error, ResponseValidationError) and error.outcome == "applied"
        return RAISE if fits_not or isinstance(error, UnexpectedRedirectError | ConfigurationError) else give_up
    under_success = error.answer is not None and error.answer.under_success
    if not idempotent and (not settled or under_success):
        return give_up
    if outwaits_throttling and verdict.kind == "throttled":
        return verdict
    spent = tally.throttled > policy.throttled if verdict.kind == "throttled" else tally.attempts >= policy.attempts
    stopped: StopReason | None = "attempts" if spent else "delay" if verdict.delay > policy.max_delay else None
    return verdict if stopped is None else attrs.evolve(give_up, stopped=stopped)


def _worth(error: B2BError, tally: Tally, policy: RetryPolicy) -> Verdict | None:
    """Say when another attempt could end differently; None if never."""
    pause = min(policy.backoff_max, policy.backoff * 2.0 ** min(_ENOUGH_DOUBLINGS, max(1, tally.attempts) - 1))
    match error:
        case RateLimitError():
            return Verdict("retry", "throttled", error.retry_after or 0.0)
        case APIStatusError(status=status, retry_after=delay) if status in _TRANSIENT:
            if delay is not None:
                return Verdict("retry", "told", delay)
            if status == _INTERNAL_SERVER_ERROR and tally.internal_errors > policy.internal_errors:
                return None
            return Verdict("retry", "transient", pause)
        case APIConnectionError(retryable=True) | ResponseValidationError(retryable=True):
            return Verdict("retry", "transient", pause)
        case _:
            return None


def is_throttled(response: Response) -> bool:
    """Return whether a response refuses its request for the rate of requests.

    A web page under 403 comes from an edge in front of the API. It says nothing about credentials or permissions, and
    edges use it for clients that are too fast, so it counts as a 429 without headers.
    """
    return response.status == _TOO_MANY_REQUESTS or (response.status == _FORBIDDEN and response.is_page)


def outcome_of_status(
    status: int, retry_after: float | None, *, under_success: bool = False
) -> Literal["rejected", "unknown"]:
    """Return whether a server that answers with an error status may have acted.

    Args:
        status: The HTTP status, or the one that an envelope's code stands for.
        retry_after: The delay in seconds that the server asks for, if any.
        under_success: The HTTP status was a good one, so that nothing in front of the API has refused the request.
    """
    if not under_success and (status in _BEFORE_ORIGIN or (status == _SERVICE_UNAVAILABLE and retry_after is not None)):
        return "rejected"  # a server that says when to come back has turned the request away at the door
    refused = status in _NOT_ACTED or (status in _CLIENT_ERROR and status not in _TRANSIENT)
    return "rejected" if refused else "unknown"


def outcome_of_body(answer: Response) -> Outcome:
    """Say what an answer with a good status tells of the server's deeds whose body is not whole, or not JSON.

    The API refuses under 200 too, so that only the envelope's code is a yes. And it answers in JSON: anything else
    comes from what stands before the API, and does not say whether the API has seen the request.
    """
    return "applied" if answer.says_json and opens_with_success(answer.body) else "unknown"
