"""What a status or a failure means: one table, and the decision that it leads to. No clock, no I/O, no randomness.

The question is never "which exception was it" but "what may have reached the server":

=====================================  =======================  =================================
event                                  idempotent (GET, PUT)    not idempotent (POST)
=====================================  =======================  =================================
nothing was sent                       again                    again
an untrusted certificate               raise                    raise
no response after sending              again, after a pause     ambiguous, unknown
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

import inspect
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from b2b_async._envelope import opens_with_success
from b2b_async._validation import is_number, is_whole, must_be
from b2b_async.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    InvalidArgumentError,
    RateLimitError,
    ResponseValidationError,
    UnexpectedRedirectError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async._call import Outcome
    from b2b_async._messages import Response
    from b2b_async.errors import Answer, B2BError, StopReason
    from b2b_async.ratelimit.feedback import Result

SUCCESS = range(200, 300)
_ENOUGH_DOUBLINGS = 100
"""Beyond a thousand, a float overflows."""


@attrs.frozen(kw_only=True)
class Meaning:
    """What a response with an error status means."""

    outcome: Literal["rejected", "unknown"] = "unknown"
    """Whether the server may have acted."""
    retry: Literal["never", "transient", "internal", "throttled"] = "never"
    """Whether another attempt may end differently: never; after a pause; so, but only a few times; or once the limiter
    allows it."""
    passes: bool = False
    """An item of a job that was refused so may be accepted by another run."""
    ends_job: bool = False
    """Every other item of a job would be refused in the same way."""
    quota: Result = "accepted"
    """What it says of the quota."""


THROTTLED = Meaning(outcome="rejected", retry="throttled", passes=True, quota="refused")
_REFUSED = Meaning(outcome="rejected")
_UNKNOWN = Meaning()
_TRANSIENT = Meaning(retry="transient")
_FAILED = Meaning(quota="failed")
_FAILED_TRANSIENT = Meaning(retry="transient", quota="failed")
_TURNED_AWAY = Meaning(outcome="rejected", retry="transient", passes=True, quota="failed")

_MEANINGS: dict[int, Meaning] = {
    101: _TRANSIENT,
    **dict.fromkeys((301, 307, 308), _REFUSED),
    302: _UNKNOWN,  # with 302 and 303 some servers answer what they have carried out
    303: _UNKNOWN,
    304: _TRANSIENT,
    401: Meaning(outcome="rejected", ends_job=True),
    # The vendor answers 403 for missing scopes, but also for an internal limit and by company.
    403: Meaning(outcome="rejected", passes=True),
    408: _TRANSIENT,
    429: THROTTLED,
    500: Meaning(retry="internal", quota="failed"),
    **dict.fromkeys((501, 505), Meaning(outcome="rejected", quota="failed")),
    **dict.fromkeys((502, 503, 504, 509, *range(520, 525), 527, 529), _FAILED_TRANSIENT),
    # An edge's statuses for a connection to the origin that it could not make: TLS handshake, certificate, name.
    **dict.fromkeys((525, 526, 530), _TURNED_AWAY),
}
_CLIENT_ERROR, _SERVER_ERROR = range(400, 500), range(500, 600)


def meaning_of(status: int, *, delay: bool = False, page: bool = False, under_success: bool = False) -> Meaning:
    """Return what an error status means.

    Args:
        status: The HTTP status, or the one that an envelope's code stands for.
        delay: The server names a delay.
        page: The body is a web page. Under 403 it comes from an edge in front of the API: it says nothing about
            credentials or permissions, and edges use it for clients that are too fast.
        under_success: The HTTP status was a good one, so that nothing in front of the API has refused the request.
    """
    if page and status == 403 and not under_success:
        return THROTTLED
    meaning = _MEANINGS.get(status)
    if meaning is None:
        return _REFUSED if status in _CLIENT_ERROR else _FAILED if status in _SERVER_ERROR else _UNKNOWN
    if under_success and meaning is _TURNED_AWAY:
        return _FAILED_TRANSIENT
    if status == 503 and delay and not under_success:
        return _TURNED_AWAY  # a server that says when to come back has not let the request in
    return meaning


def meaning_of_response(response: Response) -> Meaning:
    """Return what a response means whose HTTP status is not a good one."""
    return meaning_of(response.status, delay=response.retry_after is not None, page=response.is_page)


def meaning_of_error(error: APIStatusError) -> Meaning:
    """Return what the response means that *error* was made of."""
    if isinstance(error, RateLimitError):  # also for a page under 403, whose body is not at hand any more
        return THROTTLED
    answer = cast("Answer | None", error.answer)
    if answer is None:  # made by a function of the user's
        if isinstance(error, AuthenticationError):
            return _MEANINGS[401]
        return _REFUSED if error.outcome == "rejected" else _UNKNOWN
    return meaning_of(answer.status, delay=answer.retry_after is not None, under_success=answer.under_success)


def is_throttled(response: Response) -> bool:
    """Return whether a response refuses its request for the rate of requests."""
    return response.status not in SUCCESS and meaning_of_response(response) is THROTTLED


def outcome_of_body(response: Response) -> Outcome:
    """Return what may have happened when a response with a good status has a body that is not whole, or not JSON.

    The API refuses under 200 too, so that only the envelope's code is a yes. And it answers in JSON: anything else
    comes from what stands before the API, and does not say whether the API has seen the request.
    """
    return "applied" if response.says_json and opens_with_success(response.body) else "unknown"


def ends_job(error: Exception) -> bool:
    """Return whether every other item of a job would end with *error*, too.

    A 403 may be about one item alone: the job counts how many items get it.
    """
    if isinstance(error, APIStatusError):
        return meaning_of_error(error).ends_job
    return isinstance(error, ConfigurationError) and not isinstance(error, InvalidArgumentError)


def passes(error: B2BError) -> bool:
    """Return whether an item of a job that ended with *error* may end differently in another run."""
    if not isinstance(error, APIStatusError):
        return not isinstance(error, InvalidArgumentError)
    # A refusal without JSON comes from something that is not the API: the item may be good.
    answer = cast("Answer | None", error.answer)
    return error.outcome != "rejected" or answer is None or answer.payload is None or meaning_of_error(error).passes


_COUNTS_FROM_1 = must_be("a whole number of at least 1", lambda value: is_whole(value, 1), of="retry")
_COUNTS = must_be("a whole number of at least 0", lambda value: is_whole(value, 0), of="retry")
_SECONDS = must_be("a number of seconds of at least 0", lambda value: is_number(value, least=0), of="retry")
_STRATEGY = must_be(
    "one of tenacity's wait strategies, for example tenacity.wait_fixed(1)",
    lambda value: (
        value is None or (callable(value) and not isinstance(value, type) and not inspect.iscoroutinefunction(value))
    ),
    of="retry",
)


@attrs.frozen
class RetryPolicy:
    """How often and how fast a failed attempt is followed by another."""

    attempts: int = attrs.field(default=4, validator=_COUNTS_FROM_1)
    """Attempts per call, the first one counted; 1 for none but the first."""
    backoff: float = attrs.field(default=0.5, validator=_SECONDS)
    """Pause after the first failure in seconds, doubled after each further one; half of it is random."""
    backoff_max: float = attrs.field(default=8.0, validator=_SECONDS)
    """The longest such pause in seconds."""
    internal_errors: int = attrs.field(default=2, validator=_COUNTS)
    """How often a plain 500 is tried again, within ``attempts``."""
    throttled: int = attrs.field(default=6, validator=_COUNTS)
    """How often a 429 is tried again; these do not count as attempts, since the server did nothing."""
    max_delay: float = attrs.field(default=120.0, validator=_SECONDS)
    """The longest delay in seconds that a server may ask for; above it the error is raised at once."""
    budget: int = attrs.field(default=100, validator=_COUNTS)
    """Units that all calls of a client share, so that an outage does not eat the quota: a retry costs 10
    (4 after a 429 that no limiter holds back), a success gives 1 back, and a retry that helps what it cost."""
    wait: Callable[[Any], float] | None = attrs.field(default=None, validator=_STRATEGY)
    """The pause after a failure that passes, as one of tenacity's wait strategies or a sum of them
    (``wait_exponential(max=8) + wait_random(0, 1)``), in place of ``backoff`` and ``backoff_max``. Its state counts the
    attempts of ``attempts``. A delay that the server names, and the limiter's hold after a 429, come before it."""


