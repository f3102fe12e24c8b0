"""b2b-async: the asyncio client for BigCommerce B2B Edition that is safe and fast under a shared quota.

The public names are here and in ``b2b_async.errors``; modules with an underscore are machinery.
"""

from b2b_async import v2, v3
from b2b_async._call import Attempt, LookUpResult, Outcome, UnknownOutcome
from b2b_async._config import Credentials, Timeouts
from b2b_async._limiter import RateLimiter
from b2b_async._messages import Lane, LookUp, Operation, Reconciliation, Request, Response
from b2b_async._page import Page
from b2b_async._pipeline import Handler, Middleware
from b2b_async._policy import RetryPolicy
from b2b_async.client import Client, default_middlewares
from b2b_async.errors import (
    AmbiguousOutcomeError,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    B2BError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    QuotaWaitTooLongError,
    RateLimitError,
    ResponseValidationError,
    ServerError,
    StopReason,
    UnexpectedRedirectError,
    UnprocessableEntityError,
)
from b2b_async.ids import CustomerId, UserId
from b2b_async.quota import Quota, QuotaSnapshot

__version__ = "0.1.0"

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AmbiguousOutcomeError",
    "Attempt",
    "AuthenticationError",
    "B2BError",
    "BadRequestError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Credentials",
    "CustomerId",
    "DeadlineExceededError",
    "Handler",
    "InvalidArgumentError",
    "Lane",
    "LookUp",
    "LookUpResult",
    "Middleware",
    "NotFoundError",
    "Operation",
    "Outcome",
    "Page",
    "PermissionDeniedError",
    "Quota",
    "QuotaSnapshot",
    "QuotaWaitTooLongError",
    "RateLimitError",
    "RateLimiter",
    "Reconciliation",
    "Request",
    "Response",
    "ResponseValidationError",
    "RetryPolicy",
    "ServerError",
    "StopReason",
    "Timeouts",
    "UnexpectedRedirectError",
    "UnknownOutcome",
    "UnprocessableEntityError",
    "UserId",
    "default_middlewares",
    "v2",
    "v3",
]
