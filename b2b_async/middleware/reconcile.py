"""A lost answer found again: a call that must not be sent twice is looked up instead.

A look that finds nothing proves nothing, since records may appear late and a request may still be under way.
So it looks again, with growing pauses, until the call's time is over, and sends again only if the caller said so.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Literal

import attrs

from b2b_async._call import CallState, LookUpResult
from b2b_async._messages import Request
from b2b_async.errors import (
    AmbiguousOutcomeError,
    APIConnectionError,
    APIStatusError,
    B2BError,
    ConfigurationError,
    ConflictError,
    RateLimitError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from b2b_async._messages import LookUp, Reconciliation, Response
    from b2b_async._pipeline import Handler

logger = logging.getLogger("b2b_async")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the first look, doubled before each further one."""
_SERVER_ERROR = 500
_MOST_LOOKS = 12
"""For calls without a deadline: about four minutes."""
_LOOKS_BEFORE_SENDING_AGAIN = 4
"""About seven seconds without a trace, before a caller's word to send again is taken up."""


class Reconcile:
    """Settle a call that says how, when its answer is lost.

    Args:
        redact: Blanks out secrets in what the server says.
        uniform: A source of random numbers in [0, 1), for jitter.
    """

    def __init__(self, redact: Callable[[str], str] = str, *, uniform: Callable[[], float] = random.random) -> None:
        """Keep the source of jitter."""
        self.redact = redact
        self.uniform = uniform

    def __call__(self, request: Request, handler: Handler) -> Awaitable[Response]:
        """Pass *request* on; look it up if its answer is lost.

        Raises:
            AmbiguousOutcomeError: no look found anything; ``looked_up`` lists them.
            ConflictError: a look found that something else was done.
        """
        if request.reconcile is None:
            return handler(request)
        return self._settle(request, handler, request.reconcile)

    async def _settle(self, request: Request, handler: Handler, how: Reconciliation) -> Response:
        try:
            return await handler(request)
        except AmbiguousOutcomeError as error:
            lost = error
        return await _Search(self, request, handler, how, lost).settle()


class _Search:
    """The looks for one call."""

    def __init__(
        self, room: Reconcile, request: Request, handler: Handler, how: Reconciliation, lost: AmbiguousOutcomeError
    ) -> None:
        self._uniform, self._redact = room.uniform, room.redact
        self._request = request
        self._handler = handler
        self._lookups = list(how.lookups)
        self._may_send = how.resend_if_absent
        self._lost = lost
        self._clock = asyncio.get_running_loop().time
        self._lost_at = self._clock()
        self._all_refused = False

    async def settle(self) -> Response:
        """Look until something is found or the time is over."""
        call = self._request.call
        call.lost = self._lost  # what the call ends with if its time is over meanwhile
        found = await self._find()
        call.lost, call.in_flight = None, "applied"
        return found

    async def _find(self) -> Response:
        lost, request = self._lost, self._request
        for number in range(_MOST_LOOKS):
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**number) * (0.5 + 0.5 * self._uniform())
            deadline = request.call.deadline
            when = None if deadline is None else deadline.when
            if when is not None and self._clock() + pause >= when:
                break
            await asyncio.sleep(pause)
            found = await self._look()
            if found is not None:
                logger.warning(
                    "%s: the answer was lost, but a look-up shows it done [call %s]",
                    request.operation.name,
                    request.call.id,
                )
                return found
            if self._all_refused:
                break
            if self._may_send and self._absences() >= _LOOKS_BEFORE_SENDING_AGAIN:
                self._may_send = False
                again = attrs.evolve(request, attempt=len(request.call.attempts) + 1)
                try:
                    return await self._handler(again)
                except B2BError as error:
                    # Refused now, perhaps because the first one has arrived after all: the next look will tell.
                    lost.__cause__ = error
                    lost.attempts = tuple(request.call.attempts)
        looks, absences = len(lost.looked_up), self._absences()
        text = (
            f"{lost}; looked up {looks} times in {self._clock() - self._lost_at:.0f} s: {absences} times it was not "
            f"there (which is no proof that it will not be), {looks - absences} looks failed"
        )
        lost.args = (text,)
        raise lost

    async def _look(self) -> Response | None:
        """Ask in each way until one tells of the order."""
        in_vain = 0
        for lookup in tuple(self._lookups):
            response: Response | None = None
            try:
                response = await self._handler(self._ask(lookup))
                found = lookup.read(response)
            except B2BError as error:
                if response is not None and isinstance(error, ConflictError):  # a 409 of the look itself says nothing
                    error.attempts, error.call_id = tuple(self._request.call.attempts), self._request.call.id
                    raise
                absent = isinstance(error, APIStatusError) and error.code in lookup.absent
                self._write_down(lookup, "absent" if absent else "failed", type(error).__name__, error.request_id)
                if not absent:
                    in_vain += _will_fail_again(error)
                    continue
                found = None
            else:
                if found is None:
                    self._write_down(lookup, "absent", None, response.request_id)
            # What has told something is asked first from now on.
            self._lookups.remove(lookup)
            self._lookups.insert(0, lookup)
            return found
        # Where no way to look is open to this client, another look would only use up quota.
        self._all_refused = in_vain == len(self._lookups)
        return None

    def _ask(self, lookup: LookUp) -> Request:
        call = self._request.call
        return Request(
            operation=lookup.operation,
            path=lookup.path,
            call=CallState(f"{call.id}-look-{len(self._lost.looked_up) + 1}", deadline=call.deadline),
            headers=self._request.headers,
            lane=self._request.lane,
            once=True,
            outwaits_throttling=self._request.outwaits_throttling,
        )

    def _write_down(
        self, lookup: LookUp, result: Literal["absent", "failed"], error: str | None, request_id: str | None
    ) -> None:
        looked = LookUpResult(
            operation=lookup.operation.name,
            result=result,
            error=error,
            request_id=None if request_id is None else self._redact(request_id),
            after=self._clock() - self._lost_at,
        )
        self._lost.looked_up += (looked,)
        if result == "absent":
            # A good status whose record nobody can find is no longer proof that it was done.
            self._lost.outcome = "unknown"

    def _absences(self) -> int:
        return sum(result.result == "absent" for result in self._lost.looked_up)


def _will_fail_again(error: B2BError) -> bool:
    """Whether a look-up is not open to this client: its credentials, its certificates, or it is closed."""
    if isinstance(error, APIStatusError):
        # A server error passes, one that says when to come back included.
        return (
            error.outcome == "rejected"
            and error.answer.status < _SERVER_ERROR
            and not isinstance(error, RateLimitError | ConflictError)
        )
    return isinstance(error, ConfigurationError) or (isinstance(error, APIConnectionError) and not error.retryable)
