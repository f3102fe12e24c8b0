"""Rate limiting: acquire a slot before each attempt, and release it with the response's quota headers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from b2b_async._policy import SUCCESS, meaning_of_response
from b2b_async.errors import B2BError
from b2b_async.events import QuotaWaited, about, notify
from b2b_async.ratelimit.feedback import LOST, QuotaFeedback
from b2b_async.ratelimit.window import LONGEST_HOLD

if TYPE_CHECKING:
    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async.ratelimit.limiter import RateLimiter
    from b2b_async.ratelimit.window import Ticket

__all__ = [
    "RateLimit",
]

_logger = logging.getLogger("b2b_async")


class RateLimit:
    """Send an attempt when the store's quota has a slot for it.

    Args:
        limiter: The limiter of the store.
    """

    def __init__(self, limiter: RateLimiter) -> None:
        """Set the limiter."""
        self._limiter = limiter

    async def __call__(self, request: Request, handler: Handler) -> Response:
        """Wait for a slot, pass *request* on, and release the slot.

        Raises:
            QuotaWaitTooLongError: no slot can be free before the call's deadline.
        """
        limiter, operation, call = self._limiter, request.operation, request.call
        if operation.quota is not None:
            limiter.declare(operation.route, operation.quota)
        ticket = limiter.try_acquire(request.lane, operation.route) or await self._wait(request)
        call.held_for = None
        try:
            response = await handler(request)
        except BaseException as error:  # a cancellation, too, may have come after the request was sent
            if isinstance(error, B2BError):
                call.note_outcome(error)
            if (error.outcome if isinstance(error, B2BError) else call.observed_outcome) == "not_sent":
                limiter.unsent(ticket)
            else:
                limiter.release(ticket, LOST)
            raise
        result = "accepted" if response.status in SUCCESS else meaning_of_response(response).quota
        feedback = QuotaFeedback.from_headers(response.headers, result)
        limiter.release(ticket, feedback)
        if feedback.is_refusal:
            # The limiter holds the whole store after a refusal, so that the retry has nothing else to wait for.
            call.held_for = limiter.held_for(operation.route)
            if feedback.delay is not None and feedback.delay > LONGEST_HOLD:
                _logger.warning(
                    "%s: the server refuses requests for %.0f s; the limiter tries one again after %.0f s [call %s]",
                    operation.name,
                    feedback.delay,
                    LONGEST_HOLD,
                    call.id,
                )
        return response

    async def _wait(self, request: Request) -> Ticket:
        if not request.call.listeners:
            return await self._acquire(request)
        clock = asyncio.get_running_loop().time
        started = clock()
        ticket = await self._acquire(request)
        waited = clock() - started
        if waited > 0:
            notify(request.call.listeners, QuotaWaited(**about(request), attempt=request.attempt, seconds=waited))
        return ticket

    async def _acquire(self, request: Request) -> Ticket:
        call, route = request.call, request.operation.route
        deadline, first = call.deadline, call.held_for is not None
        if deadline is not None and request.lane == "bulk":
            # A job waits for its quota as long as it takes; its calls' time is for everything else.
            async with deadline.paused():
                return await self._limiter.acquire("bulk", first=first, route=route)
        until = None if deadline is None else deadline.when
        return await self._limiter.acquire(request.lane, first=first, until=until, route=route)
