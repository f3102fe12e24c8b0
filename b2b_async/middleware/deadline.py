"""The end of a call: one clock over its waits for quota, its attempts and the pauses between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from b2b_async._call import Deadline
from b2b_async.errors import B2BError, DeadlineExceededError

if TYPE_CHECKING:
    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler


class CallDeadline:
    """End a call that takes too long, and say what may have happened until then.

    Args:
        seconds: How long a call may take.
    """

    def __init__(self, seconds: float) -> None:
        """Set the time."""
        self._seconds = seconds

    async def __call__(self, request: Request, handler: Handler) -> Response:
        """Pass *request* on with a deadline.

        Raises:
            DeadlineExceededError: the time is over.
            AmbiguousOutcomeError: the time is over, and a lost answer was still being looked for.
        """
        call = request.call
        clock = asyncio.timeout(self._seconds)
        try:
            async with clock:
                call.deadline = Deadline(clock)
                return await handler(request)
        except B2BError as failure:
            if "outcome" not in vars(failure):  # of a middleware of one's own, which did not say
                failure.outcome = call.outcome(call.in_flight)
            raise
        except TimeoutError:
            if not clock.expired():  # somebody else's timeout
                raise
        if call.acknowledged is not None:
            return cast("Response", call.acknowledged)
        if call.lost is not None:
            call.lost.add_note(f"the call's time of {self._seconds:g} s ended during a look-up")
            raise call.lost
        operation = request.operation
        outcome = call.outcome(call.in_flight)
        message = (
            f"{operation.name}: no result within {self._seconds:g} s, after {len(call.attempts)} failed attempts; "
            f"outcome at the server: {outcome}"
        )
        if outcome in {"unknown", "applied"} and not operation.idempotent:
            message += ". Look whether it was carried out before you send it again"
        error = DeadlineExceededError(message, outcome=outcome, operation=operation.name)
        error.attempts, error.call_id = tuple(call.attempts), call.id
        raise error
