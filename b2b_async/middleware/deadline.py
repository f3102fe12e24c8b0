"""The deadline of a call: one timer over its waits for quota, its attempts and the pauses between them."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, cast

from b2b_async._call import Deadline
from b2b_async.errors import DeadlineExceededError

if TYPE_CHECKING:
    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler

__all__ = [
    "CallDeadline",
]


class CallDeadline:
    """End a call that takes too long, and say what may have happened until then.

    Args:
        seconds: The longest time that a call may take.
    """

    def __init__(self, seconds: float) -> None:
        """Set the time."""
        self._seconds = seconds

    def with_seconds(self, seconds: float) -> CallDeadline:
        """Return a copy with another time."""
        other = copy.copy(self)
        other._seconds = seconds  # noqa: SLF001 -- a copy of itself
        return other

    async def __call__(self, request: Request, handler: Handler) -> Response:
        """Pass *request* on with a deadline.

        Raises:
            DeadlineExceededError: the time is over.
            AmbiguousOutcomeError: the time is over, and the verification of a lost response was going on.
        """
        call = request.call
        clock = asyncio.timeout(self._seconds)
        try:
            async with clock:
                call.deadline = Deadline(clock)
                return await handler(request)
        except TimeoutError:
            if not clock.expired():  # the timeout of another block
                raise
        if call.acknowledged is not None:
            call.observed_outcome = "applied"
            return cast("Response", call.acknowledged)
        if call.lost is not None:
            call.lost.add_note(f"the call's time of {self._seconds:g} s ended during a verification")
            raise call.lost
        operation = request.operation
        outcome = call.outcome(call.observed_outcome)
        message = (
            f"{operation.name}: no result within {self._seconds:g} s, after {len(call.attempts)} failed attempts; "
            f"outcome at the server: {outcome}"
        )
        if outcome in {"unknown", "applied"} and not operation.idempotent:
            message += ". Check whether it was carried out before you send it again"
        raise DeadlineExceededError(message, outcome=outcome, operation=operation.name)
