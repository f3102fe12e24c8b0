"""Reconciliation: where the response of a call is lost that must not be sent twice, check what it did.

A verification that finds nothing proves nothing, since records may appear late and a request may still be in flight.
So it is repeated, with growing pauses, until the call's time is over, and the call is sent again only if the caller
allows that.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Literal

import attrs

from b2b_async._call import CallState, VerificationResult
from b2b_async._messages import Request
from b2b_async._policy import meaning_of_error
from b2b_async.errors import (
    AmbiguousOutcomeError,
    APIConnectionError,
    APIStatusError,
    B2BError,
    ConfigurationError,
    ConflictError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from b2b_async._messages import Reconciliation, Response, Verification
    from b2b_async._pipeline import Handler

__all__ = [
    "Reconcile",
]

_logger = logging.getLogger("b2b_async")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the first verification, doubled before each further one."""
_MOST_VERIFICATIONS = 12
"""For calls without a deadline: about four minutes."""
_ABSENCES_BEFORE_SENDING_AGAIN = 4
"""About seven seconds without a trace, before the call is sent again where the caller allows it."""


class Reconcile:
    """Reconcile a call that says how, when its response is lost.

    Args:
        redact: Blanks out secrets in what the server says.
        uniform: A source of random numbers in [0, 1), for jitter.
    """

    def __init__(self, redact: Callable[[str], str] = str, *, uniform: Callable[[], float] = random.random) -> None:
        """Keep the source of jitter."""
        self.redact = redact
        self.uniform = uniform

    def __call__(self, request: Request, handler: Handler) -> Awaitable[Response]:
        """Pass *request* on; verify what it did if its response is lost.

        Raises:
            AmbiguousOutcomeError: no verification found anything; ``verifications`` lists them.
            ConflictError: a verification found that something else was done.
        """
        if request.reconcile is None:
            return handler(request)
        return self._reconciled(request, handler, request.reconcile)

    async def _reconciled(self, request: Request, handler: Handler, how: Reconciliation) -> Response:
        try:
            return await handler(request)
        except AmbiguousOutcomeError as error:
            lost = error
        return await _Search(self, request, handler, how, lost).run()


class _Search:
    """The verifications of one call."""

    def __init__(
        self, shared: Reconcile, request: Request, handler: Handler, how: Reconciliation, lost: AmbiguousOutcomeError
    ) -> None:
        self._uniform, self._redact = shared.uniform, shared.redact
        self._request = request
        self._handler = handler
        self._verifications = list(how.verifications)
        self._may_send = how.resend_if_absent
        self._lost = lost
        self._clock = asyncio.get_running_loop().time
        self._lost_at = self._clock()
        self._all_refused = False

    async def run(self) -> Response:
        """Verify until something is found or the time is over."""
        call = self._request.call
        call.lost = self._lost  # what the call ends with if its time is over meanwhile
        found = await self._find()
        call.lost, call.observed_outcome = None, "applied"
        return found

    async def _find(self) -> Response:
        lost, request = self._lost, self._request
        for number in range(_MOST_VERIFICATIONS):
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**number) * (0.5 + 0.5 * self._uniform())
            deadline = request.call.deadline
            when = None if deadline is None else deadline.when
            if when is not None and self._clock() + pause >= when:
                break
            await asyncio.sleep(pause)
            found = await self._verify()
            if found is not None:
                _logger.warning(
                    "%s: the response was lost, but a verification shows that it was carried out [call %s]",
                    request.operation.name,
                    request.call.id,
                )
                return found
            if self._all_refused:
                break
            if self._may_send and self._absences() >= _ABSENCES_BEFORE_SENDING_AGAIN:
                self._may_send = False
                again = attrs.evolve(request, attempt=len(request.call.attempts) + 1)
                try:
                    return await self._handler(again)
                except B2BError as error:
                    # Refused now, perhaps because the first one has arrived after all: the next verification shows it.
                    lost.__cause__ = error
        made, absences = len(lost.verifications), self._absences()
        text = (
            f"{lost}; verified {made} times in {self._clock() - self._lost_at:.0f} s: {absences} times it was not "
            f"there (which is no proof that it will not be), {made - absences} verifications failed"
        )
        lost.args = (text,)
        raise lost

    async def _verify(self) -> Response | None:
        """Send each query until one shows what became of the call."""
        in_vain = 0
        for verification in tuple(self._verifications):
            response: Response | None = None
            try:
                response = await self._handler(self._request_of(verification))
                found = verification.read(response)
            except B2BError as error:
                if response is not None and isinstance(error, ConflictError):  # a 409 to the query itself says nothing
                    raise
                absent = isinstance(error, APIStatusError) and error.code in verification.absent
                self._record(verification, "absent" if absent else "failed", type(error).__name__, error.request_id)
                if not absent:
                    in_vain += _will_fail_again(error)
                    continue
                found = None
            else:
                if found is None:
                    self._record(verification, "absent", None, response.request_id)
            # The query that was answered is sent first from now on.
            self._verifications.remove(verification)
            self._verifications.insert(0, verification)
            return found
        # Where no query is open to this client, another one would only use up quota.
        self._all_refused = in_vain == len(self._verifications)
        return None

    def _request_of(self, verification: Verification) -> Request:
        call = self._request.call
        return Request(
            operation=verification.operation,
            path=verification.path,
            call=CallState(
                f"{call.id}-verify-{len(self._lost.verifications) + 1}",
                deadline=call.deadline,
                listeners=call.listeners,
                store=call.store,
            ),
            headers=self._request.headers,
            lane=self._request.lane,
            once=True,
            outwaits_throttling=self._request.outwaits_throttling,
        )

    def _record(
        self, verification: Verification, result: Literal["absent", "failed"], error: str | None, request_id: str | None
    ) -> None:
        found = VerificationResult(
            operation=verification.operation.name,
            result=result,
            error=error,
            request_id=None if request_id is None else self._redact(request_id),
            after=self._clock() - self._lost_at,
        )
        self._lost.verifications += (found,)
        if result == "absent":
            # A good status whose record cannot be found is no longer proof that it was done.
            self._lost.outcome = "unknown"

    def _absences(self) -> int:
        return sum(result.result == "absent" for result in self._lost.verifications)


def _will_fail_again(error: B2BError) -> bool:
    """Return whether a query is not open to this client: its credentials, its certificates, or it is closed."""
    if isinstance(error, APIStatusError):
        return meaning_of_error(error).retry == "never" and not isinstance(error, ConflictError)
    return isinstance(error, ConfigurationError) or (isinstance(error, APIConnectionError) and not error.retryable)
