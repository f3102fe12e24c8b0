"""The listener that writes the log: one line a call, at INFO if it failed and else at DEBUG; attempts at DEBUG.

Never a header, never a body. Each record has the fields of ``FIELDS`` as attributes, so that a formatter can write them
as JSON; a field that a record has no value for is None.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from b2b_async.events import AttemptEnded, CallEnded, QuotaWaited, RetryScheduled

if TYPE_CHECKING:
    from b2b_async.events import CallEvent, Event

logger = logging.getLogger("b2b_async")
logger.addHandler(logging.NullHandler())  # else Python prints warnings where the application has set no logging up

FIELDS = ("operation", "method", "path", "call_id", "attempt", "status", "outcome", "elapsed", "request_id")
"""The attributes of each record of a call."""


def log_event(event: Event) -> None:
    """Log *event*, if it is one that is logged."""
    match event:
        case CallEnded(error=None):
            _write(
                logging.DEBUG,
                event,
                "%s answered %s after %.3f s [call %s, %s %s, attempts %d, request id %s]",
                *(event.operation, event.status, event.elapsed, event.call_id, event.method, event.path),
                *(event.attempts, event.request_id),
            )
        case CallEnded():
            _write(
                logging.INFO,
                event,
                "%s failed after %.3f s: %s [call %s, %s %s, outcome %s, request id %s]",
                *(event.operation, event.elapsed, event.error, event.call_id, event.method, event.path),
                *(event.outcome, event.request_id),
            )
        case AttemptEnded(error=str()):
            _write(
                logging.DEBUG,
                event,
                "%s: attempt %d ended with %s (status %s) after %.3f s [call %s]",
                *(event.operation, event.attempt, event.error, event.status, event.elapsed, event.call_id),
            )
        case RetryScheduled():
            _write(
                logging.DEBUG,
                event,
                "%s: attempt %d is followed by another one in %.2f s (%s) [call %s]",
                *(event.operation, event.attempt, event.wait, event.reason, event.call_id),
            )
        case QuotaWaited():
            _write(
                logging.DEBUG,
                event,
                "%s: attempt %d waited %.2f s for the quota [call %s]",
                *(event.operation, event.attempt, event.seconds, event.call_id),
            )
        case _:
            return


def _write(level: int, event: CallEvent, text: str, *values: object) -> None:
    if logger.isEnabledFor(level):
        extra: dict[str, Any] = {name: getattr(event, name, None) for name in FIELDS}
        logger.log(level, text, *values, extra=extra)
