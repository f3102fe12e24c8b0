"""Every error that this package raises.

::

    B2BError
    ├── ConfigurationError          the client is set up wrongly; nothing was sent
    │   └── InvalidArgumentError    an argument of a call is wrong (also a ValueError); nothing was sent
    ├── APIConnectionError          no answer, or not a whole one
    │   └── APITimeoutError         ... because it took too long
    ├── APIStatusError              the server said no
    │   ├── UnexpectedRedirectError 3xx; never followed
    │   ├── BadRequestError         400
    │   ├── AuthenticationError     401
    │   ├── PermissionDeniedError   403
    │   ├── NotFoundError           404
    │   ├── ConflictError           409
    │   ├── UnprocessableEntityError 422
    │   ├── RateLimitError          429
    │   └── ServerError             5xx
    ├── ResponseValidationError     the status says yes, but the body is not what was promised
    ├── AmbiguousOutcomeError       it may have happened, and sending it again might do it twice
    ├── DeadlineExceededError       the call's time is over
    └── QuotaWaitTooLongError       the quota leaves no slot before the call's time is over

The question to ask any of them is ``error.outcome``: ``"not_sent"`` (the server cannot have seen it),
``"rejected"`` (it refused before acting), ``"unknown"`` (it may have acted), ``"applied"`` (it did act).
They hold plain values only, so they pickle, and nothing secret hangs on them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b2b_async._call import Attempt, Outcome, VerificationResult

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AmbiguousOutcomeError",
    "Answer",
    "AuthenticationError",
    "B2BError",
    "BadRequestError",
    "ConfigurationError",
    "ConflictError",
    "DeadlineExceededError",
    "InvalidArgumentError",
    "NotFoundError",
    "PermissionDeniedError",
    "QuotaWaitTooLongError",
    "RateLimitError",
    "ResponseValidationError",
    "ServerError",
    "StopReason",
    "UnexpectedRedirectError",
    "UnprocessableEntityError",
    "class_for_status",
]

StopReason = Literal["attempts", "delay", "deadline", "budget"]
"""Why a failure that another attempt might have cured was not tried again: the policy's attempts are used up;
the server asks for a longer delay than the policy allows; the delay ends after the call's deadline;
the client's retry budget is spent, since too many of its calls fail."""


@attrs.frozen(kw_only=True)
class Answer:
    """The server's words, as far as they could be read.

    Its repr shows statuses and ids only: the words and the payload may hold a buyer's personal data, and error
    trackers send the variables of a traceback to third parties.
    """

    status: int
    """The HTTP status, or the one that the envelope's code stands for under HTTP 200."""
    under_success: bool = False
    """The error stood in the envelope of an answer whose HTTP status was 2xx."""
    code: int | None = None
    """The envelope's own code; 40010 with HTTP 400, for example."""
    message: str | None = attrs.field(default=None, repr=False)
    """The server's words; the title of a web page, or the start of a body that has no message."""
    fields: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    """The server's messages by field, under the server's names, which may differ from those sent."""
    payload: Any = attrs.field(default=None, repr=False)
    """The whole body as JSON values, if it was JSON. It may hold personal data."""
    request_id: str | None = None
    """X-Request-Id: quote it to the vendor's support."""
    trace_id: str | None = None
    """Trace-Id: quote it to the vendor's support."""
    retry_after: float | None = None
    """Seconds after which the server wants to be asked again, if it said so."""


