"""Observation: the events of a call and its attempts, and the completion of every error.

``Observe`` is the outermost middleware, so that what it reports is what the caller gets.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from typing import TYPE_CHECKING

from b2b_async._errors import complete
from b2b_async._logging import log_event, logger
from b2b_async.errors import B2BError, RateLimitError
from b2b_async.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    OutcomeUnknown,
    Throttled,
    about,
    notify,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from b2b_async._call import Outcome
    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async.events import (
        Listener,
    )

__all__ = [
    "Observe",
    "ObserveAttempts",
]


class Observe:
    """Notify listeners of calls, and complete every error that leaves the pipeline.

    Args:
        listeners: Functions that are called with each event.
        store: The store, as events name it.
        redact: Blanks out secrets in what the server says.
    """

    def __init__(
        self, listeners: tuple[Listener, ...] = (), *, store: str = "", redact: Callable[[str], str] = str
    ) -> None:
        """Keep the listeners."""
        self.listeners: tuple[Listener, ...] = tuple(listeners)
        self._logged = (log_event, *self.listeners)
        self._store = store
        self._redact = redact

    def with_listeners(self, listeners: tuple[Listener, ...], *, store: str = "") -> Observe:
        """Return a copy with further listeners, and with a store if it has none."""
        other = copy.copy(self)
        other.listeners = (*self.listeners, *listeners)
        other._logged = (log_event, *other.listeners)  # noqa: SLF001 -- a copy of itself
        other._store = self._store or store  # noqa: SLF001 -- a copy of itself
        return other

    def __call__(self, request: Request, handler: Handler) -> Awaitable[Response]:
        """Pass *request* on, and report how it ended."""
        # The log is a listener like others, for those who read it.
        listeners = self._logged if logger.isEnabledFor(logging.INFO) else self.listeners
        if not listeners:
            return _completed(request, handler)
        request.call.listeners, request.call.store = listeners, self._store
        return self._observed(request, handler, listeners)

    async def _observed(self, request: Request, handler: Handler, listeners: tuple[Listener, ...]) -> Response:
        clock = asyncio.get_running_loop().time
        started = clock()
        notify(listeners, CallStarted(**about(request)))
        try:
            response = await _completed(request, handler)
        except BaseException as error:
            known = error if isinstance(error, B2BError) else None
            outcome = _outcome_of(request, error)
            if not request.operation.safe and _is_unknown(request, error, outcome):
                notify(listeners, _unknown(request, error, outcome))
            ended = CallEnded(
                **about(request),
                status=None if known is None else known.status,
                error=type(error).__name__,
                outcome=outcome,
                attempts=request.call.started_attempts,
                request_id=None if known is None else known.request_id,
                elapsed=clock() - started,
            )
            notify(listeners, ended)
            raise
        request_id = response.request_id
        ended = CallEnded(
            **about(request),
            status=response.status,
            error=None,
            outcome=_outcome_of(request, None),
            attempts=request.call.started_attempts,
            request_id=None if request_id is None else self._redact(request_id),
            elapsed=clock() - started,
        )
        notify(listeners, ended)
        return response


class ObserveAttempts:
    """Notify listeners of attempts.

    Args:
        redact: Blanks out secrets in what the server says.
    """

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        """Keep what blanks out secrets."""
        self._redact = redact

    def __call__(self, request: Request, handler: Handler) -> Awaitable[Response]:
        """Pass *request* on, and report how the attempt ended."""
        call = request.call
        call.started_attempts += 1
        if call.observed_outcome != "not_sent":  # of an attempt before, since a middleware has called its handler again
            call.earlier_outcome, call.observed_outcome = call.outcome(call.observed_outcome), "not_sent"
        return self._observed(request, handler) if call.listeners else handler(request)

    async def _observed(self, request: Request, handler: Handler) -> Response:
        call, listeners, number = request.call, request.call.listeners, request.attempt
        clock = asyncio.get_running_loop().time
        started = clock()
        notify(listeners, AttemptStarted(**about(request), attempt=number))
        try:
            response = await handler(request)
        except BaseException as error:
            known = error if isinstance(error, B2BError) else None
            if known is not None:
                call.note_outcome(known)
            if isinstance(error, RateLimitError):
                refused = Throttled(
                    **about(request), attempt=number, retry_after=error.retry_after, held_for=call.held_for
                )
                notify(listeners, refused)
            ended = AttemptEnded(
                **about(request),
                attempt=number,
                status=None if known is None else known.status,
                error=type(error).__name__,
                outcome=call.observed_outcome if known is None else known.outcome,
                request_id=None if known is None else known.request_id,
                elapsed=clock() - started,
            )
            notify(listeners, ended)
            raise
        request_id = response.request_id
        ended = AttemptEnded(
            **about(request),
            attempt=number,
            status=response.status,
            error=None,
            outcome=call.observed_outcome,
            request_id=None if request_id is None else self._redact(request_id),
            elapsed=clock() - started,
        )
        notify(listeners, ended)
        return response


async def _completed(request: Request, handler: Handler) -> Response:
    """Pass *request* on, and complete the error that it ends with."""
    try:
        return await handler(request)
    except B2BError as error:
        complete(error, request)
        raise


def _outcome_of(request: Request, error: BaseException | None) -> Outcome:
    if isinstance(error, B2BError) and error.call_id == request.call.id:
        return error.outcome
    return request.call.outcome(request.call.observed_outcome)


def _unknown(request: Request, error: BaseException, outcome: Outcome) -> OutcomeUnknown:
    return OutcomeUnknown(
        **about(request),
        body=request.body,
        outcome=outcome,
        error=type(error).__name__ if isinstance(error, Exception) else None,
        attempts=tuple(request.call.attempts),
    )


def _is_unknown(request: Request, error: BaseException, outcome: Outcome) -> bool:
    """Return whether the caller does not learn what became of the call."""
    is_its_own = isinstance(error, B2BError) and error.call_id == request.call.id
    return outcome == "unknown" or (outcome == "applied" and not is_its_own)
