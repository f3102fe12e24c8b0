"""b2b-async: the asyncio client for BigCommerce B2B Edition that is safe and fast under a shared quota.

The public names are here and in ``b2b_async.errors``; modules with an underscore are machinery.
"""

from typing import TYPE_CHECKING

from b2b_async._arguments import OMITTED, Omitted
from b2b_async._call import Attempt, LookUpResult, Outcome, UnknownOutcome
from b2b_async._config import Credentials, Timeouts
from b2b_async._iterate import ItemIterator
from b2b_async._lazy import submodules
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

if TYPE_CHECKING:  # with __getattr__ in sight, they would take any name for a module
    from b2b_async import v2 as v2
    from b2b_async import v3
else:
    __getattr__, __dir__ = submodules(__name__, "v2", "v3")

__version__ = "0.1.0"

# v2 is not among them: it warns when it is imported, and "from b2b_async import *" does not ask for it.
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
    "v3",
]
