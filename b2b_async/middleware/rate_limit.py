"""The quota's gate: one slot for each attempt that leaves, given back with what the server said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2b_async._headers import QuotaHeaders
from b2b_async.errors import B2BError

if TYPE_CHECKING:
    from b2b_async._limiter import RateLimiter
    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async.quota import Ticket

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
        request.call.requeue = False
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
        # The limiter holds the whole store after a 429, so that the retry has nothing else to wait for.
        refused = response.status == _TOO_MANY_REQUESTS
        if refused:
            request.call.requeue = True
        limiter.report(ticket, response.status, QuotaHeaders.from_headers(response.headers, refused=refused))
        return response

    async def _wait(self, request: Request) -> Ticket:
        call, route = request.call, request.operation.route
        deadline = call.deadline
        if deadline is not None and request.lane == "bulk":
            # A job waits for its quota as long as it takes; its calls' time is for everything else.
            async with deadline.paused():
                return await self._limiter.acquire("bulk", first=call.requeue, route=route)
        until = None if deadline is None else deadline.when
        return await self._limiter.acquire(request.lane, first=call.requeue, until=until, route=route)