class B2BError(Exception):
    """Base of all errors of this package.

    Args:
        message: What happened, for people.
        outcome: What may have happened at the server.
        answer: What the server said, if it answered.
        operation: The vendor's name of the endpoint.
    """

    outcome: Outcome = "not_sent"
    """What may have happened at the server because of the whole call."""
    attempts: tuple[Attempt, ...] = ()
    """The attempts that failed, oldest first."""
    not_retried: StopReason | None = None
    """Why it was not tried again, where another attempt might have helped; else None."""
    operation: str | None = None
    """The vendor's name of the endpoint."""
    method: str | None = None
    """The HTTP method of the request."""
    path: str | None = None
    """The percent-encoded path of the request, with its ids."""
    ids: Mapping[str, str] = MappingProxyType({})
    """The ids in the request's path and body, by the vendor's names."""
    call_id: str | None = None
    """The id of the call on its log lines."""

    def __init__(
        self,
        message: str,
        *,
        outcome: Outcome | None = None,
        answer: Answer | None = None,
        operation: str | None = None,
    ) -> None:
        """Make the error; keyword arguments are optional so that it unpickles from its message alone."""
        super().__init__(message)
        self.answer = answer
        self.operation = operation
        if outcome is not None:
            self.outcome = outcome

    def __repr__(self) -> str:
        """Show what happened to which call, without the server's words: they may hold personal data."""
        if self.answer is None:
            return super().__repr__()
        names = ("operation", "path", "status", "code", "outcome", "request_id", "call_id")
        shown = ", ".join(f"{name}={value!r}" for name in names if (value := getattr(self, name)) is not None)
        return f"{type(self).__name__}({shown})"

    @property
    def status(self) -> int | None:
        """The HTTP status, where there was an answer."""
        return self.answer.status if self.answer else None

    @property
    def code(self) -> int | None:
        """The envelope's own code, where there was an answer."""
        return self.answer.code if self.answer else None

    @property
    def message(self) -> str | None:
        """The server's words, where there was an answer."""
        return self.answer.message if self.answer else None

    @property
    def fields(self) -> Mapping[str, str]:
        """The server's messages by field."""
        return self.answer.fields if self.answer else {}

    @property
    def request_id(self) -> str | None:
        """The server's X-Request-Id, where there was an answer."""
        return self.answer.request_id if self.answer else None

    @property
    def trace_id(self) -> str | None:
        """The server's Trace-Id, where there was an answer."""
        return self.answer.trace_id if self.answer else None

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server wants to be asked again, if it said so."""
        return self.answer.retry_after if self.answer else None


class ConfigurationError(B2BError):
    """The client is set up in a way that cannot work. Nothing was sent."""


class InvalidArgumentError(ConfigurationError, ValueError):
    """An argument of a call is wrong; the text says which and why. Nothing was sent."""


class APIConnectionError(B2BError):
    """The connection failed, or the answer is not whole HTTP.

    ``outcome`` is "not_sent" if no connection came about, "applied" if the answer broke off
    after a status that says yes, and "unknown" otherwise.
    """

    retryable: bool = True
    """False where another attempt would fail in the same way: a certificate that is not trusted."""


class APITimeoutError(APIConnectionError):
    """No answer, or no connection, within the time that one attempt has."""


class APIStatusError(B2BError):
    """The server answered with an error status, or with an error in the envelope of a 200."""

    answer: Answer
    outcome: Outcome = "rejected"


class UnexpectedRedirectError(APIStatusError):
    """3xx. Never followed: the credentials must not travel to another host."""


class BadRequestError(APIStatusError):
    """400: see ``fields``."""


class AuthenticationError(APIStatusError):
    """401: the credentials are not accepted."""


class PermissionDeniedError(APIStatusError):
    """403: the credentials do not allow this operation, or not for these ids, or an internal limit was exceeded."""


class NotFoundError(APIStatusError):
    """404: one of the ids does not exist, or not for this operation."""


class ConflictError(APIStatusError):
    """409; or an order that a verification found registered with another company than the one asked for."""


class UnprocessableEntityError(APIStatusError):
    """422: see ``fields``."""


class RateLimitError(APIStatusError):
    """429, or a web page under 403, more often than the retry policy allows, or with a longer wait than it allows."""


class ServerError(APIStatusError):
    """5xx: the server may have acted before it failed, unless ``outcome`` says otherwise."""

    outcome: Outcome = "unknown"


class ResponseValidationError(B2BError):
    """The status says yes, but the body does not fit what the endpoint promises.

    ``outcome`` is "applied" if the body is JSON or was meant to be, and "unknown" if it is something else:
    the API answers in JSON, so a page of HTML comes from whatever stands before it.
    """

    outcome: Outcome = "applied"
    retryable: bool = False
    """True where the answer was garbled or replaced on the way, so that another attempt can bring a good one."""


class AmbiguousOutcomeError(B2BError):
    """The call may have been carried out ("unknown") or was ("applied"), but the answer is lost.

    Raised for operations that are not idempotent, instead of sending them a second time.
    ``__cause__`` is the error of the attempt.
    """

    outcome: Outcome = "unknown"
    verifications: tuple[VerificationResult, ...] = ()
    """The verifications of what became of it, oldest first, none of which found anything."""


class DeadlineExceededError(B2BError):
    """The call's time (``Timeouts.call``) is over; ``outcome`` tells what may have happened until then."""


class QuotaWaitTooLongError(B2BError):
    """The limiter cannot grant a slot before the call's deadline, so it did not wait.

    Args:
        message: What happened, for people.
        wait: Seconds until a slot could be free at the earliest.
        limit: Requests that the quota allows in a window.
        window: Length of the quota's window in seconds.
        queued: Calls that were waiting already.
    """

    def __init__(
        self, message: str, *, wait: float = 0.0, limit: int = 0, window: float = 0.0, queued: int = 0
    ) -> None:
        """Make the error."""
        super().__init__(message)
        self.wait = wait
        self.limit = limit
        self.window = window
        self.queued = queued


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}

_REDIRECT = range(300, 400)
_SERVER_ERROR = range(500, 600)


def class_for_status(status: int) -> type[APIStatusError]:
    """Return the error class of an HTTP status that is not 2xx."""
    if status in _REDIRECT:
        return UnexpectedRedirectError
    if status in _SERVER_ERROR:
        return ServerError
    return _BY_STATUS.get(status, APIStatusError)
