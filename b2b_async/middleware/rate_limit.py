"""Rate limiting: acquire a slot before each attempt, and release it with the response's quota headers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from b2b_async._headers import QuotaHeaders
from b2b_async._policy import is_throttled
from b2b_async.errors import B2BError
from b2b_async.quota import LONGEST_HOLD

if TYPE_CHECKING:
    from b2b_async._limiter import RateLimiter
    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async.quota import Ticket

logger = logging.getLogger("b2b_async")

_TOO_MANY_REQUESTS = 429
_SILENCE = QuotaHeaders()


class RateLimit:
    """Let an attempt leave when the store's quota has a slot for it.

    Args:
        limiter: The limiter of the store.
    """

    def __init__(self, limiter: RateLimiter) -> None:
        """Set the limiter."""
        self._limiter = limiter

    async def __call__(self, request: Request, handler: Handler) -> Response:
        """Wait for a slot, pass *request* on, and report what became of it.

        Raises:
            QuotaWaitTooLongError: no slot can be free before the call's deadline.
        """
        limiter = self._limiter
        ticket = limiter.try_acquire(request.lane, request.operation.route) or await self._wait(request)
        request.call.held_for = None
        try:
            response = await handler(request)
        except BaseException as error:  # a cancellation, too, may have come after the request left
            call = request.call
            if isinstance(error, B2BError):
                call.tell(error)
            if (error.outcome if isinstance(error, B2BError) else call.in_flight) == "not_sent":
                limiter.unsent(ticket)
            else:
                limiter.report(ticket, None, _SILENCE)
            raise
        refused = is_throttled(response)
        quota = QuotaHeaders.from_headers(response.headers, refused=refused)
        limiter.report(ticket, _TOO_MANY_REQUESTS if refused else response.status, quota)
        if refused:
            # The limiter holds the whole store after a refusal, so that the retry has nothing else to wait for.
            request.call.held_for = limiter.held_for(request.operation.route)
            if quota.delay is not None and quota.delay > LONGEST_HOLD:
                logger.warning(
                    "%s: the server refuses requests for %.0f s; the limiter tries one again after %.0f s [call %s]",
                    request.operation.name,
                    quota.delay,
                    LONGEST_HOLD,
                    request.call.id,
                )
        return response

    async def _wait(self, request: Request) -> Ticket:
        call, route = request.call, request.operation.route
        deadline = call.deadline
        if deadline is not None and request.lane == "bulk":
            # A job waits for its quota as long as it takes; its calls' time is for everything else.
            async with deadline.paused():
                return await self._limiter.acquire("bulk", first=call.held_for is not None, route=route)
        until = None if deadline is None else deadline.when
        return await self._limiter.acquire(request.lane, first=call.held_for is not None, until=until, route=route)