@attrs.frozen
class Tally:
    """What a call has spent so far, the attempt just failed included."""

    attempts: int = 0
    """Attempts that count."""
    internal_errors: int = 0
    """Attempts that ended with a plain 500."""
    throttled: int = 0
    """Attempts that were refused for their rate."""

    def after(self, error: B2BError) -> Tally:
        """Count an attempt that ended with *error*."""
        retry = meaning_of_error(error).retry if isinstance(error, APIStatusError) else "never"
        if retry == "throttled":
            return attrs.evolve(self, throttled=self.throttled + 1)
        internal = self.internal_errors + (retry == "internal")
        return attrs.evolve(self, attempts=self.attempts + 1, internal_errors=internal)


@attrs.frozen
class RetryDecision:
    """What follows a failed attempt."""

    action: Literal["retry", "raise", "ambiguous"]
    """Try again, raise the error, or raise ``AmbiguousOutcomeError``."""
    reason: Literal["transient", "throttled", "delay"] = "transient"
    """Why trying again may help: the failure passes, the quota refills, or the server named a delay."""
    delay: float = 0.0
    """Seconds that the server asks to wait, at least; 0 if it does not say."""
    stopped: StopReason | None = None
    """Why there is no retry where there could have been one."""


RAISE = RetryDecision("raise")
AMBIGUOUS = RetryDecision("ambiguous")
_TRY_AGAIN = RetryDecision("retry")


