"""The public names of the package, imported as a whole when the first of them is asked for."""

from b2b_async._arguments import OMITTED, Omitted
from b2b_async._call import Attempt, LookUpResult, Outcome, UnknownOutcome
from b2b_async._config import Credentials, Timeouts
from b2b_async._iterate import ItemIterator
from b2b_async._limiter import RateLimiter
from b2b_async._messages import Answered, Lane, LookUp, Operation, Reconciliation, Request, Response
from b2b_async._page import Page
from b2b_async._pipeline import Handler, Middleware
from b2b_async._policy import RetryPolicy
from b2b_async._record import Record
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
from b2b_async.ids import B2BOrderId, BCGroupId, BCOrderId, ChannelId, CompanyId, CustomerId, UserId
from b2b_async.quota import Quota, QuotaSnapshot

__all__ = [
    "OMITTED",
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AmbiguousOutcomeError",
    "Answered",
    "Attempt",
    "AuthenticationError",
    "B2BError",
    "B2BOrderId",
    "BCGroupId",
    "BCOrderId",
    "BadRequestError",
    "ChannelId",
    "Client",
    "CompanyId",
    "ConfigurationError",
    "ConflictError",
    "Credentials",
    "CustomerId",
    "DeadlineExceededError",
    "Handler",
    "InvalidArgumentError",
    "ItemIterator",
    "Lane",
    "LookUp",
    "LookUpResult",
    "Middleware",
    "NotFoundError",
    "Omitted",
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
    "Record",
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
]
