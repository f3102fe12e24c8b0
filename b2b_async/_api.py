"""The public names of the package, imported as a whole when the first of them is asked for."""

from b2b_async._arguments import OMITTED, Omitted
from b2b_async._call import Attempt, Outcome, VerificationResult
from b2b_async._config import Credentials, Timeouts
from b2b_async._messages import Answered, Operation, Reconciliation, Request, Response, Verification
from b2b_async._pagination import ItemIterator, Listing, Page
from b2b_async._pipeline import Handler, Middleware
from b2b_async._policy import RetryPolicy
from b2b_async._record import Record
from b2b_async.client import Client, ClientOptions, default_middlewares
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
from b2b_async.ratelimit import EndpointSnapshot, Lane, Quota, QuotaFeedback, QuotaSnapshot, RateLimiter

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
    "ClientOptions",
    "CompanyId",
    "ConfigurationError",
    "ConflictError",
    "Credentials",
    "CustomerId",
    "DeadlineExceededError",
    "EndpointSnapshot",
    "Handler",
    "InvalidArgumentError",
    "ItemIterator",
    "Lane",
    "Listing",
    "Middleware",
    "NotFoundError",
    "Omitted",
    "Operation",
    "Outcome",
    "Page",
    "PermissionDeniedError",
    "Quota",
    "QuotaFeedback",
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
    "UnprocessableEntityError",
    "UserId",
    "Verification",
    "VerificationResult",
    "default_middlewares",
]