def decide(
    error: B2BError, *, idempotent: bool, tally: Tally, policy: RetryPolicy, outwaits_throttling: bool = False
) -> RetryDecision:
    """Decide what follows an attempt that ended with *error*.

    Args:
        error: How the attempt ended; its ``outcome`` is that of this attempt alone.
        idempotent: Whether the operation may be sent twice.
        tally: What the call has spent, this attempt included.
        policy: The limits.
        outwaits_throttling: No limit applies to refusals for the rate of requests.
    """
    certain = error.outcome in {"not_sent", "rejected"}
    give_up = RAISE if idempotent or certain else AMBIGUOUS
    retry = _retry_after(error, tally, policy)
    if retry is None:
        # A body that does not fit is the plain truth about an answered call, not a lost response; so is a redirect.
        fits_not = isinstance(error, ResponseValidationError) and error.outcome == "applied"
        return RAISE if fits_not or isinstance(error, UnexpectedRedirectError | ConfigurationError) else give_up
    under_success = error.answer is not None and error.answer.under_success
    if not idempotent and (not certain or under_success):
        return give_up
    throttled = retry.reason == "throttled"
    if outwaits_throttling and throttled:
        return retry
    spent = tally.throttled > policy.throttled if throttled else tally.attempts >= policy.attempts
    stopped: StopReason | None = "attempts" if spent else "delay" if retry.delay > policy.max_delay else None
    return retry if stopped is None else attrs.evolve(give_up, stopped=stopped)


def _retry_after(error: B2BError, tally: Tally, policy: RetryPolicy) -> RetryDecision | None:
    """Return how another attempt could end differently; None if it could not."""
    if isinstance(error, APIConnectionError | ResponseValidationError):
        return _TRY_AGAIN if error.retryable else None
    if not isinstance(error, APIStatusError):
        return None
    delay, retry = error.retry_after, meaning_of_error(error).retry
    if retry == "throttled":
        return RetryDecision("retry", "throttled", delay or 0.0)
    if retry == "never":
        return None
    if delay is not None:
        return RetryDecision("retry", "delay", delay)
    return None if retry == "internal" and tally.internal_errors > policy.internal_errors else _TRY_AGAIN


def backoff(policy: RetryPolicy, attempts: int) -> float:
    """Return the longest pause in seconds after so many failures, where the policy has no strategy of its own."""
    return min(policy.backoff_max, policy.backoff * 2.0 ** min(_ENOUGH_DOUBLINGS, max(1, attempts) - 1))
